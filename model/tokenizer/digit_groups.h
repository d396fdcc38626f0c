// Patterns that cut numbers in threes from their end. A regular expression looks ahead to the end of the number from
// each place, which is quadratic in its length; these finders give the same matches in one pass.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "model/tokenizer/regex.h"

namespace causeway::model::tokenizer {

struct DigitGrouping {
  std::string_view pattern;       // what it stands for, to the letter
  bool (*is_digit)(char32_t);     // of a number
  bool ends_at_boundary = false;  // a number that a word character follows has no match
  bool cuts = false;              // matches are empty, in front of each whole three that does not start the text
};

std::span<const DigitGrouping> DigitGroupings();
// Null if `pattern` is none of them.
const DigitGrouping* FindDigitGrouping(std::string_view pattern);

// The matches of Regex::FindAll with `cuts`. `text` is valid UTF-8.
void FindDigitGroups(const DigitGrouping& grouping, std::string_view text, std::vector<Match>& matches);

}  // namespace causeway::model::tokenizer
