// Readers of quantized checkpoints on tensors made by hand: what they refuse, by name, and the layouts that no golden
// has.
#include "model/quant/reader.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fmt/format.h"
#include "kernels/quant/format.h"
#include "model/linear_inputs.h"
#include "model/quant/packed_ints.h"
#include "model/quant/packed_lines.h"
#include "tests/support/shared_data.h"
#include "tests/support/test_folder.h"
#include "tests/unit/model/quantized_tensors.h"

namespace causeway::model::quant {
namespace {

using ::testing::HasSubstr;

std::vector<uint32_t> Random(int64_t words) {
  std::vector<uint32_t> values(static_cast<size_t>(words));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<uint32_t>(((i + 1) * 0x9e3779b97f4a7c15U) >> 32);
  }
  return values;
}

TEST(QuantizedTest, GptqWithoutOrder) {
  Tensors tensors = GptqModule();
  ASSERT_EQ(tensors.ErrorOf(kGptq), "accepted");
  EXPECT_EQ(tensors.Dtype("a.weight"), "U4G32");
  const std::vector<float> values = tensors.Decoded("a.weight");
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t column = i % 64;
    EXPECT_EQ(values[i], (static_cast<float>(column % 16) - 8.0F) * (column < 32 ? 1.0F : 2.0F)) << i;
  }
}

TEST(QuantizedTest, GptqInOrderOfGroupsKeepsCodes) {
  Tensors tensors = GptqModule();
  std::vector<int32_t> groups(64);
  for (size_t i = 0; i < groups.size(); ++i) {
    groups[i] = static_cast<int32_t>(i % 2);
  }
  tensors.Add("a.g_idx", "I32", {64}, groups);
  ASSERT_EQ(tensors.ErrorOf(kGptq), "accepted");
  EXPECT_EQ(tensors.Dtype("a.weight"), "U4G32");
  const std::vector<int32_t>& order = tensors.checkpoint().column_orders.at("a.weight");
  const std::vector<float> values = tensors.Decoded("a.weight");
  for (size_t i = 0; i < 64; ++i) {
    EXPECT_EQ(order[i], i < 32 ? 2 * i : 2 * i - 63);
    EXPECT_EQ(values[i], static_cast<float>(order[i] % 16 - 8) * static_cast<float>(1 + order[i] % 2)) << i;
  }
}

// Groups of uneven sizes have no common block: float32, columns as they are.
TEST(QuantizedTest, GptqInAnOddOrderBecomesFloats) {
  Tensors tensors = GptqModule();
  std::vector<int32_t> groups(64, 0);
  groups[5] = 1;
  tensors.Add("a.g_idx", "I32", {64}, groups);
  ASSERT_EQ(tensors.ErrorOf(kGptq), "accepted");
  EXPECT_EQ(tensors.Dtype("a.weight"), "F32");
  EXPECT_TRUE(tensors.checkpoint().column_orders.empty());
  EXPECT_EQ(tensors.Decoded("a.weight")[5], (5.0F - 8.0F) * 2.0F);
  EXPECT_EQ(tensors.Decoded("a.weight")[37], 5.0F - 8.0F);
}

