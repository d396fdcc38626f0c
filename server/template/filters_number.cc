#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "server/template/arguments.h"
#include "server/template/fault.h"
#include "server/template/filters.h"
#include "server/template/operators.h"
#include "server/template/python_text.h"
#include "server/template/text_ops.h"

namespace causeway::server {
namespace {

std::string StrippedDigits(const Value& text) {
  std::string digits = Strip(text.text(), Side::kBoth, nullptr).bytes();
  // Python allows single underscores between digits.
  for (size_t i = 1; i + 1 < digits.size(); ++i) {
    const auto alnum = [&](size_t k) { return std::isalnum(static_cast<unsigned char>(digits[k])) != 0; };
    if (digits[i] == '_' && alnum(i - 1) && alnum(i + 1)) {
      digits.erase(i, 1);
    }
  }
  return digits;
}

std::optional<double> ReadFloat(const Value& text) {
  std::string digits = StrippedDigits(text);
  const char* begin = digits.data();
  const char* const end = begin + digits.size();
  if (begin != end && *begin == '+' && begin + 1 != end && begin[1] != '-' && begin[1] != '+') {
    ++begin;
  }
  double value = 0;
  const auto parsed = std::from_chars(begin, end, value);
  if (parsed.ptr != end || begin == end) {
    return std::nullopt;
  }
  if (parsed.ec == std::errc::result_out_of_range) {
    const bool tiny = digits.find("e-") != std::string::npos || digits.find("E-") != std::string::npos;
    value = tiny ? 0 : digits[0] == '-' ? -HUGE_VAL : HUGE_VAL;
  } else if (parsed.ec != std::errc()) {
    return std::nullopt;
  }
  return value;
}

std::optional<Int> ReadInt(const Value& text, int base) {
  std::string digits = StrippedDigits(text);
  size_t i = !digits.empty() && (digits[0] == '-' || digits[0] == '+') ? 1 : 0;
  const bool negative = i == 1 && digits[0] == '-';
  if (i + 1 < digits.size() && digits[i] == '0') {
    const char prefix = static_cast<char>(digits[i + 1] | 0x20);
    const int prefix_base = prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 0;
    if (prefix_base != 0 && (base == prefix_base || base == 0)) {
      base = prefix_base;
      i += 2;
    }
  }
  base = base == 0 ? 10 : base;
  if (i >= digits.size()) {
    return std::nullopt;
  }
  Int value = 0;
  for (; i < digits.size(); ++i) {
    const char c = static_cast<char>(digits[i] | (digits[i] >= 'A' ? 0x20 : 0));
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
    if (digit >= base) {
      return std::nullopt;
    }
    value = CheckedMul(value, base);
    if (__builtin_add_overflow(value, Int{digit}, &value)) {
      Raise("OverflowError", "integers beyond 127 bits are not supported in templates");
    }
  }
  return negative ? -value : value;
}

std::optional<Int> Truncate(double value) {
  if (!(std::fabs(value) < 1e37)) {
    return std::nullopt;
  }
  return static_cast<Int>(value);
}

Value IntFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  const Arguments args("int", call, {"default", "base"});
  const Value otherwise = args.Or(0, Value::Integer(0));
  if (input.Is(Kind::kUndefined)) {
    RaiseUndefined(input);
  }
  if (input.IsIntegral()) {
    return Value::Integer(input.integer());
  }
  std::optional<Int> value;
  if (input.Is(Kind::kFloat)) {
    value = Truncate(input.number());
  } else if (input.Is(Kind::kString)) {
    runtime.Charge(1 + input.bytes().size());
    const Int base = args.IntOr(1, 10);
    value = base == 0 || (base >= 2 && base <= 36) ? ReadInt(input, static_cast<int>(base)) : std::nullopt;
    if (!value) {
      const std::optional<double> real = ReadFloat(input);  // "42.23"|int is 42
      value = real ? Truncate(*real) : std::nullopt;
    }
  }
  return value ? Value::Integer(*value) : otherwise;
}

Value FloatFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  const Arguments args("float", call, {"default"});
  const Value otherwise = args.Or(0, Value::Float(0));
  if (input.Is(Kind::kUndefined)) {
    RaiseUndefined(input);
  }
  if (input.IsNumber()) {
    return Value::Float(input.number());
  }
  if (!input.Is(Kind::kString)) {
    return otherwise;
  }
  runtime.Charge(1 + input.bytes().size());
  const std::optional<double> value = ReadFloat(input);
  return value ? Value::Float(*value) : otherwise;
}

