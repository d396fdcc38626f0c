#include <algorithm>

#include "server/template/arguments.h"
#include "server/template/fault.h"
#include "server/template/filters.h"
#include "server/template/format.h"
#include "server/template/json_text.h"
#include "server/template/operators.h"
#include "server/template/python_text.h"
#include "server/template/text_ops.h"
#include "server/template/unicode.h"
#include "server/template/word_wrap.h"

namespace causeway::server {
namespace {

bool IsMarkup(const Value& v) { return v.Is(Kind::kString) && v.string().markup; }

// The input as text, like Jinja's soft_str: Markup stays Markup.
Value SoftText(Runtime& runtime, const Value& input) {
  return input.Is(Kind::kString) ? input : Value::Text(Str(runtime, input));
}

template <MarkedText (*kTransform)(const MarkedText&)>
Value Transform(Runtime& runtime, const Value& input, const CallArgs& call) {
  ExpectNoArguments("filter", call);
  const Value text = SoftText(runtime, input);
  runtime.ChargeBytes(text.bytes().size());
  return Value::Text(kTransform(text.text()), IsMarkup(text));
}

Value StringFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  ExpectNoArguments("string", call);
  return SoftText(runtime, input);
}

Value SafeFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  ExpectNoArguments("safe", call);
  return Value::Text(Str(runtime, input), true);
}

Value EscapeFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  ExpectNoArguments("escape", call);
  return Value::Text(EscapedStr(runtime, input), true);
}

Value ForceEscapeFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  ExpectNoArguments("forceescape", call);
  return Value::Text(EscapeHtml(Str(runtime, input)), true);
}

Value TrimFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  const Arguments args("trim", call, {"chars"});
  const Value text = SoftText(runtime, input);
  runtime.ChargeBytes(text.bytes().size());
  if (!args.HasValue(0)) {
    return Value::Text(Strip(text.text(), Side::kBoth, nullptr), IsMarkup(text));
  }
  const std::string_view chars = args.Text(0).bytes();
  return Value::Text(Strip(text.text(), Side::kBoth, &chars), IsMarkup(text));
}

Value ReplaceFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  const Arguments args("replace", call, {"old", "new", "count"}, 2);
  const Int count = args.IntOr(2, -1);
  const size_t max_count =
      count < 0 || count > static_cast<Int>(kMaxStringBytes) ? kNoMaxSplit : static_cast<size_t>(count);
  const MarkedText from = Str(runtime, args[0]);
  MarkedText out = Replace(Str(runtime, input), from.bytes(), Str(runtime, args[1]), max_count);
  runtime.ChargeBytes(out.size());
  return Value::Text(std::move(out));
}

Value CenterFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  const Arguments args("center", call, {"width"});
  CallArgs method_args;
  method_args.positional.push_back(Value::Integer(args.IntOr(0, 80)));
  const Value text = SoftText(runtime, input);
  const Value method = GetAttr(runtime, text, "center");
  return runtime.Call(method, method_args);
}

Value IndentFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  const Arguments args("indent", call, {"width", "first", "blank"});
  if (!input.Is(Kind::kString)) {
    if (input.Is(Kind::kUndefined)) {
      RaiseUndefined(input);
    }
    RaiseType("indent needs a string, not " + input.TypeName());
  }
  MarkedText indention;
  if (args.Has(0) && args[0].Is(Kind::kString)) {
    indention = args[0].text();
  } else {
    indention = MarkedText(std::string(static_cast<size_t>(std::clamp<Int>(args.IntOr(0, 4), 0, 10000)), ' '), true);
  }
  const bool blank = args.BoolOr(2, false);
  MarkedText text = input.text();
  text.Append("\n", true);  // as Jinja does, so that a final line break keeps its empty line
  const std::vector<MarkedText> lines = SplitLines(text, false);
  runtime.Charge(lines.size());
  MarkedText out;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) {
      out.Append("\n", true);
    }
    if (i == 0 ? args.BoolOr(1, false) : blank || !lines[i].empty()) {
      out.Append(indention);
    }
    out.Append(lines[i]);
    runtime.ChargeBytes(lines[i].size() + indention.size());
    if (out.size() > kMaxStringBytes) {
      RaiseLimit("kMaxStringBytes", kMaxStringBytes);
    }
  }
  return Value::Text(std::move(out), IsMarkup(input));
}

