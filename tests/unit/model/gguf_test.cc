#include "model/gguf/reader.h"

#include <cmath>
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/packed.h"
#include "model/builder.h"
#include "model/gguf/architectures.h"
#include "model/gguf/random_weights.h"
#include "model/gguf/translate.h"
#include "model/model.h"
#include "model/network.h"
#include "model/tokenizer/tokenizer.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/memory_files.h"
#include "tests/support/test_folder.h"

namespace causeway::model::gguf {
namespace {

using testing::HasSubstr;
using Type = ValueType;

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

GgufBuilder Small() {
  GgufBuilder builder;
  builder.Text("general.architecture", "llama").Uint("llama.block_count", 2).Flag("yes", true);
  builder.Texts("words", {"a", "", "longer"}).Numbers<int16_t>("numbers", Type::kInt16, {1, -2, 3});
  builder.Floats("one", {3, 2}, {1, 2, 3, 4, 5, 6});
  builder.Tensor("blocks", {32, 2}, 2, std::string(36, '\x11'));
  return builder;
}

std::string ErrorOf(const std::string& file) {
  const auto parsed = Parse(Bytes(file));
  return parsed.ok() ? "none" : parsed.error().message;
}

TEST(GgufReaderTest, ReadsValuesAndTensors) {
  for (const uint32_t version : {2U, 3U}) {
    GgufBuilder builder = Small();
    builder.version = version;
    const std::string bytes = builder.Build();
    const File file = *Parse(Bytes(bytes));
    EXPECT_EQ(file.version, version);
    EXPECT_EQ(*file.metadata.Text("general.architecture"), "llama");
    EXPECT_EQ(*file.metadata.Int("llama.block_count", 1, 10), 2);
    EXPECT_TRUE(*file.metadata.Flag("yes", false));
    EXPECT_EQ(*file.metadata.Texts("words"), (std::vector<std::string_view>{"a", "", "longer"}));
    EXPECT_EQ(*file.metadata.Numbers("numbers"), (std::vector<double>{1, -2, 3}));
    const Tensor& one = file.tensors.at("one");
    EXPECT_EQ(one.shape, (std::vector<int64_t>{2, 3}));
    float last = 0;
    std::memcpy(&last, one.data.data() + 5 * sizeof(float), sizeof(last));
    EXPECT_EQ(last, 6);
    EXPECT_EQ(file.tensors.at("blocks").dtype, "Q4_0");
    EXPECT_EQ(file.tensors.at("blocks").data.size(), 36U);
  }
}

TEST(GgufReaderTest, EveryCutIsRefused) {
  const std::string bytes = Small().Build();
  for (size_t length = 0; length < bytes.size(); ++length) {
    const std::string cut(bytes.data(), length);  // exactly so long, so that a sanitizer sees a step beyond
    ASSERT_FALSE(Parse(Bytes(cut)).ok()) << length << " of " << bytes.size();
  }
}

TEST(GgufReaderTest, NamesWhatItRefuses) {
  EXPECT_THAT(ErrorOf("ggjt1234"), HasSubstr("no GGUF file"));
  EXPECT_THAT(ErrorOf("tjgg1234"), HasSubstr("before GGUF"));
  GgufBuilder builder;
  builder.version = 1;
  EXPECT_THAT(ErrorOf(builder.Build()), HasSubstr("version 1"));
  builder.version = 4;
  EXPECT_THAT(ErrorOf(builder.Build()), HasSubstr("version 4"));
  builder.version = 3U << 24;
  EXPECT_THAT(ErrorOf(builder.Build()), HasSubstr("big-endian"));
}

TEST(GgufReaderTest, RefusesWrongTensors) {
  const std::string data(4096, '\0');
  const auto error = [&](auto add) {
    GgufBuilder builder;
    add(builder);
    return ErrorOf(builder.Build() + data);
  };
  const uint64_t huge = uint64_t{1} << 40;
  EXPECT_THAT(
      error([](auto& b) { b.TensorAt("t", {16}, 19, 0); }),
      ::testing::EndsWith("IQ1_S is not served; known: F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, "
                          "Q5_K, Q6_K, IQ4_NL, IQ4_XS, BF16, MXFP4"));
  EXPECT_THAT(error([](auto& b) { b.TensorAt("t", {16}, 31, 0); }), HasSubstr("type Q4_0_4_4 is not served"));
  EXPECT_THAT(error([](auto& b) { b.TensorAt("t", {16}, 200, 0); }), HasSubstr("number 200 is not served"));
  EXPECT_THAT(error([](auto& b) { b.TensorAt("t", {33}, 2, 0); }), HasSubstr("no whole blocks of Q4_0"));
  EXPECT_THAT(error([&](auto& b) { b.TensorAt("t", {huge, huge}, 0, 0); }), HasSubstr("overflow"));
  EXPECT_THAT(error([&](auto& b) { b.TensorAt("t", {huge, 1 << 22}, 0, 0); }), HasSubstr("overflow"));
  EXPECT_THAT(error([](auto& b) { b.TensorAt("t", {~uint64_t{0}}, 0, 0); }), HasSubstr("overflow"));
  EXPECT_THAT(error([](auto& b) { b.TensorAt("t", {1, 1, 1, 1, 1}, 0, 0); }), HasSubstr("5 dimensions"));
  EXPECT_THAT(error([](auto& b) { b.TensorAt("t", {4}, 0, 8); }), HasSubstr("alignment"));
  EXPECT_THAT(error([](auto& b) { b.TensorAt("t", {4}, 0, uint64_t{1} << 63); }), HasSubstr("ends inside tensor t"));
  EXPECT_THAT(error([](auto& b) { b.TensorAt("t", {16}, 0, 0).TensorAt("t", {16}, 0, 64); }), HasSubstr("twice"));
  EXPECT_THAT(error([](auto& b) { b.TensorAt("t", {16}, 0, 0).TensorAt("u", {16}, 0, 32); }), HasSubstr("overlap"));
  EXPECT_THAT(error([](auto& b) { b.TensorAt("", {16}, 0, 0); }), HasSubstr("name of 0 bytes"));
}

TEST(GgufReaderTest, RefusesWrongMetadata) {
  const auto error = [](auto add) {
    GgufBuilder builder;
    add(builder);
    return ErrorOf(builder.Build());
  };
  EXPECT_THAT(error([](auto& b) { b.Uint("k", 1).Uint("k", 2); }), HasSubstr("k is there twice"));
  EXPECT_THAT(error([](auto& b) { b.Uint("", 1); }), HasSubstr("name of 0 bytes"));
  EXPECT_THAT(error([](auto& b) { b.Number("k", static_cast<Type>(77), 1); }), HasSubstr("unknown type 77"));
  EXPECT_THAT(error([](auto& b) { b.List("k", Type::kString, uint64_t{1} << 60); }), HasSubstr("ends inside"));
  EXPECT_THAT(error([](auto& b) { b.List("k", Type::kFloat64, ~uint64_t{0}); }), HasSubstr("ends inside"));
  EXPECT_THAT(error([](auto& b) { b.Uint("general.alignment", 24); }), HasSubstr("no power of two"));
  EXPECT_THAT(error([](auto& b) { b.Uint("general.alignment", 0); }), HasSubstr("general.alignment"));
  EXPECT_THAT(error([](auto& b) {
                b.List("k", Type::kArray, 1);
                for (int depth = 0; depth < 8; ++depth) {
                  b.Raw(Type::kArray).Raw(uint64_t{1});
                }
              }),
              HasSubstr("nested deeper"));
  GgufBuilder nested;  // walked over, not kept
  nested.List("k", Type::kArray, 1).Raw(Type::kUint8).Raw(uint64_t{2}).Raw(uint16_t{7}).Uint("after", 5);
  const std::string bytes = nested.Build();
  EXPECT_EQ(*Parse(Bytes(bytes))->metadata.Int("after", 0, 9), 5);
}

TEST(GgufReaderTest, ValuesOfTheWrongKindAreNamed) {
  GgufBuilder builder;
  builder.Text("text", "x").Uint("number", 7).Float("nan", NAN).Numbers<int32_t>("layers", Type::kInt32, {4, 4, 8});
  builder.Numbers<int32_t>("same", Type::kInt32, {4, 4}).Number("big", Type::kUint64, ~uint64_t{0});
  const std::string bytes = builder.Build();
  const File file = *Parse(Bytes(bytes));
  const Metadata& metadata = file.metadata;
  EXPECT_THAT(metadata.Int("text", 0, 9).error().message, HasSubstr("metadata text: must be a whole number"));
  EXPECT_THAT(metadata.Int("number", 0, 6).error().message, HasSubstr("from 0 to 6"));
  EXPECT_THAT(metadata.Int("absent", 0, 6).error().message, HasSubstr("absent: is missing"));
  EXPECT_EQ(metadata.Int("layers", 0, 9).error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(*metadata.Int("same", 0, 9), 4);
  EXPECT_FALSE(metadata.Int("big", 0, INT64_MAX).ok());
  EXPECT_FALSE(metadata.Number("nan").ok());
  EXPECT_FALSE(metadata.Text("number").ok());
  EXPECT_FALSE(metadata.Flag("number", true).ok());
  EXPECT_FALSE(metadata.Texts("number").ok());
}

// ---- Several files -----------------------------------------------------------------------------------

std::string Shard(uint16_t number, uint16_t count, const std::string& tensor, int32_t total) {
  GgufBuilder builder;
  builder.Number("split.no", Type::kUint16, number).Number("split.count", Type::kUint16, count);
  builder.Number("split.tensors.count", Type::kInt32, total).Floats(tensor, {1}, {1});
  return builder.Build();
}

TEST(GgufShardsTest, AllOfASetAreRead) {
  MemoryFiles files({{"m-00001-of-00002.gguf", Shard(0, 2, "a", 2)}, {"m-00002-of-00002.gguf", Shard(1, 2, "b", 2)}});
  for (const char* const name : {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"}) {
    const auto file = Load(files, name);
    ASSERT_TRUE(file.ok()) << file.error().message;
    EXPECT_EQ(file->tensors.size(), 2U);
  }
  EXPECT_EQ(FirstOfSet("x-y-00007-of-00009.gguf"), "x-y-00001-of-00009.gguf");
  EXPECT_EQ(FirstOfSet("x-7-of-9.gguf"), "x-7-of-9.gguf");
}

TEST(GgufShardsTest, WhatDoesNotFitIsNamed) {
  const auto error = [](const std::string& second, int32_t total = 2) {
    std::map<std::string, std::string> contents = {{"m-00001-of-00002.gguf", Shard(0, 2, "a", total)}};
    if (!second.empty()) {
      contents["m-00002-of-00002.gguf"] = second;
    }
    MemoryFiles files(std::move(contents));
    const auto file = Load(files, "m-00001-of-00002.gguf");
    return file.ok() ? "none" : file.error().message;
  };
  EXPECT_THAT(error(""), HasSubstr("m-00002-of-00002.gguf"));
  EXPECT_THAT(error(Shard(0, 2, "b", 2)), HasSubstr("says to be file 1 of 2, not 2 of 2"));
  EXPECT_THAT(error(Shard(1, 3, "b", 2)), HasSubstr("file 2 of 3"));
  EXPECT_THAT(error(Shard(1, 2, "a", 2)), HasSubstr("tensor a is in two files"));
  EXPECT_THAT(error(Shard(1, 2, "b", 2), 3), HasSubstr("hold 2 tensors, not 3"));
  MemoryFiles misnamed({{"m.gguf", Shard(0, 2, "a", 2)}});
  EXPECT_THAT(Load(misnamed, "m.gguf").error().message, HasSubstr("not named"));
}

// ---- Translation -------------------------------------------------------------------------------------

GgufBuilder Model(const std::string& architecture) {
  GgufBuilder builder;
  builder.Text("general.architecture", architecture);
  const auto uint = [&](const char* key, uint32_t value) { builder.Uint(architecture + "." + key, value); };
  uint("context_length", 64);
  uint("embedding_length", 8);
  uint("block_count", 2);
  uint("feed_forward_length", 16);
  uint("attention.head_count", 2);
  builder.Float(architecture + ".attention.layer_norm_rms_epsilon", 1e-5F);
  builder.Float(architecture + ".attention.layer_norm_epsilon", 1e-5F);
  builder.Floats("token_embd.weight", {8, 3}, std::vector<float>(24));
  return builder;
}

Result<Checkpoint> TranslateBuilt(const GgufBuilder& builder) {
  static std::string bytes;  // the tensors point into it
  bytes = builder.Build();
  return Translate(*Parse(Bytes(bytes)));
}

TEST(GgufTranslateTest, EveryArchitectureHasItsFamilyAndSizes) {
  for (const Architecture& architecture : Architectures()) {
    const auto checkpoint = TranslateBuilt(Model(std::string(architecture.name)));
    ASSERT_TRUE(checkpoint.ok()) << architecture.name << ": " << checkpoint.error().message;
    EXPECT_EQ(checkpoint->config["model_type"], std::string(architecture.model_type));
    EXPECT_EQ(checkpoint->config["vocab_size"], 3);
    EXPECT_EQ(checkpoint->config["head_dim"], 4);
    EXPECT_EQ(checkpoint->config["tie_word_embeddings"], true);
  }
}

TEST(GgufTranslateTest, RowsOfQueriesAreOrderedByHalves) {
  GgufBuilder builder = Model("llama");
  std::vector<float> rows(64);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i] = static_cast<float>(i / 8);
  }
  builder.Floats("blk.0.attn_q.weight", {8, 8}, rows).Floats("blk.0.attn_v.weight", {8, 8}, rows);
  const auto checkpoint = *TranslateBuilt(builder);
  const auto row_of = [&](const char* name, size_t row) {
    float value = 0;
    std::memcpy(&value, checkpoint.tensors.at(name).data.data() + row * 8 * sizeof(float), sizeof(value));
    return value;
  };
  const float order[] = {0, 2, 1, 3, 4, 6, 5, 7};  // in each head of four: the even rows, then the odd ones
  for (size_t row = 0; row < 8; ++row) {
    EXPECT_EQ(row_of("model.layers.0.self_attn.q_proj.weight", row), order[row]);
    EXPECT_EQ(row_of("model.layers.0.self_attn.v_proj.weight", row), static_cast<float>(row));
  }
}

TEST(GgufTranslateTest, FusedProjectionsAreCut) {
  GgufBuilder builder = Model("qwen2");
  builder.Floats("blk.1.attn_qkv.weight", {8, 24}, std::vector<float>(192));
  builder.Floats("blk.1.attn_qkv.bias", {24}, std::vector<float>(24));
  const auto checkpoint = *TranslateBuilt(builder);
  EXPECT_EQ(checkpoint.tensors.at("model.layers.1.self_attn.k_proj.weight").shape, (std::vector<int64_t>{8, 8}));
  EXPECT_EQ(checkpoint.tensors.at("model.layers.1.self_attn.v_proj.bias").shape, (std::vector<int64_t>{8}));
}

TEST(GgufTranslateTest, RopeScalings) {
  const auto scaling = [](auto add) {
    GgufBuilder builder = Model("llama");
    add(builder);
    const auto checkpoint = TranslateBuilt(builder);
    return checkpoint.ok() ? checkpoint->config.value("rope_scaling", Json()) : Json(checkpoint.error().message);
  };
  EXPECT_EQ(scaling([](auto&) {}), Json());
  EXPECT_EQ(scaling([](auto& b) { b.Float("llama.rope.scale_linear", 2); }),
            (Json{{"rope_type", "linear"}, {"factor", 2.0}}));
  EXPECT_EQ(scaling([](auto& b) { b.Text("llama.rope.scaling.type", "none").Float("llama.rope.scaling.factor", 2); }),
            Json());
  EXPECT_EQ(scaling([](auto& b) {
              b.Floats("rope_freqs.weight", {2}, {1, 8});
            }),
            (Json{{"rope_type", "frequency_factors"}, {"frequency_factors", {1.0, 8.0}}, {"factor", 1.0}}));
  const Json yarn = scaling([](auto& b) {
    b.Text("llama.rope.scaling.type", "yarn").Float("llama.rope.scaling.factor", 4);
    b.Uint("llama.rope.scaling.original_context_length", 16).Float("llama.rope.scaling.yarn_beta_fast", 30);
  });
  EXPECT_EQ(
      yarn,
      (Json{{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 16.0}, {"beta_fast", 30.0}}));
  EXPECT_THAT(scaling([](auto& b) { b.Text("llama.rope.scaling.type", "magic"); }).template get<std::string>(),
              HasSubstr("'magic' is not served"));
}

TEST(GgufTranslateTest, RefusesByName) {
  const auto error = [](const char* architecture, auto add) {
    GgufBuilder builder = Model(architecture);
    add(builder);
    const auto checkpoint = TranslateBuilt(builder);
    return checkpoint.ok() ? "none" : checkpoint.error().message;
  };
  EXPECT_THAT(error("mamba", [](auto&) {}), HasSubstr("'mamba' is not served; known: llama, "));
  EXPECT_THAT(error("llama", [](auto& b) { b.Uint("llama.expert_count", 8); }), HasSubstr("mixtures of experts"));
  EXPECT_THAT(error("llama", [](auto& b) { b.Uint("llama.attention.value_length", 2); }), HasSubstr("value_length"));
  EXPECT_THAT(error("llama", [](auto& b) { b.Uint("llama.rope.dimension_count", 2); }), HasSubstr("dimension_count"));
  EXPECT_THAT(error("olmo2", [](auto& b) { b.Uint("olmo2.attention.sliding_window", 63); }), HasSubstr("windows"));
  EXPECT_EQ(error("olmo2", [](auto& b) { b.Uint("olmo2.attention.sliding_window", 64); }), "none");  // sees all
  EXPECT_THAT(error("llama", [](auto& b) { b.Text("general.type", "adapter"); }),
              HasSubstr("'adapter': the file holds"));
  GgufBuilder empty;
  empty.Text("general.architecture", "llama");
  EXPECT_THAT(TranslateBuilt(empty).error().message, HasSubstr("no weights"));
}

// Builders know the hub's names.
TEST(GgufTranslateTest, ErrorsNameTensorsAsTheFileDoes) {
  const TestFolder folder;
  LoadOptions load;
  load.model = folder.path() + "/model.gguf";
  folder.Write("model.gguf", Model("qwen2").Build());
  EXPECT_THAT(LoadModel(load).error().message, HasSubstr("model.gguf: tensor blk.0.attn_norm.weight is missing"));
  folder.Write("model.gguf", Model("qwen2").Floats("blk.0.attn_norm.weight", {9}, std::vector<float>(9)).Build());
  EXPECT_THAT(LoadModel(load).error().message, HasSubstr("tensor blk.0.attn_norm.weight: its shape is [9], "));
  // Read by a family that wants none of them.
  const std::vector<float> values(192);
  const auto unused = *TranslateBuilt(Model("llama").Floats("blk.0.attn_q.weight", {8, 8}, std::vector<float>(64)));
  EXPECT_THAT(WeightSource(unused).Finish().error().message, HasSubstr(": token_embd.weight, blk.0.attn_q.weight"));
  EXPECT_EQ(
      TranslateBuilt(Model("llama").Floats("blk.0.attn_q.weight", {8, 5}, std::vector<float>(40))).error().message,
      "tensor blk.0.attn_q.weight: its rows are no heads of 4");
  // Parts of a fused tensor.
  EXPECT_EQ(TranslateBuilt(Model("llama")
                               .Floats("blk.0.attn_q.weight", {8, 8}, std::vector<float>(64))
                               .Floats("blk.0.attn_qkv.weight", {8, 24}, values))
                .error()
                .message,
            "tensor blk.0.attn_qkv.weight is there twice under two names");
}

// A model of random blocks loads in rows for float activations, and packed where kernels have integer arithmetic; the
// embedding stays rows either way.
TEST(RandomLlamaTest, EveryFormatLoadsInRowsAndPacked) {
  const TestFolder folder;
  const std::string path = folder.path() + "/model.gguf";
  const LlamaShape shape{256, 1, 4, 2, 64, 512, 40, 128};
  ThreadPool pool({.threads = 2, .pin = false});
  for (const kernels::WeightFormat& format : kernels::WeightFormats()) {
    const auto written = WriteRandomLlama(path, shape, format, [](double) {});
    ASSERT_EQ(written.ok(), NumberOfType(format.dtype).has_value()) << format.name;
    if (!written.ok()) {
      continue;  // a format of other files
    }
    const bool packs = kernels::PackingOf(format.id).kind != kernels::PackedKind::kNone;
    for (ThreadPool* const pack_on : {static_cast<ThreadPool*>(nullptr), &pool}) {
      LoadOptions load;
      load.model = path;
      load.pack_on = pack_on;
      const auto model = LoadModel(load);
      ASSERT_TRUE(model.ok()) << format.name << ": " << model.error().message;
      const bool packed = packs && pack_on != nullptr;
      EXPECT_EQ((*model)->info.packed_bytes > 0, packed) << format.name;
      for (const auto& owned : (*model)->network->owned) {  // rows put in order, which nobody reads once packed
        EXPECT_EQ(owned.capacity() == 0, packed) << format.name;
      }
      const auto wanted = packed ? kernels::WeightLayout::kPanels : kernels::WeightLayout::kRows;
      EXPECT_EQ((*model)->network->layers[0].attention.q.weight.layout, wanted) << format.name;
      EXPECT_EQ((*model)->network->head.weight.layout, wanted) << format.name;
      EXPECT_EQ((*model)->network->embedding.layout, kernels::WeightLayout::kRows) << format.name;
    }
  }
}

// What a family finds wrong is said of the metadata, not of a file that is not there.
TEST(RandomLlamaTest, ErrorsAreAboutTheMetadata) {
  const TestFolder folder;
  const std::string path = folder.path() + "/model.gguf";
  const auto written = WriteRandomLlama(path, {256, 1, 4, 3, 64, 512, 40, 128},
                                        kernels::FormatOf(kernels::FormatId::kQ4_0), [](double) {});
  ASSERT_TRUE(written.ok());
  LoadOptions load;
  load.model = path;
  const auto model = LoadModel(load);
  ASSERT_FALSE(model.ok());
  EXPECT_THAT(model.error().message,
              HasSubstr("model.gguf: its metadata, in config.json's words: num_attention_heads 4"));
}

TEST(RandomLlamaTest, AFileWithRoomForBytesHasAVocabulary) {
  const TestFolder folder;
  const std::string path = folder.path() + "/model.gguf";
  const auto written = WriteRandomLlama(path, {32, 1, 1, 1, 32, 32, 300, 64},
                                        kernels::FormatOf(kernels::FormatId::kQ4_0), [](double) {});
  ASSERT_TRUE(written.ok()) << written.error().message;
  LoadOptions load;
  load.model = path;
  const auto model = LoadModel(load);
  ASSERT_TRUE(model.ok()) << model.error().message;
  ASSERT_NE((*model)->tokenizer, nullptr);
  const auto tokens = (*model)->tokenizer->Encode("w7 h\xc3\xb6", {});
  ASSERT_TRUE(tokens.ok());
  EXPECT_EQ((*model)->tokenizer->Decode(*tokens, true), "w7 h\xc3\xb6");
}

TEST(RandomLlamaTest, RowsThatAreNoWholeBlocksAreRefused) {
  const TestFolder folder;
  const auto written = WriteRandomLlama(folder.path() + "/model.gguf", {96, 1, 3, 3, 32, 256, 40, 128},
                                        kernels::FormatOf(kernels::FormatId::kQ4_K), [](double) {});
  ASSERT_FALSE(written.ok());
  EXPECT_THAT(written.error().message, HasSubstr("no whole blocks of q4_K"));
}

}  // namespace
}  // namespace causeway::model::gguf