Value AbsFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  ExpectNoArguments("abs", call);
  if (input.IsIntegral()) {
    return input.integer() < 0 ? UnaryOp(runtime, Op::kNeg, input) : Value::Integer(input.integer());
  }
  if (input.Is(Kind::kFloat)) {
    return Value::Float(std::fabs(input.number()));
  }
  if (input.Is(Kind::kUndefined)) {
    RaiseUndefined(input);
  }
  RaiseType("bad operand type for abs(): '" + input.TypeName() + "'");
}

// Python's round(): exact decimal rounding of the binary value, ties to even.
double RoundTo(double value, int precision) {
  if (!std::isfinite(value) || precision > 300) {
    return value;
  }
  if (precision < 0) {
    const double unit = std::pow(10.0, -precision);
    return std::isfinite(unit) ? std::nearbyint(value / unit) * unit : 0.0;
  }
  char buffer[1024];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::fixed, precision).ptr;
  double rounded = value;
  std::from_chars(buffer, end, rounded);
  return rounded;
}

Int RoundInt(Int value, int precision) {
  Int unit = 1;
  for (int i = 0; i < -precision && i < 38; ++i) {
    unit = CheckedMul(unit, 10);
  }
  const Int rest = ((value % unit) + unit) % unit;
  const Int down = value - rest;
  const bool up = rest * 2 > unit || (rest * 2 == unit && (down / unit) % 2 != 0);
  return up ? down + unit : down;
}

Value RoundFilter(Runtime&, const Value& input, const CallArgs& call) {
  const Arguments args("round", call, {"precision", "method"});
  const int precision = static_cast<int>(std::clamp<Int>(args.IntOr(0, 0), -400, 400));
  const std::string method = args.Has(1) ? args.Text(1).bytes() : "common";
  if (method != "common" && method != "ceil" && method != "floor") {
    Raise("FilterArgumentError", "method must be common, ceil or floor");
  }
  if (input.Is(Kind::kUndefined)) {
    RaiseUndefined(input);
  }
  if (!input.IsNumber()) {
    RaiseType("type " + input.TypeName() + " doesn't define __round__ method");
  }
  if (method == "common") {
    if (input.IsIntegral()) {
      return Value::Integer(precision >= 0    ? input.integer()
                            : precision < -37 ? 0
                                              : RoundInt(input.integer(), precision));
    }
    return Value::Float(RoundTo(input.number(), precision));
  }
  const double scale = std::pow(10.0, precision);
  const double scaled = input.number() * scale;
  if (!std::isfinite(scaled)) {
    Raise("OverflowError", "cannot convert float infinity to integer");
  }
  return Value::Float((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

Value FileSizeFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  const Arguments args("filesizeformat", call, {"binary"});
  CallArgs none;
  const double bytes = FloatFilter(runtime, input, none).number();
  const bool binary = args.BoolOr(0, false);
  const double base = binary ? 1024 : 1000;
  if (bytes == 1) {
    return Value::Trusted("1 Byte");
  }
  if (bytes < base) {
    return Value::Trusted(IntText(Truncate(bytes).value_or(0)) + " Bytes");
  }
  static constexpr const char* kDecimal[] = {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"};
  static constexpr const char* kBinary[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"};
  double unit = base;
  size_t i = 0;
  while (i + 1 < std::size(kDecimal) && bytes >= unit * base) {
    unit *= base;
    ++i;
  }
  char buffer[1024];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), bytes / unit, std::chars_format::fixed, 1).ptr;
  return Value::Trusted(std::string(buffer, end) + " " + (binary ? kBinary : kDecimal)[i]);
}

constexpr FilterRow kFilters[] = {
    {"abs", AbsFilter},     {"filesizeformat", FileSizeFilter}, {"float", FloatFilter}, {"int", IntFilter},
    {"round", RoundFilter},
};

}  // namespace

FilterFunction FindNumberFilter(std::string_view name) { return FindInRows(kFilters, name); }
void AppendNumberFilterNames(std::string* names) { AppendRowNames(kFilters, names); }

}  // namespace causeway::server
