// What real Jinja2 renders of published templates.
#include <filesystem>

#include <gtest/gtest.h>

#include "server/template/verify.h"
#include "tests/support/shared_data.h"

namespace causeway::server {
namespace {

TEST(TemplateVectorsTest, Shared) {
  CAUSEWAY_SKIP_WITHOUT_SHARED();
  int templates = 0;
  for (const auto& entry : std::filesystem::directory_iterator(SharedFolder() + "/templates")) {
    const std::string path = entry.path().string();
    if (!path.ends_with(".jinja")) {
      continue;
    }
    ++templates;
    const auto report =
        VerifyTemplate(ReadWholeFile(path), ReadWholeFile(path.substr(0, path.size() - 6) + ".cases.json"));
    ASSERT_TRUE(report.ok()) << path << ": " << report.error().message;
    for (const VerifyCase& one : report->cases) {
      EXPECT_TRUE(one.passed) << path << " " << one.name << ": " << one.detail;
    }
  }
  EXPECT_GT(templates, 0);
}

}  // namespace
}  // namespace causeway::server
