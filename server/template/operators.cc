#include "server/template/operators.h"

#include <algorithm>
#include <cmath>

#include "server/template/fault.h"
#include "server/template/format.h"
#include "server/template/python_text.h"
#include "server/template/text_ops.h"

namespace causeway::server {
namespace {

constexpr Int kIntMax = static_cast<Int>((static_cast<unsigned __int128>(1) << 127) - 1);

[[noreturn]] void RaiseIntRange() { Raise("OverflowError", "integers beyond 127 bits are not supported in templates"); }

const char* OpText(Op op) {
  switch (op) {
    case Op::kAdd: return "+";
    case Op::kSub: return "-";
    case Op::kMul: return "*";
    case Op::kDiv: return "/";
    case Op::kFloorDiv: return "//";
    case Op::kMod: return "%";
    case Op::kPow: return "** or pow()";
    case Op::kLt: return "<";
    case Op::kLe: return "<=";
    case Op::kGt: return ">";
    case Op::kGe: return ">=";
    default: return "?";
  }
}

[[noreturn]] void RaiseOperands(Op op, const Value& a, const Value& b) {
  RaiseType(std::string("unsupported operand type(s) for ") + OpText(op) + ": '" + a.TypeName() + "' and '" +
            b.TypeName() + "'");
}

Value IntOp(Op op, Int a, Int b) {
  Int result = 0;
  switch (op) {
    case Op::kAdd:
      if (__builtin_add_overflow(a, b, &result)) {
        RaiseIntRange();
      }
      return Value::Integer(result);
    case Op::kSub:
      if (__builtin_sub_overflow(a, b, &result)) {
        RaiseIntRange();
      }
      return Value::Integer(result);
    case Op::kMul: return Value::Integer(CheckedMul(a, b));
    case Op::kDiv:
      if (b == 0) {
        Raise("ZeroDivisionError", "division by zero");
      }
      return Value::Float(static_cast<double>(a) / static_cast<double>(b));
    default: break;
  }
  if (b == 0) {
    Raise("ZeroDivisionError", "integer division or modulo by zero");
  }
  if (b == -1) {  // the one division that can overflow
    return Value::Integer(op == Op::kMod ? 0 : CheckedMul(a, -1));
  }
  Int quotient = a / b;
  Int remainder = a % b;
  if (remainder != 0 && (remainder < 0) != (b < 0)) {  // Python rounds to minus infinity
    --quotient;
    remainder += b;
  }
  return Value::Integer(op == Op::kMod ? remainder : quotient);
}

Value FloatOp(Op op, double a, double b) {
  switch (op) {
    case Op::kAdd: return Value::Float(a + b);
    case Op::kSub: return Value::Float(a - b);
    case Op::kMul: return Value::Float(a * b);
    default: break;
  }
  if (b == 0) {
    Raise("ZeroDivisionError", op == Op::kMod ? "float modulo" : "float division by zero");
  }
  if (op == Op::kDiv) {
    return Value::Float(a / b);
  }
  double remainder = std::fmod(a, b);
  if (remainder != 0 && (remainder < 0) != (b < 0)) {
    remainder += b;
  }
  if (op == Op::kMod) {
    return Value::Float(remainder);
  }
  const double quotient = (a - remainder) / b;
  const double floor = std::floor(quotient);
  return Value::Float(quotient - floor > 0.5 ? floor + 1 : floor);
}

Value Power(const Value& a, const Value& b) {
  if (a.IsIntegral() && b.IsIntegral() && b.integer() >= 0) {
    Int base = a.integer();
    Int result = 1;
    if (base == 0 || base == 1 || base == -1) {
      const bool odd = b.integer() % 2 != 0;
      return Value::Integer(b.integer() == 0 ? 1 : base == -1 && !odd ? 1 : base);
    }
    for (Int i = 0; i < b.integer(); ++i) {  // overflows, and stops, after at most 126 rounds
      result = CheckedMul(result, base);
    }
    return Value::Integer(result);
  }
  if (a.number() == 0 && b.number() < 0) {
    Raise("ZeroDivisionError", "0.0 cannot be raised to a negative power");
  }
  const double result = std::pow(a.number(), b.number());
  if (std::isnan(result) && !std::isnan(a.number()) && !std::isnan(b.number())) {
    RaiseUnsupported("complex numbers are not supported in templates");
  }
  if (std::isinf(result) && std::isfinite(a.number()) && std::isfinite(b.number())) {
    Raise("OverflowError", "(34, 'Numerical result out of range')");
  }
  return Value::Float(result);
}

Value Concatenate(Runtime& runtime, const Value& a, const Value& b) {
  if (!a.Is(Kind::kString) || !b.Is(Kind::kString)) {
    if (a.Is(Kind::kString)) {
      RaiseType("can only concatenate str (not \"" + b.TypeName() + "\") to str");
    }
    RaiseOperands(Op::kAdd, a, b);
  }
  const size_t size = a.bytes().size() + b.bytes().size();
  if (size > kMaxStringBytes) {
    RaiseLimit("kMaxStringBytes", kMaxStringBytes);
  }
  runtime.ChargeBytes(size);
  const bool markup = a.string().markup || b.string().markup;
  MarkedText out = markup ? EscapedStr(runtime, a) : a.text();
  out.Append(markup ? EscapedStr(runtime, b) : b.text());
  return Value::Text(std::move(out), markup);
}

Value ConcatenateLists(Runtime& runtime, const Value& a, const Value& b) {
  if (a.kind() != b.kind()) {
    RaiseType("can only concatenate " + a.TypeName() + " (not \"" + b.TypeName() + "\") to " + a.TypeName());
  }
  runtime.Charge(a.items().size() + b.items().size());
  std::vector<Value> items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  return a.Is(Kind::kList) ? Value::List(std::move(items)) : Value::Tuple(std::move(items));
}

Value Repeat(Runtime& runtime, const Value& sequence, Int times) {
  times = std::max<Int>(times, 0);
  if (sequence.Is(Kind::kString)) {
    const size_t size = sequence.bytes().size();
    if (size != 0 && times > static_cast<Int>(kMaxStringBytes / size)) {
      RaiseLimit("kMaxStringBytes", kMaxStringBytes);
    }
    runtime.ChargeBytes(size * static_cast<size_t>(times));
    MarkedText out;
    for (Int i = 0; size != 0 && i < times; ++i) {
      out.Append(sequence.text());
    }
    return Value::Text(std::move(out), sequence.string().markup);
  }
  const std::vector<Value>& items = sequence.items();
  if (!items.empty() && times > static_cast<Int>(kMaxItems / items.size())) {
    RaiseLimit("kMaxItems", kMaxItems);
  }
  runtime.Charge(1 + items.size() * static_cast<size_t>(items.empty() ? 0 : times));
  std::vector<Value> out;
  for (Int i = 0; !items.empty() && i < times; ++i) {
    out.insert(out.end(), items.begin(), items.end());
  }
  return sequence.Is(Kind::kList) ? Value::List(std::move(out)) : Value::Tuple(std::move(out));
}

bool IsRepeatable(const Value& value) { return value.Is(Kind::kString) || value.IsSequence(); }

bool EqualItems(Runtime& runtime, const std::vector<Value>& a, const std::vector<Value>& b) {
  if (a.size() != b.size()) {
    return false;
  }
  for (size_t i = 0; i < a.size(); ++i) {
    if (!Equal(runtime, a[i], b[i])) {
      return false;
    }
  }
  return true;
}

bool EqualDicts(Runtime& runtime, const DictData& a, const DictData& b) {
  if (a.entries.size() != b.entries.size()) {
    return false;
  }
  for (const auto& [key, value] : a.entries) {
    const Value* other = b.Find(key);
    if (other == nullptr || !Equal(runtime, value, *other)) {
      return false;
    }
  }
  return true;
}

bool EqualNumbers(const Value& a, const Value& b) {
  return a.Is(Kind::kFloat) || b.Is(Kind::kFloat) ? a.number() == b.number() : a.integer() == b.integer();
}

}  // namespace

void RaiseUndefined(const Value& undefined) {
  Raise(undefined.undefined_is_unsafe() ? "SecurityError" : "UndefinedError", undefined.undefined_message());
}

Int CheckedMul(Int a, Int b) {
  // __builtin_mul_overflow on 128 bits needs a run-time routine that clang does not link by default.
  if (a == 0 || b == 0) {
    return 0;
  }
  const auto magnitude = [](Int v) {
    const auto u = static_cast<unsigned __int128>(v);
    return v < 0 ? ~u + 1 : u;
  };
  if (magnitude(a) > static_cast<unsigned __int128>(kIntMax) / magnitude(b)) {
    RaiseIntRange();
  }
  return a * b;
}

bool Truthy(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone: return false;
    case Kind::kBool: return value.boolean();
    case Kind::kInt: return value.integer() != 0;
    case Kind::kFloat: return value.number() != 0;
    case Kind::kString: return !value.bytes().empty();
    case Kind::kList:
    case Kind::kTuple: return !value.items().empty();
    case Kind::kDict: return !value.dict().entries.empty();
    case Kind::kIterator: return value.iterator().one_shot || !value.iterator().items.empty();
    case Kind::kLoop: return value.loop()->length != 0;
    default: return true;
  }
}