TEST(QuantizedTest, GptqRefusals) {
  EXPECT_THAT(GptqModule().Remove("a.qzeros").ErrorOf(kGptq), HasSubstr("tensor a.qzeros is missing"));
  EXPECT_THAT(GptqModule().Add("a.g_idx", "I32", {64}, std::vector<int32_t>(64, 2)).ErrorOf(kGptq),
              HasSubstr("tensor a.g_idx: column 0 in group 2 of 2"));
  EXPECT_THAT(GptqModule().Add("a.g_idx", "I32", {50}, std::vector<int32_t>(50, 0)).ErrorOf(kGptq),
              HasSubstr("8 words do not hold 50 codes of 4 bits"));
  EXPECT_THAT(GptqModule().Add("a.weight", "F32", {1}, std::vector<float>(1)).ErrorOf(kGptq), HasSubstr("there twice"));
  EXPECT_THAT(GptqModule().Add("a.scales", "I32", {2, 8}, std::vector<int32_t>(16)).ErrorOf(kGptq),
              HasSubstr("its type is I32, not F32 or F16 or BF16"));
  Json settings = kGptq;
  settings["group_size"] = 16;
  EXPECT_THAT(GptqModule().ErrorOf(settings), HasSubstr("2 groups; 64 inputs in groups of 16 have 4"));
  settings["bits"] = 8;
  EXPECT_THAT(GptqModule().ErrorOf(settings), HasSubstr("zero points of 8 bits"));
  settings["bits"] = 5;
  EXPECT_THAT(GptqModule().ErrorOf(settings), HasSubstr("bits 5 are not served"));
  settings = kGptq;
  settings["checkpoint_format"] = "marlin";
  EXPECT_THAT(GptqModule().ErrorOf(settings), HasSubstr("checkpoint_format 'marlin' is not served"));
  settings = kGptq;
  settings.erase("checkpoint_format");
  settings["is_marlin_format"] = true;  // so AutoGPTQ 0.7 says
  EXPECT_THAT(GptqModule().ErrorOf(settings), HasSubstr("checkpoint_format 'marlin' is not served"));
}

// `dynamic` gives modules bits of their own; what a module has, its tensors tell.
TEST(QuantizedTest, GptqByModule) {
  Json settings = kGptq;
  settings["bits"] = 8;
  settings["group_size"] = 64;
  settings["dynamic"] = {{"+:a", {{"bits", 4}, {"group_size", 32}}}};
  Tensors tensors = GptqModule();
  ASSERT_EQ(tensors.ErrorOf(settings), "accepted");
  EXPECT_EQ(tensors.Dtype("a.weight"), "U4G32");
}

TEST(QuantizedTest, UnknownDialectsNameTheKnownOnes) {
  EXPECT_THAT(Tensors().ErrorOf({{"quant_method", "aqlm"}}), HasSubstr("'aqlm' is not served; known: gptq, awq"));
  EXPECT_THAT(Tensors().ErrorOf(Json::object()), HasSubstr("quant_method"));
  EXPECT_THAT(Tensors().ErrorOf(Json::array()), HasSubstr("no object"));
  EXPECT_THAT(Tensors().ErrorOf({{"quant_method", "awq"}, {"version", "gemv"}}), HasSubstr("version 'gemv'"));
  EXPECT_THAT(Tensors().ErrorOf({{"quant_method", "awq"}, {"checkpoint_format", "gemv"}}), HasSubstr("version 'gemv'"));
}

// AutoAWQ's own words for bits and group, in a file of its own that does not name the method.
TEST(QuantizedTest, SettingsOfOlderWritersLieBesideTheConfiguration) {
  const auto config_of = [](const std::string& name, const Json& settings, const Json& config) {
    const TestFolder folder;
    folder.Write("config.json", DumpJson(config));
    folder.Write(name, DumpJson(settings));
    return *ReadModelConfig(**OpenFolder(folder.path()));
  };
  const Json awq = config_of("quant_config.json", {{"w_bit", 4}, {"q_group_size", 32}}, {{"hidden_size", 64}});
  const auto module = [](int64_t groups) {
    Tensors tensors;
    tensors.Add("a.qweight", "I32", {64, 1}, std::vector<uint32_t>(64, 0x99999999U))
        .Add("a.qzeros", "I32", {groups, 1}, std::vector<uint32_t>(static_cast<size_t>(groups), 0x77777777U))
        .Add("a.scales", "F32", {groups, 8}, std::vector<float>(static_cast<size_t>(groups * 8), 0.5F));
    return tensors;
  };
  Tensors tensors = module(2);
  ASSERT_EQ(tensors.ErrorOf(*FindQuantization(awq)), "accepted");
  EXPECT_EQ(tensors.Decoded("a.weight"), std::vector<float>(512, 1.0F));
  EXPECT_THAT(module(1).ErrorOf(*FindQuantization(awq)), HasSubstr("its shape is [1, 1], not [2, 1]"));
  Json eight = *FindQuantization(awq);
  eight["w_bit"] = 8;
  EXPECT_THAT(module(2).ErrorOf(eight), HasSubstr("bits 8 are not served"));
  const Json gptq = config_of("quantize_config.json", {{"bits", 4}, {"group_size", 32}}, Json::object());
  EXPECT_EQ(GptqModule().ErrorOf(*FindQuantization(gptq)), "accepted");
  const Json both = config_of("quantize_config.json", {{"bits", 4}}, {{"quantization_config", kGptq}});
  EXPECT_EQ(*FindQuantization(both), kGptq);
}

