// The files of a model from strings, for tests that need no folder.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "model/files.h"

namespace causeway::model {

class MemoryFiles final : public ModelFiles {
 public:
  explicit MemoryFiles(std::map<std::string, std::string> files) : files_(std::move(files)) {}

  Result<std::span<const std::byte>> Open(std::string_view name) override {
    const auto it = files_.find(std::string(name));
    if (it == files_.end()) {
      return MakeError(ErrorCode::kNotFound, "no file " + std::string(name));
    }
    return std::as_bytes(std::span(it->second));
  }
  bool Has(std::string_view name) const override { return files_.contains(std::string(name)); }
  std::vector<std::string> Names() const override {
    std::vector<std::string> names;
    for (const auto& [name, text] : files_) {
      names.push_back(name);
    }
    return names;
  }
  std::string path() const override { return "memory"; }

 private:
  const std::map<std::string, std::string> files_;
};

}  // namespace causeway::model
