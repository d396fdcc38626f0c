// Runs a syntax tree: expressions in evaluator.cc, statements in evaluator_statements.cc. One Evaluator
// serves one Render call.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "server/template/ast.h"
#include "server/template/runtime.h"

namespace causeway::server {

// Variables of one block. Reading walks outwards; assigning stays in the innermost scope.
struct Scope {
  Scope* parent = nullptr;
  bool captured = false;                                      // a macro defined inside may outlive the block
  std::vector<std::pair<std::string_view, Value>> variables;  // names live in the tree

  Value* Find(std::string_view name);
  void Set(std::string_view name, Value value);
};

class Evaluator {
 public:
  using Variables = std::unordered_map<std::string, Value>;

  Evaluator(Runtime& runtime, const Variables& context) : runtime_(runtime), context_(context) {}
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;

  // Renders the template. Throws Fault; line() then says where.
  MarkedText Run(const Block& block);
  int line() const { return line_; }

 private:
  enum class Flow { kNormal, kBreak, kContinue };

  // Makes a new scope the current one; its contents are kept if a macro captured them.
  class ScopeGuard;
  // Sends output to a buffer of its own.
  class Capture;

  Value Eval(const Expr& expr);
  Value EvalName(const Expr& expr);
  Value EvalItems(const Expr& expr);
  Value EvalDict(const Expr& expr);
  Value EvalGetItem(const Expr& expr);
  Value EvalCall(const Expr& expr);
  Value EvalFilter(const Expr& expr);
  Value EvalTest(const Expr& expr);
  Value EvalLogic(const Expr& expr);
  Value EvalCompare(const Expr& expr);
  Value EvalConcat(const Expr& expr);
  Value EvalCond(const Expr& expr);
  CallArgs EvalArguments(const std::vector<Argument>& arguments);
  void SpreadArgument(const Argument& argument, const Value& value, CallArgs* args);

  Flow Exec(const Block& block);
  Flow ExecStmt(const Stmt& stmt);
  Flow ExecScoped(const Block& block);
  Flow ExecIf(const Stmt& stmt);
  void ExecFor(const Stmt& stmt);
  void ExecSetBlock(const Stmt& stmt);
  void ExecCallBlock(const Stmt& stmt);
  void ExecFilterBlock(const Stmt& stmt);
  Flow ExecWith(const Stmt& stmt);
  void Assign(const Expr& target, const Value& value);
  void Emit(const Value& value);

  std::vector<Value> LoopItems(const Stmt& stmt, const Value& iterable);
  void RunLoop(const Stmt& stmt, const Value& iterable, size_t depth0);
  Value LoopRecursion(const Stmt& stmt, Scope* outer, size_t depth0);
  Value MakeMacro(const Stmt& stmt);
  Value CallMacro(const Stmt& stmt, Scope* definition, CallArgs& args);
  void BindParams(const Stmt& stmt, CallArgs& args);
  Value CaptureBlock(const Block& block);
  Value ApplyBlockFilter(const Expr& filter, const Value& input);

  Runtime& runtime_;
  const Variables& context_;
  Scope* scope_ = nullptr;
  MarkedText* out_ = nullptr;
  const Value* block_input_ = nullptr;  // what a filter block's innermost filter is applied to
  int line_ = 0;
  std::vector<std::unique_ptr<Scope>> captured_;
};

}  // namespace causeway::server
