// Tokens to syntax tree, with Jinja's grammar (precedence, targets, call arguments) as templates rely on
// it. One parser object reads one template; expressions and statements are in a file each.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "server/template/ast.h"
#include "server/template/lexer.h"
#include "server/template/limits.h"

namespace causeway::server {

class Parser {
 public:
  Parser(std::vector<Token> tokens, const TemplateLimits& limits) : tokens_(std::move(tokens)), limits_(limits) {}

  // The whole template. Throws Fault: TemplateSyntaxError, kUnsupported for template inheritance and
  // imports, LimitError for a tree deeper than max_nesting.
  Block ParseTemplate();

 private:
  // Statements (parser_statements.cc).
  Block ParseBody(std::initializer_list<std::string_view> end_words);
  StmtPtr ParseStatement();
  StmtPtr ParseIf();
  StmtPtr ParseFor();
  StmtPtr ParseSet();
  StmtPtr ParseMacro();
  StmtPtr ParseCallBlock();
  StmtPtr ParseFilterBlock();
  StmtPtr ParseWith();
  StmtPtr ParseGeneration();
  StmtPtr ParseLoopControl();
  void ParseSignature(Stmt* macro);
  Block ParseMacroBody(Stmt* macro, std::string_view end_word);
  void ExpectBlockEnd();
  StmtPtr NewStmt(StmtKind kind) const;
  StmtPtr Finish(StmtPtr stmt) const;  // sets depth from the children and checks it

  // Expressions (parser_expressions.cc), loosest first.
  ExprPtr ParseExpression(bool with_condition = true);
  ExprPtr ParseCondition();
  ExprPtr ParseOr();
  ExprPtr ParseAnd();
  ExprPtr ParseNot();
  ExprPtr ParseCompare();
  ExprPtr ParseSum();
  ExprPtr ParseConcat();
  ExprPtr ParseProduct();
  ExprPtr ParsePower();
  ExprPtr ParseUnary(bool with_filter = true);
  ExprPtr ParsePrimary();
  ExprPtr ParseNameOrConstant();
  ExprPtr ParseNumber();
  ExprPtr ParsePostfix(ExprPtr node);
  ExprPtr ParseFilters(ExprPtr node);
  ExprPtr ParseFilterName(ExprPtr input);
  ExprPtr ParseTest(ExprPtr node);
  ExprPtr ParseSubscript(ExprPtr node);
  ExprPtr ParseSubscribed();
  ExprPtr ParseCall(ExprPtr callee);
  ExprPtr ParseList();
  ExprPtr ParseDict();
  // One expression, or a tuple where commas follow; stops before an operator or name in `stops`.
  ExprPtr ParseTuple(bool with_condition, bool explicit_parentheses, std::string_view stop = {});
  // A name, a namespace attribute (where allowed) or a tuple of them, possibly parenthesised.
  ExprPtr ParseTarget(bool with_namespace, std::string_view stop);
  ExprPtr ParseOneTarget(bool with_namespace);
  void ParseArguments(std::vector<Argument>* arguments);
  Argument ParseArgument(bool* seen_named);
  bool AtTupleEnd(std::string_view stop) const;
  ExprPtr NewExpr(ExprKind kind) const;
  ExprPtr Finish(ExprPtr expr) const;
  ExprPtr Binary(Op op, ExprPtr left, ExprPtr right);
  void NoteName(const std::string& name);

  // The token stream.
  const Token& Current() const { return tokens_[pos_]; }
  const Token& Peek() const { return tokens_[pos_ + 1 < tokens_.size() ? pos_ + 1 : pos_]; }
  Token Next();
  bool AtOperator(std::string_view op) const;
  bool AtName(std::string_view name) const;
  bool SkipOperator(std::string_view op);
  bool SkipName(std::string_view name);
  void ExpectOperator(std::string_view op);
  Token ExpectName();
  void ExpectName(std::string_view name);
  [[noreturn]] void Fail(std::string message) const;
  [[noreturn]] void FailUnexpected(std::string_view wanted) const;

  // Bounds the recursion of the parser itself.
  class Nest {
   public:
    explicit Nest(Parser* parser);
    ~Nest() { --parser_->nesting_; }
    Nest(const Nest&) = delete;
    Nest& operator=(const Nest&) = delete;

   private:
    Parser* const parser_;
  };
  void CheckDepth(size_t depth) const;

  const std::vector<Token> tokens_;
  const TemplateLimits limits_;
  size_t pos_ = 0;
  size_t nesting_ = 0;
  size_t loops_ = 0;           // loops around the current statement, within the current macro
  std::vector<Stmt*> macros_;  // macros and call blocks around the current expression
};

}  // namespace causeway::server