// [inputs, 8 outputs a word], in groups of 64 inputs.
Tensors AwqModule(int64_t inputs, int64_t words) {
  const int64_t groups = (inputs + 63) / 64;
  std::vector<float> scales;
  for (const uint32_t value : Random(groups * words * 8)) {
    scales.push_back(static_cast<float>(1 + value % 64) / 32.0F);
  }
  Tensors tensors;
  tensors.Add("a.qweight", "I32", {inputs, words}, Random(inputs * words))
      .Add("a.qzeros", "I32", {groups, words}, Random(groups * words))
      .Add("a.scales", "F32", {groups, words * 8}, scales);
  return tensors;
}
const Json kAwq = {{"quant_method", "awq"}, {"group_size", 64}};

// Nibble by nibble, of whole panels and less, of rows that are in blocks and of floats.
TEST(QuantizedTest, AwqCodesStandForOutputsInTurns) {
  constexpr int kNibbleOf[] = {0, 4, 1, 5, 2, 6, 3, 7};
  for (const auto& [inputs, words] : {std::pair<int64_t, int64_t>(128, 4), {64, 1}, {35, 3}, {5, 2}}) {
    Tensors tensors = AwqModule(inputs, words);
    const auto codes = Random(inputs * words);
    const auto zeros = Random((inputs + 63) / 64 * words);
    const auto nibble = [&, w = words](const std::vector<uint32_t>& data, int64_t line, int64_t row) {
      return static_cast<int>((data[static_cast<size_t>(line * w + row / 8)] >> (4 * kNibbleOf[row % 8])) & 0xf);
    };
    ASSERT_EQ(tensors.ErrorOf(kAwq), "accepted");
    const std::vector<float> values = tensors.Decoded("a.weight");
    const std::vector<float> scales = AwqModule(inputs, words).Decoded("a.scales");
    for (int64_t row = 0; row < words * 8; ++row) {
      for (int64_t k = 0; k < inputs; ++k) {
        const float scale = scales[static_cast<size_t>(k / 64 * words * 8 + row)];
        ASSERT_EQ(values[static_cast<size_t>(row * inputs + k)],
                  static_cast<float>(nibble(codes, k, row) - nibble(zeros, k / 64, row)) * scale)
            << inputs << " inputs, output " << row << ", input " << k;
      }
    }
  }
}

TEST(QuantizedTest, TensorsWithoutSettingsAreNamed) {
  EXPECT_THAT(CheckNotQuantized(GptqModule().checkpoint().tensors).error().message,
              HasSubstr("tensor a.qweight: it belongs to a quantized weight, and config.json has no"));
  EXPECT_TRUE(
      CheckNotQuantized(Tensors().Add("a.weight", "F32", {1}, std::vector<float>(1)).checkpoint().tensors).ok());
}

