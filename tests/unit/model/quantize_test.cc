#include "model/quantize/quantize.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/ops.h"
#include "model/gguf/reader.h"
#include "model/gguf/to_hub.h"
#include "model/make_model.h"
#include "model/network.h"
#include "model/quantize/output.h"
#include "model/quantize/recipe.h"
#include "model/rope.h"
#include "model/safetensors.h"
#include "model/safetensors_writer.h"
#include "model/sequence_runner.h"
#include "model/tokenizer/tokenizer.h"
#include "tests/support/model_folders.h"

namespace causeway::model::quantize {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

LoadOptions From(const std::string& model) {
  LoadOptions options;
  options.model = model;
  return options;
}

class QuantizeTest : public ::testing::Test {
 protected:
  static constexpr ModelShape kShape = {"tiny", 256, 2, 4, 2, 64, 256, 96, 256};

  QuantizeTest() : ops_(**kernels::SelectOps("")), pool_({.threads = 2, .pin = false}) {
    const auto made = MakeModel(kShape, source(), [](double) {});
    EXPECT_TRUE(made.ok()) << made.error().message;
    for (const char* const file : {"tokenizer.json", "tokenizer_config.json"}) {  // of 4096 tokens
      fs::remove(source() + "/" + file);
    }
  }

  std::string source() const { return folder_.path() + "/source"; }
  std::string At(const std::string& name) const { return folder_.path() + "/" + name; }

  QuantizeOptions Options(std::string_view format, const std::string& from, const std::string& to) const {
    QuantizeOptions options;
    options.source.model = from;
    options.destination = to;
    options.plan.recipe = *FindRecipe(format);
    return options;
  }
  QuantizeOptions Options(std::string_view format) const {
    const Recipe recipe = *FindRecipe(format);
    return Options(format, source(), At(std::string(format) + (recipe.container == Container::kGguf ? ".gguf" : "")));
  }
  std::string ErrorOf(const QuantizeOptions& options) {
    const auto report = Quantize(options, ops_, pool_);
    return report.ok() ? "done" : report.error().message;
  }

  TestFolder folder_;
  const kernels::Ops& ops_;
  ThreadPool pool_;
};

// Root of the squares of a tensor's error, against its own.
double ErrorBetween(const SourceTensor& a, const SourceTensor& b) {
  std::vector<float> x(static_cast<size_t>(a.elements()));
  std::vector<float> y(x.size());
  ReadRows(a, 0, a.rows(), x.data());
  ReadRows(b, 0, b.rows(), y.data());
  double error = 0;
  double norm = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    error += std::pow(static_cast<double>(x[i]) - static_cast<double>(y[i]), 2);
    norm += std::pow(static_cast<double>(x[i]), 2);
  }
  return norm > 0 ? std::sqrt(error / norm) : 0;
}

std::vector<std::string> AllRecipes() {
  std::vector<std::string> names;
  std::string known = KnownRecipes();
  std::replace_if(
      known.begin(), known.end(), [](char c) { return c == ',' || c == '(' || c == ')'; }, ' ');
  for (size_t at = 0; at < known.size();) {
    const size_t end = std::min(known.find(' ', at), known.size());
    const std::string name = known.substr(at, end - at);
    if (!name.empty() && FindRecipe(name).ok()) {
      names.push_back(name);
    }
    at = end + 1;
  }
  return names;
}

