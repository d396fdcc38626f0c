// Python's string operations on marked text. Positions are bytes; every result keeps the provenance of
// the bytes that it is made of. All run in time linear in their inputs.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "server/template/marked_text.h"

namespace causeway::server {

inline constexpr size_t kNoMaxSplit = static_cast<size_t>(-1);

// First occurrence at or after `from`, or npos. Linear also for adversarial needles.
size_t FindBytes(std::string_view text, std::string_view needle, size_t from);
size_t FindLastBytes(std::string_view text, std::string_view needle);
size_t CountBytes(std::string_view text, std::string_view needle);  // not overlapping; needle not empty

MarkedText ToUpper(const MarkedText& text);
MarkedText ToLower(const MarkedText& text);
MarkedText FoldCase(const MarkedText& text);
MarkedText Capitalize(const MarkedText& text);
MarkedText TitleWords(const MarkedText& text);   // str.title: words are runs of letters
MarkedText TitleFilter(const MarkedText& text);  // Jinja's |title: words begin after space - ( { [ <
MarkedText SwapCase(const MarkedText& text);

enum class Side { kBoth, kLeft, kRight };
// Strips white space, or the characters of `chars` if given.
MarkedText Strip(const MarkedText& text, Side side, const std::string_view* chars);

std::vector<MarkedText> SplitSpace(const MarkedText& text, size_t max_split);
std::vector<MarkedText> SplitSpaceFromRight(const MarkedText& text, size_t max_split);
std::vector<MarkedText> SplitBy(const MarkedText& text, std::string_view separator, size_t max_split);
std::vector<MarkedText> SplitByFromRight(const MarkedText& text, std::string_view separator, size_t max_split);
std::vector<MarkedText> SplitLines(const MarkedText& text, bool keep_ends);

// Replaces up to `max_count` occurrences; an empty `from` matches between all characters.
MarkedText Replace(const MarkedText& text, std::string_view from, const MarkedText& to, size_t max_count);
MarkedText Join(const MarkedText& separator, const std::vector<MarkedText>& parts);
MarkedText Reverse(const MarkedText& text);
// `count` copies of `fill` (trusted), for padding.
MarkedText Padded(const MarkedText& text, size_t left, size_t right, const MarkedText& fill);

}  // namespace causeway::server