TEST(QuantizedTest, Fp8) {
  const Json settings = {{"quant_method", "fp8"}, {"weight_block_size", {4, 32}}};
  const auto module = [] {
    Tensors tensors;
    tensors.Add("a.weight", "F8_E4M3", {6, 48}, std::vector<uint8_t>(6 * 48, 0x38));  // 1.0
    return tensors;
  };
  EXPECT_THAT(module().ErrorOf(settings), HasSubstr("tensor a.weight: F8_E4M3 codes without the scales"));
  Tensors edges = module();
  edges.Add("a.weight_scale_inv", "F32", {2, 2}, std::vector<float>{1, 2, 3, 4});
  ASSERT_EQ(edges.ErrorOf(settings), "accepted");
  EXPECT_EQ(edges.Dtype("a.weight"), "F32");  // 48 is no multiple of 32
  EXPECT_EQ(edges.Decoded("a.weight")[31], 1.0F);
  EXPECT_EQ(edges.Decoded("a.weight")[32], 2.0F);
  EXPECT_EQ(edges.Decoded("a.weight")[5 * 48 + 47], 4.0F);
  Tensors wrong = module();
  wrong.Add("a.weight_scale_inv", "F32", {2, 1}, std::vector<float>{1, 2});
  EXPECT_THAT(wrong.ErrorOf(settings), HasSubstr("its shape is [2, 1], not [2, 2]"));
  Tensors whole = module();
  whole.Add("a.weight_scale", "BF16", {}, std::vector<uint16_t>{0x4000});  // 2.0
  ASSERT_EQ(whole.ErrorOf({{"quant_method", "fp8"}}), "accepted");
  EXPECT_EQ(whole.Decoded("a.weight")[0], 2.0F);
  const auto inverse = [&](std::vector<int64_t> shape, const std::vector<float>& scales, const Json& said) {
    Tensors tensors = module();
    tensors.Add("a.weight_scale_inv", "F32", std::move(shape), scales);
    const std::string error = tensors.ErrorOf(said);
    return error == "accepted" ? fmt::format("{}", tensors.Decoded("a.weight")[47]) : error;
  };
  const Json no_blocks = {{"quant_method", "fp8"}, {"weight_block_size", nullptr}};  // of the tensor, of each row
  EXPECT_EQ(inverse({}, {3.0F}, no_blocks), "3");
  EXPECT_EQ(inverse({6, 1}, {5, 4, 3, 2, 1, 0}, no_blocks), "5");
  EXPECT_THAT(inverse({2, 2}, {1, 2, 3, 4}, no_blocks), HasSubstr("its shape is [2, 2], not [6, 1]"));
  EXPECT_EQ(inverse({1, 1}, {7.0F}, {{"quant_method", "fp8"}}), "7");  // blocks of 128 x 128, unsaid
}

// bitsandbytes' blocks are flat: with rows of 32 each holds two of them.
TEST(QuantizedTest, FourBitBlocksRunOnIntoTheNextRow) {
  const std::string name = "a.weight.quant_state.bitsandbytes__nf4";
  const std::string state = R"({"quant_type": "nf4", "blocksize": 64, "shape": [3, 32]})";
  const std::span<const float> table = kernels::TableOf(kernels::GroupCode::kNF4);
  const auto module = [&](const std::string& said) {
    Tensors tensors;
    tensors.Add("a.weight", "U8", {48, 1}, std::vector<uint8_t>(48, 0xf0))
        .Add("a.weight.absmax", "F32", {2}, std::vector<float>{2, 3})
        .Add("a.weight.quant_map", "F32", {16}, std::vector<float>(table.begin(), table.end()))
        .Add(name, "U8", {static_cast<int64_t>(said.size())}, std::vector<char>(said.begin(), said.end()));
    return tensors;
  };
  const Json settings = {{"quant_method", "bitsandbytes"}};
  Tensors tensors = module(state);
  ASSERT_EQ(tensors.ErrorOf(settings), "accepted");
  EXPECT_EQ(tensors.Dtype("a.weight"), "NF4G32");
  const std::vector<float> values = tensors.Decoded("a.weight");
  EXPECT_EQ(values[0], 2.0F);  // the high half of the first byte: table[15]
  EXPECT_EQ(values[1], -2.0F);
  EXPECT_EQ(values[63], -2.0F);
  EXPECT_EQ(values[64], 3.0F);
  EXPECT_THAT(module(R"({"quant_type": "fp4", "blocksize": 64, "shape": [3, 32]})").ErrorOf(settings),
              HasSubstr("quant_type must be nf4"));
  EXPECT_THAT(module(R"({"quant_type": "nf4", "blocksize": 64, "shape": [3, 2000000000]})").ErrorOf(settings),
              HasSubstr("48 bytes do not hold 3 x 2000000000 codes"));
  EXPECT_THAT(module("{").ErrorOf(settings), HasSubstr("tensor " + name));
  Tensors other = module(state);
  other.Add("a.weight.quant_map", "F32", {16}, std::vector<float>(16, 1.0F));
  EXPECT_THAT(other.ErrorOf(settings), HasSubstr("a table other than"));
}

