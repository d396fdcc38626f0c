// Quantized Hugging Face checkpoints that their own packers wrote, on every table of kernels: dequantized weights bit
// for bit, logits and greedy tokens of the reference.
#include <cstring>
#include <filesystem>

#include <gtest/gtest.h>

#include "kernels/quant/format.h"
#include "model/linear_inputs.h"
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
