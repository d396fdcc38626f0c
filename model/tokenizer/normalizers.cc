#include <memory>

#include "model/tokenizer/byte_level.h"
#include "model/tokenizer/regex.h"
#include "model/tokenizer/stage_json.h"
#include "model/tokenizer/stages.h"
#include "model/tokenizer/unicode.h"
#include "model/tokenizer/utf8.h"

namespace causeway::model::tokenizer {
namespace {

// Rewrites character by character: edit(character, offset, length, out).
template <typename Edit>
void EditCharacters(SourcedText& text, Edit edit) {
  Rewriter out(text);
  for (size_t at = 0; at < text.text.size();) {
    const Character character = CharacterAt(text.text, at);
    edit(character.value, at, at + character.length, out);
    at += character.length;
  }
  text = out.Take();
}

Result<Normalizer> MakePrepend(const Json& json, int) {
  ASSIGN_OR_RETURN(std::string prefix, StageText(json, "prepend"));
  return Normalizer([prefix = std::move(prefix)](SourcedText& text) -> Result<void> {
    if (!text.text.empty()) {
      Rewriter out(text);
      const size_t first = CharacterAt(text.text, 0).length;
      out.Put(prefix, 0, 0, first);
      out.Keep(0, text.text.size());
      text = out.Take();
    }
    return {};
  });
}

Result<Normalizer> MakeReplace(const Json& json, int) {
  ASSIGN_OR_RETURN(Regex pattern, StagePattern(json));
  ASSIGN_OR_RETURN(std::string content, StageText(json, "content"));
  auto shared = std::make_shared<Regex>(std::move(pattern));  // std::function must be copyable
  return Normalizer([shared, content = std::move(content)](SourcedText& text) -> Result<void> {
    std::vector<Match> matches;
    TRY(shared->FindAll(text.text, matches));
    if (matches.empty()) {
      return {};
    }
    Rewriter out(text);
    size_t at = 0;
    for (const Match& match : matches) {
      out.Keep(at, match.begin);
      if (!content.empty()) {
        out.Put(content, match.begin, match.begin, match.end);
      }
      at = match.end;
    }
    out.Keep(at, text.text.size());
    text = out.Take();
    return {};
  });
}

template <NormalForm kForm>
Result<Normalizer> MakeForm(const Json&, int) {
  return Normalizer([](SourcedText& text) -> Result<void> {
    text = Normalized(text, kForm);
    return {};
  });
}

Result<Normalizer> MakeLowercase(const Json&, int) {
  return Normalizer([](SourcedText& text) -> Result<void> {
    EditCharacters(text, [](char32_t c, size_t begin, size_t end, Rewriter& out) {
      const Lowered lowered = ToLower(c);
      std::string written;
      AppendUtf8(lowered.first, written);
      if (lowered.second != 0) {
        AppendUtf8(lowered.second, written);
      }
      out.Put(written, begin, begin, end);
    });
    return {};
  });
}

Result<Normalizer> MakeStripAccents(const Json&, int) {
  return Normalizer([](SourcedText& text) -> Result<void> {
    EditCharacters(text, [](char32_t c, size_t begin, size_t end, Rewriter& out) {
      if (!IsMark(c)) {
        out.Keep(begin, end);
      }
    });
    return {};
  });
}

// BERT's cleaning: no control characters, white space as spaces, ideographs apart from their neighbours.
void Clean(SourcedText& text, bool clean, bool part_ideographs) {
  EditCharacters(text, [&](char32_t c, size_t begin, size_t end, Rewriter& out) {
    const bool space = IsWhitespace(c);
    if (clean && (c == 0 || c == 0xFFFD || (IsOther(c) && c != '\t' && c != '\n' && c != '\r'))) {
      return;
    }
    if (part_ideographs && IsCjkIdeograph(c)) {
      out.Put(" ", begin, begin, end);
      out.Keep(begin, end);
      out.Put(" ", begin, begin, end);
    } else if (clean && space) {
      out.Put(" ", begin, begin, end);
    } else {
      out.Keep(begin, end);
    }
  });
}

Result<Normalizer> MakeBert(const Json& json, int depth) {
  const bool clean = StageFlag(json, "clean_text", true);
  const bool part_ideographs = StageFlag(json, "handle_chinese_chars", true);
  const bool lowercase = StageFlag(json, "lowercase", true);
  const bool strip_accents = StageFlag(json, "strip_accents", lowercase);  // null: as lowercase says
  ASSIGN_OR_RETURN(const Normalizer lower, MakeLowercase(json, depth));
  return Normalizer([=](SourcedText& text) -> Result<void> {
    Clean(text, clean, part_ideographs);
    if (strip_accents) {
      text = Normalized(text, NormalForm::kNfd);
      EditCharacters(text, [](char32_t c, size_t begin, size_t end, Rewriter& out) {
        if (!IsNonspacingMark(c)) {
          out.Keep(begin, end);
        }
      });
    }
    return lowercase ? lower(text) : Result<void>();
  });
}

Result<Normalizer> MakeStrip(const Json& json, int) {
  const bool left = StageFlag(json, "strip_left", true);
  const bool right = StageFlag(json, "strip_right", true);
  return Normalizer([left, right](SourcedText& text) -> Result<void> {
    size_t begin = 0;
    size_t end = text.text.size();
    while (left && begin < end && IsWhitespace(CharacterAt(text.text, begin).value)) {
      begin += CharacterAt(text.text, begin).length;
    }
    while (right && end > begin && IsWhitespace(CharacterBefore(text.text, end).value)) {
      end -= CharacterBefore(text.text, end).length;
    }
    text = text.Slice(begin, end);
    return {};
  });
}

Result<Normalizer> MakeByteLevel(const Json&, int) {
  return Normalizer([](SourcedText& text) -> Result<void> {
    Rewriter out(text);
    for (size_t i = 0; i < text.text.size(); ++i) {
      out.Put(CharacterOfByte(static_cast<uint8_t>(text.text[i])), i, i, i + 1);
    }
    text = out.Take();
    return {};
  });
}

Result<Normalizer> Make(const Json& json, int depth);

Result<Normalizer> MakeSequence(const Json& json, int depth) {
  const auto it = json.find("normalizers");
  if (it == json.end() || !it->is_array() || depth >= kMaxStageDepth) {
    return MakeError(ErrorCode::kInvalidArgument, "normalizer Sequence: no list, or nested too deep");
  }
  std::vector<Normalizer> parts;
  for (const Json& part : *it) {
    ASSIGN_OR_RETURN(Normalizer normalizer, Make(part, depth + 1));
    parts.push_back(std::move(normalizer));
  }
  return Normalizer([parts = std::move(parts)](SourcedText& text) -> Result<void> {
    for (const Normalizer& part : parts) {
      TRY(part(text));
    }
    return {};
  });
}

struct Row {
  const char* type;
  Result<Normalizer> (*make)(const Json&, int depth);
};
constexpr Row kRows[] = {
    {"Sequence", MakeSequence},
    {"Prepend", MakePrepend},
    {"Replace", MakeReplace},
    {"NFC", MakeForm<NormalForm::kNfc>},
    {"NFD", MakeForm<NormalForm::kNfd>},
    {"NFKC", MakeForm<NormalForm::kNfkc>},
    {"NFKD", MakeForm<NormalForm::kNfkd>},
    {"Lowercase", MakeLowercase},
    {"StripAccents", MakeStripAccents},
    {"Strip", MakeStrip},
    {"ByteLevel", MakeByteLevel},
    {"BertNormalizer", MakeBert},
};

Result<Normalizer> Make(const Json& json, int depth) {
  const std::string type = StageType(json);
  std::string known;
  for (const Row& row : kRows) {
    if (type == row.type) {
      return row.make(json, depth);
    }
    known += (known.empty() ? "" : ", ") + std::string(row.type);
  }
  return MakeError(ErrorCode::kUnsupported, "normalizer '" + type + "' is not served; known: " + known);
}

}  // namespace

Result<Normalizer> MakeNormalizer(const Json& json) {
  if (json.is_null()) {
    return Normalizer();
  }
  return Make(json, 0);
}

}  // namespace causeway::model::tokenizer
