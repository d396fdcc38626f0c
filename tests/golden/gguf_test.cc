// GGUF files that llama.cpp's own tools wrote, on every table of kernels: dequantized weights bit for bit, logits and
// greedy tokens of the reference, vocabularies.
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include "model/gguf/verify_vocabulary.h"
#include "model/verify.h"
#include "tests/golden/golden_folders.h"
#include "tests/support/shared_data.h"

namespace causeway::model {
namespace {

namespace fs = std::filesystem;

// Folders with golden values at `parent` or one level below it, whose names begin with `prefix`.
std::vector<std::string> GoldenFolders(const std::string& parent, const std::string& prefix) {
  std::vector<std::string> folders;
  for (const auto& entry : fs::directory_iterator(parent)) {
    if (!entry.is_directory() || !entry.path().filename().string().starts_with(prefix)) {
      continue;
    }
    if (fs::exists(entry.path() / "golden.json")) {
      folders.push_back(entry.path().string());
      continue;
    }
    for (const auto& below : fs::directory_iterator(entry.path())) {
      folders.push_back(below.path().string());
    }
  }
  return folders;
}

TEST(GgufGoldenTest, Committed) { ExpectFoldersPass(GoldenFolders("tests/golden/gguf", "")); }

TEST(GgufGoldenTest, Shared) {
  CAUSEWAY_SKIP_WITHOUT_SHARED();
  ExpectFoldersPass(GoldenFolders(SharedFolder() + "/goldens/quant", "gguf-"));
}

TEST(GgufGoldenTest, ChunksOfThePromptDoNotMatter) {
  ThreadPool pool({.threads = 1, .pin = false});
  for (const int64_t chunk : {1, 7}) {
    for (const bool int8 : {false, true}) {
      ExpectPassed(VerifyModel("tests/golden/gguf/zoo", **kernels::SelectOps(""), pool,
                               {.dump = {}, .chunk = chunk, .int8_activations = int8}),
                   "zoo in chunks");
    }
  }
}

// A weight that differs by one bit must not pass.
TEST(GgufGoldenTest, WrongWeightsAreFound) {
  const fs::path folder = fs::path(testing::TempDir()) / "gguf-wrong";
  fs::remove_all(folder);
  fs::copy("tests/golden/gguf/zoo", folder);
  std::fstream file(folder / "model.gguf", std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(-100, std::ios::end);
  const auto byte = static_cast<char>(file.get() ^ 1);
  file.seekp(-100, std::ios::end);
  file.put(byte);
  file.close();
  ThreadPool pool({.threads = 1, .pin = false});
  const auto report = VerifyModel(folder.string(), **kernels::SelectOps(""), pool, {});
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_FALSE(report->passed());
  fs::remove_all(folder);
}

TEST(GgufGoldenTest, SharedVocabularies) {
  CAUSEWAY_SKIP_WITHOUT_SHARED();
  int files = 0;
  for (const auto& entry : fs::directory_iterator(SharedFolder() + "/tokenizers/gguf")) {
    const std::string path = entry.path().string();
    if (path.ends_with(".gguf")) {
      ExpectPassed(gguf::VerifyVocabulary(path, ReadWholeFile(path + ".inp"), ReadWholeFile(path + ".out")), path);
      ++files;
    }
  }
  EXPECT_GT(files, 0);
}

}  // namespace
}  // namespace causeway::model
