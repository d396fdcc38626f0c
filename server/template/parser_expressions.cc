#include <algorithm>
#include <charconv>

#include "server/template/fault.h"
#include "server/template/parser.h"

namespace causeway::server {

ExprPtr Parser::NewExpr(ExprKind kind) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = Current().line;
  return expr;
}

ExprPtr Parser::Finish(ExprPtr expr) const {
  uint32_t depth = 0;
  for (const ExprPtr& operand : expr->operands) {
    depth = std::max(depth, operand ? operand->depth : 0);
  }
  for (const Argument& argument : expr->arguments) {
    depth = std::max(depth, argument.value->depth);
  }
  expr->depth = depth + 1;
  CheckDepth(expr->depth);
  return expr;
}

ExprPtr Parser::Binary(Op op, ExprPtr left, ExprPtr right) {
  ExprPtr node = NewExpr(ExprKind::kBinary);
  node->op = op;
  node->operands.push_back(std::move(left));
  node->operands.push_back(std::move(right));
  return Finish(std::move(node));
}

// A macro that reads one of these names takes what its parameters do not.
void Parser::NoteName(const std::string& name) {
  for (Stmt* macro : macros_) {
    macro->uses_caller |= name == "caller";
    macro->uses_kwargs |= name == "kwargs";
    macro->uses_varargs |= name == "varargs";
  }
}

ExprPtr Parser::ParseExpression(bool with_condition) {
  const Nest nest(this);
  return with_condition ? ParseCondition() : ParseOr();
}

ExprPtr Parser::ParseCondition() {
  ExprPtr value = ParseOr();
  while (SkipName("if")) {
    ExprPtr node = NewExpr(ExprKind::kCond);
    ExprPtr condition = ParseOr();
    ExprPtr otherwise = SkipName("else") ? ParseExpression() : nullptr;
    node->operands.push_back(std::move(value));
    node->operands.push_back(std::move(condition));
    node->operands.push_back(std::move(otherwise));
    value = Finish(std::move(node));
  }
  return value;
}

ExprPtr Parser::ParseOr() {
  ExprPtr first = ParseAnd();
  if (!AtName("or")) {
    return first;
  }
  ExprPtr node = NewExpr(ExprKind::kOr);
  node->operands.push_back(std::move(first));
  while (SkipName("or")) {
    node->operands.push_back(ParseAnd());
  }
  return Finish(std::move(node));
}

ExprPtr Parser::ParseAnd() {
  ExprPtr first = ParseNot();
  if (!AtName("and")) {
    return first;
  }
  ExprPtr node = NewExpr(ExprKind::kAnd);
  node->operands.push_back(std::move(first));
  while (SkipName("and")) {
    node->operands.push_back(ParseNot());
  }
  return Finish(std::move(node));
}

ExprPtr Parser::ParseNot() {
  if (!AtName("not")) {
    return ParseCompare();
  }
  const Nest nest(this);
  ExprPtr node = NewExpr(ExprKind::kNot);
  Next();
  node->operands.push_back(ParseNot());
  return Finish(std::move(node));
}

ExprPtr Parser::ParseCompare() {
  static constexpr std::pair<std::string_view, Op> kOperators[] = {
      {"==", Op::kEq}, {"!=", Op::kNe}, {"<=", Op::kLe}, {">=", Op::kGe}, {"<", Op::kLt}, {">", Op::kGt},
  };
  const auto next_operator = [this] {
    for (const auto& [text, op] : kOperators) {
      if (SkipOperator(text)) {
        return op;
      }
    }
    if (SkipName("in")) {
      return Op::kIn;
    }
    if (AtName("not") && Peek().kind == TokenKind::kName && Peek().text == "in") {
      Next();
      Next();
      return Op::kNotIn;
    }
    return Op::kNone;
  };
  ExprPtr first = ParseSum();
  Op op = next_operator();
  if (op == Op::kNone) {
    return first;
  }
  ExprPtr node = NewExpr(ExprKind::kCompare);
  node->operands.push_back(std::move(first));
  for (; op != Op::kNone; op = next_operator()) {
    node->ops.push_back(op);
    node->operands.push_back(ParseSum());
  }
  return Finish(std::move(node));
}

ExprPtr Parser::ParseSum() {
  ExprPtr left = ParseConcat();
  while (AtOperator("+") || AtOperator("-")) {
    const Op op = Next().text == "+" ? Op::kAdd : Op::kSub;
    ExprPtr right = ParseConcat();
    left = Binary(op, std::move(left), std::move(right));
  }
  return left;
}

