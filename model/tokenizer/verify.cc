#include "model/tokenizer/verify.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/json.h"
#include "fmt/format.h"
#include "model/tokenizer/tokenizer.h"

namespace causeway::model {
namespace {

// Empty if equal, else where and how they differ.
std::string CompareIds(const char* what, const std::vector<Token>& got, const std::vector<Token>& wanted) {
  const auto [a, b] = std::mismatch(got.begin(), got.end(), wanted.begin(), wanted.end());
  if (a == got.end() && b == wanted.end()) {
    return {};
  }
  const auto show = [](auto it, auto end) { return it == end ? std::string("the end") : fmt::format("{}", *it); };
  return fmt::format("{}: token {} is {}, not {}", what, a - got.begin(), show(a, got.end()), show(b, wanted.end()));
}

std::string CompareText(const char* what, const std::string& got, const std::string& wanted) {
  if (got == wanted) {
    return {};
  }
  const auto difference = std::mismatch(got.begin(), got.end(), wanted.begin(), wanted.end());
  return fmt::format("{}: differs from byte {} on", what, difference.first - got.begin());
}

Result<std::string> CheckCase(const Tokenizer& tokenizer, const Json& item) {
  const std::string text = item.at("text").get<std::string>();
  const auto ids = item.at("ids").get<std::vector<Token>>();
  const auto ids_special = item.at("ids_special").get<std::vector<Token>>();
  ASSIGN_OR_RETURN(const auto got, tokenizer.Encode(text, {.add_special_tokens = false}));
  ASSIGN_OR_RETURN(const auto got_special, tokenizer.Encode(text, {.add_special_tokens = true}));
  for (const std::string& difference :
       {CompareIds("ids", got, ids), CompareIds("ids_special", got_special, ids_special),
        CompareText("decoded", tokenizer.Decode(ids, false), item.at("decoded").get<std::string>()),
        CompareText("decoded_skip", tokenizer.Decode(ids_special, true), item.at("decoded_skip").get<std::string>())}) {
    if (!difference.empty()) {
      return difference;
    }
  }
  return std::string();
}

}  // namespace

Result<VerifyReport> VerifyTokenizer(std::string_view tokenizer_json, std::string_view cases_jsonl) {
  ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::FromJson(tokenizer_json));
  VerifyReport report;
  size_t line_number = 0;
  for (size_t at = 0; at < cases_jsonl.size();) {
    const size_t end = std::min(cases_jsonl.find('\n', at), cases_jsonl.size());
    const std::string_view line = cases_jsonl.substr(at, end - at);
    at = end + 1;
    ++line_number;
    if (line.empty()) {
      continue;
    }
    auto item = ParseJson(line);
    if (!item.ok()) {
      return item.error().WithContext(fmt::format("line {}", line_number));
    }
    VerifyCase one{fmt::format("case {}", line_number), false, {}};
    try {  // nlohmann's at() and get() throw on a case without its fields
      const auto difference = CheckCase(*tokenizer, *item);
      one.detail = difference.ok() ? *difference : difference.error().message;
      one.passed = difference.ok() && difference->empty();
    } catch (const Json::exception& e) {
      return MakeError(ErrorCode::kInvalidArgument, fmt::format("line {}: {}", line_number, e.what()));
    }
    report.cases.push_back(std::move(one));
  }
  return report;
}

}  // namespace causeway::model
