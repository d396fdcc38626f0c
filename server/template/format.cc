#include "server/template/format.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "server/template/fault.h"
#include "server/template/operators.h"
#include "server/template/python_text.h"
#include "server/template/text_ops.h"
#include "server/template/unicode.h"

namespace causeway::server {
namespace {

constexpr size_t kMaxWidth = 100'000;
constexpr size_t kMaxPrecision = 300;

// One conversion: [[fill]align][sign][#][0][width][,][.precision][type].
struct Spec {
  std::string fill = " ";
  char align = '\0';  // < > ^ =, or none
  char sign = '-';
  bool alternate = false;
  char group = '\0';  // ',' or '_' between thousands
  size_t width = 0;
  std::optional<size_t> precision;
  char type = '\0';
};

size_t ReadNumber(std::string_view text, size_t* i, size_t bound, const char* what) {
  size_t value = 0;
  for (; *i < text.size() && text[*i] >= '0' && text[*i] <= '9'; ++*i) {
    value = value * 10 + static_cast<size_t>(text[*i] - '0');
    if (value > bound) {
      RaiseLimit(what, bound);
    }
  }
  return value;
}

std::string IntDigits(Int value, int base, bool upper) {
  auto magnitude = static_cast<unsigned __int128>(value);
  if (value < 0) {
    magnitude = ~magnitude + 1;
  }
  std::string digits;
  do {
    const auto d = static_cast<unsigned>(magnitude % static_cast<unsigned>(base));
    digits += static_cast<char>(d < 10 ? '0' + d : (upper ? 'A' : 'a') + d - 10);
    magnitude /= static_cast<unsigned>(base);
  } while (magnitude != 0);
  std::reverse(digits.begin(), digits.end());
  return digits;
}

// printf's %g for a magnitude.
std::string GeneralDigits(double magnitude, size_t precision) {
  char buffer[512];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), magnitude, std::chars_format::general,
                                 static_cast<int>(std::max<size_t>(precision, 1)))
                       .ptr;
  return std::string(buffer, end);
}

// Digits of a non-negative finite float.
std::string FloatDigits(double magnitude, const Spec& spec) {
  char buffer[1024];
  const char type = static_cast<char>(spec.type | 0x20);
  const size_t precision = spec.precision.value_or(6);
  if (spec.type == '\0') {
    return spec.precision ? GeneralDigits(magnitude, precision) : FloatText(magnitude);
  }
  if (type == 'g' || type == 'n') {
    return GeneralDigits(magnitude, precision);
  }
  const auto format = type == 'e' ? std::chars_format::scientific : std::chars_format::fixed;
  const double scaled = spec.type == '%' ? magnitude * 100 : magnitude;
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), scaled, format, static_cast<int>(precision));
  return std::string(buffer, result.ptr) + (spec.type == '%' ? "%" : "");
}

void GroupThousands(std::string* digits, char separator) {
  size_t end = 0;
  while (end < digits->size() && (*digits)[end] >= '0' && (*digits)[end] <= '9') {
    ++end;
  }
  for (size_t i = end; i > 3; i -= 3) {
    digits->insert(i - 3, 1, separator);
  }
}

size_t Fill(size_t width, size_t length) { return width > length ? width - length : 0; }

MarkedText Align(const MarkedText& body, const Spec& spec, char default_align) {
  const size_t missing = Fill(spec.width, CountChars(body.bytes()));
  const char align = spec.align == '\0' ? default_align : spec.align;
  const size_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  return Padded(body, left, missing - left, MarkedText(spec.fill, true));
}

MarkedText AlignNumber(const std::string& sign, std::string digits, const Spec& spec) {
  if (spec.group != '\0') {
    GroupThousands(&digits, spec.group);
  }
  if (spec.align == '=') {
    MarkedText out(sign, true);
    out.Append(Padded(MarkedText(digits, true), Fill(spec.width, sign.size() + digits.size()), 0,
                      MarkedText(spec.fill, true)));
    return out;
  }
  return Align(MarkedText(sign + digits, true), spec, '>');
}

