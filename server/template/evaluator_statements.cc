#include <algorithm>

#include "server/template/evaluator.h"
#include "server/template/fault.h"
#include "server/template/operators.h"
#include "server/template/python_text.h"

namespace causeway::server {

class Evaluator::ScopeGuard {
 public:
  ScopeGuard(Evaluator* evaluator, Scope* parent)
      : evaluator_(evaluator), saved_(evaluator->scope_), scope_(std::make_unique<Scope>()) {
    scope_->parent = parent;
    evaluator_->scope_ = scope_.get();
  }
  ~ScopeGuard() {
    evaluator_->scope_ = saved_;
    if (scope_->captured) {
      evaluator_->captured_.push_back(std::move(scope_));
    }
  }
  ScopeGuard(const ScopeGuard&) = delete;
  ScopeGuard& operator=(const ScopeGuard&) = delete;

 private:
  Evaluator* const evaluator_;
  Scope* const saved_;
  std::unique_ptr<Scope> scope_;
};

class Evaluator::Capture {
 public:
  explicit Capture(Evaluator* evaluator) : evaluator_(evaluator), saved_(evaluator->out_) { evaluator_->out_ = &text_; }
  ~Capture() { evaluator_->out_ = saved_; }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  Value Take() { return Value::Text(std::move(text_)); }

