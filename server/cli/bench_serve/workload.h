// What is asked: conversations of one or more turns. Pure: conversation i is a function of the
// options, the seed and i, so a run of any length needs no list, and two servers are asked the
// same.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace causeway::server::bench {

enum class WorkloadKind : uint8_t {
  kRandom,        // independent prompts
  kSharedPrefix,  // prompts that begin with one of a few long texts
  kMultiTurn,     // each turn repeats the conversation so far
  kFile,          // a JSON Lines file: {"prompt": text} or {"turns": [text...]}, and "output_tokens": n
};

// Names the kinds known.
Result<WorkloadKind> ParseWorkloadKind(std::string_view name);

struct WorkloadOptions {
  WorkloadKind kind = WorkloadKind::kRandom;
  int64_t input_tokens = 128;  // new tokens of a turn
  int64_t output_tokens = 64;
  double range = 0.0;           // lengths are uniform in [n (1 - range), n (1 + range)]
  int64_t prefix_tokens = 512;  // kSharedPrefix
  int64_t prefixes = 4;         // kSharedPrefix: how many different ones
  int64_t turns = 4;            // kMultiTurn
  double words_per_token = 0.75;
  uint64_t seed = 0;
  std::string file;  // kFile
};

struct Turn {
  std::string text;
  int64_t output_tokens = 0;
};

struct Conversation {
  std::string prefix;  // before the first turn; a system message in chats
  std::vector<Turn> turns;
};

class Workload {
 public:
  // Reads the file of a kFile workload; errors name file and line.
  static Result<Workload> Make(const WorkloadOptions& options);

  Conversation At(uint64_t index) const;
  // Requests that the first `conversations` make.
  size_t CountTurns(uint64_t conversations) const;
  size_t file_size() const { return from_file_.size(); }  // conversations; 0 unless kFile

 private:
  explicit Workload(const WorkloadOptions& options) : options_(options) {}
  int64_t DrawLength(int64_t tokens, uint64_t stream, uint64_t counter) const;

  WorkloadOptions options_;
  std::vector<Conversation> from_file_;
};

// `words` English words, drawn by (seed, stream).
std::string RandomWords(int64_t words, uint64_t seed, uint64_t stream);

}  // namespace causeway::server::bench
