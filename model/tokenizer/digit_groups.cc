#include "model/tokenizer/digit_groups.h"

#include <algorithm>

#include "model/tokenizer/unicode.h"
#include "model/tokenizer/utf8.h"

namespace causeway::model::tokenizer {
namespace {

constexpr DigitGrouping kGroupings[] = {
    {.pattern = R"(\d{1,3}(?=(?:\d{3})*\b))", .is_digit = IsDecimalDigit, .ends_at_boundary = true},
    {.pattern = R"((?=(\d{3})+(?!\d)))", .is_digit = IsDecimalDigit, .cuts = true},
    {.pattern = R"(\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N})))", .is_digit = IsNumeric},
};

// `ends`: where each digit of a number ends, after the place where the first one begins.
void Group(const DigitGrouping& grouping, const std::vector<size_t>& ends, std::vector<Match>& matches) {
  const size_t digits = ends.size() - 1;
  for (size_t at = 0; at < digits;) {
    const size_t length = (digits - at) % 3 == 0 ? 3 : (digits - at) % 3;
    if (!grouping.cuts) {
      matches.push_back({ends[at], ends[at + length]});
    } else if (length == 3 && ends[at] > 0) {
      matches.push_back({ends[at], ends[at]});
    }
    at += length;
  }
}

}  // namespace

std::span<const DigitGrouping> DigitGroupings() { return kGroupings; }

const DigitGrouping* FindDigitGrouping(std::string_view pattern) {
  const auto* const row = std::find_if(std::begin(kGroupings), std::end(kGroupings),
                                       [&](const DigitGrouping& one) { return one.pattern == pattern; });
  return row == std::end(kGroupings) ? nullptr : row;
}

void FindDigitGroups(const DigitGrouping& grouping, std::string_view text, std::vector<Match>& matches) {
  matches.clear();
  std::vector<size_t> ends;
  for (size_t at = 0; at < text.size();) {
    ends.assign(1, at);
    while (ends.back() < text.size() && grouping.is_digit(CharacterAt(text, ends.back()).value)) {
      ends.push_back(ends.back() + CharacterAt(text, ends.back()).length);
    }
    const size_t end = ends.back();
    if (end == at) {
      at += CharacterAt(text, at).length;
      continue;
    }
    if (!(grouping.ends_at_boundary && end < text.size() && IsWord(CharacterAt(text, end).value))) {
      Group(grouping, ends, matches);
    }
    at = end;
  }
}

}  // namespace causeway::model::tokenizer
