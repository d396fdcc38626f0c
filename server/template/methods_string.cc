#include <algorithm>

#include "server/template/arguments.h"
#include "server/template/fault.h"
#include "server/template/format.h"
#include "server/template/methods.h"
#include "server/template/operators.h"
#include "server/template/python_text.h"
#include "server/template/text_ops.h"
#include "server/template/unicode.h"

namespace causeway::server {
namespace {

Value Like(const Value& self, MarkedText text) {  // str methods of Markup return Markup
  return Value::Text(std::move(text), self.string().markup);
}

Value TextList(Runtime& runtime, const Value& self, std::vector<MarkedText> parts) {
  runtime.Charge(parts.size());
  std::vector<Value> items;
  items.reserve(parts.size());
  for (MarkedText& part : parts) {
    items.push_back(Like(self, std::move(part)));
  }
  return Value::List(std::move(items));
}

template <MarkedText (*kTransform)(const MarkedText&)>
Value Transform(Runtime& runtime, const Value& self, const CallArgs& call) {
  ExpectNoArguments("method", call);
  runtime.ChargeBytes(self.bytes().size());
  return Like(self, kTransform(self.text()));
}

template <Side kSide>
Value StripMethod(Runtime& runtime, const Value& self, const CallArgs& call) {
  const Arguments args("strip", call, {"chars"});
  runtime.ChargeBytes(self.bytes().size());
  if (!args.HasValue(0)) {
    return Like(self, Strip(self.text(), kSide, nullptr));
  }
  runtime.ChargeBytes(args.Text(0).size());
  const std::string_view chars = args.Text(0).bytes();
  return Like(self, Strip(self.text(), kSide, &chars));
}

size_t MaxCount(const Arguments& args, size_t i) {
  const Int count = args.IntOr(i, -1);
  return count < 0 || count > static_cast<Int>(kMaxStringBytes) ? kNoMaxSplit : static_cast<size_t>(count);
}

template <bool kFromRight>
Value Split(Runtime& runtime, const Value& self, const CallArgs& call) {
  const Arguments args("split", call, {"sep", "maxsplit"});
  runtime.ChargeBytes(self.bytes().size());
  const size_t max_split = MaxCount(args, 1);
  const MarkedText& text = self.text();
  if (!args.HasValue(0)) {
    return TextList(runtime, self, kFromRight ? SplitSpaceFromRight(text, max_split) : SplitSpace(text, max_split));
  }
  const std::string& separator = args.Text(0).bytes();
  if (separator.empty()) {
    RaiseValue("empty separator");
  }
  runtime.Charge(CountBytes(text.bytes(), separator));  // before the pieces exist
  return TextList(runtime, self,
                  kFromRight ? SplitByFromRight(text, separator, max_split) : SplitBy(text, separator, max_split));
}

Value SplitLinesMethod(Runtime& runtime, const Value& self, const CallArgs& call) {
  const Arguments args("splitlines", call, {"keepends"});
  runtime.Charge(1 + self.bytes().size() / 8);
  return TextList(runtime, self, SplitLines(self.text(), args.BoolOr(0, false)));
}

template <bool kFromRight>
Value Partition(Runtime& runtime, const Value& self, const CallArgs& call) {
  const Arguments args("partition", call, {"sep"}, 1);
  runtime.ChargeBytes(self.bytes().size());
  const MarkedText& text = self.text();
  const MarkedText& separator = args.Text(0);
  if (separator.empty()) {
    RaiseValue("empty separator");
  }
  const size_t at =
      kFromRight ? FindLastBytes(text.bytes(), separator.bytes()) : FindBytes(text.bytes(), separator.bytes(), 0);
  const Value empty = Like(self, MarkedText());
  if (at == std::string::npos) {
    return kFromRight ? Value::Tuple({empty, empty, self}) : Value::Tuple({self, empty, empty});
  }
  return Value::Tuple({Like(self, text.Slice(0, at)), Like(self, separator),
                       Like(self, text.Slice(at + separator.size(), text.size()))});
}

// The byte range of the optional character positions `start` and `end`.
std::pair<size_t, size_t> Range(const Value& self, const Arguments& args, size_t start, size_t end) {
  const Int n = static_cast<Int>(self.string().chars);
  const auto clamp = [&](Int i) {
    return static_cast<size_t>(std::clamp<Int>(i < 0 ? std::max<Int>(i, -n) + n : i, 0, n));
  };
  const size_t first = clamp(args.IntOr(start, 0));
  const size_t last = clamp(args.IntOr(end, n));
  return {ByteOffset(self.bytes(), first), std::max(ByteOffset(self.bytes(), last), ByteOffset(self.bytes(), first))};
}

template <bool kStart>
Value StartsOrEnds(Runtime& runtime, const Value& self, const CallArgs& call) {
  const Arguments args(kStart ? "startswith" : "endswith", call, {"prefix", "start", "end"}, 1);
  runtime.ChargeBytes(args.Has(1) ? self.bytes().size() : 0);
  const auto [begin, end] = args.Has(1) ? Range(self, args, 1, 2) : std::pair<size_t, size_t>(0, self.bytes().size());
  const std::string_view text = std::string_view(self.bytes()).substr(begin, end - begin);
  const auto matches = [text](const Value& affix) {
    if (!affix.Is(Kind::kString)) {
      RaiseType(std::string(kStart ? "startswith" : "endswith") + " first arg must be str or a tuple of str, not " +
                affix.TypeName());
    }
    const std::string& a = affix.bytes();
    return a.size() <= text.size() && text.substr(kStart ? 0 : text.size() - a.size(), a.size()) == a;
  };
  if (args[0].Is(Kind::kTuple)) {
    const auto& affixes = args[0].items();
    return Value::Bool(std::any_of(affixes.begin(), affixes.end(), matches));
  }
  return Value::Bool(matches(args[0]));
}

// find, rfind, index, rindex: a position in characters, or -1.
Int Search(Runtime& runtime, const Value& self, const CallArgs& call, bool from_right) {
  const Arguments args("find", call, {"sub", "start", "end"}, 1);
  runtime.ChargeBytes(3 * self.bytes().size());
  const auto [begin, end] = Range(self, args, 1, 2);
  const std::string_view text = std::string_view(self.bytes()).substr(begin, end - begin);
  const std::string& sub = args.Text(0).bytes();
  const size_t found = from_right ? FindLastBytes(text, sub) : FindBytes(text, sub, 0);
  if (found == std::string::npos) {
    return -1;
  }
  return static_cast<Int>(CountChars(std::string_view(self.bytes()).substr(0, begin + found)));
}

template <bool kFromRight>
Value Find(Runtime& runtime, const Value& self, const CallArgs& call) {
  return Value::Integer(Search(runtime, self, call, kFromRight));
}

template <bool kFromRight>
Value IndexMethod(Runtime& runtime, const Value& self, const CallArgs& call) {
  const Int found = Search(runtime, self, call, kFromRight);
  if (found < 0) {
    RaiseValue("substring not found");
  }
  return Value::Integer(found);
}

Value Count(Runtime& runtime, const Value& self, const CallArgs& call) {
  const Arguments args("count", call, {"sub", "start", "end"}, 1);
  runtime.ChargeBytes(self.bytes().size());
  const auto [begin, end] = Range(self, args, 1, 2);
  const std::string_view text = std::string_view(self.bytes()).substr(begin, end - begin);
  const std::string& sub = args.Text(0).bytes();
  return Value::Integer(static_cast<Int>(sub.empty() ? CountChars(text) + 1 : CountBytes(text, sub)));
}

Value ReplaceMethod(Runtime& runtime, const Value& self, const CallArgs& call) {
  const Arguments args("replace", call, {"old", "new", "count"}, 2);
  const bool markup = self.string().markup;
  const MarkedText to = markup ? (args.Text(1), EscapedStr(runtime, args[1])) : args.Text(1);
  runtime.ChargeBytes(self.bytes().size());
  const std::string from = markup ? EscapeHtml(args.Text(0)).bytes() : args.Text(0).bytes();
  MarkedText out = Replace(self.text(), from, to, MaxCount(args, 2));
  runtime.ChargeBytes(out.size());
  return Like(self, std::move(out));
}

Value JoinMethod(Runtime& runtime, const Value& self, const CallArgs& call) {
  const Arguments args("join", call, {"iterable"}, 1);
  std::vector<MarkedText> parts;
  size_t size = 0;
  for (const Value& item : Iterate(runtime, args[0])) {
    if (!item.Is(Kind::kString)) {
      RaiseType("sequence item " + std::to_string(parts.size()) + ": expected str instance, " + item.TypeName() +
                " found");
    }
    parts.push_back(self.string().markup ? EscapedStr(runtime, item) : item.text());
    size += parts.back().size() + self.bytes().size();
    runtime.ChargeBytes(parts.back().size() + self.bytes().size());
    if (size > kMaxStringBytes) {
      RaiseLimit("kMaxStringBytes", kMaxStringBytes);
    }
  }
  return Like(self, Join(self.text(), parts));
}

Value FormatMethod(Runtime& runtime, const Value& self, const CallArgs& call) {
  return BraceFormat(runtime, self, call);
}

enum class Pad { kCenter, kLeft, kRight };

template <Pad kPad>
Value PadMethod(Runtime& runtime, const Value& self, const CallArgs& call) {
  const Arguments args("justify", call, {"width", "fillchar"}, 1);
  const Int missing = std::max<Int>(args.IntOr(0, 0) - static_cast<Int>(self.string().chars), 0);
  if (missing > static_cast<Int>(kMaxStringBytes)) {
    RaiseLimit("kMaxStringBytes", kMaxStringBytes);
  }
  const MarkedText fill = args.Has(1) ? args.Text(1) : MarkedText(" ", true);
  if (CountChars(fill.bytes()) != 1) {
    RaiseType("The fill character must be exactly one character long");
  }
  runtime.ChargeBytes(self.bytes().size() + static_cast<size_t>(missing));
  const Int left = kPad == Pad::kCenter ? missing / 2 + (missing & args.IntOr(0, 0) & 1)
                   : kPad == Pad::kLeft ? missing
                                        : 0;
  return Like(self, Padded(self.text(), static_cast<size_t>(left), static_cast<size_t>(missing - left), fill));
}

Value ZeroFill(Runtime& runtime, const Value& self, const CallArgs& call) {
  const Arguments args("zfill", call, {"width"}, 1);
  const Int missing = std::max<Int>(args.IntOr(0, 0) - static_cast<Int>(self.string().chars), 0);
  if (missing > static_cast<Int>(kMaxStringBytes)) {
    RaiseLimit("kMaxStringBytes", kMaxStringBytes);
  }
  runtime.ChargeBytes(self.bytes().size() + static_cast<size_t>(missing));
  const std::string& bytes = self.bytes();
  const size_t sign = !bytes.empty() && (bytes[0] == '-' || bytes[0] == '+') ? 1 : 0;
  MarkedText out = self.text().Slice(0, sign);
  out.Append(std::string(static_cast<size_t>(missing), '0'), true);
  out.Append(self.text(), sign, bytes.size());
  return Like(self, std::move(out));
}

template <bool kPrefix>
Value RemoveAffix(Runtime& runtime, const Value& self, const CallArgs& call) {
  const Arguments args("removeprefix", call, {"affix"}, 1);
  const std::string& affix = args.Text(0).bytes();
  const std::string& bytes = self.bytes();
  runtime.ChargeBytes(bytes.size());
  if (affix.size() > bytes.size()) {
    return self;
  }
  const size_t at = kPrefix ? 0 : bytes.size() - affix.size();
  if (bytes.compare(at, affix.size(), affix) != 0) {
    return self;
  }
  return Like(self, kPrefix ? self.text().Slice(affix.size(), bytes.size()) : self.text().Slice(0, at));
}

// isalpha and its kin: not empty, and every character has the property.
template <bool (*kProperty)(char32_t)>
Value AllChars(Runtime& runtime, const Value& self, const CallArgs& call) {
  ExpectNoArguments("method", call);
  runtime.ChargeBytes(self.bytes().size());
  const std::string& bytes = self.bytes();
  for (size_t i = 0; i < bytes.size();) {
    if (!kProperty(DecodeChar(bytes, &i))) {
      return Value::Bool(false);
    }
  }
  return Value::Bool(!bytes.empty());
}
bool IsAlphanumeric(char32_t c) { return IsAlpha(c) || IsNumeric(c); }

Value IsAscii(Runtime&, const Value& self, const CallArgs& call) {
  ExpectNoArguments("isascii", call);
  return Value::Bool(self.string().chars == self.bytes().size());
}

template <bool kLower>
Value HasCase(Runtime& runtime, const Value& self, const CallArgs& call) {
  ExpectNoArguments("method", call);
  CallArgs none;
  return Value::Bool(runtime.ApplyTest(kLower ? "lower" : "upper", self, none));
}

Value IsTitleMethod(Runtime& runtime, const Value& self, const CallArgs& call) {
  ExpectNoArguments("istitle", call);
  runtime.ChargeBytes(self.bytes().size());
  bool found = false;
  bool in_word = false;
  for (size_t i = 0; i < self.bytes().size();) {
    const char32_t c = DecodeChar(self.bytes(), &i);
    const bool upper = IsUpper(c) || IsTitle(c);
    if ((upper && in_word) || (IsLower(c) && !in_word)) {
      return Value::Bool(false);
    }
    in_word = upper || IsLower(c);
    found |= in_word;
  }
  return Value::Bool(found);
}

Value ExpandTabs(Runtime& runtime, const Value& self, const CallArgs& call) {
  const Arguments args("expandtabs", call, {"tabsize"});
  const Int size = std::clamp<Int>(args.IntOr(0, 8), 0, 1000);
  runtime.Charge(1 + self.bytes().size());
  MarkedText out;
  Int column = 0;
  self.text().ForEachRun([&](std::string_view run, bool trusted) {
    std::string piece;
    for (size_t i = 0; i < run.size();) {
      const char32_t c = DecodeChar(run, &i);
      if (c == '\t') {
        const Int spaces = size == 0 ? 0 : size - column % size;
        piece.append(static_cast<size_t>(spaces), ' ');
        column += spaces;
      } else {
        AppendUtf8(c, &piece);
        column = c == '\n' || c == '\r' ? 0 : column + 1;
      }
    }
    runtime.ChargeBytes(piece.size());
    out.Append(piece, trusted);
  });
  return Like(self, std::move(out));
}

constexpr MethodRow kStringMethods[] = {
    {"capitalize", Transform<Capitalize>},
    {"casefold", Transform<FoldCase>},
    {"center", PadMethod<Pad::kCenter>},
    {"count", Count},
    {"endswith", StartsOrEnds<false>},
    {"expandtabs", ExpandTabs},
    {"find", Find<false>},
    {"format", FormatMethod},
    {"index", IndexMethod<false>},
    {"isalnum", AllChars<IsAlphanumeric>},
    {"isalpha", AllChars<IsAlpha>},
    {"isascii", IsAscii},
    {"isdecimal", AllChars<IsDecimal>},
    {"isdigit", AllChars<IsDigit>},
    {"islower", HasCase<true>},
    {"isnumeric", AllChars<IsNumeric>},
    {"isspace", AllChars<IsSpace>},
    {"istitle", IsTitleMethod},
    {"isupper", HasCase<false>},
    {"join", JoinMethod},
    {"ljust", PadMethod<Pad::kRight>},
    {"lower", Transform<ToLower>},
    {"lstrip", StripMethod<Side::kLeft>},
    {"partition", Partition<false>},
    {"removeprefix", RemoveAffix<true>},
    {"removesuffix", RemoveAffix<false>},
    {"replace", ReplaceMethod},
    {"rfind", Find<true>},
    {"rindex", IndexMethod<true>},
    {"rjust", PadMethod<Pad::kLeft>},
    {"rpartition", Partition<true>},
    {"rsplit", Split<true>},
    {"rstrip", StripMethod<Side::kRight>},
    {"split", Split<false>},
    {"splitlines", SplitLinesMethod},
    {"startswith", StartsOrEnds<true>},
    {"strip", StripMethod<Side::kBoth>},
    {"swapcase", Transform<SwapCase>},
    {"title", Transform<TitleWords>},
    {"upper", Transform<ToUpper>},
    {"zfill", ZeroFill},
};

}  // namespace

MethodFunction FindStringMethod(std::string_view name) {
  for (const MethodRow& row : kStringMethods) {
    if (row.name == name) {
      return row.function;
    }
  }
  return nullptr;
}

}  // namespace causeway::server