bool Equal(Runtime& runtime, const Value& a, const Value& b) {
  const Runtime::Depth depth(&runtime);
  runtime.Charge(1);
  if (a.IsNumber() && b.IsNumber()) {
    return EqualNumbers(a, b);
  }
  if (a.kind() != b.kind()) {
    return false;
  }
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone: return true;
    case Kind::kString:
      runtime.ChargeBytes(std::min(a.bytes().size(), b.bytes().size()));
      return a.bytes() == b.bytes();
    case Kind::kList:
    case Kind::kTuple: return EqualItems(runtime, a.items(), b.items());
    case Kind::kDict: return EqualDicts(runtime, a.dict(), b.dict());
    case Kind::kNamespace: return a.ns() == b.ns();
    case Kind::kLoop: return a.loop() == b.loop();
    case Kind::kIterator:
      if (!a.iterator().one_shot && !b.iterator().one_shot && a.iterator().type_name == b.iterator().type_name) {
        return EqualItems(runtime, a.iterator().items, b.iterator().items);
      }
      return a.identity() == b.identity();
    default: return a.identity() == b.identity();
  }
}

bool Less(Runtime& runtime, const Value& a, const Value& b) { return Compare(runtime, Op::kLt, a, b); }

bool Compare(Runtime& runtime, Op op, const Value& a, const Value& b) {
  if (op == Op::kEq || op == Op::kNe) {
    return Equal(runtime, a, b) == (op == Op::kEq);
  }
  if (op == Op::kIn || op == Op::kNotIn) {
    return Contains(runtime, b, a) == (op == Op::kIn);
  }
  const Runtime::Depth depth(&runtime);
  runtime.Charge(1);
  const auto decide = [op](const auto& x, const auto& y) {
    return op == Op::kLt ? x < y : op == Op::kLe ? x <= y : op == Op::kGt ? x > y : x >= y;
  };
  if (a.IsNumber() && b.IsNumber()) {
    return a.Is(Kind::kFloat) || b.Is(Kind::kFloat) ? decide(a.number(), b.number()) : decide(a.integer(), b.integer());
  }
  if (a.Is(Kind::kString) && b.Is(Kind::kString)) {
    runtime.ChargeBytes(std::min(a.bytes().size(), b.bytes().size()));
    return decide(a.bytes(), b.bytes());  // byte order of UTF-8 is code point order
  }
  if (a.IsSequence() && a.kind() == b.kind()) {
    const std::vector<Value>& x = a.items();
    const std::vector<Value>& y = b.items();
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!Equal(runtime, x[i], y[i])) {
        return Compare(runtime, op, x[i], y[i]);
      }
    }
    return decide(x.size(), y.size());
  }
  for (const Value* value : {&a, &b}) {
    if (value->Is(Kind::kUndefined)) {
      RaiseUndefined(*value);
    }
  }
  RaiseType(std::string("'") + OpText(op) + "' not supported between instances of '" + a.TypeName() + "' and '" +
            b.TypeName() + "'");
}

