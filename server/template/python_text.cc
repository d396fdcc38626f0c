#include "server/template/python_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "server/template/fault.h"
#include "server/template/unicode.h"

namespace causeway::server {
namespace {

constexpr char kHexDigits[] = "0123456789abcdef";

void AppendHexEscape(char32_t c, std::string* out) {
  const int digits = c < 0x100 ? 2 : c < 0x10000 ? 4 : 8;
  *out += digits == 2 ? "\\x" : digits == 4 ? "\\u" : "\\U";
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
    *out += kHexDigits[c >> shift & 15];
  }
}

void AppendStringRepr(const MarkedText& text, MarkedText* out) {
  const bool has_single = text.bytes().find('\'') != std::string::npos;
  const bool has_double = text.bytes().find('"') != std::string::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  const std::string_view quote_text(&quote, 1);
  out->Append(quote_text, true);
  text.ForEachRun([&](std::string_view run, bool trusted) {
    std::string piece;
    for (size_t i = 0; i < run.size();) {
      const char32_t c = DecodeChar(run, &i);
      if (c == '\\' || c == static_cast<char32_t>(quote)) {
        piece += '\\';
        piece += static_cast<char>(c);
      } else if (c == '\n' || c == '\r' || c == '\t') {
        piece += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
      } else if (IsPrintable(c)) {
        AppendUtf8(c, &piece);
      } else {
        AppendHexEscape(c, &piece);
      }
    }
    out->Append(piece, trusted);
  });
  out->Append(quote_text, true);
}

void AppendItems(Runtime& runtime, const std::vector<Value>& items, MarkedText* out) {
  bool first = true;
  for (const Value& item : items) {
    if (!first) {
      out->Append(", ", true);
    }
    first = false;
    AppendRepr(runtime, item, out);
  }
}

void AppendDictRepr(Runtime& runtime, const DictData& dict, MarkedText* out) {
  out->Append("{", true);
  bool first = true;
  for (const auto& [key, value] : dict.entries) {
    if (!first) {
      out->Append(", ", true);
    }
    first = false;
    AppendRepr(runtime, key, out);
    out->Append(": ", true);
    AppendRepr(runtime, value, out);
  }
  out->Append("}", true);
}

void AppendNamespaceRepr(Runtime& runtime, const Namespace& ns, MarkedText* out) {
  out->Append("<" + ns.type_name + " {", true);
  bool first = true;
  for (const auto& [key, value] : ns.attributes) {
    if (!first) {
      out->Append(", ", true);
    }
    first = false;
    AppendStringRepr(MarkedText(key, true), out);
    out->Append(": ", true);
    AppendRepr(runtime, value, out);
  }
  out->Append("}>", true);
}

void AppendIteratorRepr(Runtime& runtime, const IteratorData& it, MarkedText* out) {
  if (!it.repr.empty()) {
    out->Append(it.repr, true);
  } else if (it.type_name.compare(0, 5, "dict_") == 0) {
    out->Append(it.type_name + "([", true);
    AppendItems(runtime, it.items, out);
    out->Append("])", true);
  } else {
    out->Append("<" + it.type_name + " object>", true);
  }
}

}  // namespace

std::string IntText(Int value) {
  std::string digits;
  const bool negative = value < 0;
  do {
    const int digit = static_cast<int>(value % 10);
    digits += static_cast<char>('0' + (digit < 0 ? -digit : digit));
    value /= 10;
  } while (value != 0);
  if (negative) {
    digits += '-';
  }
  std::reverse(digits.begin(), digits.end());
  return digits;
}