// Each module by the group whose target names it; modules that were left alone stay as they are.
TEST(QuantizedTest, CompressedTensorsByTarget) {
  const Json settings = {
      {"quant_method", "compressed-tensors"},
      {"format", "pack-quantized"},
      {"config_groups", {{"group_0", Packed("Linear", 4)}, {"group_1", Packed("re:.*down_proj", 8)}}}};
  const auto module = [](Tensors& tensors, const std::string& name, int64_t words) {
    tensors
        .Add(name + ".weight_packed", "I32", {1, words}, std::vector<uint32_t>(static_cast<size_t>(words), 0x88888888U))
        .Add(name + ".weight_shape", "I64", {2}, std::vector<int64_t>{1, 32})
        .Add(name + ".weight_scale", "F32", {1, 1}, std::vector<float>{1.0F});
  };
  Tensors tensors;
  module(tensors, "x.up_proj", 4);
  module(tensors, "x.down_proj", 8);
  tensors.Add("lm_head.weight", "F32", {1, 1}, std::vector<float>{1.0F});
  ASSERT_EQ(tensors.ErrorOf(settings), "accepted");
  EXPECT_EQ(tensors.Dtype("x.up_proj.weight"), "U4G32");
  EXPECT_EQ(tensors.Dtype("x.down_proj.weight"), "U8G32");
  EXPECT_EQ(tensors.Decoded("x.down_proj.weight")[0], 8.0F);
  EXPECT_EQ(tensors.Dtype("lm_head.weight"), "F32");
  Tensors wrong;
  module(wrong, "x.down_proj", 4);
  EXPECT_THAT(wrong.ErrorOf(settings), HasSubstr("1 x 32 codes of 8 bits are to be in it"));
  Tensors hostile;
  module(hostile, "x.up_proj", 4);
  hostile.Add("x.up_proj.weight_shape", "I64", {2}, std::vector<int64_t>{1, -5});
  EXPECT_THAT(hostile.ErrorOf(settings), HasSubstr("a size of -5"));
  Json transforms = settings;
  transforms["transform_config"] = {{"config_groups", 1}};
  EXPECT_THAT(Tensors().ErrorOf(transforms), HasSubstr("transform_config"));
  Json marlin = settings;
  marlin["format"] = "marlin-24";
  EXPECT_THAT(Tensors().ErrorOf(marlin), HasSubstr("format 'marlin-24' is not served"));
}

// A name before a pattern, a pattern before the class, of patterns the first by its text: in whatever group they are.
TEST(QuantizedTest, CompressedTensorsChooseTheClosestTarget) {
  Json late = Packed("re:x.*up_proj", 2);
  late["targets"].push_back("Embedding");
  const Json settings = {{"quant_method", "compressed-tensors"},
                         {"config_groups",
                          {{"group_0", Packed("re:x.*", 8)},
                           {"group_1", Packed("Linear", 4)},
                           {"group_2", Packed("re:x.*down", 4)},
                           {"group_3", late},
                           {"group_4", Packed("x.down_proj", 3)}}}};
  const auto dtype = [&](const std::string& name, int64_t words) {
    Tensors tensors;
    tensors.Add(name + ".weight_packed", "I32", {1, words}, std::vector<uint32_t>(static_cast<size_t>(words)))
        .Add(name + ".weight_shape", "I64", {2}, std::vector<int64_t>{1, 32})
        .Add(name + ".weight_scale", "F32", {1, 1}, std::vector<float>{1.0F});
    const std::string error = tensors.ErrorOf(settings);
    return error == "accepted" ? tensors.Dtype(name + ".weight") : error;
  };
  EXPECT_EQ(dtype("x.down_proj", 3), "U3G32");
  EXPECT_EQ(dtype("x.up_proj", 8), "U8G32");  // "re:x.*" is less than "re:x.*up_proj"
  EXPECT_EQ(dtype("y.up_proj", 4), "U4G32");
  EXPECT_EQ(dtype("model.embed_tokens", 2), "U2G32");
}