bool Contains(Runtime& runtime, const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::kString:
      if (!item.Is(Kind::kString)) {
        RaiseType("'in <string>' requires string as left operand, not " + item.TypeName());
      }
      runtime.ChargeBytes(container.bytes().size());
      return FindBytes(container.bytes(), item.bytes(), 0) != std::string::npos;
    case Kind::kDict: return container.dict().Find(item) != nullptr;
    case Kind::kList:
    case Kind::kTuple:
      return std::any_of(container.items().begin(), container.items().end(),
                         [&](const Value& value) { return Equal(runtime, value, item); });
    case Kind::kIterator:
    case Kind::kUndefined: {
      const std::vector<Value> items = Iterate(runtime, container);
      return std::any_of(items.begin(), items.end(), [&](const Value& value) { return Equal(runtime, value, item); });
    }
    default: RaiseType("argument of type '" + container.TypeName() + "' is not iterable");
  }
}

Value UnaryOp(Runtime&, Op op, const Value& value) {
  if (value.Is(Kind::kUndefined)) {
    RaiseUndefined(value);
  }
  if (value.IsIntegral()) {
    return op == Op::kNeg ? IntOp(Op::kSub, 0, value.integer()) : Value::Integer(value.integer());
  }
  if (value.Is(Kind::kFloat)) {
    return Value::Float(op == Op::kNeg ? -value.number() : value.number());
  }
  RaiseType(std::string("bad operand type for unary ") + (op == Op::kNeg ? "-" : "+") + ": '" + value.TypeName() + "'");
}

