#include "server/template/unicode.h"

#include <utf8proc.h>

namespace causeway::server {
namespace {

// Length of the valid sequence at `i`, or 0: rejects overlong forms, surrogates and values past U+10FFFF.
size_t SequenceLength(std::string_view s, size_t i) {
  utf8proc_int32_t c = 0;
  const auto left = static_cast<utf8proc_ssize_t>(s.size() - i);
  const auto n = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(s.data() + i), left, &c);
  return n > 0 ? static_cast<size_t>(n) : 0;
}

utf8proc_category_t Category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

struct SpecialCase {
  char32_t from;
  const char* upper;
  const char* title;
};

// The unconditional multi-character mappings of SpecialCasing.txt that occur in running text.
constexpr SpecialCase kSpecialCases[] = {
    {0xDF, "SS", "Ss"},     {0x149, "\xCA\xBCN", "\xCA\xBCN"},
    {0xFB00, "FF", "Ff"},   {0xFB01, "FI", "Fi"},
    {0xFB02, "FL", "Fl"},   {0xFB03, "FFI", "Ffi"},
    {0xFB04, "FFL", "Ffl"}, {0xFB05, "ST", "St"},
    {0xFB06, "ST", "St"},   {0x587, "\xD4\xB5\xD5\x92", "\xD4\xB5\xD6\x82"},
};

const SpecialCase* FindSpecialCase(char32_t c) {
  if (c < 0xDF) {
    return nullptr;
  }
  for (const SpecialCase& row : kSpecialCases) {
    if (row.from == c) {
      return &row;
    }
  }
  return nullptr;
}

}  // namespace

bool IsValidUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const size_t n = SequenceLength(text, i);
    if (n == 0) {
      return false;
    }
    i += n;
  }
  return true;
}

std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const size_t n = SequenceLength(text, i);
    if (n == 0) {
      out += "\xEF\xBF\xBD";
      ++i;
    } else {
      out.append(text.substr(i, n));
      i += n;
    }
  }
  return out;
}

size_t CountChars(std::string_view text) {
  size_t count = 0;
  for (const char c : text) {
    count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }
  return count;
}

size_t ByteOffset(std::string_view text, size_t char_index) {
  size_t i = 0;
  while (char_index > 0 && i < text.size()) {
    ++i;
    while (i < text.size() && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80) {
      ++i;
    }
    --char_index;
  }
  return i;
}

char32_t DecodeChar(std::string_view text, size_t* position) {
  const auto at = [&](size_t i) -> char32_t {
    return i < text.size() ? static_cast<unsigned char>(text[i]) & 0x3F : 0;
  };
  const size_t i = *position;
  const auto lead = static_cast<unsigned char>(text[i]);
  if (lead < 0x80) {
    *position = i + 1;
    return lead;
  }
  if (lead < 0xE0) {
    *position = i + 2;
    return (lead & 0x1Fu) << 6 | at(i + 1);
  }
  if (lead < 0xF0) {
    *position = i + 3;
    return (lead & 0x0Fu) << 12 | at(i + 1) << 6 | at(i + 2);
  }
  *position = i + 4;
  return (lead & 0x07u) << 18 | at(i + 1) << 12 | at(i + 2) << 6 | at(i + 3);
}

char32_t DecodeCharBefore(std::string_view text, size_t* position) {
  size_t i = *position - 1;
  while (i > 0 && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80) {
    --i;
  }
  *position = i;
  return DecodeChar(text, &i);
}

void AppendUtf8(char32_t c, std::string* out) {
  if (c < 0x80) {
    *out += static_cast<char>(c);
  } else if (c < 0x800) {
    *out += static_cast<char>(0xC0 | c >> 6);
    *out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    *out += static_cast<char>(0xE0 | c >> 12);
    *out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    *out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    *out += static_cast<char>(0xF0 | c >> 18);
    *out += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    *out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    *out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

std::u32string ToChars(std::string_view text) {
  std::u32string chars;
  for (size_t i = 0; i < text.size();) {
    chars += DecodeChar(text, &i);
  }
  return chars;
}

bool IsSpace(char32_t c) {
  if (c < 0x80) {
    return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F);
  }
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsLineBreak(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool IsAlpha(char32_t c) {
  if (c < 0x80) {
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
  }
  const auto k = Category(c);
  return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT ||
         k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_LO;
}

bool IsDecimal(char32_t c) { return c < 0x80 ? c >= '0' && c <= '9' : Category(c) == UTF8PROC_CATEGORY_ND; }

bool IsDigit(char32_t c) {
  return IsDecimal(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 || (c >= 0x2074 && c <= 0x2079) ||
         (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468);
}

bool IsNumeric(char32_t c) {
  if (IsDigit(c)) {
    return true;
  }
  const auto k = c < 0x80 ? UTF8PROC_CATEGORY_CN : Category(c);
  return k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

bool IsPrintable(char32_t c) {
  if (c < 0x80) {
    return c >= 0x20 && c < 0x7F;
  }
  switch (Category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
  }
}

bool IsUpper(char32_t c) { return c < 0x80 ? c >= 'A' && c <= 'Z' : Category(c) == UTF8PROC_CATEGORY_LU; }
bool IsLower(char32_t c) {
  if (c < 0x80) {
    return c >= 'a' && c <= 'z';
  }
  return Category(c) == UTF8PROC_CATEGORY_LL || c == 0xAA || c == 0xBA;
}
bool IsTitle(char32_t c) { return c >= 0x80 && Category(c) == UTF8PROC_CATEGORY_LT; }
bool IsWordChar(char32_t c) { return c == '_' || IsAlpha(c) || IsNumeric(c); }

void AppendUpper(char32_t c, std::string* out) {
  if (const SpecialCase* row = FindSpecialCase(c)) {
    *out += row->upper;
    return;
  }
  AppendUtf8(static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))), out);
}

void AppendLower(char32_t c, std::string* out) {
  if (c == 0x130) {  // dotted capital I keeps its dot
    *out += "i\xCC\x87";
    return;
  }
  AppendUtf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), out);
}

void AppendTitle(char32_t c, std::string* out) {
  if (const SpecialCase* row = FindSpecialCase(c)) {
    *out += row->title;
    return;
  }
  AppendUtf8(static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))), out);
}

void AppendFolded(char32_t c, std::string* out) {
  constexpr size_t kMostChars = 4;  // Unicode's longest folding has three
  utf8proc_int32_t folded[kMostChars];
  int boundary = 0;
  const utf8proc_ssize_t count =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), folded, kMostChars, UTF8PROC_CASEFOLD, &boundary);
  if (count <= 0 || static_cast<size_t>(count) > kMostChars) {
    AppendUtf8(c, out);
    return;
  }
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    AppendUtf8(static_cast<char32_t>(folded[i]), out);
  }
}

}  // namespace causeway::server