// What is read back is what the encoder chose: the worst error over a format's tensors, measured on the file, is the
// one that was reported.
TEST_F(QuantizeTest, EveryFormatReadsBackAsItWasWritten) {
  const auto names = AllRecipes();
  EXPECT_GE(names.size(), 30U);
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    const QuantizeOptions options = Options(name);
    const auto report = Quantize(options, ops_, pool_);
    ASSERT_TRUE(report.ok()) << report.error().message;
    const Container container = options.plan.recipe.container;
    const auto before = Source::Open(From(source()), container);
    const auto after = Source::Open(From(options.destination), container);
    ASSERT_TRUE(before.ok() && after.ok());
    ASSERT_EQ(before->tensors.size(), after->tensors.size());
    double worst = 0;
    for (const SourceTensor& tensor : before->tensors) {
      const auto written = std::find_if(after->tensors.begin(), after->tensors.end(),
                                        [&](const SourceTensor& one) { return one.name == tensor.name; });
      ASSERT_NE(written, after->tensors.end()) << tensor.name;
      ASSERT_EQ(written->shape, tensor.shape);
      worst = std::max(worst, ErrorBetween(tensor, *written));
    }
    double reported = 0;
    for (const QuantizeReport::Format& format : report->formats) {
      reported = std::max(reported, format.worst_error);
    }
    EXPECT_NEAR(worst, reported, 1e-5 + 1e-4 * reported);
    EXPECT_LT(worst, 0.5);
    EXPECT_EQ(report->weights, kShape.Parameters());
  }
}

TEST_F(QuantizeTest, MixturesGiveMoreBitsToSome) {
  QuantizeOptions options = Options("q4_k_m");
  options.plan.overrides = {{"*ffn_up*", "q8_0"}, {"blk.1.ffn_up.weight", "iq4_nl"}};
  ASSERT_EQ(ErrorOf(options), "done");
  const auto files = OpenFolder(folder_.path());
  const auto file = gguf::Load(**files, "q4_k_m.gguf");
  ASSERT_TRUE(file.ok());
  const auto type = [&](const char* name) { return file->tensors.find(name)->second.dtype; };
  EXPECT_EQ(type("output.weight"), "Q6_K");
  EXPECT_EQ(type("token_embd.weight"), "Q4_K");
  EXPECT_EQ(type("blk.1.attn_v.weight"), "Q6_K");
  EXPECT_EQ(type("blk.0.attn_q.weight"), "Q4_K");
  EXPECT_EQ(type("blk.0.ffn_up.weight"), "Q8_0");
  EXPECT_EQ(type("blk.1.ffn_up.weight"), "IQ4_NL");
  EXPECT_EQ(type("blk.0.attn_norm.weight"), "F32");
  EXPECT_EQ(file->metadata.Int("general.file_type", 0, 100).value(), 15);

  options = Options("q4_k_m", source(), At("pure.gguf"));
  options.plan.pure = true;
  options.plan.output_type = "q5_0";
  options.plan.embedding_type = "f16";
  ASSERT_EQ(ErrorOf(options), "done");
  const auto pure = gguf::Load(**files, "pure.gguf");
  ASSERT_TRUE(pure.ok());
  EXPECT_EQ(pure->tensors.find("output.weight")->second.dtype, "Q5_0");
  EXPECT_EQ(pure->tensors.find("token_embd.weight")->second.dtype, "F16");
  EXPECT_EQ(pure->tensors.find("blk.1.attn_v.weight")->second.dtype, "Q4_K");
}

TEST_F(QuantizeTest, SchemesOfSeveralKindsInOneFolder) {
  QuantizeOptions options = Options("w4a16");
  options.plan.group_size = 32;
  options.plan.overrides = {{"*.down_proj", "w8a16_asym"}, {"*.layers.0.self_attn.o_proj", "bf16"}, {"lm_head", "fp8"}};
  ASSERT_EQ(ErrorOf(options), "done");
  const auto model = LoadModel(From(options.destination));
  ASSERT_TRUE(model.ok()) << model.error().message;
  const Network& network = *(*model)->network;
  const auto format = [](const Projection& p) { return kernels::FormatOf(p.weight.format).name; };
  EXPECT_EQ(format(network.layers[0].attention.q), "u4g32");
  EXPECT_EQ(format(network.layers[0].attention.o), "bf16");
  EXPECT_EQ(format(network.layers[1].attention.o), "u4g32");
  EXPECT_EQ(format(network.layers[1].mlp.down), "u8g32");
  EXPECT_EQ(format(network.head), "e4m3g128");
}

