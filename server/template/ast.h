// The syntax tree. One node type for expressions and one for statements: a kind, and the few fields that
// kind uses. Immutable once parsed, shared by any number of rendering threads.
//   invariant: depth == 1 + the largest depth of a child, and depth <= TemplateLimits::max_nesting.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/template/value.h"

namespace causeway::server {

enum class ExprKind : uint8_t {
  kConst,    // constant
  kName,     // name
  kList,     // operands
  kTuple,    // operands
  kDict,     // operands: key, value, key, value, ...
  kGetAttr,  // operands[0] . name
  kGetItem,  // operands[0] [ operands[1] ]
  kSlice,    // operands: start, stop, step; null where absent
  kCall,     // operands[0] ( arguments )
  kFilter,   // operands[0] | name ( arguments ); operands[0] is null in a filter block
  kTest,     // operands[0] is name ( arguments )
  kUnary,    // op operands[0]
  kBinary,   // operands[0] op operands[1]
  kAnd,      // operands, short-circuit, yields the deciding operand
  kOr,
  kNot,
  kCompare,  // operands[0] ops[0] operands[1] ops[1] operands[2] ...
  kConcat,   // operands joined as text
  kCond,     // operands: value, condition, otherwise (null: undefined)
};

enum class Op : uint8_t {
  kNone,
  kAdd,
  kSub,
  kMul,
  kDiv,
  kFloorDiv,
  kMod,
  kPow,
  kPos,
  kNeg,
  kEq,
  kNe,
  kLt,
  kLe,
  kGt,
  kGe,
  kIn,
  kNotIn,
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Argument {
  enum class Spread : uint8_t { kNone, kPositional, kNamed };  // plain, *value, **value
  std::string name;                                            // empty: positional
  ExprPtr value;
  Spread spread = Spread::kNone;
};

struct Expr {
  ExprKind kind = ExprKind::kConst;
  Op op = Op::kNone;
  int line = 0;
  uint32_t depth = 1;
  std::string name;
  Value constant;
  std::vector<ExprPtr> operands;
  std::vector<Op> ops;
  std::vector<Argument> arguments;
};

enum class StmtKind : uint8_t {
  kText,         // text
  kOutput,       // expr
  kIf,           // branches, else_body
  kFor,          // target in expr [if condition] [recursive]: body, else_body
  kSet,          // target = expr
  kSetBlock,     // target, body, filter (optional)
  kMacro,        // name, params, body
  kCallBlock,    // expr (a call), params, body
  kFilterBlock,  // filter, body
  kWith,         // params as bindings, body
  kScope,        // body in a scope of its own ({% generation %})
  kBreak,
  kContinue,
};

struct Stmt;
using StmtPtr = std::unique_ptr<Stmt>;
using Block = std::vector<StmtPtr>;

struct Param {
  ExprPtr target;         // a name; in `with`, any assignment target
  ExprPtr default_value;  // null: required
};

struct Branch {
  ExprPtr condition;
  Block body;
};

struct Stmt {
  StmtKind kind = StmtKind::kText;
  bool recursive = false;
  bool uses_caller = false;   // macro body reads `caller`
  bool uses_kwargs = false;   // macro body reads `kwargs`
  bool uses_varargs = false;  // macro body reads `varargs`
  int line = 0;
  uint32_t depth = 1;
  std::string name;
  Value text;
  ExprPtr expr;
  ExprPtr target;
  ExprPtr condition;
  ExprPtr filter;
  std::vector<Param> params;
  std::vector<Branch> branches;
  Block body;
  Block else_body;
};

}  // namespace causeway::server
