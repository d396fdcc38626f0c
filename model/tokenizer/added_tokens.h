// Added tokens: contents that are found in the text before anything else is done to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/token.h"
#include "model/tokenizer/sourced_text.h"

namespace causeway::model {

struct AddedToken {
  Token id = 0;
  std::string content;
  bool special = false;
  bool normalized = false;   // looked for in the normalized text
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space on its left with it
  bool rstrip = false;
};

namespace tokenizer {

// A part of a text: plain, or one added token.
struct AddedSplit {
  size_t begin;
  size_t end;
  const AddedToken* token;  // null: plain text
};

// Finds patterns leftmost-longest with a trie over bytes; O(text * longest pattern). Immutable.
class AddedTokenFinder {
 public:
  void Add(std::string_view pattern, const AddedToken* token);

  // Cuts `text` into parts. With parse_special false special tokens are left as text; a special token that
  // would hold an untrusted byte always is.
  std::vector<AddedSplit> Split(const SourcedText& text, bool parse_special) const;

 private:
  struct Found {
    size_t length = 0;
    const AddedToken* token = nullptr;
  };
  Found LongestAt(std::string_view text, size_t at) const;

  struct Node {
    const AddedToken* token = nullptr;
    std::unordered_map<char, uint32_t> next;
  };
  std::vector<Node> nodes_ = std::vector<Node>(1);
};

}  // namespace tokenizer
}  // namespace causeway::model