std::string SignText(bool negative, char sign) { return negative ? "-" : sign == '-' ? "" : std::string(1, sign); }

MarkedText FormatInteger(Int value, const Spec& spec) {
  std::string digits;
  std::string prefix = SignText(value < 0, spec.sign);
  switch (spec.type) {
    case 'x':
    case 'X': digits = IntDigits(value, 16, spec.type == 'X'); break;
    case 'o': digits = IntDigits(value, 8, false); break;
    case 'b': digits = IntDigits(value, 2, false); break;
    default: digits = IntDigits(value, 10, false); break;
  }
  if (spec.alternate && (spec.type | 0x20) != 'd' && spec.type != '\0') {
    prefix += std::string("0") + spec.type;
  }
  if (spec.precision) {  // only "%" formatting allows it: a minimum of digits
    digits.insert(0, Fill(*spec.precision, digits.size()), '0');
  }
  return AlignNumber(prefix, std::move(digits), spec);
}

MarkedText FormatFloat(double value, const Spec& spec) {
  const std::string sign = SignText(std::signbit(value) && !std::isnan(value), spec.sign);
  std::string digits;
  if (std::isfinite(value)) {
    digits = FloatDigits(std::fabs(value), spec);
  } else {
    digits = std::isnan(value) ? "nan" : "inf";
  }
  if (spec.type >= 'A' && spec.type <= 'Z') {
    std::transform(digits.begin(), digits.end(), digits.begin(),
                   [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  }
  return AlignNumber(sign, std::move(digits), spec);
}

MarkedText FormatText(const MarkedText& text, const Spec& spec) {
  const size_t chars = spec.precision ? ByteOffset(text.bytes(), *spec.precision) : text.size();
  return Align(text.Slice(0, chars), spec, '<');
}

MarkedText CharText(Int code) {
  if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
    Raise("OverflowError", "%c arg not in range(0x110000)");
  }
  std::string out;
  AppendUtf8(static_cast<char32_t>(code), &out);
  return MarkedText(std::move(out), true);
}

// ---- "%" ----

class PercentFormatter {
 public:
  PercentFormatter(Runtime& runtime, const Value& format, const Value& args)
      : runtime_(runtime), format_(format), args_(args) {}

  Value Run() {
    const MarkedText& text = format_.text();
    const std::string_view bytes = text.bytes();
    runtime_.ChargeBytes(bytes.size());
    size_t begin = 0;
    for (size_t i = FindBytes(bytes, "%", 0); i != std::string_view::npos; i = FindBytes(bytes, "%", begin)) {
      out_.Append(text, begin, i);
      begin = Conversion(bytes, i + 1);
      if (out_.size() > kMaxStringBytes) {
        RaiseLimit("kMaxStringBytes", kMaxStringBytes);
      }
    }
    out_.Append(text, begin, bytes.size());
    const bool is_mapping = args_.Is(Kind::kDict) || args_.Is(Kind::kList) || args_.Is(Kind::kUndefined);
    const bool unused = args_.Is(Kind::kTuple) ? used_ < args_.items().size() : used_ == 0 && !is_mapping;
    if (unused) {
      RaiseType("not all arguments converted during string formatting");
    }
    return Value::Text(std::move(out_), format_.string().markup);
  }

 private:
  const Value& NextArg() {
    const bool tuple = args_.Is(Kind::kTuple);
    if (used_ >= (tuple ? args_.items().size() : 1)) {
      RaiseType("not enough arguments for format string");
    }
    ++used_;
    return tuple ? args_.items()[used_ - 1] : args_;
  }

  size_t Count(std::string_view bytes, size_t* i, size_t bound, const char* what, Spec* spec) {
    if (*i < bytes.size() && bytes[*i] == '*') {
      ++*i;
      const Value& value = NextArg();
      if (!value.IsIntegral()) {
        RaiseType("* wants int");
      }
      Int count = value.integer();
      if (count < 0) {
        spec->align = '<';
        count = -count;
      }
      if (count > static_cast<Int>(bound)) {
        RaiseLimit(what, bound);
      }
      return static_cast<size_t>(count);
    }
    return ReadNumber(bytes, i, bound, what);
  }

  // One conversion after "%"; returns the position after it.
  size_t Conversion(std::string_view bytes, size_t i) {
    const Value* named = nullptr;
    if (i < bytes.size() && bytes[i] == '(') {
      const size_t close = FindBytes(bytes, ")", i);
      if (!args_.Is(Kind::kDict)) {
        RaiseType("format requires a mapping");
      }
      if (close == std::string_view::npos) {
        RaiseValue("incomplete format key");
      }
      const std::string_view key = bytes.substr(i + 1, close - i - 1);
      named = args_.dict().Find(key);
      if (named == nullptr) {
        Raise("KeyError", "'" + std::string(key) + "'");
      }
      i = close + 1;
    }
    Spec spec;
    bool zero = false;
    for (; i < bytes.size() && std::string_view("#0- +").find(bytes[i]) != std::string_view::npos; ++i) {
      switch (bytes[i]) {
        case '#': spec.alternate = true; break;
        case '0': zero = true; break;
        case '-': spec.align = '<'; break;
        case '+': spec.sign = '+'; break;
        default: spec.sign = spec.sign == '+' ? '+' : ' '; break;
      }
    }
    spec.width = Count(bytes, &i, kMaxWidth, "kMaxWidth", &spec);
    if (i < bytes.size() && bytes[i] == '.') {
      ++i;
      spec.precision = Count(bytes, &i, kMaxPrecision, "kMaxPrecision", &spec);
    }
    while (i < bytes.size() && (bytes[i] == 'h' || bytes[i] == 'l' || bytes[i] == 'L')) {
      ++i;
    }
    if (i >= bytes.size()) {
      RaiseValue("incomplete format");
    }
    Emit(bytes[i], spec, zero, named);
    return i + 1;
  }

  void Emit(char type, Spec spec, bool zero, const Value* named) {
    if (type == '%') {
      out_.Append("%", true);
      return;
    }
    const Value& value = named != nullptr ? *named : NextArg();
    runtime_.Charge(1);
    const bool numeric = std::string_view("diuoxXeEfFgG").find(type) != std::string_view::npos;
    if (numeric && zero && spec.align != '<') {
      spec.fill = "0";
      spec.align = '=';
    }
    spec.type = type;
    if (spec.align == '\0') {
      spec.align = '>';
    }
    if (type == 's' || type == 'r' || type == 'a') {
      MarkedText text;
      if (type == 's') {
        text = format_.string().markup ? EscapedStr(runtime_, value) : Str(runtime_, value);
      } else {
        AppendRepr(runtime_, value, &text);
      }
      out_.Append(FormatText(text, spec));
    } else if (type == 'c') {
      out_.Append(FormatText(value.IsIntegral() ? CharText(value.integer()) : Str(runtime_, value), spec));
    } else if (numeric) {
      out_.Append(Number(type, value, spec));
    } else {
      RaiseValue(std::string("unsupported format character '") + type + "'");
    }
  }

  static MarkedText Number(char type, const Value& value, Spec spec) {
    if (value.Is(Kind::kUndefined)) {
      RaiseUndefined(value);
    }
    const bool integral = std::string_view("diuoxX").find(type) != std::string_view::npos;
    if (!value.IsNumber() || (integral && (type | 0x20) != 'd' && type != 'i' && type != 'u' && !value.IsIntegral())) {
      RaiseType(std::string("%") + type + " format: a real number is required, not " + value.TypeName());
    }
    if (!integral) {
      return FormatFloat(value.number(), spec);
    }
    if (type == 'i' || type == 'u') {
      spec.type = 'd';
    }
    if (value.Is(Kind::kFloat) && !(std::fabs(value.number()) < 1e37)) {
      Raise("OverflowError", "cannot convert float to integer");
    }
    return FormatInteger(value.Is(Kind::kFloat) ? static_cast<Int>(value.number()) : value.integer(), spec);
  }

  Runtime& runtime_;
  const Value& format_;
  const Value& args_;
  size_t used_ = 0;
  MarkedText out_;
};

// ---- str.format ----

Spec ParseSpec(std::string_view text) {
  Spec spec;
  size_t i = 0;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  if (!text.empty()) {
    size_t next = 0;
    DecodeChar(text, &next);
    if (next < text.size() && is_align(text[next])) {
      spec.fill = std::string(text.substr(0, next));
      spec.align = text[next];
      i = next + 1;
    } else if (is_align(text[0])) {
      spec.align = text[0];
      i = 1;
    }
  }
  const auto take = [&](char c) {
    const bool found = i < text.size() && text[i] == c;
    i += found;
    return found;
  };
  for (const char sign : {'+', '-', ' '}) {
    if (take(sign)) {
      spec.sign = sign;
    }
  }
  spec.alternate = take('#');
  if (take('0') && spec.align == '\0') {
    spec.fill = "0";
    spec.align = '=';
  }
  spec.width = ReadNumber(text, &i, kMaxWidth, "kMaxWidth");
  spec.group = take(',') ? ',' : take('_') ? '_' : '\0';
  if (take('.')) {
    spec.precision = ReadNumber(text, &i, kMaxPrecision, "kMaxPrecision");
  }
  if (i < text.size()) {
    spec.type = text[i++];
  }
  if (i < text.size()) {
    RaiseValue("Invalid format specifier");
  }
  return spec;
}

[[noreturn]] void RaiseFormatCode(char type, const Value& value) {
  RaiseValue(std::string("Unknown format code '") + type + "' for object of type '" + value.TypeName() + "'");
}

MarkedText FormatValue(Runtime& runtime, const Value& value, std::string_view spec_text) {
  if (spec_text.empty()) {
    return Str(runtime, value);
  }
  const Spec spec = ParseSpec(spec_text);
  if (value.Is(Kind::kString)) {
    if (spec.type != '\0' && spec.type != 's') {
      RaiseFormatCode(spec.type, value);
    }
    if (spec.align == '=') {
      RaiseValue("'=' alignment not allowed in string format specifier");
    }
    return FormatText(value.text(), spec);
  }
  if (!value.IsNumber() || (value.Is(Kind::kBool) && spec.type == '\0' && spec.width == 0)) {
    RaiseType("unsupported format string passed to " + value.TypeName() + ".__format__");
  }
  const bool real_type = std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos;
  if (value.Is(Kind::kFloat) || (real_type && spec.type != '\0')) {
    if (spec.type != '\0' && !real_type) {
      RaiseFormatCode(spec.type, value);
    }
    return FormatFloat(value.number(), spec);
  }
  if (spec.type == 'c') {
    return Align(CharText(value.integer()), spec, '<');
  }
  if (spec.precision) {
    RaiseValue("Precision not allowed in integer format specifier");
  }
  if (spec.type != '\0' && std::string_view("dxXobn").find(spec.type) == std::string_view::npos) {
    RaiseFormatCode(spec.type, value);
  }
  return FormatInteger(value.integer(), spec);
}

class BraceFormatter {
 public:
  BraceFormatter(Runtime& runtime, const CallArgs& args, bool markup)
      : runtime_(runtime), args_(args), markup_(markup) {}

  MarkedText Run(const MarkedText& text, int nesting) {
    if (nesting > 1) {
      RaiseValue("Max string recursion exceeded");
    }
    const std::string_view bytes = text.bytes();
    MarkedText out;
    size_t begin = 0;
    size_t i = 0;
    while ((i = bytes.find_first_of("{}", begin)) != std::string_view::npos) {
      out.Append(text, begin, i);
      if (i + 1 < bytes.size() && bytes[i + 1] == bytes[i]) {
        out.Append(text, i, i + 1);
        begin = i + 2;
        continue;
      }
      if (bytes[i] == '}') {
        RaiseValue("Single '}' encountered in format string");
      }
      const size_t close = MatchingBrace(bytes, i);
      out.Append(Field(text.Slice(i + 1, close), nesting));
      if (out.size() > kMaxStringBytes) {
        RaiseLimit("kMaxStringBytes", kMaxStringBytes);
      }
      begin = close + 1;
    }
    out.Append(text, begin, bytes.size());
    return out;
  }

 private:
  static size_t MatchingBrace(std::string_view bytes, size_t open) {
    size_t depth = 0;
    for (size_t i = open; i < bytes.size(); ++i) {
      depth += bytes[i] == '{';
      depth -= bytes[i] == '}';
      if (depth == 0) {
        return i;
      }
    }
    RaiseValue("expected '}' before end of string");
  }

  MarkedText Field(const MarkedText& field, int nesting) {
    runtime_.Charge(1);
    const std::string_view bytes = field.bytes();
    const size_t name_end = std::min(bytes.find_first_of(":!"), bytes.size());
    Value value = Lookup(bytes.substr(0, name_end));
    size_t i = name_end;
    if (i < bytes.size() && bytes[i] == '!') {
      const char conversion = i + 1 < bytes.size() ? bytes[i + 1] : '\0';
      MarkedText text;
      if (conversion == 'r') {
        AppendRepr(runtime_, value, &text);
      } else if (conversion == 's') {
        text = Str(runtime_, value);
      } else {
        RaiseValue("Unknown conversion specifier");
      }
      value = Value::Text(std::move(text));
      i += 2;
    }
    std::string spec;
    if (i < bytes.size()) {
      if (bytes[i] != ':') {
        RaiseValue("expected ':' after conversion specifier");
      }
      spec = Run(field.Slice(i + 1, field.size()), nesting + 1).bytes();
    }
    MarkedText out = FormatValue(runtime_, value, spec);
    const bool escapes = markup_ && !(value.Is(Kind::kString) && value.string().markup);
    return escapes ? EscapeHtml(out) : out;
  }

  Value Lookup(std::string_view name) {
    size_t i = std::min(name.find_first_of(".["), name.size());
    Value value = First(name.substr(0, i));
    while (i < name.size()) {
      if (name[i] == '.') {
        const size_t end = std::min(name.find_first_of(".[", i + 1), name.size());
        value = GetAttr(runtime_, value, name.substr(i + 1, end - i - 1));
        i = end;
      } else {
        const size_t end = name.find(']', i);
        if (name[i] != '[' || end == std::string_view::npos) {
          RaiseValue("Missing ']' in format string");
        }
        value = GetItem(runtime_, value, KeyOf(name.substr(i + 1, end - i - 1)));
        i = end + 1;
      }
    }
    return value;
  }

  static bool AllDigits(std::string_view text) {
    return !text.empty() && text.size() <= 9 &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  }
  static size_t ToIndex(std::string_view digits) {
    size_t value = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return value;
  }
  static Value KeyOf(std::string_view key) {
    return AllDigits(key) ? Value::Integer(static_cast<Int>(ToIndex(key))) : Value::Trusted(key);
  }

  Value First(std::string_view name) {
    if (name.empty() || AllDigits(name)) {
      const size_t index = name.empty() ? next_++ : ToIndex(name);
      if (index >= args_.positional.size()) {
        Raise("IndexError", "Replacement index " + std::to_string(index) + " out of range for positional args tuple");
      }
      return args_.positional[index];
    }
    const Value* named = args_.Named(name);
    if (named == nullptr) {
      Raise("KeyError", "'" + std::string(name) + "'");
    }
    return *named;
  }

  Runtime& runtime_;
  const CallArgs& args_;
  const bool markup_;
  size_t next_ = 0;
};

}  // namespace

Value PercentFormat(Runtime& runtime, const Value& format, const Value& args) {
  return PercentFormatter(runtime, format, args).Run();
}

Value BraceFormat(Runtime& runtime, const Value& format, const CallArgs& args) {
  runtime.ChargeBytes(format.bytes().size());
  const bool markup = format.string().markup;
  return Value::Text(BraceFormatter(runtime, args, markup).Run(format.text(), 0), markup);
}

}  // namespace causeway::server
