// The words and habits of writers of quantized checkpoints, where they differ for one and the same layout.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/files.h"
#include "tests/support/test_folder.h"
#include "tests/unit/model/quantized_tensors.h"

namespace causeway::model::quant {
namespace {

using ::testing::HasSubstr;

Json With(Json settings, const Json& more) {
  settings.update(more);
  return settings;
}
Json Without(Json settings, const char* field) {
  settings.erase(field);
  return settings;
}

// The first value of GptqModule under these settings: code 0 less the zero point, 8 or in the older convention 9.
float FirstValue(const Json& settings) {
  Tensors tensors = GptqModule();
  const std::string error = tensors.ErrorOf(settings);
  EXPECT_EQ(error, "accepted");
  return error == "accepted" ? tensors.Decoded("a.weight")[0] : 0.0F;
}

TEST(QuantizedWritersTest, GptqModelHasTwoNamesForMethodAndFormat) {
  const Json bare = Without(kGptq, "checkpoint_format");
  EXPECT_EQ(FirstValue(bare), -9.0F);
  EXPECT_EQ(FirstValue(With(bare, {{"format", "gptq_v2"}})), -8.0F);
  EXPECT_EQ(FirstValue(With(kGptq, {{"format", "gptq"}})), -8.0F);  // checkpoint_format counts
  EXPECT_EQ(FirstValue(With(Without(kGptq, "quant_method"), {{"method", "gptq"}})), -8.0F);
  EXPECT_THAT(GptqModule().ErrorOf(With(bare, {{"format", "marlin"}})), HasSubstr("'marlin' is not served"));
  EXPECT_THAT(Tensors().ErrorOf({{"quant_method", "awq"}, {"format", "gemv"}}), HasSubstr("version 'gemv'"));
}

TEST(QuantizedWritersTest, AutoRoundWritesTheLayoutsOfOthers) {
  const Json settings = {{"quant_method", "auto-round"}, {"bits", 4}, {"group_size", 32}};
  const auto packed = [&](const char* name) { return With(settings, {{"packing_format", name}}); };
  EXPECT_EQ(FirstValue(packed("auto_round:auto_gptq")), -9.0F);
  EXPECT_EQ(FirstValue(packed("auto_round:gptqmodel")), -8.0F);
  EXPECT_EQ(FirstValue(With(packed("auto_round"), {{"quant_method", "intel/auto-round"}})), -8.0F);
  const Json by_module = {{"bits", 8}, {"extra_config", {{"a", {{"bits", 4}}}}}};
  EXPECT_EQ(FirstValue(With(packed("auto_round:gptq"), by_module)), -9.0F);
  Tensors awq;
  awq.Add("a.qweight", "I32", {32, 1}, std::vector<uint32_t>(32, 0x99999999U))
      .Add("a.qzeros", "I32", {1, 1}, std::vector<uint32_t>{0x77777777U})
      .Add("a.scales", "F32", {1, 8}, std::vector<float>(8, 0.5F));
  ASSERT_EQ(awq.ErrorOf(packed("auto_round:auto_awq")), "accepted");
  EXPECT_EQ(awq.Decoded("a.weight")[0], 1.0F);
  EXPECT_THAT(GptqModule().ErrorOf(packed("auto_round:fp8_static")),
              HasSubstr("packing_format 'auto_round:fp8_static' is not served; known: auto_round:auto_gptq"));
  EXPECT_THAT(GptqModule().ErrorOf(settings), HasSubstr("packing_format is missing"));
}

TEST(QuantizedWritersTest, BitsAndBytesIsToldByItsFlags) {
  const auto error = [](const Json& settings) {
    return Tensors()
        .Add("a.weight", "I8", {1, 32}, std::vector<int8_t>(32, 1))
        .Add("a.SCB", "F32", {1}, std::vector<float>{127.0F})
        .ErrorOf(settings);
  };
  EXPECT_EQ(error({{"load_in_8bit", true}}), "accepted");
  EXPECT_EQ(error({{"load_in_4bit", true}, {"quant_method", "QuantizationMethod.BITS_AND_BYTES"}}), "accepted");
  EXPECT_THAT(error({{"load_in_8bit", false}}), HasSubstr("quant_method is missing"));
}

// Some writers add biases of zeros to modules that have none: whoever builds the network takes what is there.
TEST(QuantizedWritersTest, BiasesAreAsFound) {
  for (const bool bias : {false, true}) {
    Tensors gptq = GptqModule();
    Tensors awq;
    awq.Add("a.qweight", "I32", {32, 1}, std::vector<uint32_t>(32))
        .Add("a.qzeros", "I32", {1, 1}, std::vector<uint32_t>(1))
        .Add("a.scales", "F32", {1, 8}, std::vector<float>(8));
    for (Tensors* const tensors : {&gptq, &awq}) {
      if (bias) {
        tensors->Add("a.bias", "F32", {8}, std::vector<float>(8));
      }
      ASSERT_EQ(tensors->ErrorOf(tensors == &gptq ? kGptq : Json{{"quant_method", "awq"}}), "accepted");
      EXPECT_EQ(tensors->checkpoint().conventions.biases_as_found, bias);
    }
  }
}

Tensors Fp8Module(const std::string& scale) {
  Tensors tensors;
  tensors
      .Add("a.k_proj.weight", "F8_E4M3", {2, 32}, std::vector<uint8_t>(64, 0x38))  // 1.0
      .Add("a.k_proj." + scale, "F32", {}, std::vector<float>{0.25F});
  for (const char* const name :
       {"a.k_proj.input_scale", "a.k_proj.output_scale", "a.kv_scale", "a.k_scale", "a.q_scale", "a.prob_scale"}) {
    tensors.Add(name, "F32", {}, std::vector<float>{1.0F});
  }
  return tensors;
}

TEST(QuantizedWritersTest, ScalesOfAnFp8CacheAreNoWeights) {
  Tensors tensors = Fp8Module("weight_scale");
  ASSERT_EQ(tensors.ErrorOf({{"quant_method", "fp8"}, {"activation_scheme", "static"}}), "accepted");
  EXPECT_EQ(tensors.checkpoint().tensors.size(), 1U);
  EXPECT_EQ(tensors.Decoded("a.k_proj.weight"), std::vector<float>(64, 0.25F));
}

TEST(QuantizedWritersTest, ModelOpt) {
  Json settings = {{"quant_method", "modelopt"}, {"quant_algo", "FP8"}};
  Tensors fp8 = Fp8Module("weight_scale");
  ASSERT_EQ(fp8.Remove("a.kv_scale").Remove("a.q_scale").Remove("a.prob_scale").ErrorOf(settings), "accepted");
  EXPECT_EQ(fp8.checkpoint().tensors.size(), 1U);
  EXPECT_EQ(fp8.Decoded("a.k_proj.weight")[63], 0.25F);

  const TestFolder folder;  // where older versions wrote it
  folder.Write("config.json", "{}");
  folder.Write("hf_quant_config.json", R"({"quantization": {"quant_algo": "NVFP4", "group_size": 16}})");
  settings = *FindQuantization(*ReadModelConfig(**OpenFolder(folder.path())));
  const auto nvfp4 = [] {
    Tensors tensors;
    tensors
        .Add("a.weight", "U8", {1, 16}, std::vector<uint8_t>(16, 0x62))              // 1.0, then 4.0
        .Add("a.weight_scale", "F8_E4M3", {1, 2}, std::vector<uint8_t>{0x38, 0x40})  // 1.0, 2.0
        .Add("a.weight_scale_2", "F32", {}, std::vector<float>{0.5F});
    return tensors;
  };
  Tensors tensors = nvfp4();
  ASSERT_EQ(tensors.ErrorOf(settings), "accepted");
  const std::vector<float> values = tensors.Decoded("a.weight");
  EXPECT_EQ(std::vector<float>(values.begin() + 14, values.begin() + 18), (std::vector<float>{0.5F, 2.0F, 1.0F, 4.0F}));
  EXPECT_THAT(nvfp4().Add("a.weight_scale_2", "F32", {2}, std::vector<float>(2)).ErrorOf(settings),
              HasSubstr("tensor a.weight_scale_2: its shape is [2]"));
  settings["quantization"]["quant_algo"] = "INT4_AWQ";
  EXPECT_THAT(nvfp4().ErrorOf(settings), HasSubstr("quant_algo 'INT4_AWQ' is not served; known: FP8"));
}

// Words in any case, blocks as a text, groups of attention without weights.
TEST(QuantizedWritersTest, CompressedTensorsOfOlderVersions) {
  Json group = {{"targets", {"Linear"}},
                {"weights", {{"num_bits", 8}, {"type", "FLOAT"}, {"strategy", "Block"}, {"block_structure", "2x32"}}}};
  const auto settings = [&] {
    return Json{{"quant_method", "compressed-tensors"},
                {"config_groups",
                 {{"attention", {{"targets", {"LlamaAttention"}}, {"input_activations", {{"num_bits", 8}}}}},
                  {"group_0", group}}}};
  };
  const auto module = [] {
    Tensors tensors;
    tensors.Add("a.weight", "F8_E4M3", {4, 32}, std::vector<uint8_t>(128, 0x38))
        .Add("a.weight_scale", "F32", {2, 1}, std::vector<float>{1.0F, 3.0F});
    return tensors;
  };
  Tensors tensors = module();
  ASSERT_EQ(tensors.ErrorOf(settings()), "accepted");
  EXPECT_EQ(tensors.Decoded("a.weight")[32], 1.0F);
  EXPECT_EQ(tensors.Decoded("a.weight")[64], 3.0F);
  for (const char* const wrong : {"", "2", "2x", "2x32x", "x32", "2x0", "2 x 32", "99999999999999999999x1"}) {
    group["weights"]["block_structure"] = wrong;
    EXPECT_THAT(module().ErrorOf(settings()), HasSubstr("block_structure must be two positive numbers")) << wrong;
  }
}

// Inputs whose scales would be powers of two stay floats: no rounding is better than another one.
TEST(QuantizedWritersTest, InputsOfMxfp8StayFloats) {
  for (const char* const scales : {"torch.uint8", "torch.float32"}) {
    Json group = Packed("Linear", 4);
    group["input_activations"] = {{"num_bits", 8},    {"type", "float"}, {"strategy", "group"},
                                  {"group_size", 32}, {"dynamic", true}, {"scale_dtype", scales}};
    Tensors tensors;
    tensors.Add("a.weight_packed", "I32", {1, 4}, std::vector<uint32_t>(4))
        .Add("a.weight_shape", "I64", {2}, std::vector<int64_t>{1, 32})
        .Add("a.weight_scale", "F32", {1, 1}, std::vector<float>{1.0F});
    ASSERT_EQ(tensors.ErrorOf({{"quant_method", "compressed-tensors"}, {"config_groups", {{"group_0", group}}}}),
              "accepted");
    EXPECT_EQ(tensors.checkpoint().input_roundings.empty(), std::string(scales) == "torch.uint8");
  }
}

}  // namespace
}  // namespace causeway::model::quant
