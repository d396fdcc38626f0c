#include "server/template/evaluator.h"

#include "server/template/fault.h"
#include "server/template/globals.h"
#include "server/template/operators.h"
#include "server/template/python_text.h"

namespace causeway::server {

Value* Scope::Find(std::string_view name) {
  for (auto& [key, value] : variables) {
    if (key == name) {
      return &value;
    }
  }
  return nullptr;
}

void Scope::Set(std::string_view name, Value value) {
  if (Value* found = Find(name)) {
    *found = std::move(value);
  } else {
    variables.emplace_back(name, std::move(value));
  }
}

Value Evaluator::Eval(const Expr& expr) {
  const Runtime::Depth depth(&runtime_);
  runtime_.Charge(1);
  line_ = expr.line;
  switch (expr.kind) {
    case ExprKind::kConst: return expr.constant;
    case ExprKind::kName: return EvalName(expr);
    case ExprKind::kList:
    case ExprKind::kTuple: return EvalItems(expr);
    case ExprKind::kDict: return EvalDict(expr);
    case ExprKind::kGetAttr: return GetAttr(runtime_, Eval(*expr.operands[0]), expr.name);
    case ExprKind::kGetItem: return EvalGetItem(expr);
    case ExprKind::kSlice: RaiseType("a slice is only possible inside [ ]");
    case ExprKind::kCall: return EvalCall(expr);
    case ExprKind::kFilter: return EvalFilter(expr);
    case ExprKind::kTest: return EvalTest(expr);
    case ExprKind::kUnary: return UnaryOp(runtime_, expr.op, Eval(*expr.operands[0]));
    case ExprKind::kBinary: {
      const Value left = Eval(*expr.operands[0]);
      return BinaryOp(runtime_, expr.op, left, Eval(*expr.operands[1]));
    }
    case ExprKind::kAnd:
    case ExprKind::kOr: return EvalLogic(expr);
    case ExprKind::kNot: return Value::Bool(!Truthy(Eval(*expr.operands[0])));
    case ExprKind::kCompare: return EvalCompare(expr);
    case ExprKind::kConcat: return EvalConcat(expr);
    case ExprKind::kCond: return EvalCond(expr);
  }
  return Value::None();
}

Value Evaluator::EvalName(const Expr& expr) {
  for (Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    if (const Value* found = scope->Find(expr.name)) {
      return *found;
    }
  }
  const auto it = context_.find(expr.name);
  return it != context_.end() ? it->second : FindGlobal(expr.name);
}

Value Evaluator::EvalItems(const Expr& expr) {
  std::vector<Value> items;
  items.reserve(expr.operands.size());
  for (const ExprPtr& operand : expr.operands) {
    items.push_back(Eval(*operand));
  }
  return expr.kind == ExprKind::kList ? Value::List(std::move(items)) : Value::Tuple(std::move(items));
}

Value Evaluator::EvalDict(const Expr& expr) {
  DictData dict;
  for (size_t i = 0; i < expr.operands.size(); i += 2) {
    Value key = Eval(*expr.operands[i]);
    dict.Set(std::move(key), Eval(*expr.operands[i + 1]));
  }
  return Value::Dict(std::move(dict));
}

Value Evaluator::EvalGetItem(const Expr& expr) {
  const Value object = Eval(*expr.operands[0]);
  const Expr& key = *expr.operands[1];
  if (key.kind != ExprKind::kSlice) {
    return GetItem(runtime_, object, Eval(key));
  }
  const auto part = [&](size_t i) { return key.operands[i] ? Eval(*key.operands[i]) : Value::None(); };
  const Value start = part(0);
  const Value stop = part(1);
  return GetSlice(runtime_, object, start, stop, part(2));
}

void Evaluator::SpreadArgument(const Argument& argument, const Value& value, CallArgs* args) {
  if (argument.spread == Argument::Spread::kPositional) {
    for (Value& item : Iterate(runtime_, value)) {
      args->positional.push_back(std::move(item));
    }
    return;
  }
  if (!value.Is(Kind::kDict)) {
    RaiseType("argument after ** must be a mapping, not " + value.TypeName());
  }
  for (const auto& [key, item] : value.dict().entries) {
    if (!key.Is(Kind::kString)) {
      RaiseType("keywords must be strings");
    }
    args->named.emplace_back(key.bytes(), item);
  }
}

CallArgs Evaluator::EvalArguments(const std::vector<Argument>& arguments) {
  CallArgs args;
  for (const Argument& argument : arguments) {
    Value value = Eval(*argument.value);
    if (argument.spread != Argument::Spread::kNone) {
      SpreadArgument(argument, value, &args);
    } else if (argument.name.empty()) {
      args.positional.push_back(std::move(value));
    } else {
      args.named.emplace_back(argument.name, std::move(value));
    }
  }
  return args;
}

Value Evaluator::EvalCall(const Expr& expr) {
  const Value callee = Eval(*expr.operands[0]);
  CallArgs args = EvalArguments(expr.arguments);
  line_ = expr.line;
  return runtime_.Call(callee, args);
}

Value Evaluator::EvalFilter(const Expr& expr) {
  const Value input = expr.operands[0] ? Eval(*expr.operands[0]) : *block_input_;
  CallArgs args = EvalArguments(expr.arguments);
  line_ = expr.line;
  return runtime_.ApplyFilter(expr.name, input, args);
}

Value Evaluator::EvalTest(const Expr& expr) {
  const Value input = Eval(*expr.operands[0]);
  CallArgs args = EvalArguments(expr.arguments);
  return Value::Bool(runtime_.ApplyTest(expr.name, input, args));
}

Value Evaluator::EvalLogic(const Expr& expr) {
  const bool stops_at = expr.kind == ExprKind::kOr;
  Value value;
  for (const ExprPtr& operand : expr.operands) {
    value = Eval(*operand);
    if (Truthy(value) == stops_at) {
      return value;
    }
  }
  return value;
}

Value Evaluator::EvalCompare(const Expr& expr) {
  Value left = Eval(*expr.operands[0]);
  for (size_t i = 0; i < expr.ops.size(); ++i) {
    Value right = Eval(*expr.operands[i + 1]);
    if (!Compare(runtime_, expr.ops[i], left, right)) {
      return Value::Bool(false);
    }
    left = std::move(right);
  }
  return Value::Bool(true);
}

Value Evaluator::EvalConcat(const Expr& expr) {
  MarkedText out;
  for (const ExprPtr& operand : expr.operands) {
    AppendStr(runtime_, Eval(*operand), &out);
    if (out.size() > kMaxStringBytes) {
      RaiseLimit("kMaxStringBytes", kMaxStringBytes);
    }
  }
  return Value::Text(std::move(out));
}

Value Evaluator::EvalCond(const Expr& expr) {
  if (Truthy(Eval(*expr.operands[1]))) {
    return Eval(*expr.operands[0]);
  }
  return expr.operands[2] ? Eval(*expr.operands[2])
                          : Value::Undefined("the inline if-expression on line " + std::to_string(expr.line) +
                                             " evaluated to false and no else section was defined.");
}

}  // namespace causeway::server