Value TruncateFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  const Arguments args("truncate", call, {"length", "killwords", "end", "leeway"});
  const Int length = args.IntOr(0, 255);
  const MarkedText end = args.Has(2) ? args.Text(2) : MarkedText("...", true);
  const Int end_chars = static_cast<Int>(CountChars(end.bytes()));
  const Int leeway = args.IntOr(3, 5);
  if (length < end_chars || leeway < 0) {
    Raise("AssertionError", "truncate: length is shorter than the end mark, or leeway is negative");
  }
  if (static_cast<Int>(Length(input)) <= length + leeway) {
    return input;
  }
  Value head = GetSlice(runtime, input, Value::None(), Value::Integer(length - end_chars), Value::None());
  if (!head.Is(Kind::kString)) {
    RaiseType("truncate needs a string, not " + input.TypeName());
  }
  MarkedText out = head.text();
  if (!args.BoolOr(1, false)) {
    const size_t space = out.bytes().rfind(' ');
    out = out.Slice(0, space == std::string::npos ? out.size() : space);
  }
  out.Append(end);
  return Value::Text(std::move(out), IsMarkup(input));
}

Value WordCountFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  ExpectNoArguments("wordcount", call);
  const MarkedText text = Str(runtime, input);
  Int count = 0;
  bool in_word = false;
  for (size_t i = 0; i < text.size();) {
    const bool word = IsWordChar(DecodeChar(text.bytes(), &i));
    count += word && !in_word;
    in_word = word;
  }
  return Value::Integer(count);
}

Value WordWrapFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  const Arguments args("wordwrap", call, {"width", "break_long_words", "wrapstring", "break_on_hyphens"});
  const Int width = args.IntOr(0, 79);
  if (width <= 0) {
    RaiseValue("invalid width " + IntText(width) + " (must be > 0)");
  }
  const MarkedText text = Str(runtime, input);
  runtime.Charge(1 + text.size());
  const MarkedText separator = args.HasValue(2) ? args.Text(2) : MarkedText("\n", true);
  std::vector<MarkedText> lines;
  for (const MarkedText& line : SplitLines(text, false)) {
    const auto columns = static_cast<size_t>(std::min<Int>(width, static_cast<Int>(kMaxStringBytes)));
    std::vector<MarkedText> wrapped = WrapLine(line, columns, args.BoolOr(1, true), args.BoolOr(3, true));
    lines.push_back(Join(separator, wrapped));
  }
  return Value::Text(Join(separator, lines));
}

Value FormatFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  const Value format = SoftText(runtime, input);
  if (!call.positional.empty() && !call.named.empty()) {
    Raise("FilterArgumentError", "can't handle positional and keyword arguments at the same time");
  }
  if (call.named.empty()) {
    return PercentFormat(runtime, format, Value::Tuple(call.positional));
  }
  DictData dict;
  for (const auto& [name, value] : call.named) {
    dict.Set(Value::Trusted(name), value);
  }
  return PercentFormat(runtime, format, Value::Dict(std::move(dict)));
}

