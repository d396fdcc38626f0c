#include "server/template/word_wrap.h"

#include <algorithm>
#include <string>

#include "server/template/unicode.h"

namespace causeway::server {
namespace {

// A stretch of the line that is not broken: a run of spaces, a word, or a part of one up to a hyphen.
struct Chunk {
  size_t begin;  // in characters
  size_t end;
  bool space;
};

bool IsBlank(char32_t c) { return c < 0x80 && IsSpace(c); }

std::vector<Chunk> Chunks(const std::u32string& s, bool break_on_hyphens) {
  std::vector<Chunk> chunks;
  for (size_t i = 0; i < s.size();) {
    size_t end = i;
    const bool space = IsBlank(s[i]);
    while (end < s.size() && IsBlank(s[end]) == space) {
      ++end;
      // "well-known" may break after a hyphen that has two letters before it and a letter after.
      const bool hyphen = !space && break_on_hyphens && s[end - 1] == '-' && end >= i + 3 && end < s.size();
      if (hyphen && IsAlpha(s[end - 2]) && IsWordChar(s[end - 3]) && IsAlpha(s[end])) {
        break;
      }
    }
    chunks.push_back({i, end, space});
    i = end;
  }
  return chunks;
}

}  // namespace

std::vector<MarkedText> WrapLine(const MarkedText& line, size_t width, bool break_long_words, bool break_on_hyphens) {
  const std::u32string chars = ToChars(line.bytes());
  std::vector<size_t> offsets;
  for (size_t i = 0; i < line.size(); DecodeChar(line.bytes(), &i)) {
    offsets.push_back(i);
  }
  offsets.push_back(line.size());
  std::vector<Chunk> chunks = Chunks(chars, break_on_hyphens);
  std::reverse(chunks.begin(), chunks.end());  // the next chunk is at the back
  std::vector<MarkedText> lines;
  while (!chunks.empty()) {
    if (chunks.back().space && !lines.empty()) {
      chunks.pop_back();
    }
    std::vector<Chunk> current;
    size_t length = 0;
    while (!chunks.empty() && length + (chunks.back().end - chunks.back().begin) <= width) {
      length += chunks.back().end - chunks.back().begin;
      current.push_back(chunks.back());
      chunks.pop_back();
    }
    if (!chunks.empty() && chunks.back().end - chunks.back().begin > width) {
      Chunk& word = chunks.back();
      if (break_long_words) {
        const size_t cut = std::min(word.begin + std::max<size_t>(width - length, width == length ? 0 : 1), word.end);
        if (cut > word.begin) {
          current.push_back({word.begin, cut, false});
          word.begin = cut;
        }
      } else if (current.empty()) {
        current.push_back(word);
        chunks.pop_back();
      }
    }
    if (!current.empty() && current.back().space) {
      current.pop_back();
    }
    if (!current.empty()) {
      lines.push_back(line.Slice(offsets[current.front().begin], offsets[current.back().end]));
    }
  }
  return lines;
}

}  // namespace causeway::server
