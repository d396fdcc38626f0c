// Character classes and normalization forms as the reference library has them (Rust's char and regex, and
// its normalization crate). The tables are utf8proc's.
#pragma once

#include <cstdint>

#include "model/tokenizer/sourced_text.h"

namespace causeway::model::tokenizer {

bool IsWhitespace(char32_t c);      // property White_Space
bool IsNumeric(char32_t c);         // general category N
bool IsDecimalDigit(char32_t c);    // general category Nd
bool IsPunctuation(char32_t c);     // ASCII punctuation or general category P
bool IsMark(char32_t c);            // general category M
bool IsNonspacingMark(char32_t c);  // general category Mn
bool IsOther(char32_t c);           // general category C, but for the unassigned
bool IsWord(char32_t c);            // \w: Alphabetic, M, Nd, Pc, Join_Control
bool IsCjkIdeograph(char32_t c);    // the blocks that BERT separates

// Full lower case of one character: at most two characters (only U+0130 gives two).
struct Lowered {
  char32_t first;
  char32_t second;  // 0: none
};
Lowered ToLower(char32_t c);

enum class NormalForm : uint8_t { kNfc, kNfd, kNfkc, kNfkd };

// Unicode Standard Annex 15. O(n log n) whatever the input: runs of combining marks are sorted, not bubbled.
SourcedText Normalized(const SourcedText& text, NormalForm form);

}  // namespace causeway::model::tokenizer
