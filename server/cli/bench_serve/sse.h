// Server-sent events as OpenAI-compatible servers write them, and what a completion chunk says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace causeway::server::bench {

// Splits a byte stream into the data of its events, however the bytes were cut. Lines end in LF,
// CRLF or CR; comments and other fields are skipped; several data lines of one event are joined
// with LF (WHATWG HTML, "Server-sent events").
class SseParser {
 public:
  static constexpr size_t kMaxEventBytes = 8 << 20;

  // Appends the data of each event that `bytes` completes. Fails when an event passes
  // kMaxEventBytes.
  Result<void> Feed(std::string_view bytes, std::vector<std::string>& events);

 private:
  void EndLine(std::vector<std::string>& events);

  std::string line_;
  std::string data_;
  bool has_data_ = false;
  bool after_cr_ = false;
};

// One event of a streamed completion or chat completion.
struct StreamChunk {
  bool done = false;  // "[DONE]"
  std::string text;   // new text of all its choices
  bool has_usage = false;
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  int64_t cached_tokens = 0;
  std::string error;  // message of an error event; empty if none
};

// Fails on what is not JSON or not an object.
Result<StreamChunk> ParseChunk(std::string_view data);

}  // namespace causeway::server::bench