// Everything but letters, digits and _.-~/ percent-encoded.
MarkedText UrlQuote(const MarkedText& text, std::string_view safe) {
  constexpr char kHex[] = "0123456789ABCDEF";
  MarkedText out;
  text.ForEachRun([&](std::string_view run, bool trusted) {
    std::string piece;
    for (const char c : run) {
      const auto byte = static_cast<unsigned char>(c);
      const bool plain = (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z';
      if (plain || (c >= '0' && c <= '9') || safe.find(c) != std::string_view::npos) {
        piece += c;
      } else {
        piece += '%';
        piece += kHex[byte >> 4];
        piece += kHex[byte & 15];
      }
    }
    out.Append(piece, trusted);
  });
  return out;
}

Value UrlEncodeFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  ExpectNoArguments("urlencode", call);
  constexpr std::string_view kPathSafe = "_.-~/";
  constexpr std::string_view kQuerySafe = "_.-~";
  if (input.Is(Kind::kString) || !IsIterable(input)) {
    return Value::Text(UrlQuote(Str(runtime, input), kPathSafe));
  }
  const auto quote = [&](const Value& part) {  // a query writes spaces as "+"
    return Replace(UrlQuote(Str(runtime, part), kQuerySafe), "%20", MarkedText("+", true), kNoMaxSplit);
  };
  std::vector<MarkedText> parts;
  CallArgs none;
  const Value pairs = input.Is(Kind::kDict) ? runtime.Call(GetAttr(runtime, input, "items"), none) : input;
  for (const Value& pair : Iterate(runtime, pairs)) {
    if (!pair.IsSequence() || pair.items().size() != 2) {
      RaiseValue("urlencode needs pairs");
    }
    MarkedText part = quote(pair.items()[0]);
    part.Append("=", true);
    part.Append(quote(pair.items()[1]));
    parts.push_back(std::move(part));
  }
  return Value::Text(Join(MarkedText("&", true), parts));
}

// Removes comments and tags, joins white space, and turns the entities that |escape writes back.
Value StripTagsFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  ExpectNoArguments("striptags", call);
  const MarkedText text = Str(runtime, input);
  const auto without = [](const MarkedText& from, std::string_view open, std::string_view close) {
    MarkedText out;
    size_t begin = 0;
    for (size_t at = FindBytes(from.bytes(), open, 0); at != std::string::npos;
         at = FindBytes(from.bytes(), open, begin)) {
      const size_t end = FindBytes(from.bytes(), close, at);
      if (end == std::string::npos) {
        break;
      }
      out.Append(from, begin, at);
      begin = end + close.size();
    }
    out.Append(from, begin, from.size());
    return out;
  };
  const MarkedText bare = without(without(text, "<!--", "-->"), "<", ">");
  MarkedText out = Join(MarkedText(" ", true), SplitSpace(bare, kNoMaxSplit));
  static constexpr std::pair<std::string_view, std::string_view> kEntities[] = {
      {"&lt;", "<"}, {"&gt;", ">"}, {"&#39;", "'"}, {"&#34;", "\""}, {"&quot;", "\""}, {"&amp;", "&"}};
  for (const auto& [entity, plain] : kEntities) {
    out = Replace(out, entity, MarkedText(std::string(plain), text.AllTrusted()), kNoMaxSplit);
  }
  return Value::Text(std::move(out));
}

Value PprintFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  ExpectNoArguments("pprint", call);
  MarkedText out;
  AppendRepr(runtime, input, &out);
  constexpr size_t kLine = 80;  // longer values are laid out over lines, which no template relies on
  if (out.size() > kLine) {
    RaiseUnsupported("pprint of more than one line is not supported in chat templates");
  }
  return Value::Text(std::move(out));
}

constexpr FilterRow kFilters[] = {
    {"capitalize", Transform<Capitalize>},
    {"center", CenterFilter},
    {"e", EscapeFilter},
    {"escape", EscapeFilter},
    {"forceescape", ForceEscapeFilter},
    {"format", FormatFilter},
    {"indent", IndentFilter},
    {"lower", Transform<ToLower>},
    {"pprint", PprintFilter},
    {"replace", ReplaceFilter},
    {"safe", SafeFilter},
    {"string", StringFilter},
    {"striptags", StripTagsFilter},
    {"title", Transform<TitleFilter>},
    {"tojson", ToJson},
    {"trim", TrimFilter},
    {"truncate", TruncateFilter},
    {"upper", Transform<ToUpper>},
    {"urlencode", UrlEncodeFilter},
    {"wordcount", WordCountFilter},
    {"wordwrap", WordWrapFilter},
};

}  // namespace

FilterFunction FindTextFilter(std::string_view name) { return FindInRows(kFilters, name); }
void AppendTextFilterNames(std::string* names) { AppendRowNames(kFilters, names); }

}  // namespace causeway::server