std::string FloatText(double value) {
  if (std::isnan(value)) {
    return "nan";
  }
  if (std::isinf(value)) {
    return value < 0 ? "-inf" : "inf";
  }
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific).ptr;
  const std::string_view text(buffer, static_cast<size_t>(end - buffer));
  const size_t e = text.find('e');
  int exponent = 0;
  const size_t exponent_at = text[e + 1] == '+' ? e + 2 : e + 1;
  std::from_chars(text.data() + exponent_at, text.data() + text.size(), exponent);
  if (exponent < -4 || exponent >= 16) {
    return std::string(text);  // Python pads the exponent to two digits, as to_chars does
  }
  std::string digits;
  for (const char c : text.substr(0, e)) {
    if (c >= '0' && c <= '9') {
      digits += c;
    }
  }
  std::string out = text[0] == '-' ? "-" : "";
  if (exponent < 0) {
    return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  }
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() < whole) {
    digits.append(whole - digits.size(), '0');
  }
  const std::string fraction = digits.substr(whole);
  return out + digits.substr(0, whole) + "." + (fraction.empty() ? "0" : fraction);
}

void AppendRepr(Runtime& runtime, const Value& value, MarkedText* out) {
  const Runtime::Depth depth(&runtime);
  runtime.Charge(1);
  switch (value.kind()) {
    case Kind::kUndefined: out->Append("Undefined", true); break;
    case Kind::kNone: out->Append("None", true); break;
    case Kind::kBool: out->Append(value.boolean() ? "True" : "False", true); break;
    case Kind::kInt: out->Append(IntText(value.integer()), true); break;
    case Kind::kFloat: out->Append(FloatText(value.number()), true); break;
    case Kind::kString:
      runtime.ChargeBytes(value.bytes().size());
      if (value.string().markup) {
        out->Append("Markup(", true);
      }
      AppendStringRepr(value.text(), out);
      if (value.string().markup) {
        out->Append(")", true);
      }
      break;
    case Kind::kList:
      out->Append("[", true);
      AppendItems(runtime, value.items(), out);
      out->Append("]", true);
      break;
    case Kind::kTuple:
      out->Append("(", true);
      AppendItems(runtime, value.items(), out);
      out->Append(value.items().size() == 1 ? ",)" : ")", true);
      break;
    case Kind::kDict: AppendDictRepr(runtime, value.dict(), out); break;
    case Kind::kIterator: AppendIteratorRepr(runtime, value.iterator(), out); break;
    case Kind::kNamespace: AppendNamespaceRepr(runtime, *value.ns(), out); break;
    case Kind::kLoop:
      out->Append(
          "<LoopContext " + std::to_string(value.loop()->index0 + 1) + "/" + std::to_string(value.loop()->length) + ">",
          true);
      break;
    case Kind::kCallable: out->Append("<function " + value.callable().name + ">", true); break;
  }
  if (out->size() > kMaxStringBytes) {
    RaiseLimit("kMaxStringBytes", kMaxStringBytes);
  }
}

void AppendStr(Runtime& runtime, const Value& value, MarkedText* out) {
  if (value.Is(Kind::kString)) {
    runtime.ChargeBytes(value.bytes().size());
    out->Append(value.text());
  } else if (!value.Is(Kind::kUndefined)) {
    AppendRepr(runtime, value, out);
  }
}

MarkedText Str(Runtime& runtime, const Value& value) {
  if (value.Is(Kind::kString)) {
    runtime.ChargeBytes(value.bytes().size());
    return value.text();
  }
  MarkedText out;
  AppendStr(runtime, value, &out);
  return out;
}

MarkedText EscapeHtml(const MarkedText& text) {
  MarkedText out;
  text.ForEachRun([&](std::string_view run, bool trusted) {
    std::string piece;
    for (const char c : run) {
      switch (c) {
        case '&': piece += "&amp;"; break;
        case '<': piece += "&lt;"; break;
        case '>': piece += "&gt;"; break;
        case '\'': piece += "&#39;"; break;
        case '"': piece += "&#34;"; break;
        default: piece += c;
      }
    }
    out.Append(piece, trusted);
  });
  return out;
}

MarkedText EscapedStr(Runtime& runtime, const Value& value) {
  const bool markup = value.Is(Kind::kString) && value.string().markup;
  return markup ? value.text() : EscapeHtml(Str(runtime, value));
}

}  // namespace causeway::server
