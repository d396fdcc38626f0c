#include <functional>
#include <memory>

#include "model/tokenizer/byte_level.h"
#include "model/tokenizer/digit_groups.h"
#include "model/tokenizer/regex.h"
#include "model/tokenizer/stage_json.h"
#include "model/tokenizer/stages.h"
#include "model/tokenizer/unicode.h"
#include "model/tokenizer/utf8.h"

namespace causeway::model::tokenizer {
namespace {

// GPT-2's own splitting pattern (openai/gpt-2, encoder.py).
constexpr char kGpt2Pattern[] = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

enum class Behavior : uint8_t { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

struct Part {
  size_t begin;
  size_t end;
  bool matched;
};

// Matches and the gaps between them, covering the text.
std::vector<Part> Cover(const std::vector<Match>& matches, size_t size, bool invert) {
  std::vector<Part> parts;
  size_t at = 0;
  for (const Match& match : matches) {
    if (match.begin > at) {
      parts.push_back({at, match.begin, invert});
    }
    parts.push_back({match.begin, match.end, !invert});
    at = match.end;
  }
  if (at < size) {
    parts.push_back({at, size, invert});
  }
  return parts;
}

// A delimiter joins its neighbour on the left, unless that is a delimiter too.
std::vector<Part> MergeLeft(const std::vector<Part>& parts) {
  std::vector<Part> out;
  bool previous = false;
  for (const Part& part : parts) {
    if (part.matched && !previous && !out.empty()) {
      out.back().end = part.end;
    } else {
      out.push_back(part);
    }
    previous = part.matched;
  }
  return out;
}

std::vector<Part> MergeRight(const std::vector<Part>& parts) {
  std::vector<Part> out;
  bool previous = false;
  for (auto it = parts.rbegin(); it != parts.rend(); ++it) {
    if (it->matched && !previous && !out.empty()) {
      out.back().begin = it->begin;
    } else {
      out.push_back(*it);
    }
    previous = it->matched;
  }
  return {out.rbegin(), out.rend()};
}

std::vector<Part> MergeSame(const std::vector<Part>& parts) {
  std::vector<Part> out;
  bool previous = false;
  for (const Part& part : parts) {
    if (part.matched == previous && !out.empty()) {
      out.back().end = part.end;
    } else {
      out.push_back(part);
    }
    previous = part.matched;
  }
  return out;
}

void SplitWord(const SourcedText& word, const std::vector<Match>& matches, bool invert, Behavior behavior,
               std::vector<SourcedText>& out) {
  std::vector<Part> parts = Cover(matches, word.text.size(), invert);
  switch (behavior) {
    case Behavior::kMergedWithPrevious: parts = MergeLeft(parts); break;
    case Behavior::kMergedWithNext: parts = MergeRight(parts); break;
    case Behavior::kContiguous: parts = MergeSame(parts); break;
    case Behavior::kRemoved:
    case Behavior::kIsolated: break;
  }
  for (const Part& part : parts) {
    if (part.end > part.begin && !(behavior == Behavior::kRemoved && part.matched)) {
      out.push_back(word.Slice(part.begin, part.end));
    }
  }
}

// A pre-tokenizer that finds matches in each word and splits there.
using Finder = std::function<Result<void>(std::string_view text, std::vector<Match>& matches)>;

PreTokenizer SplitAt(Finder find, bool invert, Behavior behavior) {
  return [find = std::move(find), invert, behavior](std::vector<SourcedText>& words) -> Result<void> {
    std::vector<SourcedText> out;
    std::vector<Match> matches;
    for (const SourcedText& word : words) {
      TRY(find(word.text, matches));
      SplitWord(word, matches, invert, behavior, out);
    }
    words = std::move(out);
    return {};
  };
}

Finder FindRegex(Regex regex) {
  auto shared = std::make_shared<Regex>(std::move(regex));  // std::function must be copyable
  return [shared](std::string_view text, std::vector<Match>& matches) { return shared->FindAll(text, matches, true); };
}

// Each character of a class is a match.
Finder FindCharacters(bool (*is_match)(char32_t)) {
  return [is_match](std::string_view text, std::vector<Match>& matches) -> Result<void> {
    matches.clear();
    for (size_t at = 0; at < text.size();) {
      const Character character = CharacterAt(text, at);
      if (is_match(character.value)) {
        matches.push_back({at, at + character.length});
      }
      at += character.length;
    }
    return {};
  };
}

Result<Behavior> ParseBehavior(const std::string& name) {
  constexpr std::pair<const char*, Behavior> kNames[] = {{"Removed", Behavior::kRemoved},
                                                         {"Isolated", Behavior::kIsolated},
                                                         {"MergedWithPrevious", Behavior::kMergedWithPrevious},
                                                         {"MergedWithNext", Behavior::kMergedWithNext},
                                                         {"Contiguous", Behavior::kContiguous}};
  for (const auto& [known, behavior] : kNames) {
    if (name == known) {
      return behavior;
    }
  }
  return MakeError(ErrorCode::kInvalidArgument, "unknown split behavior '" + name + "'");
}

void Prepend(SourcedText& word, std::string_view prefix) {
  if (word.text.empty()) {
    return;
  }
  Rewriter out(word);
  out.Put(prefix, 0, 0, CharacterAt(word.text, 0).length);
  out.Keep(0, word.text.size());
  word = out.Take();
}

void ToByteCharacters(SourcedText& word) {
  Rewriter out(word);
  for (size_t i = 0; i < word.text.size(); ++i) {
    out.Put(CharacterOfByte(static_cast<uint8_t>(word.text[i])), i, i, i + 1);
  }
  word = out.Take();
}

Result<PreTokenizer> MakeByteLevel(const Json& json, int) {
  const bool prefix_space = StageFlag(json, "add_prefix_space", true);
  PreTokenizer split;
  if (StageFlag(json, "use_regex", true)) {
    ASSIGN_OR_RETURN(Regex regex, Regex::Compile(kGpt2Pattern));
    split = SplitAt(FindRegex(std::move(regex)), false, Behavior::kIsolated);
  }
  return PreTokenizer([prefix_space, split](std::vector<SourcedText>& words) -> Result<void> {
    for (SourcedText& word : words) {
      if (prefix_space && !word.text.starts_with(' ')) {
        Prepend(word, " ");
      }
    }
    if (split) {
      TRY(split(words));
    }
    for (SourcedText& word : words) {
      ToByteCharacters(word);
    }
    return {};
  });
}

Result<PreTokenizer> MakeSplit(const Json& json, int) {
  ASSIGN_OR_RETURN(const std::string name, StageText(json, "behavior"));
  ASSIGN_OR_RETURN(const Behavior behavior, ParseBehavior(name));
  const bool invert = StageFlag(json, "invert", false);
  if (const DigitGrouping* const grouping = FindDigitGrouping(StageRegexText(json))) {
    const Finder find = [grouping](std::string_view text, std::vector<Match>& matches) -> Result<void> {
      FindDigitGroups(*grouping, text, matches);
      return {};
    };
    return SplitAt(find, invert, behavior);
  }
  ASSIGN_OR_RETURN(Regex pattern, StagePattern(json));
  return SplitAt(FindRegex(std::move(pattern)), invert, behavior);
}

enum class PrependScheme : uint8_t { kAlways, kFirst, kNever };

Result<PrependScheme> ParseScheme(const Json& json) {
  if (!json.contains("prepend_scheme")) {  // older files
    return StageFlag(json, "add_prefix_space", true) ? PrependScheme::kAlways : PrependScheme::kNever;
  }
  const std::string name = StageTextOr(json, "prepend_scheme", "");
  if (name == "always") {
    return PrependScheme::kAlways;
  }
  if (name == "first") {
    return PrependScheme::kFirst;
  }
  if (name == "never") {
    return PrependScheme::kNever;
  }
  return MakeError(ErrorCode::kInvalidArgument, "Metaspace: unknown prepend_scheme '" + name + "'");
}

void ReplaceSpaces(SourcedText& word, const std::string& replacement) {
  Rewriter out(word);
  size_t at = 0;
  for (size_t space = word.text.find(' '); space != std::string::npos; space = word.text.find(' ', at)) {
    out.Keep(at, space);
    out.Put(replacement, space, space, space + 1);
    at = space + 1;
  }
  out.Keep(at, word.text.size());
  word = out.Take();
}

Result<PreTokenizer> MakeMetaspace(const Json& json, int) {
  const std::string replacement = StageTextOr(json, "replacement", "\xE2\x96\x81");
  ASSIGN_OR_RETURN(const PrependScheme scheme, ParseScheme(json));
  PreTokenizer split;
  if (StageFlag(json, "split", true)) {
    ASSIGN_OR_RETURN(Regex literal, Regex::Literal(replacement));
    split = SplitAt(FindRegex(std::move(literal)), false, Behavior::kMergedWithNext);
  }
  return PreTokenizer([replacement, scheme, split](std::vector<SourcedText>& words) -> Result<void> {
    for (SourcedText& word : words) {
      ReplaceSpaces(word, replacement);
      const bool wanted = scheme == PrependScheme::kAlways ||
                          (scheme == PrependScheme::kFirst && !word.text.empty() && word.FromStart(0));
      if (wanted && !word.text.starts_with(replacement)) {
        Prepend(word, replacement);
      }
    }
    return split ? split(words) : Result<void>();
  });
}

Result<PreTokenizer> MakeDigits(const Json& json, int) {
  const bool individual = StageFlag(json, "individual_digits", false);
  return SplitAt(FindCharacters(IsNumeric), false, individual ? Behavior::kIsolated : Behavior::kContiguous);
}

Result<PreTokenizer> MakeWhitespace(const Json&, int) {
  ASSIGN_OR_RETURN(Regex regex, Regex::Compile(R"(\w+|[^\w\s]+)"));
  return SplitAt(FindRegex(std::move(regex)), true, Behavior::kRemoved);
}

Result<PreTokenizer> MakeWhitespaceSplit(const Json&, int) {
  return SplitAt(FindCharacters(IsWhitespace), false, Behavior::kRemoved);
}

Result<PreTokenizer> MakePunctuation(const Json& json, int) {
  ASSIGN_OR_RETURN(const Behavior behavior, ParseBehavior(StageTextOr(json, "behavior", "Isolated")));
  return SplitAt(FindCharacters(IsPunctuation), false, behavior);
}

Result<PreTokenizer> MakeBert(const Json& json, int depth) {
  ASSIGN_OR_RETURN(const PreTokenizer spaces, MakeWhitespaceSplit(json, depth));
  const PreTokenizer punctuation = SplitAt(FindCharacters(IsPunctuation), false, Behavior::kIsolated);
  return PreTokenizer([spaces, punctuation](std::vector<SourcedText>& words) -> Result<void> {
    TRY(spaces(words));
    return punctuation(words);
  });
}

Result<PreTokenizer> MakeDelimiter(const Json& json, int) {
  ASSIGN_OR_RETURN(const std::string delimiter, StageText(json, "delimiter"));
  ASSIGN_OR_RETURN(Regex literal, Regex::Literal(delimiter));
  return SplitAt(FindRegex(std::move(literal)), false, Behavior::kRemoved);
}

Result<PreTokenizer> Make(const Json& json, int depth);

Result<PreTokenizer> MakeSequence(const Json& json, int depth) {
  const auto it = json.find("pretokenizers");
  if (it == json.end() || !it->is_array() || depth >= kMaxStageDepth) {
    return MakeError(ErrorCode::kInvalidArgument, "pre-tokenizer Sequence: no list, or nested too deep");
  }
  std::vector<PreTokenizer> parts;
  for (const Json& part : *it) {
    ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, Make(part, depth + 1));
    parts.push_back(std::move(pre_tokenizer));
  }
  return PreTokenizer([parts = std::move(parts)](std::vector<SourcedText>& words) -> Result<void> {
    for (const PreTokenizer& part : parts) {
      TRY(part(words));
    }
    return {};
  });
}

struct Row {
  const char* type;
  Result<PreTokenizer> (*make)(const Json&, int depth);
};
constexpr Row kRows[] = {
    {"Sequence", MakeSequence},
    {"ByteLevel", MakeByteLevel},
    {"Split", MakeSplit},
    {"Metaspace", MakeMetaspace},
    {"Digits", MakeDigits},
    {"Whitespace", MakeWhitespace},
    {"WhitespaceSplit", MakeWhitespaceSplit},
    {"Punctuation", MakePunctuation},
    {"BertPreTokenizer", MakeBert},
    {"CharDelimiterSplit", MakeDelimiter},
};

Result<PreTokenizer> Make(const Json& json, int depth) {
  const std::string type = StageType(json);
  std::string known;
  for (const Row& row : kRows) {
    if (type == row.type) {
      return row.make(json, depth);
    }
    known += (known.empty() ? "" : ", ") + std::string(row.type);
  }
  return MakeError(ErrorCode::kUnsupported, "pre-tokenizer '" + type + "' is not served; known: " + known);
}

}  // namespace

Result<PreTokenizer> MakePreTokenizer(const Json& json) {
  if (json.is_null()) {
    return PreTokenizer();
  }
  return Make(json, 0);
}

}  // namespace causeway::model::tokenizer