ExprPtr Parser::ParseConcat() {
  ExprPtr first = ParseProduct();
  if (!AtOperator("~")) {
    return first;
  }
  ExprPtr node = NewExpr(ExprKind::kConcat);
  node->operands.push_back(std::move(first));
  while (SkipOperator("~")) {
    node->operands.push_back(ParseProduct());
  }
  return Finish(std::move(node));
}

ExprPtr Parser::ParseProduct() {
  ExprPtr left = ParsePower();
  while (true) {
    Op op = Op::kNone;
    if (SkipOperator("*")) {
      op = Op::kMul;
    } else if (SkipOperator("/")) {
      op = Op::kDiv;
    } else if (SkipOperator("//")) {
      op = Op::kFloorDiv;
    } else if (SkipOperator("%")) {
      op = Op::kMod;
    } else {
      return left;
    }
    ExprPtr right = ParsePower();
    left = Binary(op, std::move(left), std::move(right));
  }
}

ExprPtr Parser::ParsePower() {
  ExprPtr left = ParseUnary();
  while (SkipOperator("**")) {
    ExprPtr right = ParseUnary();
    left = Binary(Op::kPow, std::move(left), std::move(right));
  }
  return left;
}

ExprPtr Parser::ParseUnary(bool with_filter) {
  const Nest nest(this);
  ExprPtr node;
  if (AtOperator("-") || AtOperator("+")) {
    node = NewExpr(ExprKind::kUnary);
    node->op = Next().text == "-" ? Op::kNeg : Op::kPos;
    node->operands.push_back(ParseUnary(false));
    node = Finish(std::move(node));
  } else {
    node = ParsePrimary();
  }
  node = ParsePostfix(std::move(node));
  return with_filter ? ParseFilters(std::move(node)) : std::move(node);
}

ExprPtr Parser::ParsePrimary() {
  switch (Current().kind) {
    case TokenKind::kName: return ParseNameOrConstant();
    case TokenKind::kString: {
      ExprPtr node = NewExpr(ExprKind::kConst);
      std::string text;
      while (Current().kind == TokenKind::kString) {
        text += Next().text;
      }
      node->constant = Value::Trusted(text);
      return node;
    }
    case TokenKind::kInteger:
    case TokenKind::kFloat: return ParseNumber();
    default: break;
  }
  if (SkipOperator("(")) {
    ExprPtr node = ParseTuple(true, true);
    ExpectOperator(")");
    return node;
  }
  if (AtOperator("[")) {
    return ParseList();
  }
  if (AtOperator("{")) {
    return ParseDict();
  }
  FailUnexpected("an expression");
}

ExprPtr Parser::ParseNameOrConstant() {
  ExprPtr node = NewExpr(ExprKind::kConst);
  std::string name = Next().text;
  if (name == "true" || name == "True" || name == "false" || name == "False") {
    node->constant = Value::Bool(name == "true" || name == "True");
  } else if (name != "none" && name != "None") {
    node->kind = ExprKind::kName;
    NoteName(name);
    node->name = std::move(name);
  }
  return node;
}

ExprPtr Parser::ParseNumber() {
  ExprPtr node = NewExpr(ExprKind::kConst);
  const Token token = Next();
  const char* begin = token.text.data();
  const char* const end = begin + token.text.size();
  std::from_chars_result parsed{begin, std::errc()};
  if (token.kind == TokenKind::kFloat) {
    double value = 0;
    parsed = std::from_chars(begin, end, value);
    node->constant = Value::Float(value);
  } else {
    int base = 10;
    if (token.text.size() > 2 && token.text[0] == '0' && token.text[1] > '9') {
      base = (token.text[1] | 0x20) == 'x' ? 16 : (token.text[1] | 0x20) == 'o' ? 8 : 2;
      begin += 2;
    }
    int64_t value = 0;
    parsed = std::from_chars(begin, end, value, base);
    node->constant = Value::Integer(value);
  }
  if (parsed.ec != std::errc() || parsed.ptr != end) {
    Fail("number out of range: " + token.text.substr(0, 60));
  }
  return node;
}

