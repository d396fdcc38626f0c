#include "server/config/flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <CLI/CLI.hpp>

namespace causeway::server {
namespace {

using testing::ElementsAre;

// CLI11 takes arguments last first.
Resolution Parse(std::vector<std::string> arguments) {
  CLI::App app;
  OptionFlags flags(app, {OptionGroup::kModel, OptionGroup::kAnswers, OptionGroup::kMachine, OptionGroup::kListening});
  std::reverse(arguments.begin(), arguments.end());
  app.parse(arguments);
  return flags.ResolveQuietly();
}

TEST(FlagsTest, CollectsEachType) {
  const Resolution resolution =
      Parse({"--model", "m", "--served-model-name", "a", "--served-model-name=b", "--temperature", "0.5", "--top-k",
             "-1", "--enable-admin-endpoints", "--no-grpc", "--kv-cache-memory", "2GiB", "--shutdown-timeout=5s"});
  EXPECT_THAT(resolution.errors, ElementsAre());
  EXPECT_EQ(resolution.options.model, "m");
  EXPECT_THAT(resolution.options.served_model_name, ElementsAre("a", "b"));
  EXPECT_EQ(resolution.options.temperature, 0.5);
  EXPECT_EQ(resolution.options.top_k, -1);
  EXPECT_TRUE(resolution.options.enable_admin_endpoints);
  EXPECT_FALSE(resolution.options.grpc);
  EXPECT_EQ(resolution.options.kv_cache_memory, 2LL << 30);
  EXPECT_EQ(resolution.options.shutdown_timeout, std::chrono::seconds(5));
}

TEST(FlagsTest, RefusesARepeatedScalar) { EXPECT_EQ(Parse({"--port", "1", "--port", "2"}).errors.size(), 1); }

TEST(FlagsTest, APositionalIsTheSameAsItsFlag) {
  const auto parse = [](std::vector<std::string> arguments) {
    CLI::App app;
    OptionFlags flags(app, {OptionGroup::kModel}, "model");
    std::reverse(arguments.begin(), arguments.end());
    app.parse(arguments);
    return flags.ResolveQuietly();
  };
  EXPECT_EQ(parse({"org/name", "--max-model-len", "9"}).options.model, "org/name");
  EXPECT_EQ(parse({"--model", "org/name"}).options.model, "org/name");
  EXPECT_THROW(parse({"a", "b"}), CLI::ExtrasError);
}

TEST(FlagsTest, EveryRowOfItsGroupsHasAFlagAndOthersHaveNone) {
  CLI::App app;
  OptionFlags flags(app, {OptionGroup::kScheduling});
  for (const OptionRow& row : OptionTable()) {
    const bool expected = row.group == OptionGroup::kScheduling;
    EXPECT_EQ(app.get_option_no_throw("--" + std::string(row.name)) != nullptr, expected) << row.name;
  }
}

}  // namespace
}  // namespace causeway::server
