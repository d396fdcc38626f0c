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

namespace causeway::model {

// A folder that ends with the object.
class TestFolder {
 public:
  TestFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "causeway-test-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  ~TestFolder() { std::filesystem::remove_all(path_); }

  std::string path() const { return path_; }
  std::string Read(const std::string& name) const { return ReadWholeFile(path_ + "/" + name); }
  void Write(const std::string& name, std::string_view bytes) const {
    const std::filesystem::path file = path_ + "/" + name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << bytes;
  }

 private:
  std::string path_;
};

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