Value BinaryOp(Runtime& runtime, Op op, const Value& a, const Value& b) {
  if (op == Op::kMod && a.Is(Kind::kString)) {
    return PercentFormat(runtime, a, b);
  }
  if (op == Op::kAdd && a.Is(Kind::kString) && !b.Is(Kind::kUndefined)) {
    return Concatenate(runtime, a, b);
  }
  for (const Value* value : {&a, &b}) {
    if (value->Is(Kind::kUndefined)) {
      RaiseUndefined(*value);
    }
  }
  if (a.IsNumber() && b.IsNumber()) {
    if (op == Op::kPow) {
      return Power(a, b);
    }
    const bool real = a.Is(Kind::kFloat) || b.Is(Kind::kFloat);
    return real ? FloatOp(op, a.number(), b.number()) : IntOp(op, a.integer(), b.integer());
  }
  if (op == Op::kAdd && a.IsSequence()) {
    return ConcatenateLists(runtime, a, b);
  }
  if (op == Op::kMul && IsRepeatable(a) && b.IsIntegral()) {
    return Repeat(runtime, a, b.integer());
  }
  if (op == Op::kMul && IsRepeatable(b) && a.IsIntegral()) {
    return Repeat(runtime, b, a.integer());
  }
  if (op == Op::kMul && (IsRepeatable(a) || IsRepeatable(b))) {
    RaiseType("can't multiply sequence by non-int of type '" + (IsRepeatable(a) ? b : a).TypeName() + "'");
  }
  RaiseOperands(op, a, b);
}

}  // namespace causeway::server
