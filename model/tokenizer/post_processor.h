// Special tokens round an encoded text.
#pragma once

#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/token.h"

namespace causeway::model::tokenizer {

// Reduced to what a single text needs: ids in front and ids behind. (ByteLevel's changes offsets only.)
class PostProcessor {
 public:
  PostProcessor() = default;
  PostProcessor(std::vector<Token> before, std::vector<Token> behind)
      : before_(std::move(before)), behind_(std::move(behind)) {}
  static Result<PostProcessor> FromJson(const Json& json);
  void Apply(std::vector<Token>& ids) const;

 private:
  Result<void> Read(const Json& json, int depth);
  Result<void> ReadTemplate(const Json& json);
  Result<void> ReadPair(const Json& json);

  std::vector<Token> before_;
  std::vector<Token> behind_;
};

}  // namespace causeway::model::tokenizer