// Static inputs over a range have a scale and a code of zero; dynamic ones take both from their values.
TEST(QuantizedTest, AsymmetricInputs) {
  Json group = Packed("Linear", 4);
  group["input_activations"] = {{"num_bits", 8}, {"symmetric", false}, {"strategy", "tensor"}, {"dynamic", false}};
  Json settings = {{"quant_method", "compressed-tensors"}, {"config_groups", {{"group_0", group}}}};
  const auto module = [] {
    Tensors tensors;
    tensors.Add("a.weight_packed", "I32", {1, 4}, std::vector<uint32_t>(4))
        .Add("a.weight_shape", "I64", {2}, std::vector<int64_t>{1, 32})
        .Add("a.weight_scale", "F32", {1, 1}, std::vector<float>{1.0F})
        .Add("a.input_scale", "F32", {1}, std::vector<float>{0.5F});
    return tensors;
  };
  EXPECT_THAT(module().ErrorOf(settings), HasSubstr("tensor a.input_zero_point is missing"));
  Tensors fixed = module();
  fixed.Add("a.input_zero_point", "I8", {1}, std::vector<int8_t>{-120});
  ASSERT_EQ(fixed.ErrorOf(settings), "accepted");
  std::vector<float> x = {0.0F, 0.3F, -9.0F, 200.0F};
  RoundInput(fixed.checkpoint().input_roundings.at("a.weight"), x);
  EXPECT_EQ(x, (std::vector<float>{0.0F, 0.5F, -4.0F, 123.5F}));  // codes -128 to 127 about -120

  settings["config_groups"]["group_0"]["input_activations"]["dynamic"] = true;
  settings["config_groups"]["group_0"]["input_activations"]["strategy"] = "token";
  Tensors moving = module();
  ASSERT_EQ(moving.ErrorOf(settings), "accepted");
  x = {-1.0F, 254.0F, 0.4F, 100.6F};
  RoundInput(moving.checkpoint().input_roundings.at("a.weight"), x);
  EXPECT_EQ(x, (std::vector<float>{-1.0F, 254.0F, 0.0F, 101.0F}));
  x = {3.0F, 255.0F, 1.2F};  // zero is in the range
  RoundInput(moving.checkpoint().input_roundings.at("a.weight"), x);
  EXPECT_EQ(x, (std::vector<float>{3.0F, 255.0F, 1.0F}));
  x = {0.0F, 0.0F};
  RoundInput(moving.checkpoint().input_roundings.at("a.weight"), x);
  EXPECT_EQ(x, (std::vector<float>{0.0F, 0.0F}));
}

// Seeds that were refused would leave the fuzzer at the door.
TEST(QuantizedTest, SeedsOfTheFuzzerAreAccepted) {
  int seeds = 0;
  for (const auto& entry : std::filesystem::directory_iterator("tests/fuzz/corpus/fuzz_quantized")) {
    const std::string bytes = ReadWholeFile(entry.path().string());
    const size_t line = bytes.find('\n');
    const auto settings = ParseJson(bytes.substr(0, line));
    const auto tensors = ParseSafetensors(std::as_bytes(std::span(bytes).subspan(line + 1)));
    ASSERT_TRUE(settings.ok() && tensors.ok()) << entry.path();
    Checkpoint checkpoint;
    checkpoint.tensors = *tensors;
    const auto read = Translate(*settings, checkpoint, {});
    EXPECT_TRUE(read.ok()) << entry.path() << ": " << read.error().message;
    ++seeds;
  }
  EXPECT_GT(seeds, 0);
}

TEST(QuantizedTest, SparseMasksMustKeepHalf) {
  const Json settings = {{"quant_method", "compressed-tensors"},
                         {"sparsity_config", {{"format", "sparse-24-bitmask"}}}};
  for (const auto& [mask, error] :
       {std::pair(0x3c, "accepted"), std::pair(0x3f, "more than half"), std::pair(0x01, "less than half")}) {
    Tensors tensors;
    tensors.Add("a.compressed", "F32", {1, 4}, std::vector<float>{1, 2, 3, 4})
        .Add("a.bitmask", "U8", {1, 1}, std::vector<uint8_t>{static_cast<uint8_t>(mask)})
        .Add("a.shape", "I64", {2, 1}, std::vector<int64_t>{1, 8});
    EXPECT_THAT(tensors.ErrorOf(settings), HasSubstr(error));
    if (mask == 0x3c) {
      EXPECT_EQ(tensors.Decoded("a.weight"), (std::vector<float>{0, 0, 1, 2, 3, 4, 0, 0}));
    }
  }
}

