#include "server/cli/bench_serve/workload.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>

#include <gtest/gtest.h>

namespace causeway::server::bench {
namespace {

int64_t CountWords(const std::string& text) { return std::count(text.begin(), text.end(), ' '); }

std::string WriteTemporary(const std::string& text) {
  const std::string path = ::testing::TempDir() + "/workload_test.jsonl";
  std::ofstream(path) << text;
  return path;
}

TEST(WorkloadTest, ConversationIsAFunctionOfSeedAndIndex) {
  WorkloadOptions options;
  options.range = 0.5;
  const auto a = Workload::Make(options);
  const auto b = Workload::Make(options);
  ASSERT_TRUE(a.ok() && b.ok());
  std::set<std::string> texts;
  for (uint64_t i = 0; i < 50; ++i) {
    EXPECT_EQ(a->At(i).turns[0].text, b->At(i).turns[0].text);
    texts.insert(a->At(i).turns[0].text);
  }
  EXPECT_EQ(texts.size(), 50U);
}

TEST(WorkloadTest, LengthsStayInTheirRange) {
  WorkloadOptions options;
  options.input_tokens = 100;
  options.output_tokens = 40;
  options.range = 0.25;
  options.words_per_token = 0.5;
  const auto workload = Workload::Make(options);
  ASSERT_TRUE(workload.ok());
  std::set<int64_t> outputs;
  for (uint64_t i = 0; i < 200; ++i) {
    const Turn turn = workload->At(i).turns.at(0);
    EXPECT_GE(turn.output_tokens, 30);
    EXPECT_LE(turn.output_tokens, 50);
    outputs.insert(turn.output_tokens);
    EXPECT_GE(CountWords(turn.text), 37);
    EXPECT_LE(CountWords(turn.text), 63);
  }
  EXPECT_GT(outputs.size(), 10U);
}

TEST(WorkloadTest, TurnsAreCountedBeforehand) {
  WorkloadOptions options;
  EXPECT_EQ(Workload::Make(options)->CountTurns(7), 7U);
  options.kind = WorkloadKind::kMultiTurn;
  options.turns = 3;
  EXPECT_EQ(Workload::Make(options)->CountTurns(7), 21U);
  options.kind = WorkloadKind::kFile;
  options.file = WriteTemporary("{\"prompt\": \"a\"}\n{\"turns\": [\"b\", \"c\"]}\n");
  EXPECT_EQ(Workload::Make(options)->CountTurns(3), 4U);
}

TEST(WorkloadTest, SharedPrefixesAreFewAndExact) {
  WorkloadOptions options;
  options.kind = WorkloadKind::kSharedPrefix;
  options.prefixes = 3;
  const auto workload = Workload::Make(options);
  ASSERT_TRUE(workload.ok());
  std::set<std::string> prefixes;
  for (uint64_t i = 0; i < 100; ++i) {
    prefixes.insert(workload->At(i).prefix);
  }
  EXPECT_EQ(prefixes.size(), 3U);
}

TEST(WorkloadTest, MultiTurnHasItsTurns) {
  WorkloadOptions options;
  options.kind = WorkloadKind::kMultiTurn;
  options.turns = 5;
  const auto workload = Workload::Make(options);
  ASSERT_TRUE(workload.ok());
  const Conversation conversation = workload->At(3);
  ASSERT_EQ(conversation.turns.size(), 5U);
  EXPECT_NE(conversation.turns[0].text, conversation.turns[1].text);
}

TEST(WorkloadTest, FileGivesPromptsAndTurns) {
  WorkloadOptions options;
  options.kind = WorkloadKind::kFile;
  options.file = WriteTemporary("{\"prompt\":\"one\",\"output_tokens\":9}\n\n{\"turns\":[\"a\",\"b\"]}\n");
  const auto workload = Workload::Make(options);
  ASSERT_TRUE(workload.ok()) << workload.error().message;
  EXPECT_EQ(workload->file_size(), 2U);
  EXPECT_EQ(workload->At(0).turns[0].text, "one");
  EXPECT_EQ(workload->At(0).turns[0].output_tokens, 9);
  EXPECT_EQ(workload->At(1).turns.size(), 2U);
}

TEST(WorkloadTest, BadFilesNameTheLine) {
  WorkloadOptions options;
  options.kind = WorkloadKind::kFile;
  for (const char* line : {"{", "3", "{}", "{\"prompt\":1}", "{\"turns\":[]}", "{\"turns\":[1]}",
                           "{\"prompt\":\"x\",\"output_tokens\":0}", "{\"prompt\":\"x\",\"output_tokens\":1.5}"}) {
    options.file = WriteTemporary("{\"prompt\":\"fine\"}\n" + std::string(line) + "\n");
    const auto workload = Workload::Make(options);
    ASSERT_FALSE(workload.ok()) << line;
    EXPECT_NE(workload.error().message.find(".jsonl:2:"), std::string::npos) << workload.error().message;
  }
  options.file = "/nonexistent";
  EXPECT_FALSE(Workload::Make(options).ok());
  options.file = WriteTemporary("\n");
  EXPECT_FALSE(Workload::Make(options).ok());
}

TEST(ParseWorkloadKindTest, NamesTheKnown) {
  EXPECT_TRUE(ParseWorkloadKind("multi-turn").ok());
  const auto unknown = ParseWorkloadKind("multiturn");
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.error().message.find("shared-prefix"), std::string::npos);
}

}  // namespace
}  // namespace causeway::server::bench
