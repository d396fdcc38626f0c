#include "model/gguf/verify_vocabulary.h"

#include <charconv>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "model/model.h"
#include "model/tokenizer/tokenizer.h"

namespace causeway::model::gguf {
namespace {

constexpr std::string_view kSeparator = "\n__ggml_vocab_test__\n";

std::vector<std::string_view> Split(std::string_view text, std::string_view separator) {
  std::vector<std::string_view> parts;
  size_t at = 0;
  for (size_t end = text.find(separator); end != std::string_view::npos; end = text.find(separator, at)) {
    parts.push_back(text.substr(at, end - at));
    at = end + separator.size();
  }
  parts.push_back(text.substr(at));
  return parts;
}

Result<std::vector<Token>> ReadIds(std::string_view line) {
  std::vector<Token> ids;
  for (const std::string_view word : Split(line, " ")) {
    Token id = 0;
    const auto end = std::from_chars(word.data(), word.data() + word.size(), id);
    if (!word.empty() && (end.ec != std::errc() || end.ptr != word.data() + word.size())) {
      return MakeError(ErrorCode::kInvalidArgument, fmt::format("'{}' is no id", word));
    }
    if (!word.empty()) {
      ids.push_back(id);
    }
  }
  return ids;
}

}  // namespace

Result<VerifyReport> VerifyVocabulary(const std::string& path, std::string_view texts, std::string_view ids) {
  ASSIGN_OR_RETURN(const auto model, LoadModel({.model = path, .weights = false, .progress = {}, .hub_caches = {}}));
  if (model->tokenizer == nullptr) {
    return MakeError(ErrorCode::kInvalidArgument, "the file holds no vocabulary");
  }
  const auto inputs = Split(texts, kSeparator);
  auto lines = Split(ids, "\n");
  while (lines.size() > inputs.size() && lines.back().empty()) {
    lines.pop_back();
  }
  if (lines.size() != inputs.size()) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("{} texts and {} lines of ids", inputs.size(), lines.size()));
  }
  VerifyReport report;
  for (size_t i = 0; i < inputs.size(); ++i) {
    ASSIGN_OR_RETURN(const std::vector<Token> wanted, ReadIds(lines[i]));
    const auto got = model->tokenizer->Encode(inputs[i], {.add_special_tokens = false, .parse_special = false});
    VerifyCase one{fmt::format("text {}", i + 1), got.ok() && *got == wanted, {}};
    if (!one.passed) {
      one.detail = got.ok() ? fmt::format("ids are [{}], not [{}]", fmt::join(*got, ", "), fmt::join(wanted, ", "))
                            : got.error().message;
    }
    report.cases.push_back(std::move(one));
  }
  return report;
}

}  // namespace causeway::model::gguf
