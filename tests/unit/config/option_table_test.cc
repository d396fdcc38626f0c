// Walks the table, so that a new row is covered at once.
#include <cctype>
#include <set>

#include <gtest/gtest.h>

#include "server/config/config_file.h"
#include "server/config/options.h"
#include "server/config/resolve.h"
#include "server/config/value.h"

namespace causeway::server {
namespace {

bool IsNumeric(const OptionRow& row) {
  return std::holds_alternative<int64_t Options::*>(row.member) ||
         std::holds_alternative<std::optional<int64_t> Options::*>(row.member) ||
         std::holds_alternative<std::optional<double> Options::*>(row.member) ||
         std::holds_alternative<Duration Options::*>(row.member);
}

// A text that the row takes and that is not its default.
std::vector<std::string> OtherTexts(const OptionRow& row) {
  if (std::holds_alternative<bool Options::*>(row.member)) {
    return {row.fallback == "true" ? "false" : "true"};
  }
  if (!row.choices.empty()) {
    const std::string last(row.choices.substr(row.choices.rfind('|') + 1));
    return {last != row.fallback ? last : std::string(row.choices.substr(0, row.choices.find('|')))};
  }
  if (std::holds_alternative<std::vector<std::string> Options::*>(row.member)) {
    return {"one", "it's two"};
  }
  if (IsNumeric(row)) {
    Options options = DefaultOptions();
    const bool time = std::holds_alternative<Duration Options::*>(row.member);
    const std::string text = std::to_string(static_cast<int64_t>(row.max)) + (time ? "s" : "");
    EXPECT_TRUE(SetOption(row, {&text, 1}, options).ok()) << row.name << " " << text;
    std::vector<std::string> canonical = OptionTexts(row, options);
    if (canonical != OptionTexts(row, DefaultOptions())) {
      return canonical;
    }
    return {std::to_string(static_cast<int64_t>(row.min))};
  }
  return {"some \"text\" # here"};
}

TEST(OptionTableTest, RowsAreWellFormed) {
  std::set<std::string_view> names;
  OptionGroup group = OptionGroup::kModel;
  for (const OptionRow& row : OptionTable()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    for (const char c : row.name) {
      EXPECT_TRUE(std::islower(c) || c == '-') << row.name;
    }
    EXPECT_GE(row.group, group) << row.name << ": groups stand together";
    group = row.group;
    ASSERT_FALSE(row.doc.empty()) << row.name;
    EXPECT_EQ(row.doc.back(), '.') << row.name;
    if (IsNumeric(row)) {
      EXPECT_LT(row.min, row.max) << row.name;
    }
    EXPECT_EQ(FindOption(row.name), &row);
  }
  EXPECT_EQ(FindOption("no-such"), nullptr);
  EXPECT_EQ(EnvironmentName("max-num-seqs"), "CAUSEWAY_MAX_NUM_SEQS");
}

TEST(OptionTableTest, DefaultsAreSpelledAsTheyArePrinted) {
  const Options defaults = DefaultOptions();
  for (const OptionRow& row : OptionTable()) {
    const std::vector<std::string> texts = OptionTexts(row, defaults);
    if (row.fallback.empty()) {
      EXPECT_TRUE(texts.empty()) << row.name;
    } else {
      EXPECT_EQ(texts, std::vector<std::string>{std::string(row.fallback)}) << row.name;
    }
  }
}

TEST(OptionTableTest, EveryValueCanBeWrittenAndReadBack) {
  Options options = DefaultOptions();
  for (const OptionRow& row : OptionTable()) {
    if (row.in_file && !row.secret) {
      const Result<void> set = SetOption(row, OtherTexts(row), options);
      ASSERT_TRUE(set.ok()) << row.name << " " << set.error().message;
    }
  }
  const std::string dump = DumpConfig(options);
  OptionSources sources;
  sources.flags["config"] = {"all.toml"};
  sources.environment = [](std::string_view) { return std::nullopt; };
  sources.read_file = [&](const std::string&) { return Result<std::string>(dump); };
  const Resolution resolution = ResolveOptions(sources);
  Options expected = options;
  expected.config = "all.toml";
  for (const OptionRow& row : OptionTable()) {
    EXPECT_EQ(OptionTexts(row, resolution.options), OptionTexts(row, expected)) << row.name;
  }
  // Values at their bounds may contradict each other; they must still parse.
  for (const std::string& error : resolution.errors) {
    EXPECT_EQ(error.find("all.toml"), std::string::npos) << error;
  }
}

TEST(OptionTableTest, SecretsAreNeverPrinted) {
  OptionSources sources;
  sources.flags["api-key"] = {"hunter2"};
  sources.environment = [](std::string_view) { return std::nullopt; };
  const Resolution resolution = ResolveOptions(sources);
  EXPECT_EQ(DumpConfig(resolution.options).find("hunter2"), std::string::npos);
  EXPECT_EQ(DescribeSettings(resolution), "api-key=*** (flag)");
  sources.flags["api-key"] = {"hunter2\n"};
  const Resolution wrong = ResolveOptions(sources);
  ASSERT_EQ(wrong.errors.size(), 1);
  EXPECT_EQ(wrong.errors[0].find("hunter2"), std::string::npos);
}

TEST(OptionTableTest, TheExampleFileIsTheDumpOfTheDefaults) {
  const Result<std::string> example = ReadTextFile("configs/causeway.toml", 1 << 20);
  ASSERT_TRUE(example.ok()) << example.error().message;
  EXPECT_EQ(*example, DumpConfig(DefaultOptions())) << "run: ./dev run serve --dump-config > configs/causeway.toml";
}

// Each commented default of the example is a line that may be uncommented.
TEST(OptionTableTest, CommentedDefaultsAreValid) {
  std::string text = DumpConfig(DefaultOptions());
  for (size_t at = text.find("\n#"); at != std::string::npos; at = text.find("\n#", at + 1)) {
    const std::string line = text.substr(at + 2, text.find('\n', at + 1) - at - 2);
    if (line.front() != ' ' && line.back() != '=') {
      text[at + 1] = ' ';
    }
  }
  OptionSources sources;
  sources.flags["config"] = {"example"};
  sources.environment = [](std::string_view) { return std::nullopt; };
  sources.read_file = [&](const std::string&) { return Result<std::string>(text); };
  Resolution resolution = ResolveOptions(sources);
  EXPECT_TRUE(resolution.errors.empty()) << resolution.errors[0];
  resolution.options.config.clear();
  EXPECT_TRUE(resolution.options == DefaultOptions());
}

}  // namespace
}  // namespace causeway::server
