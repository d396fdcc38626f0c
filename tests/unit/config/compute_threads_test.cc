#include "server/config/compute_threads.h"

#include <gtest/gtest.h>

#include "base/cpu_affinity.h"

namespace causeway::server {
namespace {

TEST(ComputeThreadsTest, AutoPinsAndOffDoesNot) {
  EXPECT_TRUE(ToThreadPoolOptions(0, "auto")->pin);
  EXPECT_TRUE(ToThreadPoolOptions(0, "auto")->cpus.empty()) << "the pool chooses";
  EXPECT_FALSE(ToThreadPoolOptions(3, "off")->pin);
  EXPECT_EQ(ToThreadPoolOptions(3, "off")->threads, 3);
}

TEST(ComputeThreadsTest, AListSaysHowMany) {
  const std::vector<int>& allowed = AllowedCpus();
  const auto options = ToThreadPoolOptions(0, FormatCpuList(allowed));
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->cpus, allowed);
  EXPECT_EQ(options->threads, static_cast<int>(allowed.size()));
  EXPECT_TRUE(options->pin);
}

TEST(ComputeThreadsTest, WhatCannotBeIsNamed) {
  const std::string one = std::to_string(AllowedCpus().front());
  const auto refused = [](int64_t threads, const std::string& affinity) {
    const auto options = ToThreadPoolOptions(threads, affinity);
    EXPECT_FALSE(options.ok()) << affinity;
    EXPECT_EQ(options.error().param, "cpu-affinity");
    return options.ok() ? std::string() : options.error().message;
  };
  EXPECT_NE(refused(2, one).find("1 CPUs for 2 threads"), std::string::npos);
  EXPECT_NE(refused(0, "8191").find("may not use CPU 8191"), std::string::npos);
  refused(0, "all");
  refused(0, "");
}

}  // namespace
}  // namespace causeway::server
