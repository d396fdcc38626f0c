#include "server/cli/bench_serve/workload.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <utility>

#include <fmt/format.h>

#include "base/json.h"
#include "base/rng.h"

namespace causeway::server::bench {

namespace {

constexpr size_t kMaxFileConversations = 1000000;
constexpr size_t kMaxLineBytes = 16 << 20;

// Streams of the counter-based generator; each conversation has its own block of them.
constexpr uint64_t kPrefixStream = 1ULL << 40;
constexpr uint64_t kConversationStream = 1ULL << 41;
constexpr uint64_t kStreamsPerConversation = 256;

constexpr auto kWords = std::to_array<std::string_view>(
    {"the",    "of",    "and",   "a",     "to",    "in",      "he",    "was",    "that",  "his",    "it",
     "her",    "with",  "as",    "had",   "for",   "she",     "not",   "at",     "but",   "on",     "they",
     "be",     "have",  "him",   "which", "said",  "from",    "all",   "this",   "were",  "by",     "one",
     "little", "then",  "old",   "king",  "there", "man",     "so",    "great",  "when",  "came",   "house",
     "time",   "went",  "down",  "day",   "out",   "upon",    "water", "tree",   "night", "good",   "saw",
     "long",   "could", "over",  "made",  "see",   "through", "know",  "before", "two",   "after",  "again",
     "white",  "river", "under", "small", "gold",  "castle",  "road",  "garden", "bird",  "stone",  "light",
     "forest", "horse", "sea",   "door",  "fire",  "green",   "hand",  "heart",  "voice", "morning"});

Error LineError(const std::string& file, size_t line, std::string_view what) {
  return MakeError(ErrorCode::kInvalidArgument, fmt::format("{}:{}: {}", file, line, what), "dataset");
}

Result<Conversation> ParseConversation(const Json& json, int64_t default_output) {
  const auto wrong = [](std::string_view what) { return MakeError(ErrorCode::kInvalidArgument, std::string(what)); };
  if (!json.is_object()) {
    return wrong("not a JSON object");
  }
  int64_t output_tokens = default_output;
  if (const auto found = json.find("output_tokens"); found != json.end()) {
    if (!found->is_number_integer() || *found < 1 || *found > 1000000) {
      return wrong("output_tokens is not an integer in 1..1000000");
    }
    output_tokens = found->get<int64_t>();
  }
  const Json turns = json.contains("turns") ? json["turns"] : Json::array({json.value("prompt", Json())});
  if (!turns.is_array() || turns.empty() ||
      !std::all_of(turns.begin(), turns.end(), [](const Json& turn) { return turn.is_string(); })) {
    return wrong("neither \"prompt\" (a string) nor \"turns\" (a list of strings)");
  }
  Conversation conversation;
  for (const Json& turn : turns) {
    conversation.turns.push_back({turn.get<std::string>(), output_tokens});
  }
  return conversation;
}

Result<std::vector<Conversation>> ReadFile(const std::string& path, int64_t default_output) {
  std::ifstream file(path);
  if (!file) {
    return MakeError(ErrorCode::kNotFound, fmt::format("cannot read {}", path), "dataset");
  }
  std::vector<Conversation> result;
  std::string line;
  for (size_t number = 1; std::getline(file, line); ++number) {
    if (line.empty()) {
      continue;
    }
    if (line.size() > kMaxLineBytes || result.size() >= kMaxFileConversations) {
      return LineError(path, number, "the file is too large");
    }
    const auto json = ParseJson(line);
    if (!json.ok()) {
      return LineError(path, number, json.error().message);
    }
    auto conversation = ParseConversation(*json, default_output);
    if (!conversation.ok()) {
      return LineError(path, number, conversation.error().message);
    }
    result.push_back(std::move(*conversation));
  }
  if (result.empty()) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("{} holds no prompts", path), "dataset");
  }
  return result;
}

}  // namespace

Result<WorkloadKind> ParseWorkloadKind(std::string_view name) {
  if (name == "random") {
    return WorkloadKind::kRandom;
  }
  if (name == "shared-prefix") {
    return WorkloadKind::kSharedPrefix;
  }
  if (name == "multi-turn") {
    return WorkloadKind::kMultiTurn;
  }
  if (name == "file") {
    return WorkloadKind::kFile;
  }
  return MakeError(ErrorCode::kInvalidArgument,
                   fmt::format("no such workload '{}'; known: random, shared-prefix, multi-turn, file", name),
                   "workload");
}

std::string RandomWords(int64_t words, uint64_t seed, uint64_t stream) {
  std::string text;
  for (int64_t i = 0; i < words; ++i) {
    text += ' ';
    text += kWords[RandomBits(seed, stream, static_cast<uint64_t>(i)) % kWords.size()];
  }
  return text;
}

Result<Workload> Workload::Make(const WorkloadOptions& options) {
  Workload workload(options);
  if (options.kind == WorkloadKind::kFile) {
    ASSIGN_OR_RETURN(workload.from_file_, ReadFile(options.file, options.output_tokens));
  }
  return workload;
}

int64_t Workload::DrawLength(int64_t tokens, uint64_t stream, uint64_t counter) const {
  const double factor = 1 + options_.range * (2 * RandomUniform(options_.seed, stream, counter) - 1);
  return std::max<int64_t>(1, std::llround(static_cast<double>(tokens) * factor));
}

Conversation Workload::At(uint64_t index) const {
  if (!from_file_.empty()) {
    return from_file_[index % from_file_.size()];
  }
  const auto words = [this](int64_t tokens) {
    return std::max<int64_t>(1, std::llround(static_cast<double>(tokens) * options_.words_per_token));
  };
  const uint64_t stream = kConversationStream + index * kStreamsPerConversation;
  Conversation conversation;
  if (options_.kind == WorkloadKind::kSharedPrefix) {
    const uint64_t which = RandomBits(options_.seed, stream, 0) % static_cast<uint64_t>(options_.prefixes);
    conversation.prefix = RandomWords(words(options_.prefix_tokens), options_.seed, kPrefixStream + which);
  }
  const int64_t turns = options_.kind == WorkloadKind::kMultiTurn ? options_.turns : 1;
  for (int64_t i = 0; i < turns; ++i) {
    const auto turn = static_cast<uint64_t>(i);
    const int64_t input = DrawLength(options_.input_tokens, stream, 2 * turn + 1);
    const int64_t output = DrawLength(options_.output_tokens, stream, 2 * turn + 2);
    conversation.turns.push_back({RandomWords(words(input), options_.seed, stream + 1 + turn), output});
  }
  return conversation;
}

size_t Workload::CountTurns(uint64_t conversations) const {
  if (from_file_.empty()) {
    return conversations * static_cast<size_t>(options_.kind == WorkloadKind::kMultiTurn ? options_.turns : 1);
  }
  size_t turns = 0;
  for (uint64_t i = 0; i < conversations; ++i) {
    turns += from_file_[i % from_file_.size()].turns.size();
  }
  return turns;
}

}  // namespace causeway::server::bench