// The model as the text part of a wrapper, beside a convolution and a linear layer of a vision tower.
void WriteWrapper(const std::string& from, const std::string& to) {
  const auto files = OpenFolder(from);
  ASSERT_TRUE(files.ok());
  const Json text = *ReadJsonObject(**files, "config.json");
  const auto tensors = ParseSafetensors(*(*files)->Open("model.safetensors"));
  ASSERT_TRUE(tensors.ok());
  std::vector<TensorToWrite> header;
  std::string data;
  const auto add = [&](const std::string& name, const Tensor& tensor) {
    header.push_back({name, tensor.dtype, tensor.shape, static_cast<int64_t>(tensor.data.size())});
    data.append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
  };
  for (const auto& [name, tensor] : *tensors) {
    add(name.starts_with("model.") ? "model.language_model." + name.substr(6) : name, tensor);
  }
  const std::vector<std::byte> zeros(static_cast<size_t>(4 * 3 * 2 * 2) * sizeof(float));
  add("model.vision_tower.patch.weight", {"F32", {4, 3, 2, 2}, zeros});
  add("model.vision_tower.layers.0.q_proj.weight", {"F32", {6, 8}, zeros});
  add("model.vision_tower.position_ids", {"I64", {1, 24}, zeros});
  fs::create_directories(to);
  const Json config = {{"model_type", "mistral3"}, {"text_config", text}, {"vision_config", Json::object()}};
  std::ofstream(to + "/config.json") << config.dump();
  std::ofstream(to + "/model.safetensors") << SafetensorsHeader(header) << data;
}

TEST_F(QuantizeTest, WrappersKeepWhatIsBesideTheirText) {
  WriteWrapper(source(), At("wrapper"));
  const QuantizeOptions options = Options("w4a16", At("wrapper"), At("quantized"));
  ASSERT_EQ(ErrorOf(options), "done");
  const auto files = OpenFolder(options.destination);
  const auto tensors = ParseSafetensors(*(*files)->Open("model.safetensors"));
  ASSERT_TRUE(tensors.ok());
  EXPECT_EQ(tensors->at("model.vision_tower.patch.weight").shape, (std::vector<int64_t>{4, 3, 2, 2}));
  EXPECT_EQ(tensors->at("model.vision_tower.position_ids").dtype, "I64");
  EXPECT_TRUE(tensors->contains("model.language_model.layers.0.mlp.up_proj.weight_packed"));
  const Json config = *ReadJsonObject(**files, "config.json");
  EXPECT_EQ(config["quantization_config"]["ignore"], (Json{"lm_head", "re:.*vision_tower.*"}));
}

TEST_F(QuantizeTest, MistakesAreNamedAndNothingIsLeftBehind) {
  EXPECT_THAT(FindRecipe("q9_0").error().message, HasSubstr("known: f32"));
  QuantizeOptions options = Options("q8_0", source(), At("folder"));
  EXPECT_THAT(ErrorOf(options), HasSubstr("NAME.gguf"));
  options = Options("w4a16", source(), At("x.gguf"));
  EXPECT_THAT(ErrorOf(options), HasSubstr("to a folder"));
  options = Options("q8_0", source(), At("no/such/x.gguf"));
  EXPECT_THAT(ErrorOf(options), HasSubstr("there is no folder"));
  options = Options("q8_0", At("nothing"), At("x.gguf"));
  EXPECT_THAT(ErrorOf(options), HasSubstr("no model"));
  options = Options("q4_k", source(), At("x.gguf"));
  options.plan.overrides = {{"blk.7.*", "q8_0"}};
  EXPECT_THAT(ErrorOf(options), HasSubstr("no matrix is called like 'blk.7.*'"));
  options.plan.overrides = {{"*", "w4a16"}};
  EXPECT_THAT(ErrorOf(options), HasSubstr("unknown format 'w4a16' of a tensor"));
  options.plan.overrides = {};
  options.method = Method::kGptq;
  EXPECT_THAT(ErrorOf(options), HasSubstr("needs --calibration"));
  options.calibration_text = "some text";
  EXPECT_THAT(ErrorOf(options), HasSubstr("no tokenizer"));
  options = Options("w4a16", source(), At("x"));
  options.plan.group_size = 300;
  EXPECT_THAT(ErrorOf(options), HasSubstr("try --group-size"));

  options = Options("q8_0", source(), At("x.gguf"));
  folder_.Write("x.gguf", "mine");
  EXPECT_THAT(ErrorOf(options), HasSubstr("is there already"));
  EXPECT_EQ(folder_.Read("x.gguf"), "mine");
  options.replace = true;
  EXPECT_EQ(ErrorOf(options), "done");

  options = Options("q4_0", At("x.gguf"), At("y.gguf"));
  EXPECT_THAT(ErrorOf(options), HasSubstr("--allow-requantize"));
  options.allow_requantize = true;
  EXPECT_EQ(ErrorOf(options), "done");
  options = Options("w4a16", source(), At("w"));
  folder_.Write("w/mine.txt", "mine");
  options.replace = true;
  EXPECT_THAT(ErrorOf(options), HasSubstr("is not replaced"));
  fs::remove_all(At("w"));
  EXPECT_EQ(ErrorOf(options), "done");
  EXPECT_EQ(ErrorOf(options), "done");  // over a model's folder
  std::vector<std::string> left;
  for (const auto& entry : fs::directory_iterator(folder_.path())) {
    left.push_back(entry.path().filename().string());
  }
  EXPECT_THAT(left, ::testing::UnorderedElementsAre("source", "x.gguf", "y.gguf", "w"));
}

