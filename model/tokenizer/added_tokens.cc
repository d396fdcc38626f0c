#include "model/tokenizer/added_tokens.h"

#include <algorithm>

#include "model/tokenizer/unicode.h"
#include "model/tokenizer/utf8.h"

namespace causeway::model::tokenizer {
namespace {

bool TouchesWord(std::string_view text, size_t begin, size_t end) {
  return (begin > 0 && IsWord(CharacterBefore(text, begin).value)) ||
         (end < text.size() && IsWord(CharacterAt(text, end).value));
}

size_t SpaceBefore(std::string_view text, size_t begin) {
  while (begin > 0 && IsWhitespace(CharacterBefore(text, begin).value)) {
    begin -= CharacterBefore(text, begin).length;
  }
  return begin;
}

size_t SpaceBehind(std::string_view text, size_t end) {
  while (end < text.size() && IsWhitespace(CharacterAt(text, end).value)) {
    end += CharacterAt(text, end).length;
  }
  return end;
}

}  // namespace

void AddedTokenFinder::Add(std::string_view pattern, const AddedToken* token) {
  if (pattern.empty()) {
    return;
  }
  uint32_t node = 0;
  for (const char c : pattern) {
    const auto it = nodes_[node].next.find(c);
    if (it != nodes_[node].next.end()) {
      node = it->second;
    } else {
      const auto created = static_cast<uint32_t>(nodes_.size());
      nodes_[node].next.emplace(c, created);
      nodes_.emplace_back();
      node = created;
    }
  }
  if (nodes_[node].token == nullptr) {
    nodes_[node].token = token;
  }
}

AddedTokenFinder::Found AddedTokenFinder::LongestAt(std::string_view text, size_t at) const {
  Found found;
  uint32_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const auto it = nodes_[node].next.find(text[i]);
    if (it == nodes_[node].next.end()) {
      break;
    }
    node = it->second;
    if (nodes_[node].token != nullptr) {
      found = {i + 1 - at, nodes_[node].token};
    }
  }
  return found;
}

std::vector<AddedSplit> AddedTokenFinder::Split(const SourcedText& text, bool parse_special) const {
  const std::string_view bytes = text.text;
  std::vector<AddedSplit> parts;
  size_t done = 0;
  for (size_t at = 0; at < bytes.size();) {
    const Found found = nodes_.size() > 1 ? LongestAt(bytes, at) : Found{};
    if (found.token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = at + found.length;
    at = end;  // the next search starts behind this match, whether or not it counts
    const AddedToken& token = *found.token;
    if (token.special && (!parse_special || text.AnyUntrusted(begin, end))) {
      continue;
    }
    if (token.single_word && TouchesWord(bytes, begin, end)) {
      continue;
    }
    if (token.lstrip) {
      begin = std::max(SpaceBefore(bytes, begin), done);
    }
    if (token.rstrip) {
      end = SpaceBehind(bytes, end);
    }
    if (begin < done) {
      begin = done;  // the token before took this one's white space
    }
    if (begin > done) {
      parts.push_back({done, begin, nullptr});
    }
    parts.push_back({begin, end, found.token});
    done = end;
  }
  if (done < bytes.size()) {
    parts.push_back({done, bytes.size(), nullptr});
  }
  return parts;
}

}  // namespace causeway::model::tokenizer
