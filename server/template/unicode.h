// UTF-8 and the character properties that Python's str methods rest on. Every string inside the
// interpreter is valid UTF-8 (checked on entry), so decoding here does not look for errors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace causeway::server {

bool IsValidUtf8(std::string_view text);
std::string ReplaceInvalidUtf8(std::string_view text);  // each bad byte becomes U+FFFD

size_t CountChars(std::string_view text);                            // code points
size_t ByteOffset(std::string_view text, size_t char_index);         // clamps to the end
char32_t DecodeChar(std::string_view text, size_t* position);        // advances *position
char32_t DecodeCharBefore(std::string_view text, size_t* position);  // moves *position back
void AppendUtf8(char32_t c, std::string* out);
std::u32string ToChars(std::string_view text);

// Python's str.isspace, isalpha, isdigit, isdecimal, isnumeric, isprintable, and case, one code point at a time.
bool IsSpace(char32_t c);
bool IsLineBreak(char32_t c);  // what str.splitlines breaks at
bool IsAlpha(char32_t c);
bool IsDigit(char32_t c);
bool IsDecimal(char32_t c);
bool IsNumeric(char32_t c);
bool IsPrintable(char32_t c);
bool IsUpper(char32_t c);
bool IsLower(char32_t c);
bool IsTitle(char32_t c);
bool IsWordChar(char32_t c);  // \w: letters, digits, underscore

// Case mappings append one or more code points ("ß" upper is "SS").
void AppendUpper(char32_t c, std::string* out);
void AppendLower(char32_t c, std::string* out);
void AppendTitle(char32_t c, std::string* out);
void AppendFolded(char32_t c, std::string* out);  // str.casefold: "ß" is "ss"

}  // namespace causeway::server
