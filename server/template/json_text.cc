#include "server/template/json_text.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "server/template/arguments.h"
#include "server/template/fault.h"
#include "server/template/operators.h"
#include "server/template/python_text.h"
#include "server/template/unicode.h"

namespace causeway::server {
namespace {

constexpr size_t kMaxIndent = 1000;

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool multiline = false;
  MarkedText indent;
  MarkedText item_separator{", ", true};
  MarkedText key_separator{": ", true};
};

void AppendUnicodeEscape(char32_t c, std::string* out) {
  static constexpr char kHex[] = "0123456789abcdef";
  const auto unit = [out](char32_t u) {
    *out += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) {
      *out += kHex[u >> shift & 15];
    }
  };
  if (c >= 0x10000) {
    unit(0xD800 + ((c - 0x10000) >> 10));
    unit(0xDC00 + ((c - 0x10000) & 0x3FF));
  } else {
    unit(c);
  }
}

void AppendJsonChar(char32_t c, bool ensure_ascii, std::string* out) {
  switch (c) {
    case '"': *out += "\\\""; return;
    case '\\': *out += "\\\\"; return;
    case '\n': *out += "\\n"; return;
    case '\r': *out += "\\r"; return;
    case '\t': *out += "\\t"; return;
    case '\b': *out += "\\b"; return;
    case '\f': *out += "\\f"; return;
    default: break;
  }
  if (c < 0x20 || (ensure_ascii && c >= 0x7F && c != 0x7F)) {
    AppendUnicodeEscape(c, out);
  } else {
    AppendUtf8(c, out);
  }
}

class JsonWriter {
 public:
  JsonWriter(Runtime& runtime, const JsonStyle& style) : runtime_(runtime), style_(style) {}

  void Write(const Value& value) {
    const Runtime::Depth depth(&runtime_);
    runtime_.Charge(1);
    switch (value.kind()) {
      case Kind::kNone: Raw("null"); break;
      case Kind::kBool: Raw(value.boolean() ? "true" : "false"); break;
      case Kind::kInt: Raw(IntText(value.integer())); break;
      case Kind::kFloat: Raw(Number(value.number())); break;
      case Kind::kString: String(value.text()); break;
      case Kind::kList:
      case Kind::kTuple: Array(value.items()); break;
      case Kind::kDict: Object(value.dict()); break;
      default: RaiseType("Object of type " + value.TypeName() + " is not JSON serializable");
    }
    if (out_.size() > kMaxStringBytes) {
      RaiseLimit("kMaxStringBytes", kMaxStringBytes);
    }
  }

  MarkedText Take() { return std::move(out_); }

 private:
  void Raw(std::string_view text) { out_.Append(text, true); }

  static std::string Number(double value) {
    if (std::isnan(value)) {
      return "NaN";
    }
    if (std::isinf(value)) {
      return value < 0 ? "-Infinity" : "Infinity";
    }
    return FloatText(value);
  }

  void String(const MarkedText& text) {
    runtime_.ChargeBytes(text.size());
    Raw("\"");
    text.ForEachRun([&](std::string_view run, bool trusted) {
      std::string piece;
      piece.reserve(run.size());
      for (size_t i = 0; i < run.size();) {
        AppendJsonChar(DecodeChar(run, &i), style_.ensure_ascii, &piece);
      }
      out_.Append(piece, trusted);
    });
    Raw("\"");
  }

  void Line() {
    if (style_.multiline) {
      Raw("\n");
      for (size_t i = 0; i < level_; ++i) {
        out_.Append(style_.indent);
      }
      runtime_.ChargeBytes(level_ * style_.indent.size());
    }
  }

  void Open(std::string_view bracket) {
    Raw(bracket);
    ++level_;
    Line();
  }
  void Close(std::string_view bracket) {
    --level_;
    Line();
    Raw(bracket);
  }
  void Separate() {
    out_.Append(style_.item_separator);
    Line();
  }

  void Array(const std::vector<Value>& items) {
    if (items.empty()) {
      Raw("[]");
      return;
    }
    Open("[");
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) {
        Separate();
      }
      Write(items[i]);
    }
    Close("]");
  }

  void Object(const DictData& dict) {
    if (dict.entries.empty()) {
      Raw("{}");
      return;
    }
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) {
      entries.push_back(&entry);
    }
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [this](const auto* a, const auto* b) { return Less(runtime_, a->first, b->first); });
    }
    Open("{");
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) {
        Separate();
      }
      Key(entries[i]->first);
      out_.Append(style_.key_separator);
      Write(entries[i]->second);
    }
    Close("}");
  }

  void Key(const Value& key) {
    switch (key.kind()) {
      case Kind::kString: String(key.text()); break;
      case Kind::kNone: Raw("\"null\""); break;
      case Kind::kBool: Raw(key.boolean() ? "\"true\"" : "\"false\""); break;
      case Kind::kInt: Raw('"' + IntText(key.integer()) + '"'); break;
      case Kind::kFloat: Raw('"' + Number(key.number()) + '"'); break;
      default: RaiseType("keys must be str, int, float, bool or None, not " + key.TypeName());
    }
  }

  Runtime& runtime_;
  const JsonStyle& style_;
  size_t level_ = 0;
  MarkedText out_;
};

void ReadIndent(const Value& indent, JsonStyle* style) {
  style->multiline = true;
  style->item_separator = MarkedText(",", true);
  if (indent.Is(Kind::kString)) {
    style->indent = indent.text();
  } else if (indent.IsIntegral()) {
    const Int width = std::max<Int>(indent.integer(), 0);
    if (width > static_cast<Int>(kMaxIndent)) {
      RaiseLimit("kMaxIndent", kMaxIndent);
    }
    style->indent = MarkedText(std::string(static_cast<size_t>(width), ' '), true);
  } else {
    RaiseType("can't multiply sequence by non-int of type '" + indent.TypeName() + "'");
  }
  if (style->indent.size() > kMaxIndent) {
    RaiseLimit("kMaxIndent", kMaxIndent);
  }
}

}  // namespace

Value ToJson(Runtime& runtime, const Value& value, const CallArgs& call) {
  const Arguments args("tojson", call, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = args.BoolOr(0, false);
  style.sort_keys = args.BoolOr(3, false);
  if (args.HasValue(1)) {
    ReadIndent(args[1], &style);
  }
  if (args.HasValue(2)) {
    const Value& pair = args[2];
    if (!pair.IsSequence() || pair.items().size() != 2 || !pair.items()[0].Is(Kind::kString) ||
        !pair.items()[1].Is(Kind::kString)) {
      RaiseValue("separators must be a pair of strings");
    }
    style.item_separator = pair.items()[0].text();
    style.key_separator = pair.items()[1].text();
  }
  JsonWriter writer(runtime, style);
  writer.Write(value);
  return Value::Text(writer.Take());
}

}  // namespace causeway::server
