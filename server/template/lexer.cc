#include "server/template/lexer.h"

#include <algorithm>
#include <array>

#include "server/template/fault.h"
#include "server/template/unicode.h"

namespace causeway::server {
namespace {

// "\r\n" and "\r" become "\n"; one newline at the end of the template is not part of it.
std::string NormalizeNewlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      i += i + 1 < source.size() && source[i + 1] == '\n';
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') {
    out.pop_back();
  }
  return out;
}

constexpr std::array<std::string_view, 26> kOperators = {
    "//", "**", "==", "!=", ">=", "<=",  // the longer ones first
    "+",  "-",  "/",  "*",  "%",  "~",  "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";",
};

bool IsHex(char c) { return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'); }

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> Run() {
    while (pos_ < source_.size()) {
      Text();
    }
    Push(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  // One stretch of data and the tag that ends it.
  void Text() {
    const size_t tag = FindTag();
    if (tag == std::string::npos) {
      Data(std::string_view(source_).substr(pos_));
      pos_ = source_.size();
      return;
    }
    const char kind = source_[tag + 1];
    const size_t after = tag + 2;
    const char sign = after < source_.size() ? source_[after] : '\0';
    const bool signed_tag = sign == '-' || sign == '+';
    Data(BeforeTag(tag, kind, sign));
    Advance(after + (signed_tag ? 1 : 0));
    if (kind == '#') {
      Comment();
    } else if (kind == '{') {
      Push(TokenKind::kVariableBegin, "{{");
      Inside("}}", TokenKind::kVariableEnd);
    } else if (!RawBlock()) {
      Push(TokenKind::kBlockBegin, "{%");
      Inside("%}", TokenKind::kBlockEnd);
    }
  }

  size_t FindTag() const {
    for (size_t i = source_.find('{', pos_); i != std::string::npos; i = source_.find('{', i + 1)) {
      const char next = i + 1 < source_.size() ? source_[i + 1] : '\0';
      if (next == '{' || next == '%' || next == '#') {
        return i;
      }
    }
    return std::string::npos;
  }

  // The data up to a tag, after what "-" and lstrip_blocks take away at its end.
  std::string_view BeforeTag(size_t tag, char kind, char sign) const {
    std::string_view text = std::string_view(source_).substr(pos_, tag - pos_);
    if (sign == '-') {
      while (!text.empty()) {
        size_t i = text.size();
        if (!IsSpace(DecodeCharBefore(text, &i))) {
          break;
        }
        text = text.substr(0, i);
      }
      return text;
    }
    if (sign == '+' || kind == '{') {
      return text;
    }
    const size_t newline = text.rfind('\n');
    const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    if (line == 0 && !line_starting_) {
      return text;
    }
    for (size_t i = line; i < text.size();) {
      if (!IsSpace(DecodeChar(text, &i))) {
        return text;
      }
    }
    return text.substr(0, line);
  }

  void Data(std::string_view text) {
    if (!text.empty()) {
      Push(TokenKind::kData, std::string(text));
    }
  }

  void Comment() {
    const size_t end = source_.find("#}", pos_);
    if (end == std::string::npos) {
      Fail("Missing end of comment tag");
    }
    const char sign = end > pos_ ? source_[end - 1] : '\0';
    Advance(end + 2);
    FinishTag(sign, true);
  }

  // After a closing delimiter: "-" eats white space; without a sign, a block or comment eats one newline.
  void FinishTag(char sign, bool trims_newline) {
    if (sign == '-') {
      SkipSpace();
    } else if (sign != '+' && trims_newline && pos_ < source_.size() && source_[pos_] == '\n') {
      Advance(pos_ + 1);
    }
    line_starting_ = pos_ > 0 && source_[pos_ - 1] == '\n';
  }

  void SkipSpace() {
    size_t i = pos_;
    while (i < source_.size()) {
      size_t next = i;
      if (!IsSpace(DecodeChar(source_, &next))) {
        break;
      }
      i = next;
    }
    Advance(i);
  }

  // At "raw %}" just after "{%": emits everything up to {% endraw %} as data. False if this is another tag.
  bool RawBlock() {
    size_t i = pos_;
    const char sign = MatchWordTag(&i, "raw");
    if (sign == '\0') {
      return false;
    }
    Advance(i);
    FinishTag(sign, false);
    for (size_t open = source_.find("{%", pos_); open != std::string::npos; open = source_.find("{%", open + 1)) {
      size_t j = open + 2;
      const char open_sign = j < source_.size() ? source_[j] : '\0';
      j += open_sign == '-' || open_sign == '+';
      const char close_sign = MatchWordTag(&j, "endraw");
      if (close_sign != '\0') {
        Data(BeforeTag(open, '%', open_sign));
        Advance(j);
        FinishTag(close_sign, true);
        return true;
      }
    }
    Fail("Missing end of raw directive");
  }

  // Matches "\s* word \s* [-+]? %}" at *i; returns the closing sign (' ' for none) or '\0'.
  char MatchWordTag(size_t* i, std::string_view word) const {
    size_t p = *i;
    const auto skip = [&] {
      while (p < source_.size() && IsSpace(static_cast<unsigned char>(source_[p]))) {
        ++p;
      }
    };
    skip();
    if (source_.compare(p, word.size(), word) != 0) {
      return '\0';
    }
    p += word.size();
    skip();
    char sign = ' ';
    if (p < source_.size() && (source_[p] == '-' || source_[p] == '+')) {
      sign = source_[p++];
    }
    if (source_.compare(p, 2, "%}") != 0) {
      return '\0';
    }
    *i = p + 2;
    return sign;
  }

  // The tokens of one {{ }} or {% %}, up to and with its closing delimiter.
  void Inside(std::string_view close, TokenKind close_kind) {
    std::string open_brackets;
    while (true) {
      SkipSpace();
      if (pos_ >= source_.size()) {
        Fail("unexpected end of template");
      }
      if (open_brackets.empty() && CloseTag(close, close_kind)) {
        return;
      }
      const size_t start = pos_;
      size_t next = pos_;
      const char32_t c = DecodeChar(source_, &next);
      if (c == '\'' || c == '"') {
        String(static_cast<char>(c));
      } else if (c >= '0' && c <= '9') {
        Number();
      } else if (IsWordChar(c)) {
        Name();
      } else {
        Operator(&open_brackets);
      }
      DCHECK(pos_ > start);
      (void)start;
    }
  }

  bool CloseTag(std::string_view close, TokenKind kind) {
    const char sign = source_[pos_];
    const bool is_block = kind == TokenKind::kBlockEnd;
    const bool is_signed = sign == '-' || (sign == '+' && is_block);
    if (source_.compare(pos_ + (is_signed ? 1 : 0), close.size(), close) != 0) {
      return false;
    }
    Push(kind, std::string(close));
    Advance(pos_ + (is_signed ? 1 : 0) + close.size());
    FinishTag(is_signed ? sign : ' ', is_block);
    return true;
  }

  void Name() {
    size_t i = pos_;
    while (i < source_.size()) {
      size_t next = i;
      if (!IsWordChar(DecodeChar(source_, &next))) {
        break;
      }
      i = next;
    }
    Push(TokenKind::kName, source_.substr(pos_, i - pos_));
    Advance(i);
  }

  // Digits with single underscores between them, from `i`; returns the end.
  size_t Digits(size_t i) const {
    const auto digit = [&](size_t k) { return k < source_.size() && source_[k] >= '0' && source_[k] <= '9'; };
    while (digit(i) || (i < source_.size() && source_[i] == '_' && digit(i + 1))) {
      ++i;
    }
    return i;
  }

  void Number() {
    size_t end = pos_;
    TokenKind kind = TokenKind::kInteger;
    const char base = source_[pos_] == '0' && pos_ + 2 < source_.size() ? source_[pos_ + 1] | 0x20 : '\0';
    if ((base == 'x' || base == 'o' || base == 'b') && IsHex(source_[pos_ + 2])) {
      end = pos_ + 2;
      while (end < source_.size() && (IsHex(source_[end]) || source_[end] == '_')) {
        ++end;
      }
    } else {
      end = Digits(pos_);
      const bool after_dot = pos_ > 0 && source_[pos_ - 1] == '.';
      const size_t fraction = end < source_.size() && source_[end] == '.' ? Digits(end + 1) : end;
      if (!after_dot) {
        const size_t exponent = Exponent(fraction > end + 1 ? fraction : end);
        if (exponent != 0 || fraction > end + 1) {
          kind = TokenKind::kFloat;
          end = exponent != 0 ? exponent : fraction;
        }
      }
    }
    std::string text = source_.substr(pos_, end - pos_);
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    Push(kind, std::move(text));
    Advance(end);
  }

  // End of an exponent "e[+-]digits" at `i`, or 0.
  size_t Exponent(size_t i) const {
    if (i >= source_.size() || (source_[i] | 0x20) != 'e') {
      return 0;
    }
    const size_t sign = i + 1 < source_.size() && (source_[i + 1] == '+' || source_[i + 1] == '-');
    const size_t end = Digits(i + 1 + sign);
    return end > i + 1 + sign ? end : 0;
  }

  void String(char quote) {
    size_t i = pos_ + 1;
    while (i < source_.size() && source_[i] != quote) {
      i += source_[i] == '\\' ? 2 : 1;
    }
    if (i >= source_.size()) {
      Fail("unexpected char " + std::string(1, quote));
    }
    Push(TokenKind::kString, Unescape(std::string_view(source_).substr(pos_ + 1, i - pos_ - 1)));
    Advance(i + 1);
  }

  std::string Unescape(std::string_view raw) const {
    std::string out;
    out.reserve(raw.size());
    for (size_t i = 0; i < raw.size();) {
      if (raw[i] != '\\' || i + 1 >= raw.size()) {
        out += raw[i++];
        continue;
      }
      i = Escape(raw, i + 1, &out);
    }
    return out;
  }

  // One escape, `i` at the character after the backslash; returns the position after it.
  size_t Escape(std::string_view raw, size_t i, std::string* out) const {
    constexpr std::string_view kFrom = "\\'\"abfnrtv";
    constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
    const char c = raw[i];
    if (c == '\n') {
      return i + 1;
    }
    if (const size_t k = kFrom.find(c); k != std::string_view::npos) {
      *out += kTo[k];
      return i + 1;
    }
    if (c >= '0' && c <= '7') {
      char32_t value = 0;
      size_t n = 0;
      for (; n < 3 && i < raw.size() && raw[i] >= '0' && raw[i] <= '7'; ++n, ++i) {
        value = value * 8 + static_cast<char32_t>(raw[i] - '0');
      }
      AppendUtf8(value, out);
      return i;
    }
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits == 0) {
      if (c == 'N') {
        RaiseUnsupported("\\N{...} escapes are not supported in template strings", line_);
      }
      *out += '\\';
      return i;
    }
    return HexEscape(raw, i + 1, digits, out);
  }

  size_t HexEscape(std::string_view raw, size_t i, size_t digits, std::string* out) const {
    char32_t value = 0;
    for (size_t n = 0; n < digits; ++n) {
      if (i + n >= raw.size() || !IsHex(raw[i + n])) {
        Fail("truncated escape in string");
      }
      const char d = raw[i + n];
      value = value * 16 + static_cast<char32_t>(d <= '9' ? d - '0' : (d | 0x20) - 'a' + 10);
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) {
      Fail("illegal Unicode character in string");
    }
    AppendUtf8(value, out);
    return i + digits;
  }

  void Operator(std::string* open_brackets) {
    for (const std::string_view op : kOperators) {
      if (source_.compare(pos_, op.size(), op) != 0) {
        continue;
      }
      const char c = op[0];
      if (c == '(' || c == '[' || c == '{') {
        *open_brackets += c == '(' ? ')' : static_cast<char>(c + 2);
      } else if (c == ')' || c == ']' || c == '}') {
        if (open_brackets->empty() || open_brackets->back() != c) {
          Fail("unexpected '" + std::string(1, c) + "'");
        }
        open_brackets->pop_back();
      }
      Push(TokenKind::kOperator, std::string(op));
      Advance(pos_ + op.size());
      return;
    }
    size_t next = pos_;
    DecodeChar(source_, &next);
    Fail("unexpected char '" + source_.substr(pos_, next - pos_) + "'");
  }

  void Push(TokenKind kind, std::string text) { tokens_.push_back(Token{kind, std::move(text), line_}); }

  // Moves to `end`, counting lines.
  void Advance(size_t end) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(pos_),
                                         source_.begin() + static_cast<ptrdiff_t>(end), '\n'));
    pos_ = end;
  }

  [[noreturn]] void Fail(std::string message) const { Raise("TemplateSyntaxError", std::move(message), line_); }

  const std::string source_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> Tokenize(std::string_view source) { return Lexer(NormalizeNewlines(source)).Run(); }

}  // namespace causeway::server
