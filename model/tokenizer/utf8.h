// UTF-8 as Rust's str has it: no surrogates, no overlong forms, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace causeway::model::tokenizer {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

// What starts at a byte of arbitrary input.
struct Utf8Step {
  enum class Kind : uint8_t {
    kComplete,    // one whole character of `length` bytes
    kInvalid,     // `length` bytes that no continuation makes a character (one maximal subpart)
    kIncomplete,  // the input ends inside a character; more bytes may complete it
  };
  Kind kind;
  uint8_t length;  // bytes, 1..4
};

// Requires offset < bytes.size().
Utf8Step StepUtf8(std::string_view bytes, size_t offset);

bool IsValidUtf8(std::string_view bytes);

// True if every byte is below 0x80.
bool IsAscii(std::string_view text);

struct Character {
  char32_t value;
  uint8_t length;  // bytes
};

// The character that starts at `offset`. Requires valid UTF-8 and a character boundary.
inline Character CharacterAt(std::string_view text, size_t offset) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<uint8_t>(text[offset + i])); };
  const char32_t first = byte(0);
  if (first < 0x80) {
    return {first, 1};
  }
  if (first < 0xE0) {
    return {(first & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  }
  if (first < 0xF0) {
    return {(first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  }
  return {(first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}

// The character that ends at `end` (end > 0).
Character CharacterBefore(std::string_view text, size_t end);

// Requires a scalar value.
void AppendUtf8(char32_t character, std::string& out);

// Bytes in, valid UTF-8 out: each maximal invalid subpart becomes U+FFFD, an incomplete end is held back
// until it is completed, broken, or finished. Holds at most three bytes.
class LossyUtf8Stream {
 public:
  void Append(std::string_view bytes, std::string& out);
  void Finish(std::string& out);

 private:
  std::string held_;
};

}  // namespace causeway::model::tokenizer
