#include "server/config/resolve.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace causeway::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Case {
  bool flag;
  bool environment;
  bool file;
  int64_t expected;
  OptionOrigin origin;
};

class World {
 public:
  std::map<std::string, std::string, std::less<>> environment;
  std::string file;
  OptionSources sources;

  World() {
    sources.environment = [this](std::string_view name) -> std::optional<std::string> {
      const auto found = environment.find(name);
      return found == environment.end() ? std::nullopt : std::optional(found->second);
    };
    sources.read_file = [this](const std::string& path) -> Result<std::string> {
      if (path != "here.toml") {
        return MakeError(ErrorCode::kNotFound, path + ": no such file");
      }
      return file;
    };
  }
  Resolution Resolve() const { return ResolveOptions(sources); }
};

size_t Index(std::string_view name) { return static_cast<size_t>(FindOption(name) - OptionTable().data()); }

TEST(ResolveTest, FlagBeatsEnvironmentBeatsFileBeatsDefault) {
  for (const Case& c :
       {Case{true, true, true, 1, OptionOrigin::kFlag}, Case{true, true, false, 1, OptionOrigin::kFlag},
        Case{true, false, true, 1, OptionOrigin::kFlag}, Case{true, false, false, 1, OptionOrigin::kFlag},
        Case{false, true, true, 2, OptionOrigin::kEnvironment}, Case{false, true, false, 2, OptionOrigin::kEnvironment},
        Case{false, false, true, 3, OptionOrigin::kFile}, Case{false, false, false, 64, OptionOrigin::kDefault}}) {
    World world;
    world.sources.flags["config"] = {"here.toml"};
    if (c.flag) {
      world.sources.flags["max-num-seqs"] = {"1"};
    }
    if (c.environment) {
      world.environment["CAUSEWAY_MAX_NUM_SEQS"] = "2";
    }
    world.file = c.file ? "max-num-seqs = 3\n" : "\n";
    const Resolution resolution = world.Resolve();
    EXPECT_TRUE(resolution.errors.empty());
    EXPECT_EQ(resolution.options.max_num_seqs, c.expected);
    EXPECT_EQ(resolution.origins[Index("max-num-seqs")], c.origin);
  }
}

TEST(ResolveTest, AHigherSourceReplacesAListWhole) {
  World world;
  world.sources.flags["config"] = {"here.toml"};
  world.file = "served-model-name = [a, b, c]";
  EXPECT_THAT(world.Resolve().options.served_model_name, ElementsAre("a", "b", "c"));
  world.environment["CAUSEWAY_SERVED_MODEL_NAME"] = "d,e";
  EXPECT_THAT(world.Resolve().options.served_model_name, ElementsAre("d", "e"));
  world.sources.flags["served-model-name"] = {"f"};
  EXPECT_THAT(world.Resolve().options.served_model_name, ElementsAre("f"));
}

TEST(ResolveTest, TheFileMayBeNamedByTheEnvironment) {
  World world;
  world.environment["CAUSEWAY_CONFIG"] = "here.toml";
  world.file = "port = 1234";
  EXPECT_EQ(world.Resolve().options.port, 1234);
}

TEST(ResolveTest, ReportsEveryErrorAtOnceWithItsSource) {
  World world;
  world.sources.flags["config"] = {"here.toml"};
  world.sources.flags["port"] = {"x"};
  world.sources.flags["threads"] = {"1", "2"};
  world.environment["CAUSEWAY_GRPC_PORT"] = "70000";
  world.environment["CAUSEWAY_GRPC"] = "perhaps";
  world.file =
      "max-num-seq = 3\n"
      "log-level = loud\n"
      "config = other\n"
      "top-k = 5\n"
      "top_k = 6\n"
      "nonsense\n";
  const Resolution resolution = world.Resolve();
  const std::string all = testing::PrintToString(resolution.errors);
  EXPECT_EQ(resolution.errors.size(), 9) << all;
  EXPECT_THAT(all, HasSubstr("--port must be a whole number, and is x"));
  EXPECT_THAT(all, HasSubstr("--threads takes one value"));
  EXPECT_THAT(all, HasSubstr("CAUSEWAY_GRPC_PORT: grpc-port must be at least 0 and at most 65535, and is 70000"));
  EXPECT_THAT(all, HasSubstr("CAUSEWAY_GRPC: grpc must be true or false"));
  EXPECT_THAT(all, HasSubstr("here.toml line 1: unknown setting max-num-seq; is it max-num-seqs?"));
  EXPECT_THAT(all, HasSubstr("here.toml line 2: log-level must be one of trace|debug|info|warning|error"));
  EXPECT_THAT(all, HasSubstr("here.toml line 3: unknown setting config"));
  EXPECT_THAT(all, HasSubstr("here.toml line 5: top-k stands there twice"));
  EXPECT_THAT(all, HasSubstr("here.toml line 6"));
}

TEST(ResolveTest, AMistakeIsReportedAlsoWhereAHigherSourceWins) {
  World world;
  world.sources.flags["port"] = {"1"};
  world.environment["CAUSEWAY_PORT"] = "x";
  EXPECT_EQ(world.Resolve().errors.size(), 1);
}

TEST(ResolveTest, AMissingFileIsAnError) {
  World world;
  world.sources.flags["config"] = {"elsewhere.toml"};
  EXPECT_THAT(world.Resolve().errors, ElementsAre("config: elsewhere.toml: no such file"));
}

TEST(ResolveTest, KubernetesServiceLinksAreIgnored) {
  World world;
  world.environment["CAUSEWAY_PORT"] = "tcp://10.0.0.1:80";
  const Resolution resolution = world.Resolve();
  EXPECT_TRUE(resolution.errors.empty());
  EXPECT_EQ(resolution.options.port, 8000);
  EXPECT_EQ(resolution.warnings.size(), 1);
}

TEST(ResolveTest, SettingsThatContradictEachOther) {
  World world;
  world.sources.flags["max-num-seqs"] = {"600"};
  world.sources.flags["port"] = {"9000"};
  EXPECT_EQ(world.Resolve().errors.size(), 2);
  world.sources.flags["max-num-batched-tokens"] = {"600"};
  world.sources.flags["grpc"] = {"false"};
  EXPECT_TRUE(world.Resolve().errors.empty());
}

TEST(ResolveTest, DescribesWhatIsNotDefault) {
  World world;
  world.sources.flags["port"] = {"1"};
  world.environment["CAUSEWAY_QUEUE_TIMEOUT"] = "90";
  EXPECT_EQ(DescribeSettings(world.Resolve()), "queue-timeout=90s (environment), port=1 (flag)");
}

TEST(ResolveTest, SuggestsNearNamesOnly) {
  EXPECT_EQ(NearestOption("prot"), "port");
  EXPECT_EQ(NearestOption("max-model-length"), "max-model-len");
  EXPECT_EQ(NearestOption("zzzzzzzzzz"), "");
}

TEST(ResolveTest, ExampleFilesLoad) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator("configs")) {
    if (entry.path().extension() != ".toml") {
      continue;
    }
    ++files;
    OptionSources sources;
    sources.flags["config"] = {entry.path().string()};
    sources.environment = [](std::string_view) { return std::nullopt; };
    sources.read_file = [](const std::string& path) { return ReadTextFile(path, 1 << 20); };
    const Resolution resolution = ResolveOptions(sources);
    EXPECT_TRUE(resolution.errors.empty()) << entry.path() << testing::PrintToString(resolution.errors);
  }
  EXPECT_GE(files, 2);
}

}  // namespace
}  // namespace causeway::server
