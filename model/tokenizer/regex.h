// PCRE2 with JIT, Unicode classes and limits: a pattern from a tokenizer file can be slow or hungry, never
// endless. Patterns are written for Oniguruma; the classes that they use (\p, \s, \w, look-ahead, (?i:))
// mean the same here.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

struct pcre2_real_code_8;

namespace causeway::model::tokenizer {

struct Match {
  size_t begin;
  size_t end;
};

// Immutable; safe from any thread.
class Regex {
 public:
  static Result<Regex> Compile(const std::string& written);
  // A pattern that matches `text` literally.
  static Result<Regex> Literal(std::string_view text);

  // All matches, left to right, without overlap. `text` is valid UTF-8. Empty ones are skipped, or, with `cuts`, found
  // where no other starts or ends. kInvalidArgument where a limit was hit.
  Result<void> FindAll(std::string_view text, std::vector<Match>& matches, bool cuts = false) const;

 private:
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };
  explicit Regex(pcre2_real_code_8* code) : code_(code) {}
  std::unique_ptr<pcre2_real_code_8, Free> code_;
};

}  // namespace causeway::model::tokenizer
