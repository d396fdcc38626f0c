#include "server/cli/bench_serve/sse.h"

#include <utility>

#include "base/json.h"

namespace causeway::server::bench {

Result<void> SseParser::Feed(std::string_view bytes, std::vector<std::string>& events) {
  for (const char c : bytes) {
    const bool second_of_crlf = after_cr_ && c == '\n';
    after_cr_ = c == '\r';
    if (second_of_crlf) {
      continue;
    }
    if (c == '\n' || c == '\r') {
      EndLine(events);
      continue;
    }
    if (line_.size() + data_.size() >= kMaxEventBytes) {
      return MakeError(ErrorCode::kTooLarge, fmt::format("an event is over {} bytes", kMaxEventBytes));
    }
    line_ += c;
  }
  return {};
}

void SseParser::EndLine(std::vector<std::string>& events) {
  if (line_.empty()) {
    if (has_data_) {
      events.push_back(std::exchange(data_, {}));
    }
    has_data_ = false;
    return;
  }
  constexpr std::string_view kField = "data:";
  if (line_.compare(0, kField.size(), kField) == 0) {
    std::string_view value = std::string_view(line_).substr(kField.size());
    if (!value.empty() && value.front() == ' ') {
      value.remove_prefix(1);
    }
    if (has_data_) {
      data_ += '\n';
    }
    data_ += value;
    has_data_ = true;
  }
  line_.clear();
}

namespace {

int64_t IntegerAt(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<int64_t>() : 0;
}

// The new text of one choice: `text` (completions) or `delta.content` and the reasoning fields
// (chat).
void AppendChoiceText(const Json& choice, std::string& text) {
  const auto append = [&text](const Json& object, const char* key) {
    const auto found = object.find(key);
    if (found != object.end() && found->is_string()) {
      text += found->get_ref<const std::string&>();
    }
  };
  if (!choice.is_object()) {
    return;
  }
  append(choice, "text");
  const auto delta = choice.find("delta");
  if (delta != choice.end() && delta->is_object()) {
    append(*delta, "content");
    append(*delta, "reasoning");
    append(*delta, "reasoning_content");
  }
}

void ReadUsage(const Json& usage, StreamChunk& chunk) {
  chunk.has_usage = true;
  chunk.prompt_tokens = IntegerAt(usage, "prompt_tokens");
  chunk.output_tokens = IntegerAt(usage, "completion_tokens");
  const auto details = usage.find("prompt_tokens_details");
  if (details != usage.end() && details->is_object()) {
    chunk.cached_tokens = IntegerAt(*details, "cached_tokens");
  }
}

}  // namespace

Result<StreamChunk> ParseChunk(std::string_view data) {
  StreamChunk chunk;
  if (data.substr(0, 6) == "[DONE]") {
    chunk.done = true;
    return chunk;
  }
  ASSIGN_OR_RETURN(const Json json, ParseJson(data));
  if (!json.is_object()) {
    return MakeError(ErrorCode::kInvalidArgument, "an event is not a JSON object");
  }
  const auto error = json.find("error");
  if (error != json.end() && !error->is_null()) {
    const bool has_message = error->is_object() && error->contains("message");
    chunk.error = has_message ? DumpJson((*error)["message"]) : DumpJson(*error);
    return chunk;
  }
  const auto choices = json.find("choices");
  if (choices != json.end() && choices->is_array()) {
    for (const Json& choice : *choices) {
      AppendChoiceText(choice, chunk.text);
    }
  }
  const auto usage = json.find("usage");
  if (usage != json.end() && usage->is_object()) {
    ReadUsage(*usage, chunk);
  }
  return chunk;
}

}  // namespace causeway::server::bench
