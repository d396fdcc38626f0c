// Folders of golden values, checked on every table of kernels that this machine can run.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "model/verify.h"

namespace causeway::model {

inline void ExpectPassed(const Result<VerifyReport>& report, const std::string& what) {
  ASSERT_TRUE(report.ok()) << what << ": " << report.error().message;
  EXPECT_FALSE(report->cases.empty()) << what;
  for (const VerifyCase& one : report->cases) {
    EXPECT_TRUE(one.passed) << what << " " << one.name << ": " << one.detail;
  }
}

inline void ExpectFoldersPass(const std::vector<std::string>& folders) {
  ASSERT_FALSE(folders.empty());
  ThreadPool pool({.threads = 1, .pin = false});
  for (const std::string& folder : folders) {
    for (const kernels::Ops* ops : kernels::AllOps()) {
      if (kernels::CanRun(*ops)) {
        for (const bool int8 : {false, true}) {
          if (!int8 && !ops->extends.empty()) {
            continue;  // those ops are another table's
          }
          ExpectPassed(VerifyModel(folder, *ops, pool, {.dump = {}, .int8_activations = int8}),
                       std::string(ops->name) + (int8 ? " int8 " : " f32 ") + folder);
        }
      }
    }
  }
}

}  // namespace causeway::model