TEST_F(QuantizeTest, WeightsThatAreNoNumbersAreNamed) {
  std::string bytes = folder_.Read("source/model.safetensors");
  bytes.replace(bytes.size() - 2, 2, "\xc0\x7f");  // NaN, of the head: the last tensor
  folder_.Write("source/model.safetensors", bytes);
  for (const char* const name : {"q8_0", "q4_k"}) {
    EXPECT_THAT(ErrorOf(Options(name)), HasSubstr("tensor output.weight holds values that are not finite"));
  }
}

TEST(OutputTest, DisksThatAreFullAndPlacesThatCannotBeWritten) {
  auto file = FileWriter::Open("/dev/full");
  ASSERT_TRUE(file.ok());
  const auto written = file->Write("some bytes");
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(written.error().message, HasSubstr("cannot write /dev/full beyond 0 bytes: No space left"));
  const auto output = Output::Create("/proc/x.gguf", false, false);
  ASSERT_FALSE(output.ok());
  EXPECT_THAT(output.error().message, HasSubstr("cannot write /proc/x.gguf"));
}

// Logits of a short prompt.
std::vector<float> LogitsOf(const std::string& path, const kernels::Ops& ops, ThreadPool& pool) {
  const auto model = LoadModel(From(path));
  EXPECT_TRUE(model.ok()) << model.error().message;
  const std::vector<Token> tokens = {1, 7, 3, 40, 22, 5, 9, 30};
  auto runner = SequenceRunner::Create(**model, ops, pool, {.max_positions = 64});
  EXPECT_TRUE(runner.ok());
  std::vector<float> all;
  (*runner)->runner().SetLogitsObserver([&](const scheduler::PlanRow&, int64_t, std::span<const float> logits) {
    all.insert(all.end(), logits.begin(), logits.end());
  });
  EXPECT_TRUE((*runner)->Prefill(0, tokens, false).ok());
  return all;
}

// A file in GGUF's words computes what the folder computes, or it is not written: a number that the format cannot say
// is an error, never another model.
TEST_F(QuantizeTest, FamiliesKeepTheirLogitsInGguf) {
  int written = 0;
  for (const auto& entry : fs::directory_iterator("tests/golden/models")) {
    const std::string name = entry.path().filename().string();
    SCOPED_TRACE(name);
    const QuantizeOptions options = Options("f32", entry.path().string(), At(name + ".gguf"));
    const std::string error = ErrorOf(options);
    if (name.starts_with("gemma")) {  // query_pre_attn_scalar is not what GGUF's readers take for granted
      EXPECT_THAT(error, HasSubstr("scale of its attention"));
      continue;
    }
    ASSERT_EQ(error, "done");
    if (name == "mistral-window") {
      continue;  // the window is lost, as a note says
    }
    ++written;
    const auto before = LogitsOf(entry.path().string(), ops_, pool_);
    const auto after = LogitsOf(options.destination, ops_, pool_);
    ASSERT_EQ(before.size(), after.size());
    double difference = 0;
    for (size_t i = 0; i < before.size(); ++i) {
      difference = std::max(difference, std::fabs(static_cast<double>(before[i] - after[i])));
    }
    EXPECT_LT(difference, 1e-3);
  }
  EXPECT_GE(written, 8);
}

