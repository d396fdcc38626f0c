#include <algorithm>

#include "server/template/fault.h"
#include "server/template/parser.h"

namespace causeway::server {
namespace {

uint32_t DepthOf(const ExprPtr& expr) { return expr ? expr->depth : 0; }

uint32_t DepthOf(const Block& block) {
  uint32_t depth = 0;
  for (const StmtPtr& stmt : block) {
    depth = std::max(depth, stmt->depth);
  }
  return depth;
}

}  // namespace

Parser::Nest::Nest(Parser* parser) : parser_(parser) { parser_->CheckDepth(++parser_->nesting_); }

void Parser::CheckDepth(size_t depth) const {
  if (depth > limits_.max_nesting) {
    throw Fault{ErrorCode::kInvalidArgument, "LimitError",
                "over the limit max_nesting = " + std::to_string(limits_.max_nesting), Current().line};
  }
}

Token Parser::Next() {
  Token token = Current();
  if (pos_ + 1 < tokens_.size()) {
    ++pos_;
  }
  return token;
}

bool Parser::AtOperator(std::string_view op) const {
  return Current().kind == TokenKind::kOperator && Current().text == op;
}
bool Parser::AtName(std::string_view name) const {
  return Current().kind == TokenKind::kName && Current().text == name;
}
bool Parser::SkipOperator(std::string_view op) {
  const bool found = AtOperator(op);
  if (found) {
    Next();
  }
  return found;
}
bool Parser::SkipName(std::string_view name) {
  const bool found = AtName(name);
  if (found) {
    Next();
  }
  return found;
}
void Parser::ExpectOperator(std::string_view op) {
  if (!SkipOperator(op)) {
    FailUnexpected(op);
  }
}
Token Parser::ExpectName() {
  if (Current().kind != TokenKind::kName) {
    FailUnexpected("a name");
  }
  return Next();
}
void Parser::ExpectName(std::string_view name) {
  if (!SkipName(name)) {
    FailUnexpected(name);
  }
}
void Parser::ExpectBlockEnd() {
  if (Current().kind != TokenKind::kBlockEnd) {
    FailUnexpected("%}");
  }
  Next();
}

void Parser::Fail(std::string message) const { Raise("TemplateSyntaxError", std::move(message), Current().line); }
void Parser::FailUnexpected(std::string_view wanted) const {
  const std::string got = Current().kind == TokenKind::kEnd ? "end of template" : Current().text;
  Fail("expected " + std::string(wanted) + ", got '" + got.substr(0, 60) + "'");
}

StmtPtr Parser::NewStmt(StmtKind kind) const {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = kind;
  stmt->line = Current().line;
  return stmt;
}

StmtPtr Parser::Finish(StmtPtr stmt) const {
  uint32_t depth = std::max({DepthOf(stmt->expr), DepthOf(stmt->target), DepthOf(stmt->condition),
                             DepthOf(stmt->filter), DepthOf(stmt->body), DepthOf(stmt->else_body)});
  for (const Branch& branch : stmt->branches) {
    depth = std::max({depth, DepthOf(branch.condition), DepthOf(branch.body)});
  }
  for (const Param& param : stmt->params) {
    depth = std::max({depth, DepthOf(param.target), DepthOf(param.default_value)});
  }
  stmt->depth = depth + 1;
  CheckDepth(stmt->depth);
  return stmt;
}

Block Parser::ParseTemplate() {
  Block block = ParseBody({});
  if (Current().kind != TokenKind::kEnd) {
    FailUnexpected("end of template");
  }
  return block;
}

// Statements up to "{% word" for a word of `end_words` (the block begin is consumed, the word is not);
// with no end words, up to the end of the template.
Block Parser::ParseBody(std::initializer_list<std::string_view> end_words) {
  const Nest nest(this);
  Block block;
  while (true) {
    switch (Current().kind) {
      case TokenKind::kData: {
        StmtPtr stmt = NewStmt(StmtKind::kText);
        stmt->text = Value::Trusted(Next().text);
        block.push_back(std::move(stmt));
        break;
      }
      case TokenKind::kVariableBegin: {
        StmtPtr stmt = NewStmt(StmtKind::kOutput);
        Next();
        stmt->expr = ParseTuple(true, false);
        if (Current().kind != TokenKind::kVariableEnd) {
          FailUnexpected("}}");
        }
        Next();
        block.push_back(Finish(std::move(stmt)));
        break;
      }
      case TokenKind::kBlockBegin: {
        Next();
        const auto* end =
            std::find_if(end_words.begin(), end_words.end(), [this](std::string_view word) { return AtName(word); });
        if (end != end_words.end()) {
          return block;
        }
        block.push_back(ParseStatement());
        break;
      }
      case TokenKind::kEnd:
        if (end_words.size() != 0) {
          FailUnexpected(*(end_words.end() - 1));
        }
        return block;
      default: FailUnexpected("text or a tag");
    }
  }
}

StmtPtr Parser::ParseStatement() {
  struct Row {
    std::string_view word;
    StmtPtr (Parser::*parse)();
  };
  static constexpr Row kStatements[] = {
      {"if", &Parser::ParseIf},
      {"for", &Parser::ParseFor},
      {"set", &Parser::ParseSet},
      {"macro", &Parser::ParseMacro},
      {"call", &Parser::ParseCallBlock},
      {"filter", &Parser::ParseFilterBlock},
      {"with", &Parser::ParseWith},
      {"generation", &Parser::ParseGeneration},
      {"break", &Parser::ParseLoopControl},
      {"continue", &Parser::ParseLoopControl},
  };
  for (const Row& row : kStatements) {
    if (AtName(row.word)) {
      StmtPtr stmt = (this->*row.parse)();
      ExpectBlockEnd();
      return Finish(std::move(stmt));
    }
  }
  for (const std::string_view word : {"include", "import", "from", "extends", "block", "autoescape"}) {
    if (AtName(word)) {
      RaiseUnsupported("chat template line " + std::to_string(Current().line) + ": {% " + std::string(word) +
                       " %} is not supported in chat templates");
    }
  }
  Fail("Encountered unknown tag '" + Current().text.substr(0, 60) + "'");
}

StmtPtr Parser::ParseIf() {
  StmtPtr stmt = NewStmt(StmtKind::kIf);
  do {  // at "if" or "elif"
    Next();
    Branch branch;
    branch.condition = ParseTuple(false, false);
    ExpectBlockEnd();
    branch.body = ParseBody({"elif", "else", "endif"});
    stmt->branches.push_back(std::move(branch));
  } while (AtName("elif"));
  if (SkipName("else")) {
    ExpectBlockEnd();
    stmt->else_body = ParseBody({"endif"});
  }
  ExpectName("endif");
  return stmt;
}

StmtPtr Parser::ParseFor() {
  StmtPtr stmt = NewStmt(StmtKind::kFor);
  Next();
  stmt->target = ParseTarget(false, "in");
  ExpectName("in");
  stmt->expr = ParseTuple(false, false, "recursive");
  if (SkipName("if")) {
    stmt->condition = ParseExpression();
  }
  stmt->recursive = SkipName("recursive");
  ExpectBlockEnd();
  ++loops_;
  stmt->body = ParseBody({"else", "endfor"});
  --loops_;
  if (SkipName("else")) {
    ExpectBlockEnd();
    stmt->else_body = ParseBody({"endfor"});
  }
  ExpectName("endfor");
  return stmt;
}

StmtPtr Parser::ParseSet() {
  StmtPtr stmt = NewStmt(StmtKind::kSet);
  Next();
  stmt->target = ParseTarget(true, "");
  if (SkipOperator("=")) {
    stmt->expr = ParseTuple(true, false);
    return stmt;
  }
  stmt->kind = StmtKind::kSetBlock;
  if (SkipOperator("|")) {
    stmt->filter = ParseFilters(ParseFilterName(nullptr));
  }
  ExpectBlockEnd();
  stmt->body = ParseBody({"endset"});
  ExpectName("endset");
  return stmt;
}

void Parser::ParseSignature(Stmt* macro) {
  ExpectOperator("(");
  while (!AtOperator(")")) {
    if (!macro->params.empty()) {
      ExpectOperator(",");
      if (AtOperator(")")) {
        break;
      }
    }
    Param param;
    param.target = NewExpr(ExprKind::kName);
    param.target->name = ExpectName().text;
    if (SkipOperator("=")) {
      param.default_value = ParseExpression();
    } else if (!macro->params.empty() && macro->params.back().default_value) {
      Fail("non-default argument follows default argument");
    }
    macro->params.push_back(std::move(param));
  }
  ExpectOperator(")");
}

Block Parser::ParseMacroBody(Stmt* macro, std::string_view end_word) {
  const size_t loops = std::exchange(loops_, 0);  // break does not cross a macro
  macros_.push_back(macro);
  Block body = ParseBody({end_word});
  macros_.pop_back();
  loops_ = loops;
  ExpectName(end_word);
  return body;
}

StmtPtr Parser::ParseMacro() {
  StmtPtr stmt = NewStmt(StmtKind::kMacro);
  Next();
  stmt->name = ExpectName().text;
  ParseSignature(stmt.get());
  ExpectBlockEnd();
  stmt->body = ParseMacroBody(stmt.get(), "endmacro");
  return stmt;
}

StmtPtr Parser::ParseCallBlock() {
  StmtPtr stmt = NewStmt(StmtKind::kCallBlock);
  stmt->name = "caller";
  Next();
  if (AtOperator("(")) {
    ParseSignature(stmt.get());
  }
  stmt->expr = ParseExpression();
  if (stmt->expr->kind != ExprKind::kCall) {
    Fail("expected call");
  }
  ExpectBlockEnd();
  stmt->body = ParseMacroBody(stmt.get(), "endcall");
  return stmt;
}

StmtPtr Parser::ParseFilterBlock() {
  StmtPtr stmt = NewStmt(StmtKind::kFilterBlock);
  Next();
  stmt->filter = ParseFilters(ParseFilterName(nullptr));
  ExpectBlockEnd();
  stmt->body = ParseBody({"endfilter"});
  ExpectName("endfilter");
  return stmt;
}

StmtPtr Parser::ParseWith() {
  StmtPtr stmt = NewStmt(StmtKind::kWith);
  Next();
  while (Current().kind != TokenKind::kBlockEnd) {
    if (!stmt->params.empty()) {
      ExpectOperator(",");
    }
    Param binding;
    binding.target = ParseTarget(false, "=");
    ExpectOperator("=");
    binding.default_value = ParseExpression();
    stmt->params.push_back(std::move(binding));
  }
  ExpectBlockEnd();
  stmt->body = ParseBody({"endwith"});
  ExpectName("endwith");
  return stmt;
}

StmtPtr Parser::ParseGeneration() {
  StmtPtr stmt = NewStmt(StmtKind::kScope);
  Next();
  ExpectBlockEnd();
  stmt->body = ParseMacroBody(stmt.get(), "endgeneration");
  return stmt;
}

StmtPtr Parser::ParseLoopControl() {
  if (loops_ == 0) {
    Fail("'" + Current().text + "' outside loop");
  }
  StmtPtr stmt = NewStmt(AtName("break") ? StmtKind::kBreak : StmtKind::kContinue);
  Next();
  return stmt;
}

}  // namespace causeway::server