const Json kSpqr = {{"quant_method", "spqr"}, {"bits", 3}, {"beta1", 16}, {"beta2", 16}};

// 16 x 32: scales and zero points of 1 + 1 and 0 + 1 as numbers, code = column % 8; two outliers in row 3.
Tensors SpqrModule() {
  constexpr uint64_t kHalves = 0x0000'0000'3c00'3c00;  // both scales 1, both zero points 0
  std::vector<uint64_t> words;
  for (int word = 0; word < 32; ++word) {
    uint64_t bits = 2 | 1 << 3 | (kHalves >> (word % 16 / 2 * 8) & 0xff) << 54;
    for (int i = 0; i < 16; ++i) {
      bits |= static_cast<uint64_t>(i % 8) << (6 + 3 * i);
    }
    words.push_back(bits);
  }
  std::vector<int32_t> offsets(17, 2);
  std::fill(offsets.begin(), offsets.begin() + 4, 0);
  Tensors tensors;
  tensors.Add("a.dense_weights", "I64", {32}, words)
      .Add("a.row_offsets", "I32", {17}, offsets)
      .Add("a.col_vals", "I32", {2}, std::vector<uint32_t>{0x3c00'001f, 0xbc00'0002});
  return tensors;
}

TEST(QuantizedTest, Spqr) {
  Tensors tensors = SpqrModule();
  ASSERT_EQ(tensors.ErrorOf(kSpqr), "accepted");
  const std::vector<float> values = tensors.Decoded("a.weight");
  ASSERT_EQ(values.size(), 16U * 32U);
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(values[i], 2.0F * (static_cast<float>(i % 8) - 1.0F)) << i;
  }
  const SparseMatrix& outliers = tensors.checkpoint().terms.at("a.weight").sparse;
  ASSERT_EQ(outliers.entries.size(), 2U);
  EXPECT_EQ(outliers.offsets[3], 0U);
  EXPECT_EQ(outliers.offsets[4], 2U);
  EXPECT_EQ(outliers.entries[0].column, 2);  // in ascending columns, whatever the file has
  EXPECT_EQ(outliers.entries[1].column, 31);
  EXPECT_TRUE(tensors.checkpoint().column_orders.empty());
}

// Sixteen rows under one offset, and an order of columns.
TEST(QuantizedTest, SpqrInterleaved) {
  std::vector<uint32_t> entries(16, 0);
  entries[3] = 0x3c00'0005;
  std::vector<uint32_t> order;
  for (uint32_t column = 0; column < 32; column += 2) {
    order.push_back((31 - column - 1) << 16 | (31 - column));
  }
  Tensors tensors = SpqrModule();
  tensors.Add("a.row_offsets", "I32", {2}, std::vector<int32_t>{0, 16})
      .Add("a.col_vals", "I32", {16}, entries)
      .Add("a.in_perm", "I32", {16}, order);
  ASSERT_EQ(tensors.ErrorOf(kSpqr), "accepted");
  const SparseMatrix& outliers = tensors.checkpoint().terms.at("a.weight").sparse;
  EXPECT_EQ(outliers.entries.size(), 1U);
  EXPECT_EQ(outliers.offsets[4] - outliers.offsets[3], 1U);
  EXPECT_EQ(tensors.checkpoint().column_orders.at("a.weight")[0], 31);
  entries[3] = 0x3c00'0020;
  EXPECT_THAT(SpqrModule()
                  .Add("a.row_offsets", "I32", {2}, std::vector<int32_t>{0, 16})
                  .Add("a.col_vals", "I32", {16}, entries)
                  .ErrorOf(kSpqr),
              HasSubstr("tensor a.col_vals: column 32 of 32 in row 3"));
}

