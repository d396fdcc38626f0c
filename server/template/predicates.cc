#include "server/template/predicates.h"

#include "server/template/arguments.h"
#include "server/template/ast.h"
#include "server/template/fault.h"
#include "server/template/filters.h"
#include "server/template/operators.h"
#include "server/template/python_text.h"
#include "server/template/unicode.h"

namespace causeway::server {
namespace {

void NoArguments(const char* name, const CallArgs& args) { Arguments(name, args, {}); }

template <Kind kKind>
bool IsKind(Runtime&, const Value& v, const CallArgs& args) {
  NoArguments("test", args);
  return v.Is(kKind);
}
bool IsDefined(Runtime&, const Value& v, const CallArgs&) { return !v.Is(Kind::kUndefined); }
bool IsNumberTest(Runtime&, const Value& v, const CallArgs&) { return v.IsNumber(); }
bool IsTrue(Runtime&, const Value& v, const CallArgs&) { return v.Is(Kind::kBool) && v.boolean(); }
bool IsFalse(Runtime&, const Value& v, const CallArgs&) { return v.Is(Kind::kBool) && !v.boolean(); }
bool IsCallable(Runtime&, const Value& v, const CallArgs&) {
  return v.Is(Kind::kCallable) || v.Is(Kind::kUndefined) || v.Is(Kind::kLoop);
}
bool IsIterableTest(Runtime&, const Value& v, const CallArgs&) { return IsIterable(v); }
bool IsSequenceTest(Runtime&, const Value& v, const CallArgs&) {
  return v.Is(Kind::kString) || v.IsSequence() || v.Is(Kind::kDict) || v.Is(Kind::kUndefined) ||
         (v.Is(Kind::kIterator) && v.iterator().type_name == "range");
}
bool IsEscaped(Runtime&, const Value& v, const CallArgs&) { return v.Is(Kind::kString) && v.string().markup; }

bool HasRemainder(Runtime& runtime, const Value& v, const Value& divisor, Int remainder) {
  const Value rest = BinaryOp(runtime, Op::kMod, v, divisor);
  return Equal(runtime, rest, Value::Integer(remainder));
}
bool IsOdd(Runtime& runtime, const Value& v, const CallArgs&) { return HasRemainder(runtime, v, Value::Integer(2), 1); }
bool IsEven(Runtime& runtime, const Value& v, const CallArgs&) {
  return HasRemainder(runtime, v, Value::Integer(2), 0);
}
bool IsDivisibleBy(Runtime& runtime, const Value& v, const CallArgs& call) {
  const Arguments args("divisibleby", call, {"num"}, 1);
  return HasRemainder(runtime, v, args[0], 0);
}

// str.islower and str.isupper: at least one cased character, and none of the other case.
bool IsCase(Runtime& runtime, const Value& v, bool lower) {
  const MarkedText text = Str(runtime, v);
  bool found = false;
  for (size_t i = 0; i < text.size();) {
    const char32_t c = DecodeChar(text.bytes(), &i);
    if (IsTitle(c) || (lower ? IsUpper(c) : IsLower(c))) {
      return false;
    }
    found |= lower ? IsLower(c) : IsUpper(c);
  }
  return found;
}
bool IsLowerTest(Runtime& runtime, const Value& v, const CallArgs&) { return IsCase(runtime, v, true); }
bool IsUpperTest(Runtime& runtime, const Value& v, const CallArgs&) { return IsCase(runtime, v, false); }

template <Op kOp>
bool Comparison(Runtime& runtime, const Value& v, const CallArgs& call) {
  const Arguments args("test", call, {"other"}, 1);
  return Compare(runtime, kOp, v, args[0]);
}

bool IsSameAs(Runtime& runtime, const Value& v, const CallArgs& call) {
  const Arguments args("sameas", call, {"other"}, 1);
  if (v.kind() != args[0].kind()) {
    return false;
  }
  if (v.Is(Kind::kNone) || v.IsNumber() || v.Is(Kind::kNamespace) || v.Is(Kind::kLoop)) {
    return Equal(runtime, v, args[0]);
  }
  return v.identity() == args[0].identity() ||
         (v.Is(Kind::kString) && v.string().chars <= 1 && Equal(runtime, v, args[0]));
}

bool IsFilterName(Runtime&, const Value& v, const CallArgs&) {
  return v.Is(Kind::kString) && FindFilter(v.bytes()) != nullptr;
}
bool IsTestName(Runtime&, const Value& v, const CallArgs&) {
  return v.Is(Kind::kString) && FindTest(v.bytes()) != nullptr;
}

struct Row {
  std::string_view name;
  TestFunction function;
};

constexpr Row kTests[] = {
    {"defined", IsDefined},
    {"undefined", IsKind<Kind::kUndefined>},
    {"none", IsKind<Kind::kNone>},
    {"boolean", IsKind<Kind::kBool>},
    {"integer", IsKind<Kind::kInt>},
    {"float", IsKind<Kind::kFloat>},
    {"string", IsKind<Kind::kString>},
    {"mapping", IsKind<Kind::kDict>},
    {"number", IsNumberTest},
    {"true", IsTrue},
    {"false", IsFalse},
    {"callable", IsCallable},
    {"iterable", IsIterableTest},
    {"sequence", IsSequenceTest},
    {"escaped", IsEscaped},
    {"odd", IsOdd},
    {"even", IsEven},
    {"divisibleby", IsDivisibleBy},
    {"lower", IsLowerTest},
    {"upper", IsUpperTest},
    {"in", Comparison<Op::kIn>},
    {"eq", Comparison<Op::kEq>},
    {"==", Comparison<Op::kEq>},
    {"equalto", Comparison<Op::kEq>},
    {"ne", Comparison<Op::kNe>},
    {"!=", Comparison<Op::kNe>},
    {"lt", Comparison<Op::kLt>},
    {"<", Comparison<Op::kLt>},
    {"lessthan", Comparison<Op::kLt>},
    {"le", Comparison<Op::kLe>},
    {"<=", Comparison<Op::kLe>},
    {"gt", Comparison<Op::kGt>},
    {">", Comparison<Op::kGt>},
    {"greaterthan", Comparison<Op::kGt>},
    {"ge", Comparison<Op::kGe>},
    {">=", Comparison<Op::kGe>},
    {"sameas", IsSameAs},
    {"filter", IsFilterName},
    {"test", IsTestName},
};

}  // namespace

TestFunction FindTest(std::string_view name) {
  for (const Row& row : kTests) {
    if (row.name == name) {
      return row.function;
    }
  }
  return nullptr;
}

std::string TestNames() {
  std::string names;
  for (const Row& row : kTests) {
    names += names.empty() ? "" : ", ";
    names += row.name;
  }
  return names;
}

}  // namespace causeway::server