 private:
  Evaluator* const evaluator_;
  MarkedText* const saved_;
  MarkedText text_;
};

MarkedText Evaluator::Run(const Block& block) {
  MarkedText out;
  Scope root;
  scope_ = &root;
  out_ = &out;
  Exec(block);
  scope_ = nullptr;
  out_ = nullptr;
  return out;
}

void Evaluator::Emit(const Value& value) {
  AppendStr(runtime_, value, out_);
  if (out_->size() > runtime_.limits().max_output_bytes) {
    RaiseLimit("max_output_bytes", runtime_.limits().max_output_bytes);
  }
}

Evaluator::Flow Evaluator::Exec(const Block& block) {
  const Runtime::Depth depth(&runtime_);
  for (const StmtPtr& stmt : block) {
    const Flow flow = ExecStmt(*stmt);
    if (flow != Flow::kNormal) {
      return flow;
    }
  }
  return Flow::kNormal;
}

Evaluator::Flow Evaluator::ExecScoped(const Block& block) {
  const ScopeGuard guard(this, scope_);
  return Exec(block);
}

Evaluator::Flow Evaluator::ExecStmt(const Stmt& stmt) {
  runtime_.Charge(1);
  line_ = stmt.line;
  switch (stmt.kind) {
    case StmtKind::kText: Emit(stmt.text); break;
    case StmtKind::kOutput: Emit(Eval(*stmt.expr)); break;
    case StmtKind::kIf: return ExecIf(stmt);
    case StmtKind::kFor: ExecFor(stmt); break;
    case StmtKind::kSet: Assign(*stmt.target, Eval(*stmt.expr)); break;
    case StmtKind::kSetBlock: ExecSetBlock(stmt); break;
    case StmtKind::kMacro: scope_->Set(stmt.name, MakeMacro(stmt)); break;
    case StmtKind::kCallBlock: ExecCallBlock(stmt); break;
    case StmtKind::kFilterBlock: ExecFilterBlock(stmt); break;
    case StmtKind::kWith: return ExecWith(stmt);
    case StmtKind::kScope: return ExecScoped(stmt.body);
    case StmtKind::kBreak: return Flow::kBreak;
    case StmtKind::kContinue: return Flow::kContinue;
  }
  return Flow::kNormal;
}

Evaluator::Flow Evaluator::ExecIf(const Stmt& stmt) {
  for (const Branch& branch : stmt.branches) {
    if (Truthy(Eval(*branch.condition))) {
      return Exec(branch.body);
    }
  }
  return Exec(stmt.else_body);
}

void Evaluator::Assign(const Expr& target, const Value& value) {
  if (target.kind == ExprKind::kName) {
    scope_->Set(target.name, value);
    return;
  }
  if (target.kind == ExprKind::kGetAttr) {
    const Value object = Eval(*target.operands[0]);
    if (!object.Is(Kind::kNamespace) || object.ns()->type_name != "Namespace") {
      Raise("TemplateRuntimeError", "cannot assign attribute on non-namespace object");
    }
    object.ns()->Set(target.name, value);
    return;
  }
  const std::vector<Value> items = Iterate(runtime_, value);
  const size_t wanted = target.operands.size();
  if (items.size() != wanted) {
    RaiseValue(items.size() > wanted ? "too many values to unpack (expected " + std::to_string(wanted) + ")"
                                     : "not enough values to unpack (expected " + std::to_string(wanted) + ", got " +
                                           std::to_string(items.size()) + ")");
  }
  for (size_t i = 0; i < wanted; ++i) {
    Assign(*target.operands[i], items[i]);
  }
}

// The items of a for block: those of the iterable that pass its `if`.
std::vector<Value> Evaluator::LoopItems(const Stmt& stmt, const Value& iterable) {
  std::vector<Value> items = Iterate(runtime_, iterable);
  if (!stmt.condition) {
    return items;
  }
  std::vector<Value> kept;
  const ScopeGuard guard(this, scope_);
  for (Value& item : items) {
    runtime_.ChargeIteration();
    Assign(*stmt.target, item);
    if (Truthy(Eval(*stmt.condition))) {
      kept.push_back(std::move(item));
    }
  }
  return kept;
}

void Evaluator::ExecFor(const Stmt& stmt) { RunLoop(stmt, Eval(*stmt.expr), 0); }

void Evaluator::RunLoop(const Stmt& stmt, const Value& iterable, size_t depth0) {
  LoopState* loop = runtime_.NewLoop();
  loop->items = LoopItems(stmt, iterable);
  loop->length = loop->items.size();
  loop->depth0 = depth0;
  if (loop->items.empty()) {
    ExecScoped(stmt.else_body);
    return;
  }
  Scope* const outer = scope_;
  const ScopeGuard guard(this, outer);
  if (stmt.recursive) {
    loop->recurse = LoopRecursion(stmt, outer, depth0);
    for (Scope* scope = outer; scope != nullptr; scope = scope->parent) {
      scope->captured = true;
    }
  }
  for (; loop->index0 < loop->length; ++loop->index0) {
    runtime_.ChargeIteration();
    scope_->variables.clear();
    scope_->Set("loop", Value::Of(loop));
    const Value item = loop->items[loop->index0];
    Assign(*stmt.target, item);
    if (Exec(stmt.body) == Flow::kBreak) {
      break;
    }
  }
  loop->items.clear();
}

// What loop(items) calls: the same block over other items, one level deeper, as text.
Value Evaluator::LoopRecursion(const Stmt& stmt, Scope* outer, size_t depth0) {
  return Value::Callable("loop", [this, &stmt, outer, depth0](Runtime&, CallArgs& args) {
    if (args.positional.size() != 1 || !args.named.empty()) {
      RaiseType("loop() takes one iterable");
    }
    Scope* const saved = std::exchange(scope_, outer);
    Capture capture(this);
    struct Restore {
      Evaluator* evaluator;
      Scope* scope;
      ~Restore() { evaluator->scope_ = scope; }
    } restore{this, saved};
    RunLoop(stmt, args.positional[0], depth0 + 1);
    return capture.Take();
  });
}

Value Evaluator::CaptureBlock(const Block& block) {
  Capture capture(this);
  ExecScoped(block);
  return capture.Take();
}

Value Evaluator::ApplyBlockFilter(const Expr& filter, const Value& input) {
  const Value* const saved = std::exchange(block_input_, &input);
  Value result = Eval(filter);
  block_input_ = saved;
  return result;
}

void Evaluator::ExecSetBlock(const Stmt& stmt) {
  Value text = CaptureBlock(stmt.body);
  Assign(*stmt.target, stmt.filter ? ApplyBlockFilter(*stmt.filter, text) : text);
}

void Evaluator::ExecFilterBlock(const Stmt& stmt) {
  const Value text = CaptureBlock(stmt.body);
  Emit(ApplyBlockFilter(*stmt.filter, text));
}

void Evaluator::ExecCallBlock(const Stmt& stmt) {
  const Value callee = Eval(*stmt.expr->operands[0]);
  CallArgs args = EvalArguments(stmt.expr->arguments);
  args.named.emplace_back("caller", MakeMacro(stmt));
  Emit(runtime_.Call(callee, args));
}

Evaluator::Flow Evaluator::ExecWith(const Stmt& stmt) {
  std::vector<Value> values;  // all evaluated outside, as Jinja does
  for (const Param& binding : stmt.params) {
    values.push_back(Eval(*binding.default_value));
  }
  const ScopeGuard guard(this, scope_);
  for (size_t i = 0; i < values.size(); ++i) {
    Assign(*stmt.params[i].target, values[i]);
  }
  return Exec(stmt.body);
}

// A macro reads the variables around its definition at the time of the call, so those scopes must stay.
Value Evaluator::MakeMacro(const Stmt& stmt) {
  Scope* const definition = scope_;
  for (Scope* scope = definition; scope != nullptr; scope = scope->parent) {
    scope->captured = true;
  }
  return Value::Callable(
      stmt.name, [this, &stmt, definition](Runtime&, CallArgs& args) { return CallMacro(stmt, definition, args); });
}

Value Evaluator::CallMacro(const Stmt& stmt, Scope* definition, CallArgs& args) {
  Capture capture(this);
  const ScopeGuard guard(this, definition);
  BindParams(stmt, args);
  Exec(stmt.body);
  return capture.Take();
}

void Evaluator::BindParams(const Stmt& stmt, CallArgs& args) {
  const auto take_named = [&args](std::string_view name, Value* out) {
    const auto it =
        std::find_if(args.named.begin(), args.named.end(), [name](const auto& entry) { return entry.first == name; });
    const bool found = it != args.named.end();
    if (found) {
      *out = std::move(it->second);
      args.named.erase(it);
    }
    return found;
  };
  bool explicit_caller = false;
  for (size_t i = 0; i < stmt.params.size(); ++i) {
    const Param& param = stmt.params[i];
    const std::string& name = param.target->name;
    explicit_caller |= name == "caller";
    Value value;
    if (i < args.positional.size()) {
      value = args.positional[i];
    } else if (!take_named(name, &value)) {
      value = param.default_value ? Eval(*param.default_value)
                                  : Value::Undefined("parameter '" + name + "' was not provided");
    }
    scope_->Set(name, std::move(value));
  }
  if (stmt.uses_caller && !explicit_caller) {
    Value caller;
    const bool given = take_named("caller", &caller);
    scope_->Set("caller", given ? caller : Value::Undefined("No caller defined"));
  }
  if (stmt.uses_kwargs) {
    DictData dict;
    for (const auto& [name, value] : args.named) {
      dict.Set(Value::Trusted(name), value);
    }
    scope_->Set("kwargs", Value::Dict(std::move(dict)));
  } else if (!args.named.empty()) {
    RaiseType("macro '" + stmt.name + "' takes no keyword argument '" + args.named[0].first + "'");
  }
  const size_t taken = std::min(stmt.params.size(), args.positional.size());
  if (stmt.uses_varargs) {
    scope_->Set("varargs", Value::Tuple(std::vector<Value>(args.positional.begin() + static_cast<ptrdiff_t>(taken),
                                                           args.positional.end())));
  } else if (args.positional.size() > taken) {
    RaiseType("macro '" + stmt.name + "' takes not more than " + std::to_string(stmt.params.size()) + " argument(s)");
  }
}

}  // namespace causeway::server
