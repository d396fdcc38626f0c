// Template text to tokens, with Jinja's whitespace rules fixed to trim_blocks and lstrip_blocks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace causeway::server {

enum class TokenKind : uint8_t {
  kData,           // text between tags
  kVariableBegin,  // {{
  kVariableEnd,    // }}
  kBlockBegin,     // {%
  kBlockEnd,       // %}
  kName,
  kString,   // decoded
  kInteger,  // text: decimal, 0x, 0o or 0b digits, underscores removed
  kFloat,
  kOperator,  // text is the operator
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;
  int line = 0;  // 1-based
};

// `source` is valid UTF-8. Throws Fault (TemplateSyntaxError) for unclosed tags, unbalanced brackets and
// characters that no token starts with. The last token is kEnd.
std::vector<Token> Tokenize(std::string_view source);

}  // namespace causeway::server