TEST_F(QuantizeTest, WhatOtherReadersDoNotKnowIsNoted) {
  const auto report = Quantize(Options("w8a16", "tests/golden/models/gpt2", At("gpt2")), ops_, pool_);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_THAT(report->notes, ::testing::Contains(HasSubstr("Conv1D")));
}

double LargestDifference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    difference = std::max(difference, std::fabs(static_cast<double>(a[i] - b[i])));
  }
  return difference;
}

// A folder by way of a GGUF file has the codes of the folder that was made at once: names, orders of rows, norms and
// fields survive both ways.
TEST_F(QuantizeTest, FoldersMadeOfGgufComputeWhatTheOriginalDoes) {
  for (const char* const name :
       {"gpt2", "granite", "llama", "llama-yarn", "llama3-rope", "olmo2", "phi3-longrope", "qwen3"}) {
    SCOPED_TRACE(name);
    const std::string original = "tests/golden/models/" + std::string(name);
    const std::string gguf = At(std::string(name) + ".gguf");
    ASSERT_EQ(ErrorOf(Options("f32", original, gguf)), "done");
    for (const auto& [from, to] : {std::pair(original, At("at-once")), std::pair(gguf, At("by-gguf"))}) {
      QuantizeOptions options = Options("w8a16", from, to);
      options.plan.group_size = -1;
      options.replace = true;
      ASSERT_EQ(ErrorOf(options), "done");
    }
    EXPECT_LT(LargestDifference(LogitsOf(At("at-once"), ops_, pool_), LogitsOf(At("by-gguf"), ops_, pool_)), 1e-4);
  }
}

// The rest of what GGUF changes, on files of llama.cpp's own converter: norms of gemma, weights of GPT-2 the other way
// round, quantized sources; and a matrix that stays as it is beside those that do not.
TEST_F(QuantizeTest, FoldersMadeOfLlamaCppsFiles) {
  for (const auto& entry : fs::directory_iterator("tests/golden/gguf")) {
    SCOPED_TRACE(entry.path().filename().string());
    const std::string source = (entry.path() / "model.gguf").string();
    QuantizeOptions options = Options("w8a16", source, At("made"));
    options.plan.group_size = -1;
    options.allow_requantize = true;
    options.replace = true;
    options.plan.overrides = {{"*.1.*", "f32"}};
    if (ErrorOf(options) != "done") {  // a model of one layer
      options.plan.overrides.clear();
    }
    ASSERT_EQ(ErrorOf(options), "done");
    const std::vector<float> before = LogitsOf(source, ops_, pool_);
    const std::vector<float> after = LogitsOf(At("made"), ops_, pool_);
    ASSERT_EQ(before.size(), after.size());
    double error = 0;
    double norm = 0;
    for (size_t i = 0; i < before.size(); ++i) {
      error += std::pow(static_cast<double>(before[i] - after[i]), 2);
      norm += std::pow(static_cast<double>(before[i]), 2);
    }
    EXPECT_LT(std::sqrt(error / norm), 0.05);
    const auto model = LoadModel(From(source));
    const auto made = LoadModel(From(At("made")));
    ASSERT_TRUE(model.ok() && made.ok());
    EXPECT_EQ((*made)->generation.eos_ids, (*model)->generation.eos_ids);
    EXPECT_EQ((*made)->chat.bos_token, (*model)->chat.bos_token);
    EXPECT_EQ((*made)->chat.template_source, (*model)->chat.template_source);
    EXPECT_EQ((*made)->tokenizer == nullptr, (*model)->tokenizer == nullptr);
  }
}

