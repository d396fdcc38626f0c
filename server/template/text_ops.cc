#include "server/template/text_ops.h"

#include <string.h>

#include <algorithm>
#include <string>

#include "server/template/fault.h"
#include "server/template/limits.h"
#include "server/template/unicode.h"

namespace causeway::server {
namespace {

// Rebuilds text character by character: fn(c, &piece) appends what c becomes.
template <typename Fn>
MarkedText MapChars(const MarkedText& text, Fn&& fn) {
  MarkedText out;
  text.ForEachRun([&](std::string_view run, bool trusted) {
    std::string piece;
    piece.reserve(run.size());
    for (size_t i = 0; i < run.size();) {
      fn(DecodeChar(run, &i), &piece);
    }
    out.Append(piece, trusted);
  });
  return out;
}

bool IsCased(char32_t c) { return IsUpper(c) || IsLower(c) || IsTitle(c); }

void CheckSize(size_t size) {
  if (size > kMaxStringBytes) {
    RaiseLimit("kMaxStringBytes", kMaxStringBytes);
  }
}

}  // namespace

size_t FindBytes(std::string_view text, std::string_view needle, size_t from) {
  if (from > text.size()) {
    return std::string_view::npos;
  }
  if (needle.empty()) {
    return from;
  }
  // memmem is two-way search: linear whatever the needle, which std::string_view::find is not.
  const void* found = memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  return found == nullptr ? std::string_view::npos : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t FindLastBytes(std::string_view text, std::string_view needle) {
  const std::string reversed_text(text.rbegin(), text.rend());
  const std::string reversed_needle(needle.rbegin(), needle.rend());
  const size_t found = FindBytes(reversed_text, reversed_needle, 0);
  return found == std::string_view::npos ? found : text.size() - found - needle.size();
}

size_t CountBytes(std::string_view text, std::string_view needle) {
  size_t count = 0;
  for (size_t i = FindBytes(text, needle, 0); i != std::string_view::npos;
       i = FindBytes(text, needle, i + needle.size())) {
    ++count;
  }
  return count;
}

MarkedText ToUpper(const MarkedText& text) { return MapChars(text, AppendUpper); }

MarkedText FoldCase(const MarkedText& text) { return MapChars(text, AppendFolded); }

MarkedText ToLower(const MarkedText& text) {
  bool after_letter = false;
  constexpr char32_t kSigma = 0x3A3;
  MarkedText out;
  size_t base = 0;
  const std::string& all = text.bytes();
  text.ForEachRun([&](std::string_view run, bool trusted) {
    std::string piece;
    piece.reserve(run.size());
    for (size_t i = 0; i < run.size();) {
      const char32_t c = DecodeChar(run, &i);
      size_t next = base + i;
      const bool before_letter = c == kSigma && next < all.size() && IsCased(DecodeChar(all, &next));
      if (c == kSigma && after_letter && !before_letter) {
        piece += "\xCF\x82";  // final sigma
      } else {
        AppendLower(c, &piece);
      }
      after_letter = IsCased(c);
    }
    base += run.size();
    out.Append(piece, trusted);
  });
  return out;
}

MarkedText Capitalize(const MarkedText& text) {
  if (text.empty()) {
    return text;
  }
  size_t first = 0;
  DecodeChar(text.bytes(), &first);
  MarkedText out = MapChars(text.Slice(0, first), AppendTitle);
  out.Append(ToLower(text.Slice(first, text.size())));
  return out;
}

MarkedText TitleWords(const MarkedText& text) {
  bool in_word = false;
  return MapChars(text, [&](char32_t c, std::string* out) {
    in_word ? AppendLower(c, out) : AppendTitle(c, out);
    in_word = IsCased(c);
  });
}

MarkedText TitleFilter(const MarkedText& text) {
  bool in_word = false;
  return MapChars(text, [&](char32_t c, std::string* out) {
    const bool separator = c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || IsSpace(c);
    in_word ? AppendLower(c, out) : AppendUpper(c, out);
    in_word = !separator;
  });
}

MarkedText SwapCase(const MarkedText& text) {
  return MapChars(text, [](char32_t c, std::string* out) {
    IsUpper(c) ? AppendLower(c, out) : IsLower(c) ? AppendUpper(c, out) : AppendUtf8(c, out);
  });
}

MarkedText Strip(const MarkedText& text, Side side, const std::string_view* chars) {
  std::u32string set = chars != nullptr ? ToChars(*chars) : std::u32string();
  std::sort(set.begin(), set.end());
  const auto strips = [&](char32_t c) {
    return chars != nullptr ? std::binary_search(set.begin(), set.end(), c) : IsSpace(c);
  };
  const std::string& bytes = text.bytes();
  size_t begin = 0;
  size_t end = bytes.size();
  while (side != Side::kRight && begin < end) {
    size_t next = begin;
    if (!strips(DecodeChar(bytes, &next))) {
      break;
    }
    begin = next;
  }
  while (side != Side::kLeft && end > begin) {
    size_t previous = end;
    if (!strips(DecodeCharBefore(bytes, &previous))) {
      break;
    }
    end = previous;
  }
  return text.Slice(begin, end);
}

std::vector<MarkedText> SplitSpace(const MarkedText& text, size_t max_split) {
  std::vector<MarkedText> parts;
  const std::string& bytes = text.bytes();
  size_t i = 0;
  while (true) {
    size_t next = i;
    while (next < bytes.size() && IsSpace(DecodeChar(bytes, &next))) {
      i = next;
    }
    if (i >= bytes.size()) {
      return parts;
    }
    if (parts.size() == max_split) {
      parts.push_back(Strip(text.Slice(i, bytes.size()), Side::kRight, nullptr));
      return parts;
    }
    const size_t begin = i;
    next = i;
    while (next < bytes.size() && !IsSpace(DecodeChar(bytes, &next))) {
      i = next;
    }
    parts.push_back(text.Slice(begin, i));
  }
}

std::vector<MarkedText> SplitSpaceFromRight(const MarkedText& text, size_t max_split) {
  std::vector<MarkedText> parts;
  const std::string& bytes = text.bytes();
  size_t end = bytes.size();
  while (true) {
    size_t previous = end;
    while (previous > 0 && IsSpace(DecodeCharBefore(bytes, &previous))) {
      end = previous;
    }
    if (end == 0) {
      break;
    }
    if (parts.size() == max_split) {
      parts.push_back(Strip(text.Slice(0, end), Side::kLeft, nullptr));
      break;
    }
    size_t begin = end;
    previous = end;
    while (previous > 0 && !IsSpace(DecodeCharBefore(bytes, &previous))) {
      begin = previous;
    }
    parts.push_back(text.Slice(begin, end));
    end = begin;
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<MarkedText> SplitBy(const MarkedText& text, std::string_view separator, size_t max_split) {
  std::vector<MarkedText> parts;
  size_t begin = 0;
  while (parts.size() < max_split) {
    const size_t found = FindBytes(text.bytes(), separator, begin);
    if (found == std::string::npos) {
      break;
    }
    parts.push_back(text.Slice(begin, found));
    begin = found + separator.size();
  }
  parts.push_back(text.Slice(begin, text.size()));
  return parts;
}

std::vector<MarkedText> SplitByFromRight(const MarkedText& text, std::string_view separator, size_t max_split) {
  // Searching the reversed text keeps the whole split linear.
  const std::string reversed(text.bytes().rbegin(), text.bytes().rend());
  const std::string needle(separator.rbegin(), separator.rend());
  std::vector<MarkedText> parts;
  size_t from = 0;
  while (parts.size() < max_split) {
    const size_t found = FindBytes(reversed, needle, from);
    if (found == std::string::npos) {
      break;
    }
    parts.push_back(text.Slice(text.size() - found, text.size() - from));
    from = found + needle.size();
  }
  parts.push_back(text.Slice(0, text.size() - from));
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<MarkedText> SplitLines(const MarkedText& text, bool keep_ends) {
  std::vector<MarkedText> lines;
  const std::string& bytes = text.bytes();
  size_t begin = 0;
  for (size_t i = 0; i < bytes.size();) {
    const size_t at = i;
    const char32_t c = DecodeChar(bytes, &i);
    if (!IsLineBreak(c)) {
      continue;
    }
    if (c == '\r' && i < bytes.size() && bytes[i] == '\n') {
      ++i;
    }
    lines.push_back(text.Slice(begin, keep_ends ? i : at));
    begin = i;
  }
  if (begin < bytes.size()) {
    lines.push_back(text.Slice(begin, bytes.size()));
  }
  return lines;
}

MarkedText Replace(const MarkedText& text, std::string_view from, const MarkedText& to, size_t max_count) {
  MarkedText out;
  const std::string& bytes = text.bytes();
  size_t begin = 0;
  if (from.empty()) {
    for (size_t n = 0; n < max_count; ++n) {
      out.Append(to);
      CheckSize(out.size());
      if (begin >= bytes.size()) {
        return out;
      }
      size_t next = begin;
      DecodeChar(bytes, &next);
      out.Append(text, begin, next);
      begin = next;
    }
  } else {
    for (size_t n = 0; n < max_count; ++n) {
      const size_t found = FindBytes(bytes, from, begin);
      if (found == std::string::npos) {
        break;
      }
      out.Append(text, begin, found);
      out.Append(to);
      CheckSize(out.size());
      begin = found + from.size();
    }
  }
  out.Append(text, begin, bytes.size());
  return out;
}

MarkedText Join(const MarkedText& separator, const std::vector<MarkedText>& parts) {
  MarkedText out;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) {
      out.Append(separator);
    }
    out.Append(parts[i]);
    CheckSize(out.size());
  }
  return out;
}

MarkedText Reverse(const MarkedText& text) {
  MarkedText out;
  const std::string& bytes = text.bytes();
  for (size_t end = bytes.size(); end > 0;) {
    size_t begin = end;
    DecodeCharBefore(bytes, &begin);
    out.Append(text, begin, end);
    end = begin;
  }
  return out;
}

MarkedText Padded(const MarkedText& text, size_t left, size_t right, const MarkedText& fill) {
  const size_t bound = kMaxStringBytes / std::max<size_t>(fill.size(), 1);
  if (left > bound || right > bound) {
    RaiseLimit("kMaxStringBytes", kMaxStringBytes);
  }
  MarkedText out;
  for (size_t i = 0; i < left; ++i) {
    out.Append(fill);
  }
  out.Append(text);
  for (size_t i = 0; i < right; ++i) {
    out.Append(fill);
  }
  return out;
}

}  // namespace causeway::server
