// Model folders for tests that break them: a copy of a golden model in a folder of the test's own.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/json.h"
#include "model/model.h"
#include "tests/support/shared_data.h"
#include "tests/support/test_folder.h"

namespace causeway::model {

// tests/golden/models/NAME, to be changed.
class TestModel : public TestFolder {
 public:
  explicit TestModel(const std::string& name) {
    std::filesystem::copy("tests/golden/models/" + name, path());
    config = *ParseJson(Read("config.json"));
  }

  // The model with `config` as it is now.
  Result<std::unique_ptr<const Model>> Load() const {
    Write("config.json", DumpJson(config));
    return LoadModel({.model = path(), .weights = true, .progress = {}, .hub_caches = {}});
  }
  // The error of loading, or "loaded".
  std::string Error() const {
    const auto model = Load();
    return model.ok() ? "loaded" : model.error().message;
  }

  Json config;
};

// A safetensors file: header length, header, data.
inline std::string SafetensorsFile(std::string_view header, std::string_view data) {
  const uint64_t size = header.size();
  std::string file(sizeof size, '\0');
  std::memcpy(file.data(), &size, sizeof size);
  return file.append(header).append(data);
}

}  // namespace causeway::model
