#include "model/tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

#include "model/tokenizer/utf8.h"

namespace causeway::model::tokenizer {
namespace {

utf8proc_category_t Category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

bool Between(char32_t c, char32_t low, char32_t high) { return c >= low && c <= high; }

bool IsAsciiPunctuation(char32_t c) {
  return Between(c, '!', '/') || Between(c, ':', '@') || Between(c, '[', '`') || Between(c, '{', '~');
}

// A decomposed character and the bytes that it came from.
struct Decomposed {
  char32_t value;
  uint8_t combining_class;
  uint32_t begin;
  uint32_t end;
};

uint8_t CombiningClass(char32_t c) {
  return static_cast<uint8_t>(utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class);
}

void Decompose(char32_t c, bool compatibility, uint32_t begin, uint32_t end, std::vector<Decomposed>& out) {
  if (c < 0x80) {
    out.push_back({c, 0, begin, end});
    return;
  }
  std::array<utf8proc_int32_t, 64> parts;  // the longest in Unicode is 18 (U+FDFA)
  const int options = UTF8PROC_DECOMPOSE | UTF8PROC_STABLE | (compatibility ? UTF8PROC_COMPAT : 0);
  const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts.data(), parts.size(),
                                             static_cast<utf8proc_option_t>(options), nullptr);
  if (count <= 0 || count > static_cast<utf8proc_ssize_t>(parts.size())) {
    out.push_back({c, CombiningClass(c), begin, end});
    return;
  }
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    const auto part = static_cast<char32_t>(parts[static_cast<size_t>(i)]);
    out.push_back({part, CombiningClass(part), begin, end});
  }
}

void OrderMarks(std::vector<Decomposed>& characters) {
  const auto is_starter = [](const Decomposed& d) { return d.combining_class == 0; };
  for (auto run = characters.begin(); run != characters.end();) {
    run = std::find_if_not(run, characters.end(), is_starter);
    const auto end = std::find_if(run, characters.end(), is_starter);
    std::stable_sort(run, end,
                     [](const Decomposed& a, const Decomposed& b) { return a.combining_class < b.combining_class; });
    run = end;
  }
}

// The primary composite of two characters, or 0. utf8proc keeps its pair table to itself, so it is asked
// to compose the pair; comb_index tells which characters are in no pair at all.
char32_t Composite(char32_t first, char32_t second) {
  const bool jamo = Between(second, 0x1161, 0x11C2);
  if (!jamo && utf8proc_get_property(static_cast<utf8proc_int32_t>(second))->comb_index == UINT16_MAX) {
    return 0;
  }
  std::array<utf8proc_int32_t, 2> pair = {static_cast<utf8proc_int32_t>(first), static_cast<utf8proc_int32_t>(second)};
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);
  return utf8proc_normalize_utf32(pair.data(), 2, options) == 1 ? static_cast<char32_t>(pair[0]) : 0;
}

void Compose(std::vector<Decomposed>& characters) {
  constexpr size_t kNone = SIZE_MAX;
  size_t starter = kNone;
  size_t kept = 0;
  for (const Decomposed d : characters) {
    const bool adjacent = starter != kNone && kept == starter + 1;
    const uint8_t last_class = kept > 0 ? characters[kept - 1].combining_class : uint8_t{0};
    const bool blocked = starter == kNone || (!adjacent && last_class >= d.combining_class);
    if (!blocked) {
      if (const char32_t composite = Composite(characters[starter].value, d.value); composite != 0) {
        characters[starter].value = composite;
        characters[starter].end = std::max(characters[starter].end, d.end);
        continue;
      }
    }
    if (d.combining_class == 0) {
      starter = kept;
    }
    characters[kept++] = d;
  }
  characters.resize(kept);
}

}  // namespace

bool IsWhitespace(char32_t c) {
  return Between(c, 0x09, 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || Between(c, 0x2000, 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsNumeric(char32_t c) {
  if (c < 0x80) {
    return Between(c, '0', '9');
  }
  const auto category = Category(c);
  return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

bool IsDecimalDigit(char32_t c) { return c < 0x80 ? Between(c, '0', '9') : Category(c) == UTF8PROC_CATEGORY_ND; }

bool IsPunctuation(char32_t c) {
  if (c < 0x80) {
    return IsAsciiPunctuation(c);
  }
  const auto category = Category(c);
  return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

bool IsMark(char32_t c) {
  const auto category = Category(c);
  return category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
}

bool IsNonspacingMark(char32_t c) { return Category(c) == UTF8PROC_CATEGORY_MN; }

bool IsOther(char32_t c) {
  const auto category = Category(c);
  return category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_CO;
}

bool IsWord(char32_t c) {
  // Alphabetic is L, Nl and Other_Alphabetic; the last is marks (in \w anyway) and the circled letters.
  const auto category = Category(c);
  const bool letter = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
  const bool circled = Between(c, 0x24B6, 0x24E9) || Between(c, 0x1F130, 0x1F149) || Between(c, 0x1F150, 0x1F169) ||
                       Between(c, 0x1F170, 0x1F189);
  return letter || IsMark(c) || category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
         category == UTF8PROC_CATEGORY_PC || c == 0x200C || c == 0x200D || circled;
}

bool IsCjkIdeograph(char32_t c) {
  return Between(c, 0x4E00, 0x9FFF) || Between(c, 0x3400, 0x4DBF) || Between(c, 0x20000, 0x2A6DF) ||
         Between(c, 0x2A700, 0x2B73F) || Between(c, 0x2B740, 0x2B81F) || Between(c, 0x2B920, 0x2CEAF) ||
         Between(c, 0xF900, 0xFAFF) || Between(c, 0x2F800, 0x2FA1F);
}

Lowered ToLower(char32_t c) {
  if (c < 0x80) {
    return {Between(c, 'A', 'Z') ? c + 32 : c, 0};
  }
  if (c == 0x130) {  // the only character whose full lower case is longer than its simple one
    return {'i', 0x307};
  }
  return {static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), 0};
}

SourcedText Normalized(const SourcedText& text, NormalForm form) {
  if (IsAscii(text.text)) {
    return text;
  }
  const bool compatibility = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  std::vector<Decomposed> characters;
  characters.reserve(text.text.size());
  for (size_t i = 0; i < text.text.size();) {
    const Character c = CharacterAt(text.text, i);
    Decompose(c.value, compatibility, static_cast<uint32_t>(i), static_cast<uint32_t>(i + c.length), characters);
    i += c.length;
  }
  OrderMarks(characters);
  if (form == NormalForm::kNfc || form == NormalForm::kNfkc) {
    Compose(characters);
  }
  Rewriter rewriter(text);
  std::string buffer;
  for (const Decomposed& d : characters) {
    buffer.clear();
    AppendUtf8(d.value, buffer);
    rewriter.Put(buffer, d.begin, d.begin, d.end);
  }
  return rewriter.Take();
}

}  // namespace causeway::model::tokenizer