TEST(ToHubTest, ScalingsThatFactorsOfRopeStandFor) {
  const auto factors_of = [](const Json& fields, double theta, int64_t dimensions) {
    const Rope rope = *MakeRope({.theta = theta, .dimensions = dimensions, .scaling = &fields});
    std::vector<double> factors;
    for (size_t i = 0; i < rope.inverse_frequency.size(); ++i) {
      const double plain = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(dimensions));
      factors.push_back(
          static_cast<double>(static_cast<float>(plain / static_cast<double>(rope.inverse_frequency[i]))));
    }
    return factors;
  };
  for (const auto& [factor, low, high, original] :
       {std::tuple(8.0, 1.0, 4.0, 8192), std::tuple(32.0, 1.0, 4.0, 8192), std::tuple(3.5, 2.0, 5.0, 3000)}) {
    const Json fields = {{"rope_type", "llama3"},
                         {"factor", factor},
                         {"low_freq_factor", low},
                         {"high_freq_factor", high},
                         {"original_max_position_embeddings", original}};
    std::vector<double> factors = factors_of(fields, 500000.0, 128);
    const auto found = gguf::FindLlama3Scaling(factors, 500000.0, 128);
    ASSERT_TRUE(found) << fields;
    EXPECT_EQ((*found)["factor"], factor);
    EXPECT_NEAR((*found)["original_max_position_embeddings"].get<double>(), original / low, 1.0);
    factors[40] *= 1.01;
    EXPECT_FALSE(gguf::FindLlama3Scaling(factors, 500000.0, 128));
  }
}

// A tokenizer in GGUF's words cuts every text of the goldens as the one of the folder does, and so does the folder that
// is made of that file.
TEST_F(QuantizeTest, TokenizersReadTextsAlikeInGgufAndBack) {
  constexpr ModelShape kSmall = {"small", 64, 1, 2, 1, 32, 64, 1024, 256};
  for (const auto& entry : fs::directory_iterator("tests/golden/tokenizers")) {
    const std::string name = entry.path().filename().string();
    SCOPED_TRACE(name);
    ASSERT_TRUE(MakeModel(kSmall, At(name), [](double) {}).ok());
    fs::remove(At(name) + "/tokenizer_config.json");
    fs::copy(entry.path() / "tokenizer.json", At(name) + "/tokenizer.json", fs::copy_options::overwrite_existing);
    const QuantizeOptions options = Options("q8_0", At(name), At(name + ".gguf"));
    const auto report = Quantize(options, ops_, pool_);
    ASSERT_TRUE(report.ok()) << report.error().message;
    if (name == "added-tokens") {
      EXPECT_THAT(report->notes, ::testing::Contains(HasSubstr("take white space with them")));
      continue;
    }
    QuantizeOptions to_folder = Options("w8a16", options.destination, At(name + "-back"));
    to_folder.plan.group_size = -1;
    to_folder.allow_requantize = true;
    ASSERT_EQ(ErrorOf(to_folder), "done");
    const auto before = LoadModel(From(At(name)));
    const auto after = LoadModel(From(options.destination));
    const auto back = LoadModel(From(to_folder.destination));
    ASSERT_TRUE(before.ok() && after.ok() && back.ok());
    std::ifstream cases(entry.path() / "cases.jsonl");
    int texts = 0;
    for (std::string line; std::getline(cases, line); ++texts) {
      const std::string text = (*ParseJson(line))["text"].get<std::string>();
      const auto wanted = (*before)->tokenizer->Encode(text, {});
      const auto got = (*after)->tokenizer->Encode(text, {});
      ASSERT_TRUE(wanted.ok() && got.ok());
      EXPECT_EQ(*got, *wanted) << text;
      const auto again = (*back)->tokenizer->Encode(text, {});
      ASSERT_TRUE(again.ok());
      EXPECT_EQ(*again, *wanted) << text;
    }
    EXPECT_GT(texts, 20);
  }
}

}  // namespace
}  // namespace causeway::model::quantize