ExprPtr Parser::ParsePostfix(ExprPtr node) {
  while (true) {
    if (AtOperator(".") || AtOperator("[")) {
      node = ParseSubscript(std::move(node));
    } else if (AtOperator("(")) {
      node = ParseCall(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr Parser::ParseFilters(ExprPtr node) {
  while (true) {
    if (SkipOperator("|")) {
      node = ParseFilterName(std::move(node));
    } else if (SkipName("is")) {
      node = ParseTest(std::move(node));
    } else if (AtOperator("(")) {
      node = ParseCall(std::move(node));
    } else {
      return node;
    }
  }
}

// After "|": name and arguments. `input` is null in a filter block, where the block's text is the input.
ExprPtr Parser::ParseFilterName(ExprPtr input) {
  ExprPtr node = NewExpr(ExprKind::kFilter);
  node->name = ExpectName().text;
  while (SkipOperator(".")) {
    node->name += '.' + ExpectName().text;
  }
  node->operands.push_back(std::move(input));
  if (AtOperator("(")) {
    ParseArguments(&node->arguments);
  }
  return Finish(std::move(node));
}

ExprPtr Parser::ParseTest(ExprPtr node) {
  ExprPtr test = NewExpr(ExprKind::kTest);
  const bool negated = SkipName("not");
  test->name = ExpectName().text;
  while (SkipOperator(".")) {
    test->name += '.' + ExpectName().text;
  }
  test->operands.push_back(std::move(node));
  const TokenKind kind = Current().kind;
  const bool starts_value = kind == TokenKind::kName || kind == TokenKind::kString || kind == TokenKind::kInteger ||
                            kind == TokenKind::kFloat || AtOperator("[") || AtOperator("{");
  if (AtOperator("(")) {
    ParseArguments(&test->arguments);
  } else if (starts_value && !AtName("else") && !AtName("or") && !AtName("and")) {
    if (AtName("is")) {
      Fail("You cannot chain multiple tests with is");
    }
    const Nest nest(this);
    Argument argument;
    argument.value = ParsePostfix(ParsePrimary());
    test->arguments.push_back(std::move(argument));
  }
  test = Finish(std::move(test));
  if (!negated) {
    return test;
  }
  ExprPtr inverse = NewExpr(ExprKind::kNot);
  inverse->operands.push_back(std::move(test));
  return Finish(std::move(inverse));
}

ExprPtr Parser::ParseSubscript(ExprPtr node) {
  if (SkipOperator(".")) {
    if (Current().kind == TokenKind::kName) {
      ExprPtr attribute = NewExpr(ExprKind::kGetAttr);
      attribute->name = Next().text;
      attribute->operands.push_back(std::move(node));
      return Finish(std::move(attribute));
    }
    if (Current().kind != TokenKind::kInteger) {
      FailUnexpected("name or number");
    }
    ExprPtr item = NewExpr(ExprKind::kGetItem);
    item->operands.push_back(std::move(node));
    item->operands.push_back(ParseNumber());
    return Finish(std::move(item));
  }
  ExpectOperator("[");
  ExprPtr item = NewExpr(ExprKind::kGetItem);
  item->operands.push_back(std::move(node));
  ExprPtr first = ParseSubscribed();
  if (AtOperator(",")) {
    ExprPtr tuple = NewExpr(ExprKind::kTuple);
    tuple->operands.push_back(std::move(first));
    while (SkipOperator(",")) {
      tuple->operands.push_back(ParseSubscribed());
    }
    first = Finish(std::move(tuple));
  }
  ExpectOperator("]");
  item->operands.push_back(std::move(first));
  return Finish(std::move(item));
}

// One index, or a slice "start:stop:step" with any part absent.
ExprPtr Parser::ParseSubscribed() {
  ExprPtr slice = NewExpr(ExprKind::kSlice);
  slice->operands.resize(3);
  if (!AtOperator(":")) {
    ExprPtr first = ParseExpression();
    if (!AtOperator(":")) {
      return first;
    }
    slice->operands[0] = std::move(first);
  }
  for (size_t part = 1; part < 3 && SkipOperator(":"); ++part) {
    if (!AtOperator(":") && !AtOperator("]") && !AtOperator(",")) {
      slice->operands[part] = ParseExpression();
    }
  }
  return Finish(std::move(slice));
}

ExprPtr Parser::ParseCall(ExprPtr callee) {
  ExprPtr node = NewExpr(ExprKind::kCall);
  node->operands.push_back(std::move(callee));
  ParseArguments(&node->arguments);
  return Finish(std::move(node));
}

void Parser::ParseArguments(std::vector<Argument>* arguments) {
  ExpectOperator("(");
  bool seen_named = false;
  while (!AtOperator(")")) {
    if (!arguments->empty()) {
      ExpectOperator(",");
      if (AtOperator(")")) {
        break;
      }
    }
    arguments->push_back(ParseArgument(&seen_named));
  }
  ExpectOperator(")");
}

Argument Parser::ParseArgument(bool* seen_named) {
  Argument argument;
  if (SkipOperator("*")) {
    argument.spread = Argument::Spread::kPositional;
  } else if (SkipOperator("**")) {
    argument.spread = Argument::Spread::kNamed;
    *seen_named = true;
  } else if (Current().kind == TokenKind::kName && Peek().kind == TokenKind::kOperator && Peek().text == "=") {
    argument.name = Next().text;
    Next();
    *seen_named = true;
  } else if (*seen_named) {
    Fail("invalid syntax for function call expression");
  }
  argument.value = ParseExpression();
  return argument;
}

ExprPtr Parser::ParseList() {
  ExprPtr node = NewExpr(ExprKind::kList);
  ExpectOperator("[");
  while (!AtOperator("]")) {
    if (!node->operands.empty()) {
      ExpectOperator(",");
      if (AtOperator("]")) {
        break;
      }
    }
    node->operands.push_back(ParseExpression());
  }
  ExpectOperator("]");
  return Finish(std::move(node));
}

ExprPtr Parser::ParseDict() {
  ExprPtr node = NewExpr(ExprKind::kDict);
  ExpectOperator("{");
  while (!AtOperator("}")) {
    if (!node->operands.empty()) {
      ExpectOperator(",");
      if (AtOperator("}")) {
        break;
      }
    }
    node->operands.push_back(ParseExpression());
    ExpectOperator(":");
    node->operands.push_back(ParseExpression());
  }
  ExpectOperator("}");
  return Finish(std::move(node));
}

bool Parser::AtTupleEnd(std::string_view stop) const {
  const TokenKind kind = Current().kind;
  return kind == TokenKind::kVariableEnd || kind == TokenKind::kBlockEnd || AtOperator(")") ||
         (!stop.empty() && (AtName(stop) || AtOperator(stop)));
}

ExprPtr Parser::ParseTuple(bool with_condition, bool explicit_parentheses, std::string_view stop) {
  ExprPtr tuple = NewExpr(ExprKind::kTuple);
  bool is_tuple = false;
  while (!AtTupleEnd(stop)) {
    tuple->operands.push_back(ParseExpression(with_condition));
    if (!AtOperator(",")) {
      break;
    }
    is_tuple = true;
    Next();
  }
  if (!is_tuple && !tuple->operands.empty()) {
    return std::move(tuple->operands[0]);
  }
  if (!is_tuple && !explicit_parentheses) {
    FailUnexpected("an expression");
  }
  return Finish(std::move(tuple));
}

ExprPtr Parser::ParseTarget(bool with_namespace, std::string_view stop) {
  const Nest nest(this);
  ExprPtr tuple = NewExpr(ExprKind::kTuple);
  bool is_tuple = false;
  while (!AtTupleEnd(stop)) {
    tuple->operands.push_back(ParseOneTarget(with_namespace));
    if (!AtOperator(",")) {
      break;
    }
    is_tuple = true;
    Next();
  }
  if (tuple->operands.empty()) {
    FailUnexpected("an assignment target");
  }
  return is_tuple ? Finish(std::move(tuple)) : std::move(tuple->operands[0]);
}

ExprPtr Parser::ParseOneTarget(bool with_namespace) {
  if (SkipOperator("(")) {
    ExprPtr inner = ParseTarget(false, ")");
    ExpectOperator(")");
    return inner;
  }
  ExprPtr name = NewExpr(ExprKind::kName);
  name->name = ExpectName().text;
  for (const std::string_view reserved : {"true", "false", "none", "True", "False", "None"}) {
    if (name->name == reserved) {
      Fail("can't assign to '" + name->name + "'");
    }
  }
  if (!with_namespace || !AtOperator(".")) {
    return name;
  }
  ExprPtr attribute = NewExpr(ExprKind::kGetAttr);
  Next();
  attribute->name = ExpectName().text;
  attribute->operands.push_back(std::move(name));
  return Finish(std::move(attribute));
}

}  // namespace causeway::server
