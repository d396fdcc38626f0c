// Every family on every table of kernels that this machine can run: F32 files against what the transformers
// library computes, BF16 files against the reference kernels on the same weights.
#include <cstring>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "kernels/quant/format.h"
#include "model/files.h"
#include "model/safetensors.h"
#include "model/safetensors_writer.h"
#include "model/verify.h"
#include "tests/support/shared_data.h"

namespace causeway::model {
namespace {

namespace fs = std::filesystem;
using kernels::FormatId;

constexpr size_t kGreedyTokens = 8;

// Calls body(folder) for every model folder with golden values.
template <typename Body>
void ForFolders(const std::string& parent, Body body) {
  int folders = 0;
  for (const auto& entry : fs::directory_iterator(parent)) {
    if (fs::exists(entry.path() / "golden.json") && fs::exists(entry.path() / "config.json")) {
      body(entry.path());
      ++folders;
    }
  }
  EXPECT_GT(folders, 0) << parent;
}

// Those whose ops are their own: no weight is in panels here.
template <typename Body>
void ForTables(Body body) {
  for (const kernels::Ops* ops : kernels::AllOps()) {
    if (kernels::CanRun(*ops) && ops->extends.empty()) {
      body(*ops);
    } else if (ops->extends.empty()) {
      GTEST_LOG_(INFO) << "this machine cannot run " << ops->name;
    }
  }
}

void ExpectPassed(const Result<VerifyReport>& report, const std::string& what) {
  ASSERT_TRUE(report.ok()) << what << ": " << report.error().message;
  EXPECT_FALSE(report->cases.empty()) << what;
  for (const VerifyCase& one : report->cases) {
    EXPECT_TRUE(one.passed) << what << " " << one.name << ": " << one.detail;
  }
}

void ExpectFoldersPass(const std::string& parent) {
  ThreadPool pool({.threads = 1, .pin = false});
  ForFolders(parent, [&](const fs::path& folder) {
    ForTables([&](const kernels::Ops& ops) {
      ExpectPassed(VerifyModel(folder.string(), ops, pool, {}), std::string(ops.name) + " " + folder.string());
    });
  });
}

// Writes the folder's model anew with every float32 tensor rounded to BF16.
void ConvertToBF16(const fs::path& from, const fs::path& to) {
  fs::create_directories(to);
  fs::copy_file(from / "config.json", to / "config.json", fs::copy_options::overwrite_existing);
  const auto files = *OpenFolder(from.string());
  const TensorMap tensors = *LoadTensors(*files);
  std::vector<TensorToWrite> headers;
  std::vector<std::vector<std::byte>> data;
  for (const auto& [name, tensor] : tensors) {
    std::vector<std::byte>& bytes = data.emplace_back(tensor.data.begin(), tensor.data.end());
    if (tensor.dtype == "F32") {
      std::vector<float> values(static_cast<size_t>(tensor.elements()));
      std::memcpy(values.data(), bytes.data(), bytes.size());
      bytes.resize(values.size() * 2);
      kernels::FormatOf(FormatId::kBF16).encode(values.data(), bytes.data(), tensor.elements());
    }
    headers.push_back(
        {name, tensor.dtype == "F32" ? "BF16" : tensor.dtype, tensor.shape, static_cast<int64_t>(bytes.size())});
  }
  const auto written =
      WriteSafetensors((to / "model.safetensors").string(), headers,
                       [&](size_t index, const auto& write) { write(std::span<const std::byte>(data[index])); });
  ASSERT_TRUE(written.ok()) << written.error().message;
}

void ExpectBF16Passes(const fs::path& folder) {
  const fs::path converted = fs::path(testing::TempDir()) / ("bf16-" + folder.filename().string());
  ASSERT_NO_FATAL_FAILURE(ConvertToBF16(folder, converted));
  const auto model = LoadModel({.model = converted.string(), .weights = true, .progress = {}, .hub_caches = {}});
  ASSERT_TRUE(model.ok()) << folder << ": " << model.error().message;
  std::vector<std::vector<Token>> prompts;
  size_t longest = 0;
  const Golden recorded = *ReadGolden(folder.string());
  for (const GoldenPrompt& prompt : recorded.prompts) {
    prompts.push_back(prompt.tokens);
    longest = std::max(longest, prompt.tokens.size());
  }
  ThreadPool pool({.threads = 1, .pin = false});
  const auto runner = *SequenceRunner::Create(
      **model, **kernels::SelectOps("ref"), pool,
      {.kv_format = kernels::KvFormat::kF32, .max_positions = static_cast<int64_t>(longest + kGreedyTokens) + 1});
  const auto golden = ComputeGolden(*runner, prompts, kGreedyTokens);
  ASSERT_TRUE(golden.ok()) << golden.error().message;
  ForTables([&](const kernels::Ops& ops) {
    ExpectPassed(VerifyAgainst(*golden, **model, ops, pool, {}),
                 std::string(ops.name) + " " + folder.string() + " as BF16");
  });
  fs::remove_all(converted);
}

TEST(FamiliesTest, Committed) { ExpectFoldersPass("tests/golden/models"); }

TEST(FamiliesTest, CommittedAsBF16) { ForFolders("tests/golden/models", ExpectBF16Passes); }

TEST(FamiliesTest, Shared) {
  CAUSEWAY_SKIP_WITHOUT_SHARED();
  ExpectFoldersPass(SharedFolder() + "/goldens");
}

TEST(FamiliesTest, SharedAsBF16) {
  CAUSEWAY_SKIP_WITHOUT_SHARED();
  ForFolders(SharedFolder() + "/goldens", ExpectBF16Passes);
}

TEST(FamiliesTest, ChunksOfThePromptDoNotMatter) {
  ThreadPool pool({.threads = 1, .pin = false});
  const kernels::Ops& ops = **kernels::SelectOps("");
  for (const int64_t chunk : {1, 7}) {
    const auto report = VerifyModel("tests/golden/models/gemma2", ops, pool, {.dump = {}, .chunk = chunk});
    ASSERT_TRUE(report.ok()) << report.error().message;
    EXPECT_TRUE(report->passed());
  }
}

// A golden that is wrong must not pass, whichever tolerance holds.
TEST(FamiliesTest, WrongLogitsAreFound) {
  ThreadPool pool({.threads = 1, .pin = false});
  const std::string folder = "tests/golden/models/llama-sharded-bf16";
  const auto model = *LoadModel({.model = folder, .weights = true, .progress = {}, .hub_caches = {}});
  ForTables([&](const kernels::Ops& ops) {
    Golden golden = *ReadGolden(folder);
    const size_t vocab = golden.prompts[0].logits.size() / golden.prompts[0].tokens.size();
    golden.prompts.resize(1);
    for (size_t i = 0; i < vocab; i += 2) {
      golden.prompts[0].logits[i] += 1.0F;
    }
    const auto report = VerifyAgainst(golden, *model, ops, pool, {});
    ASSERT_TRUE(report.ok()) << report.error().message;
    EXPECT_FALSE(report->passed()) << ops.name;
  });
}

}  // namespace
}  // namespace causeway::model
