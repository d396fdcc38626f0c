// Every family against what the transformers library computes for it, on every table of kernels that this
// machine can run.
#include <filesystem>

#include <gtest/gtest.h>

#include "model/verify.h"
#include "tests/support/shared_data.h"

namespace causeway::model {
namespace {

void ExpectFoldersPass(const std::string& parent) {
  ThreadPool pool({.threads = 2, .pin = false});
  for (const kernels::Ops* ops : kernels::AllOps()) {
    if (!kernels::CanRun(*ops)) {
      GTEST_LOG_(INFO) << "this machine cannot run " << ops->name;
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(parent)) {
      if (!std::filesystem::exists(entry.path() / "golden.json") ||
          !std::filesystem::exists(entry.path() / "config.json")) {
        continue;
      }
      const auto report = VerifyModel(entry.path().string(), *ops, pool, {});
      ASSERT_TRUE(report.ok()) << entry.path() << ": " << report.error().message;
      for (const VerifyCase& one : report->cases) {
        EXPECT_TRUE(one.passed) << ops->name << " " << entry.path() << " " << one.name << ": " << one.detail;
      }
    }
  }
}

TEST(FamiliesTest, Committed) { ExpectFoldersPass("tests/golden/models"); }

TEST(FamiliesTest, Shared) {
  CAUSEWAY_SKIP_WITHOUT_SHARED();
  ExpectFoldersPass(SharedFolder() + "/goldens");
}

TEST(FamiliesTest, ChunksOfThePromptDoNotMatter) {
  ThreadPool pool({.threads = 2, .pin = false});
  const kernels::Ops& ops = **kernels::SelectOps("");
  for (const int64_t chunk : {1, 7}) {
    const auto report = VerifyModel("tests/golden/models/gemma2", ops, pool, {.dump = {}, .chunk = chunk});
    ASSERT_TRUE(report.ok()) << report.error().message;
    EXPECT_TRUE(report->passed());
  }
}

}  // namespace
}  // namespace causeway::model
