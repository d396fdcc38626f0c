#include "model/tokenizer/byte_level.h"

#include <array>

#include "model/tokenizer/utf8.h"

namespace causeway::model::tokenizer {
namespace {

// Printable Latin-1 characters stand for themselves; the other bytes for 256, 257, ... in order.
bool IsPrintable(int byte) { return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE; }

struct Alphabet {
  Alphabet() {
    char32_t next = 256;
    for (int byte = 0; byte < 256; ++byte) {
      const char32_t character = IsPrintable(byte) ? static_cast<char32_t>(byte) : next++;
      AppendUtf8(character, texts[static_cast<size_t>(byte)]);
      bytes[character] = static_cast<uint8_t>(byte);
      known[character] = true;
    }
  }
  std::array<std::string, 256> texts;
  std::array<uint8_t, 512> bytes{};
  std::array<bool, 512> known{};
};

const Alphabet& TheAlphabet() {
  static const Alphabet alphabet;
  return alphabet;
}

}  // namespace

const std::string& CharacterOfByte(uint8_t byte) { return TheAlphabet().texts[byte]; }

std::optional<uint8_t> ByteOfCharacter(char32_t character) {
  const Alphabet& alphabet = TheAlphabet();
  if (character >= alphabet.known.size() || !alphabet.known[character]) {
    return std::nullopt;
  }
  return alphabet.bytes[character];
}

std::optional<std::string> BytesOfText(std::string_view text) {
  std::string bytes;
  for (size_t at = 0; at < text.size();) {
    const Character character = CharacterAt(text, at);
    const auto byte = ByteOfCharacter(character.value);
    if (!byte) {
      return std::nullopt;
    }
    bytes += static_cast<char>(*byte);
    at += character.length;
  }
  return bytes;
}

}  // namespace causeway::model::tokenizer
