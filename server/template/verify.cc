#include "server/template/verify.h"

#include <algorithm>
#include <string>

#include "base/json.h"
#include "fmt/format.h"
#include "server/template/template.h"

namespace causeway::server {
namespace {

constexpr int64_t kReferenceTime = 1753531200;  // 2025-07-26 12:00:00 UTC

// Empty if the rendering is as recorded.
std::string CheckCase(const ChatTemplate& chat, const OrderedJson& item) {
  TemplateContext context;
  context.values = item.at("context");
  context.trusted_names = {"bos_token", "eos_token", "pad_token", "unk_token"};
  context.now_unix_seconds = kReferenceTime;
  const auto pieces = chat.Render(context);
  if (item.contains("error")) {
    return pieces.ok() ? "rendered, but the template itself refuses this" : "";
  }
  if (!pieces.ok()) {
    return pieces.error().message;
  }
  std::string text;
  for (const TemplatePiece& piece : *pieces) {
    text += piece.text;
  }
  const std::string wanted = item.at("expected").get<std::string>();
  if (text == wanted) {
    return {};
  }
  const auto difference = std::mismatch(text.begin(), text.end(), wanted.begin(), wanted.end());
  const auto at = static_cast<size_t>(difference.first - text.begin());
  return fmt::format("differs from byte {} on: '{}', not '{}'", at, text.substr(at, 40), wanted.substr(at, 40));
}

}  // namespace

Result<VerifyReport> VerifyTemplate(std::string_view source, std::string_view cases_json) {
  ASSIGN_OR_RETURN(const ChatTemplate chat, ChatTemplate::Parse(source));
  ASSIGN_OR_RETURN(const OrderedJson cases, ParseOrderedJson(cases_json));
  VerifyReport report;
  try {  // nlohmann's at() and get() throw on a case without its fields
    for (const OrderedJson& item : cases) {
      VerifyCase one{item.at("id").get<std::string>(), false, CheckCase(chat, item)};
      one.passed = one.detail.empty();
      report.cases.push_back(std::move(one));
    }
  } catch (const OrderedJson::exception& e) {
    return MakeError(ErrorCode::kInvalidArgument, std::string("a case lacks a field: ") + e.what());
  }
  return report;
}

}  // namespace causeway::server