TEST(QuantizedTest, SpqrRefusals) {
  for (const char* const name : {"bits", "beta1", "beta2"}) {
    Json settings = kSpqr;
    settings[name] = 4;
    EXPECT_THAT(SpqrModule().ErrorOf(settings), HasSubstr(std::string(name) + " 4 is not served"));
  }
  Json settings = kSpqr;
  settings["shapes"] = {{"a.col_vals.shape", 3}};
  EXPECT_THAT(SpqrModule().ErrorOf(settings), HasSubstr("tensor a.col_vals: it has 2 values, not as many as"));
  const auto with_offsets = [](int32_t third, int32_t last) {
    std::vector<int32_t> offsets(17, last);
    std::fill(offsets.begin(), offsets.begin() + 3, 0);
    offsets[2] = third;
    return SpqrModule().Add("a.row_offsets", "I32", {17}, offsets).ErrorOf(kSpqr);
  };
  EXPECT_EQ(with_offsets(1, 2), "accepted");
  for (const auto& [third, last] : {std::pair(3, 2), std::pair(-1, 2), std::pair(0, 3), std::pair(0, 1 << 30)}) {
    EXPECT_THAT(with_offsets(third, last),
                HasSubstr("tensor a.row_offsets: they do not ascend from 0 to the 2 values"));
  }
  EXPECT_THAT(SpqrModule().Add("a.row_offsets", "I32", {16}, std::vector<int32_t>(16)).ErrorOf(kSpqr),
              HasSubstr("tensor a.dense_weights: 32 words are no whole tiles"));
  EXPECT_THAT(SpqrModule().Remove("a.row_offsets").ErrorOf(kSpqr), HasSubstr("fit 0 row offsets"));
  EXPECT_THAT(SpqrModule().Add("a.in_perm", "I32", {16}, std::vector<int32_t>(16)).ErrorOf(kSpqr),
              HasSubstr("tensor a.in_perm: column 0 is out of range or there twice"));
  for (const int bit : {54, 62}) {  // in one copy of two; with no meaning
    std::vector<uint64_t> words(32);
    words[7] = uint64_t{1} << bit;
    EXPECT_THAT(SpqrModule().Add("a.dense_weights", "I64", {32}, words).ErrorOf(kSpqr),
                HasSubstr("tensor a.dense_weights: the scales of a tile differ between their two copies"));
  }
}

}  // namespace
// Any width, any count of codes in any order, words side by side: bit by bit.
TEST(PackedIntsTest, CodesAreTheBitsOfTheirWords) {
  constexpr int64_t kLines = 19;
  for (const int bits : {2, 3, 4, 5, 6, 7, 8}) {
    for (const bool dense : {true, false}) {
      const IntPacking packing = dense ? IntPacking::Dense(bits) : IntPacking::Padded(bits);
      for (const int64_t count : {1, 31, 32, 200, 1001}) {
        const int64_t words = (count + packing.codes - 1) / packing.codes * packing.words;
        const auto data = Random(words * kLines);  // [words, lines]
        std::vector<int32_t> order = ColumnsInOrder(count);
        std::reverse(order.begin(), order.end());
        std::vector<uint8_t> codes(static_cast<size_t>(kLines * count));
        const QuadReader read = [&](int64_t line, int64_t lines, std::span<const int32_t> columns, uint32_t* quads) {
          UnpackQuads(std::as_bytes(std::span(data)).data(), kLines, line, lines, packing, columns, quads);
        };
        UnpackRows(read, 0, kLines, order, codes.data());
        for (int64_t line = 0; line < kLines; ++line) {
          for (int64_t i = 0; i < count; ++i) {
            uint8_t expected = 0;
            for (int bit = 0; bit < bits; ++bit) {
              const int64_t at = i / packing.codes * packing.words * 32 + i % packing.codes * bits + bit;
              expected |=
                  static_cast<uint8_t>(((data[static_cast<size_t>(at / 32 * kLines + line)] >> (at % 32)) & 1) << bit);
            }
            ASSERT_EQ(codes[static_cast<size_t>(line * count + count - 1 - i)], expected)
                << bits << " bits, dense " << dense << ", code " << i << " of " << count;
          }
        }
      }
    }
  }
}

}  // namespace causeway::model::quant
