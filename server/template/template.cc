#include "server/template/template.h"

#include <algorithm>
#include <array>
#include <utility>

#include "fmt/format.h"
#include "server/template/ast.h"
#include "server/template/evaluator.h"
#include "server/template/fault.h"
#include "server/template/lexer.h"
#include "server/template/parser.h"
#include "server/template/runtime.h"
#include "server/template/unicode.h"
#include "server/template/value.h"

namespace causeway::server {
namespace {

constexpr std::array<std::string_view, 9> kKnownRoles = {"system",   "user",    "assistant", "tool",       "developer",
                                                         "function", "ipython", "model",     "observation"};

bool IsKnownRole(const OrderedJson& value) {
  return value.is_string() &&
         std::find(kKnownRoles.begin(), kKnownRoles.end(), value.get_ref<const std::string&>()) != kKnownRoles.end();
}

// JSON to a template value; `trusted` marks the strings in it. Object keys of a client's are as untrusted
// as its values. The JSON's depth was bounded when it was parsed.
Value ToValue(const OrderedJson& json, bool trusted, bool is_message_list);

Value ToDict(const OrderedJson& json, bool trusted, bool is_message) {
  DictData dict;
  for (const auto& [key, value] : json.items()) {
    const bool role = is_message && key == "role" && IsKnownRole(value);
    dict.Set(Value::Text(MarkedText(key, trusted)), ToValue(value, trusted || role, false));
  }
  return Value::Dict(std::move(dict));
}

Value ToValue(const OrderedJson& json, bool trusted, bool is_message_list) {
  if (json.is_object()) {
    return ToDict(json, trusted, false);
  }
  if (json.is_array()) {
    std::vector<Value> items;
    for (const OrderedJson& item : json) {
      items.push_back(is_message_list && item.is_object() ? ToDict(item, trusted, true)
                                                          : ToValue(item, trusted, false));
    }
    return Value::List(std::move(items));
  }
  if (json.is_string()) {
    return Value::Text(MarkedText(json.get<std::string>(), trusted));
  }
  if (json.is_boolean()) {
    return Value::Bool(json.get<bool>());
  }
  if (json.is_number_unsigned()) {
    return Value::Integer(static_cast<Int>(json.get<uint64_t>()));
  }
  if (json.is_number_integer()) {
    return Value::Integer(static_cast<Int>(json.get<int64_t>()));
  }
  if (json.is_number()) {
    return Value::Float(json.get<double>());
  }
  return Value::None();
}

Evaluator::Variables ToVariables(const TemplateContext& context) {
  Evaluator::Variables variables;
  for (const auto& [name, value] : context.values.items()) {
    const auto& trusted = context.trusted_names;
    const bool is_trusted = std::find(trusted.begin(), trusted.end(), name) != trusted.end();
    variables.emplace(name, ToValue(value, is_trusted, name == "messages"));
  }
  return variables;
}

// raise_exception's message stands alone: it is written for the user.
Error ToError(const Fault& fault, int line) {
  if (fault.type.empty() || fault.type == "TemplateError") {
    return MakeError(fault.code, fault.message, "messages");
  }
  const int at = fault.line > 0 ? fault.line : line;
  return MakeError(fault.code, fmt::format("chat template, line {}: {}: {}", at, fault.type, fault.message),
                   "messages");
}

}  // namespace

struct ChatTemplate::Impl {
  TemplateLimits limits;
  std::string source;  // names in the tree may point into it
  Block block;
};

ChatTemplate::ChatTemplate(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::Parse(std::string_view source, const TemplateLimits& limits) {
  if (source.size() > limits.max_source_bytes) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("a chat template of {} bytes; at most {}", source.size(), limits.max_source_bytes));
  }
  if (!IsValidUtf8(source)) {  // the lexer and the evaluator count on it
    return MakeError(ErrorCode::kInvalidArgument, "the chat template is not valid UTF-8");
  }
  auto impl = std::make_unique<Impl>();
  impl->limits = limits;
  impl->source = std::string(source);
  try {
    impl->block = Parser(Tokenize(impl->source), limits).ParseTemplate();
  } catch (const Fault& fault) {
    return ToError(fault, 0);
  }
  return ChatTemplate(std::move(impl));
}

void ChatTemplate::UseForTools(ChatTemplate other) { tool_impl_ = std::move(other.impl_); }

Result<std::vector<TemplatePiece>> ChatTemplate::Render(const TemplateContext& context) const {
  const auto tools = context.values.find("tools");
  const bool has_tools = tools != context.values.end() && !tools->is_null() && !tools->empty();
  const Impl& impl = has_tools && tool_impl_ != nullptr ? *tool_impl_ : *impl_;
  Runtime runtime(impl.limits, context.now_unix_seconds);
  int line = 0;
  try {
    const Evaluator::Variables variables = ToVariables(context);
    Evaluator evaluator(runtime, variables);
    MarkedText text;
    try {
      text = evaluator.Run(impl.block);
    } catch (const Fault&) {
      line = evaluator.line();
      throw;
    }
    std::vector<TemplatePiece> pieces;
    text.ForEachRun([&](std::string_view run, bool trusted) {
      if (!run.empty()) {
        pieces.push_back({std::string(run), trusted});
      }
    });
    return pieces;
  } catch (const Fault& fault) {
    return ToError(fault, line);
  }
}

}  // namespace causeway::server
