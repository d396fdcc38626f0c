// Recorded answers of the reference library.
#include <filesystem>

#include <gtest/gtest.h>

#include "model/tokenizer/verify.h"
#include "tests/support/shared_data.h"

namespace causeway::model {
namespace {

void ExpectAllPass(const std::string& folder) {
  const auto report =
      VerifyTokenizer(ReadWholeFile(folder + "/tokenizer.json"), ReadWholeFile(folder + "/cases.jsonl"));
  ASSERT_TRUE(report.ok()) << folder << ": " << report.error().message;
  EXPECT_FALSE(report->cases.empty());
  for (const VerifyCase& one : report->cases) {
    EXPECT_TRUE(one.passed) << folder << " " << one.name << ": " << one.detail;
  }
}

void ExpectFoldersPass(const std::string& parent) {
  for (const auto& entry : std::filesystem::directory_iterator(parent)) {
    if (std::filesystem::exists(entry.path() / "cases.jsonl")) {
      ExpectAllPass(entry.path().string());
    }
  }
}

TEST(TokenizerVectorsTest, Committed) { ExpectFoldersPass("tests/golden/tokenizers"); }

TEST(TokenizerVectorsTest, Shared) {
  CAUSEWAY_SKIP_WITHOUT_SHARED();
  ExpectFoldersPass(SharedFolder() + "/tokenizers");
}

TEST(TokenizerVectorsTest, AWrongAnswerIsAFailedCase) {
  const auto report = VerifyTokenizer(ReadWholeFile("tests/golden/tokenizers/gpt2-like/tokenizer.json"),
                                      R"({"text":"ab","ids":[1],"ids_special":[1],"decoded":"x","decoded_skip":"x"})");
  ASSERT_TRUE(report.ok());
  EXPECT_FALSE(report->passed());
}

}  // namespace
}  // namespace causeway::model
