// GPT-2's alphabet: every byte as one printable character, so that a vocabulary is text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace causeway::model::tokenizer {

// The character of a byte, as UTF-8.
const std::string& CharacterOfByte(uint8_t byte);
// The byte of a character; none if it is outside the alphabet.
std::optional<uint8_t> ByteOfCharacter(char32_t character);
// The bytes that `text` spells; none if a character is outside the alphabet.
std::optional<std::string> BytesOfText(std::string_view text);

}  // namespace causeway::model::tokenizer
