#include "model/tokenizer/incremental_detokenizer.h"

#include <algorithm>

namespace causeway::model {
namespace {

constexpr size_t kContextTokens = 5;
// A character has at most four bytes, so at most four byte tokens; longer waits are for bytes that no token
// will complete.
constexpr size_t kMaxPending = 8;
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

}  // namespace

IncrementalDetokenizer::IncrementalDetokenizer(const Tokenizer& tokenizer, bool skip_special_tokens,
                                               std::span<const Token> context)
    : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens) {
  const auto tail = context.last(std::min(context.size(), kContextTokens));
  window_.assign(tail.begin(), tail.end());
  context_ = window_.size();
  context_text_ = tokenizer_.Decode(window_, skip_special_tokens_);
}

std::string IncrementalDetokenizer::Append(Token token) {
  window_.push_back(token);
  const std::string text = DecodeWindow();
  const bool incomplete = text.ends_with(kReplacement) && window_.size() - context_ < kMaxPending;
  if (incomplete || text.size() <= context_text_.size()) {
    return {};
  }
  return Advance(text);
}

std::string IncrementalDetokenizer::Flush() {
  const std::string text = DecodeWindow();
  return text.size() > context_text_.size() ? Advance(text) : std::string();
}

std::string IncrementalDetokenizer::DecodeWindow() {
  std::string text = tokenizer_.Decode(window_, skip_special_tokens_);
  if (!text.starts_with(context_text_)) {
    // Bytes that were given up as U+FFFD have found a partner: what is out stays out, the rest stands alone.
    window_.erase(window_.begin(), window_.begin() + static_cast<ptrdiff_t>(context_));
    context_ = 0;
    context_text_.clear();
    text = tokenizer_.Decode(window_, skip_special_tokens_);
  }
  return text;
}

std::string IncrementalDetokenizer::Advance(const std::string& text) {
  std::string fresh = text.substr(context_text_.size());
  // Pending tokens become the context. One emission may rest on several tokens; all of them stay, so that
  // the next window starts at a character.
  window_.erase(window_.begin(), window_.begin() + static_cast<ptrdiff_t>(context_));
  context_ = window_.size();
  context_text_ = tokenizer_.Decode(window_, skip_special_tokens_);
  return fresh;
}

}  // namespace causeway::model
