// Quantized Hugging Face checkpoints that their own packers wrote, on every table of kernels: dequantized weights bit
// for bit, logits and greedy tokens of the reference.
#include <cmath>
#include <cstring>
#include <filesystem>

#include <gtest/gtest.h>

#include "kernels/quant/format.h"
#include "model/linear_inputs.h"
#include "model/network.h"
#include "model/quant/reader.h"
#include "tests/golden/golden_folders.h"
#include "tests/support/shared_data.h"

namespace causeway::model {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> QuantizedFolders(const std::string& parent) {
  std::vector<std::string> folders;
  for (const auto& entry : fs::directory_iterator(parent)) {
    const bool gguf = entry.path().filename().string().starts_with("gguf");
    if (!gguf && fs::exists(entry.path() / "config.json") && fs::exists(entry.path() / "model.safetensors")) {
      folders.push_back(entry.path().string());
    }
  }
  return folders;
}

TEST(QuantizedGoldenTest, Committed) { ExpectFoldersPass(QuantizedFolders("tests/golden/quant")); }

TEST(QuantizedGoldenTest, Shared) {
  CAUSEWAY_SKIP_WITHOUT_SHARED();
  ExpectFoldersPass(QuantizedFolders(SharedFolder() + "/goldens/quant"));
}

// LoRA over float and quantized weights: each adapter alone, all in one batch, and one that is for another model.
TEST(AdapterGoldenTest, Shared) {
  CAUSEWAY_SKIP_WITHOUT_SHARED();
  ExpectFoldersPass({SharedFolder() + "/goldens/quant/lora", SharedFolder() + "/goldens/quant/lora-over-nf4"});
}

TEST(AdapterGoldenTest, Committed) { ExpectFoldersPass({"tests/golden/quant/lora"}); }

// Act-order and rounded inputs keep each row to itself.
TEST(QuantizedGoldenTest, ChunksOfThePromptDoNotMatter) {
  ThreadPool pool({.threads = 2, .pin = false});
  for (const std::string& folder : QuantizedFolders("tests/golden/quant")) {
    for (const int64_t chunk : {1, 7}) {
      ExpectPassed(VerifyModel(folder, **kernels::SelectOps(""), pool, {.dump = {}, .chunk = chunk}), folder);
    }
  }
}

// Logits of all prompts of a folder's golden; what the report says of them does not matter.
std::vector<float> LogitsOf(const std::string& folder, const LoadOptions& options, ThreadPool& pool) {
  const auto model = *LoadModel(options);
  const Golden golden = *ReadGolden(folder);
  NamedLogits named;
  EXPECT_TRUE(VerifyRun(golden, *model, nullptr, **kernels::SelectOps(""), pool, {}, "", named).ok());
  std::vector<float> all;
  for (const auto& [name, logits] : named) {
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

// In panels x is rounded once, in short groups: such weights are nearer to float inputs than the checkpoint asks for.
TEST(QuantizedGoldenTest, InputsOfPackedWeightsAreRoundedOnce) {
  ThreadPool pool({.threads = 2, .pin = false});
  const std::string folder = "tests/golden/quant/ct-fp8-block";
  LoadOptions options;
  options.model = folder;
  const std::vector<float> rounded = LogitsOf(folder, options, pool);
  options.round_inputs = false;
  const std::vector<float> exact = LogitsOf(folder, options, pool);
  options.round_inputs = true;
  options.pack_on = &pool;
  const auto packed_model = *LoadModel(options);
  const kernels::WeightView& weight = packed_model->network->layers[0].mlp.up.weight;
  EXPECT_EQ(weight.layout, kernels::WeightLayout::kPanels);
  EXPECT_EQ(weight.input_rounding, nullptr);
  const std::vector<float> packed = LogitsOf(folder, options, pool);
  ASSERT_EQ(packed.size(), exact.size());
  double packed_error = 0;
  double rounded_error = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    packed_error += std::pow(static_cast<double>(packed[i]) - static_cast<double>(exact[i]), 2);
    rounded_error += std::pow(static_cast<double>(rounded[i]) - static_cast<double>(exact[i]), 2);
  }
  EXPECT_GT(packed_error, 0);
  EXPECT_LT(packed_error, rounded_error / 4);
}

std::vector<float> Floats(const TensorMap& tensors, const std::string& name) {
  const Tensor& tensor = tensors.at(name);
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
  return values;
}

// The example that a golden has of rounded inputs.
void ExpectRounding(const std::string& folder, const kernels::InputRounding& rounding) {
  const auto files = *OpenFolder(folder);
  const TensorMap tensors = *ParseSafetensors(*files->Open("golden.safetensors"));
  std::vector<float> x = Floats(tensors, "linear.x");
  const std::vector<float> wanted = Floats(tensors, "linear.xq");
  const auto width = static_cast<size_t>(tensors.at("linear.x").shape[1]);
  for (size_t row = 0; row < x.size(); row += width) {
    RoundInput(rounding, std::span(x).subspan(row, width));
    for (size_t i = row; i < row + width; ++i) {
      ASSERT_NEAR(x[i], wanted[i], 1e-5F * std::fabs(wanted[i])) << folder << " value " << i;
    }
  }
}

TEST(QuantizedGoldenTest, InputsAreRoundedAsTheReferenceDoes) {
  using Code = kernels::InputRounding::Code;
  ExpectRounding("tests/golden/quant/ct-fp8-block", {Code::kE4M3, 128, 0.0F});
  CAUSEWAY_SKIP_WITHOUT_SHARED();
  ExpectRounding(SharedFolder() + "/goldens/quant/ct-fp8-dynamic", {Code::kE4M3, 0, 0.0F});
  ExpectRounding(SharedFolder() + "/goldens/quant/ct-w8a8-int8", {Code::kInt8, 0, 0.0F});
}

// Single matrices of auto-gptq's packer: asymmetric, version 1, without g_idx.
TEST(QuantizedGoldenTest, AutoGptqMatrices) {
  CAUSEWAY_SKIP_WITHOUT_SHARED();
  const auto files = *OpenFolder(SharedFolder() + "/goldens/quant/gptq-autogptq-tensors");
  const TensorMap all = *ParseSafetensors(*files->Open("tensors.safetensors"));
  int cases = 0;
  for (const auto& [bits, group] : {std::pair(2, 32), std::pair(3, 64), std::pair(4, 128), std::pair(8, 32)}) {
    const std::string name = std::to_string(bits) + "bit-g" + std::to_string(group);
    Checkpoint checkpoint;
    for (const char* const part : {".qweight", ".qzeros", ".scales"}) {
      checkpoint.tensors.emplace(name + part, all.at(name + part));
    }
    const auto read =
        quant::Translate({{"quant_method", "gptq"}, {"bits", bits}, {"group_size", group}}, checkpoint, {});
    ASSERT_TRUE(read.ok()) << read.error().message;
    const Tensor& weight = checkpoint.tensors.at(name + ".weight");
    std::vector<float> values(static_cast<size_t>(weight.elements()));
    kernels::FindFormat(weight.dtype)->decode(weight.data.data(), values.data(), weight.elements());
    EXPECT_EQ(values, Floats(all, name + ".dequant")) << name << " as " << weight.dtype;
    ++cases;
  }
  EXPECT_EQ(cases, 4);
}

}  // namespace
}  // namespace causeway::model
