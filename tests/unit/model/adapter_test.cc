// LoRA adapters: PEFT's rules of targets, ranks and scales; what is refused; what they compute.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "kernels/scratch.h"
#include "model/adapter/batch.h"
#include "model/adapter/config.h"
#include "model/golden.h"
#include "model/network.h"
#include "model/safetensors_writer.h"
#include "model/sequence_runner.h"
#include "tests/support/adapter_files.h"

namespace causeway::model {
namespace {

using adapter::Choice;
using adapter::ChooseModules;
using adapter::ParseConfig;

const std::vector<std::string> kModules = {"lm_head",
                                           "model.layers.0.mlp.up_proj",
                                           "model.layers.0.self_attn.q_proj",
                                           "model.layers.1.mlp.up_proj",
                                           "model.layers.1.self_attn.q_proj",
                                           "model.layers.10.self_attn.q_proj"};

// "1:4*0.5 ..." of each module chosen: index, rank, scale; or the error.
std::string Chosen(OrderedJson fields) {
  OrderedJson json = {{"peft_type", "LORA"}, {"r", 4}, {"lora_alpha", 8}};
  json.update(fields);
  const auto config = ParseConfig(DumpJson(json));
  if (!config.ok()) {
    return config.error().message;
  }
  const auto choices = ChooseModules(*config, kModules, "lm_head");
  if (!choices.ok()) {
    return choices.error().message;
  }
  std::string text;
  for (const Choice& one : *choices) {
    text += fmt::format("{}{}:{}*{}", text.empty() ? "" : " ", one.module, one.rank, one.scale);
  }
  return text;
}

TEST(AdapterConfigTest, TargetsArePeftsTargets) {
  EXPECT_EQ(Chosen({{"target_modules", {"q_proj"}}}), "2:4*2 4:4*2 5:4*2");
  EXPECT_EQ(Chosen({{"target_modules", {"model.layers.1.mlp.up_proj", "lm_head"}}}), "0:4*2 3:4*2");
  EXPECT_EQ(Chosen({{"target_modules", "all-linear"}}), "1:4*2 2:4*2 3:4*2 4:4*2 5:4*2");
  EXPECT_EQ(Chosen({{"target_modules", ".*\\.[01]\\..*(q|up)_proj"}}), "1:4*2 2:4*2 3:4*2 4:4*2");
  EXPECT_EQ(Chosen({{"target_modules", "all-linear"}, {"exclude_modules", {"up_proj", "layers.0.self_attn.q_proj"}}}),
            "4:4*2 5:4*2");
  EXPECT_EQ(Chosen({{"target_modules", {"q_proj"}}, {"layers_to_transform", {0, 10}}}), "2:4*2 5:4*2");
  EXPECT_EQ(Chosen({{"target_modules", {"q_proj"}}, {"layers_to_transform", 1}, {"layers_pattern", "layers"}}),
            "4:4*2");
  EXPECT_EQ(Chosen({{"target_modules", {"q_proj"}}, {"layers_to_transform", {1}}, {"layers_pattern", {"h", "l.*s"}}}),
            "4:4*2");
  EXPECT_NE(Chosen({{"target_modules", {"q_proj"}}, {"layers_to_transform", {1}}, {"layers_pattern", "h"}}).find("1 m"),
            std::string::npos);
  // What is named in full is not asked for its layer.
  EXPECT_EQ(Chosen({{"target_modules", {"model.layers.0.mlp.up_proj", "q_proj"}}, {"layers_to_transform", {10}}}),
            "1:4*2 5:4*2");
  EXPECT_EQ(Chosen({{"target_modules", "All-Linear"}, {"layers_to_transform", {10}}}),
            Chosen({{"target_modules", "all-linear"}}));
}

TEST(AdapterConfigTest, RanksAndScalesByPattern) {
  EXPECT_EQ(Chosen({{"target_modules", {"q_proj"}}, {"rank_pattern", {{"layers.1.self_attn.q_proj", 2}}}}),
            "2:4*2 4:2*4 5:4*2");
  EXPECT_EQ(Chosen({{"target_modules", {"q_proj"}}, {"rank_pattern", {{"layers.(0|1)\\..*", 2}, {"q_proj", 16}}}}),
            "2:2*4 4:2*4 5:16*0.5");
  EXPECT_EQ(Chosen({{"target_modules", {"q_proj"}}, {"alpha_pattern", {{"^model.layers.0.self_attn.q_proj", 4}}}}),
            "2:4*1 4:4*2 5:4*2");
  EXPECT_EQ(Chosen({{"target_modules", {"up_proj"}}, {"use_rslora", true}}), "1:4*4 3:4*4");
  // Whole ends of names only, as "q_proj" would otherwise match "xq_proj".
  EXPECT_EQ(Chosen({{"target_modules", {"q_proj"}}, {"rank_pattern", {{"proj", 2}}}}), "2:4*2 4:4*2 5:4*2");
}

TEST(AdapterConfigTest, WhatMatchesNothingIsAnError) {
  for (const OrderedJson& fields :
       {OrderedJson{{"target_modules", {"c_attn"}}}, OrderedJson{{"target_modules", {"q_proj", "c_attn"}}},
        OrderedJson{{"target_modules", ".*c_attn"}},
        OrderedJson{{"target_modules", {"q_proj"}}, {"layers_to_transform", {1, 7}}},
        OrderedJson{{"target_modules", {"q_proj"}}, {"exclude_modules", ".*"}}}) {
    EXPECT_NE(Chosen(fields).find("in this model"), std::string::npos) << Chosen(fields);
  }
}

TEST(AdapterConfigTest, WhatIsNotServedIsRefusedByName) {
  const OrderedJson targets = {{"target_modules", {"q_proj"}}};
  for (const auto& [field, value] :
       std::initializer_list<std::pair<const char*, OrderedJson>>{{"use_dora", true},
                                                                  {"bias", "lora_only"},
                                                                  {"lora_bias", true},
                                                                  {"modules_to_save", {"lm_head"}},
                                                                  {"trainable_token_indices", {1}},
                                                                  {"init_lora_weights", "pissa_niter_4"},
                                                                  {"init_lora_weights", "OLoRA"},
                                                                  {"peft_type", "IA3"},
                                                                  {"alora_invocation_tokens", {1, 2}},
                                                                  {"layer_replication", {{0, 1}}}}) {
    OrderedJson json = {{"peft_type", "LORA"}, {"target_modules", {"q_proj"}}};
    json[field] = value;
    const auto config = ParseConfig(DumpJson(json));
    ASSERT_FALSE(config.ok()) << field;
    EXPECT_EQ(config.error().code, ErrorCode::kUnsupported) << field;
    EXPECT_NE(config.error().message.find(field), std::string::npos) << field << ": " << config.error().message;
  }
  for (const char* const text :
       {"", "[]", "{}", R"({"peft_type":"LORA"})", R"({"peft_type":"LORA","target_modules":[]})",
        R"({"peft_type":"LORA","target_modules":["q"],"r":0})",
        R"({"peft_type":"LORA","target_modules":["q"],"r":1e3})",
        R"({"peft_type":"LORA","target_modules":["q"],"lora_alpha":"x"})",
        R"({"peft_type":"LORA","target_modules":[1]})", R"({"peft_type":"LORA","target_modules":["q"],"r":1,"r":2})",
        R"({"peft_type":"LORA","target_modules":"q","layers_to_transform":[0]})"}) {
    EXPECT_FALSE(ParseConfig(text).ok()) << text;
  }
  EXPECT_NE(Chosen({{"target_modules", "("}}).find("no regular expression"), std::string::npos);
  // A feature that is spelled out as off is none.
  EXPECT_EQ(Chosen({{"target_modules", {"up_proj"}},
                    {"use_dora", false},
                    {"modules_to_save", nullptr},
                    {"init_lora_weights", "gaussian"},
                    {"lora_dropout", 0.1}}),
            "1:4*2 3:4*2");
}

class AdapterTest : public testing::Test {
 protected:
  static std::unique_ptr<const Model> Load(const std::string& name) {
    LoadOptions options;
    options.model = "tests/golden/models/" + name;
    return LoadModel(options).value();
  }
  std::string Error(const AdapterFiles& files, int64_t max_rank = 64) const {
    const auto made = files.Make(*model_->network, "x", max_rank);
    return made.ok() ? "made" : made.error().message;
  }
  static void Expect(const std::string& message, const std::string& words) {
    EXPECT_NE(message.find(words), std::string::npos) << message;
  }

  const std::unique_ptr<const Model> model_ = Load("llama");
  const int64_t hidden_ = model_->network->hidden;
  const std::string q_ = "model.layers.0.self_attn.q_proj";
  const int64_t q_rows_ = model_->network->layers[0].attention.q.weight.rows;

  AdapterFiles OneModule() const {
    AdapterFiles files;
    files.config["target_modules"] = OrderedJson{q_};
    files.Add(q_, 4, hidden_, q_rows_, 1);
    return files;
  }
};

TEST_F(AdapterTest, NamesAndTypesAsPeopleWriteThem) {
  const auto plain = OneModule().Make(*model_->network);
  ASSERT_TRUE(plain.ok()) << plain.error().message;
  EXPECT_EQ((*plain)->rank(), 4);
  EXPECT_EQ((*plain)->modules(), 1);
  AdapterFiles named = OneModule();  // as before PEFT strips the adapter's name
  named.tensors.clear();
  for (const auto& [name, tensor] : OneModule().tensors) {
    std::string longer = name;
    longer.insert(longer.size() - std::strlen("weight"), "default.");
    named.tensors[longer] = tensor;
  }
  const auto same = named.Make(*model_->network, "other");
  ASSERT_TRUE(same.ok()) << same.error().message;
  EXPECT_EQ((*same)->digest(), (*plain)->digest());
  AdapterFiles wrapped = OneModule();  // of a multimodal wrapper's text model, by the whole name and by an end
  wrapped.tensors.clear();
  wrapped.config["target_modules"] = ".*language_model.*q_proj";
  wrapped.config["layers_to_transform"] = nullptr;
  for (int64_t layer = 0; layer < std::ssize(model_->network->layers); ++layer) {
    wrapped.Add(fmt::format("model.language_model.layers.{}.self_attn.q_proj", layer), 4, hidden_, q_rows_, 1);
  }
  EXPECT_EQ(Error(wrapped), "made");
}

// Trained on a multimodal model by targets that its vision tower has too, or alone.
TEST_F(AdapterTest, TermsBesideTheTextAreOfNoConcern) {
  AdapterFiles files = OneModule();
  files.config["target_modules"].push_back("fc1");
  Expect(Error(files), "'fc1' matches nothing");
  for (const char* const module : {"vision_tower.encoder.fc1", "model.multi_modal_projector.fc1"}) {
    files.Add(module, 4, 8, 6, 1);
  }
  const auto made = files.Make(*model_->network);
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_EQ((*made)->digest(), (*OneModule().Make(*model_->network))->digest());
  AdapterFiles vision;
  vision.config["target_modules"] = {"fc1"};
  vision.Add("model.vision_tower.encoder.fc1", 4, 8, 6, 1);
  Expect(Error(vision), "no terms for the text model");
}

TEST_F(AdapterTest, DigestsTellContentApart) {
  const auto digest = [&](const AdapterFiles& files) { return (*files.Make(*model_->network).value()).digest(); };
  const AdapterFiles one = OneModule();
  AdapterFiles scaled = one;
  scaled.config["lora_alpha"] = 16;
  AdapterFiles other = one;
  other.tensors.begin()->second.second[0] += 1.0F;
  EXPECT_EQ(digest(one), digest(OneModule()));
  EXPECT_NE(digest(one), digest(scaled));
  EXPECT_NE(digest(one), digest(other));
}

TEST_F(AdapterTest, TensorsAreCheckedAgainstConfigurationAndModel) {
  AdapterFiles files = OneModule();
  files.config["r"] = 5;
  Expect(Error(files), "has shape [4, ");
  files = OneModule();
  Expect(Error(files, 3), "over the limit of 3");
  files = OneModule();
  files.config["target_modules"] = {"q_proj"};
  Expect(Error(files), "which has no tensors");
  files = OneModule();
  files.Add("model.layers.0.self_attn.k_proj", 4, hidden_, 8, 1);
  Expect(Error(files), "which target_modules does not name");
  files = OneModule();
  files.Add("model.layers.0.self_attn.x_proj", 4, hidden_, 8, 1);
  Expect(Error(files), "the model has no module model.layers.0.self_attn.x_proj");
  files = OneModule();
  files.tensors.erase(files.tensors.begin());
  Expect(Error(files), "has no lora_A");
  for (const auto& [name, words] :
       std::initializer_list<std::pair<const char*, const char*>>{{".lora_embedding_A", "embeddings"},
                                                                  {".lora_magnitude_vector", "DoRA"},
                                                                  {".embed_tokens.base_layer.weight", "of embeddings"},
                                                                  {".embed_tokens.weight", "save_embedding_layers"},
                                                                  {".lora_B.bias", "no part of a LoRA term"}}) {
    files = OneModule();
    files.tensors["base_model.model." + q_ + name] = {{1}, {0.0F}};
    Expect(Error(files), words);
  }
}

// PEFT writes the base's head into the file where the head is a target.
TEST_F(AdapterTest, ACopyOfTheHeadIsNoHeadOfItsOwn) {
  AdapterFiles files;
  files.config["target_modules"] = {"lm_head"};
  const kernels::WeightView& head = model_->network->head.weight;
  files.Add("lm_head", 4, head.columns, head.rows, 1);
  std::vector<float> values(static_cast<size_t>(head.rows * head.columns));
  std::memcpy(values.data(), head.data, values.size() * sizeof(float));
  const std::string name = "base_model.model.lm_head.base_layer.weight";
  files.tensors[name] = {{head.rows, head.columns}, values};
  EXPECT_EQ(Error(files), "made");
  files.tensors[name].second.back() += 1.0F;
  Expect(Error(files), "a head of its own");
  files.tensors[name] = {{1, head.columns}, std::vector<float>(static_cast<size_t>(head.columns))};
  Expect(Error(files), "a head of its own");
}

TEST_F(AdapterTest, FilesThatCannotBeAnAdapter) {
  TestFolder folder;
  const auto error = [&] {
    const auto loaded = LoadAdapter(*model_->network, {.name = "x", .path = folder.path(), .max_rank = 8});
    return loaded.ok() ? std::string("loaded") : loaded.error().message;
  };
  Expect(error(), "there is no file");
  const AdapterFiles files = OneModule();
  folder.Write("adapter_config.json", DumpJson(files.config));
  folder.Write("adapter_model.bin", "pickle");
  Expect(error(), "adapter_model.bin can run code");
  folder.Write("adapter_model.safetensors", files.Weights());
  EXPECT_EQ(error(), "loaded");
  folder.Write("adapter_model.safetensors", files.Weights().substr(0, 700));
  Expect(error(), "adapter_model.safetensors: ");
  std::filesystem::resize_file(folder.path() + "/adapter_model.safetensors", int64_t{1} << 32);
  Expect(error(), "over the limit");
  EXPECT_EQ(LoadAdapter(*model_->network, {.name = "x", .path = "/nowhere"}).error().code, ErrorCode::kNotFound);
}

// A fused module's term is the sum over its parts; rows without an adapter are not touched.
TEST_F(AdapterTest, FusedProjectionsTakeTheirPartOfTheTerm) {
  const auto phi = Load("phi3-longrope");
  const Network& network = *phi->network;
  const AttentionBlock& attention = network.layers[0].attention;
  const auto adapter = AdapterOfAll(network, 3, 5).Make(network).value();
  EXPECT_EQ(adapter->Of(0, Slot::kQ).a, adapter->Of(0, Slot::kK).a);
  AdapterBatch batch;
  batch.Add(nullptr, 0, 1);
  batch.Add(adapter.get(), 1, 2);
  ThreadPool pool({.threads = 1, .pin = false});
  kernels::Scratch scratch(1);
  kernels::Stream stream{pool, scratch};
  const int64_t k = network.hidden;
  std::vector<float> x(static_cast<size_t>(3 * k), 0.5F);
  std::vector<std::vector<float>> y;
  std::vector<AdapterBatch::Output> outputs;
  for (const auto& [slot, projection] :
       {std::pair(Slot::kQ, &attention.q), {Slot::kK, &attention.k}, {Slot::kV, &attention.v}}) {
    y.emplace_back(static_cast<size_t>(3 * projection->weight.rows));
    outputs.push_back({slot, y.back().data(), projection->weight.rows});
  }
  batch.Apply(**kernels::SelectOps("ref"), stream, 0, x.data(), k, k, outputs);
  const AdapterFiles files = AdapterOfAll(network, 3, 5);
  const auto& [a_shape, a] = files.tensors.at("base_model.model." + attention.q.module + ".lora_A.weight");
  const auto& [b_shape, b] = files.tensors.at("base_model.model." + attention.q.module + ".lora_B.weight");
  for (const auto& [part, projection] : {std::pair(0U, &attention.q), {1U, &attention.k}, {2U, &attention.v}}) {
    const int64_t n = projection->weight.rows - 1;  // the last row of each part
    double wanted = 0;
    for (int64_t r = 0; r < 3; ++r) {
      double u = 0;
      for (int64_t i = 0; i < k; ++i) {
        u += 0.5 * static_cast<double>(a[static_cast<size_t>(r * k + i)]);
      }
      wanted += u * static_cast<double>(b[static_cast<size_t>((projection->module_first + n) * 3 + r)]);
    }
    wanted *= 8.0 / 3.0;
    EXPECT_NEAR(y[part][static_cast<size_t>(2 * projection->weight.rows + n)], wanted, 1e-4) << "part " << part;
    EXPECT_EQ(y[part][static_cast<size_t>(n)], 0.0F);
  }
}

// ---- What it computes

// The base's files with W + scale * B A in the place of each W.
void Merge(const std::string& name, const AdapterFiles& adapter, double scale, const std::string& to) {
  const auto files = *OpenFolder("tests/golden/models/" + name);
  const TensorMap tensors = *LoadTensors(*files);
  std::vector<TensorToWrite> list;
  std::vector<std::vector<float>> values;
  for (const auto& [tensor_name, tensor] : tensors) {
    ASSERT_EQ(tensor.dtype, "F32");
    list.push_back({tensor_name, "F32", tensor.shape, static_cast<int64_t>(tensor.data.size())});
    std::vector<float>& out = values.emplace_back(static_cast<size_t>(tensor.elements()));
    std::memcpy(out.data(), tensor.data.data(), tensor.data.size());
    const std::string module = "base_model.model." + tensor_name.substr(0, tensor_name.rfind('.'));
    const auto found = adapter.tensors.find(module + ".lora_A.weight");
    if (found == adapter.tensors.end() || !tensor_name.ends_with(".weight")) {
      continue;
    }
    const auto& [a_shape, a] = found->second;
    const auto& b = adapter.tensors.at(module + ".lora_B.weight").second;
    const int64_t in = a_shape[1];
    const int64_t rank = a_shape[0];
    const bool transposed = tensor.shape[0] == in && name == "gpt2";  // Conv1D
    const int64_t rows = tensor.elements() / in;
    for (int64_t n = 0; n < rows; ++n) {
      for (int64_t i = 0; i < in; ++i) {
        double sum = 0;
        for (int64_t r = 0; r < rank; ++r) {
          sum += static_cast<double>(b[static_cast<size_t>(n * rank + r)]) *
                 static_cast<double>(a[static_cast<size_t>(r * in + i)]);
        }
        out[static_cast<size_t>(transposed ? i * rows + n : n * in + i)] += static_cast<float>(scale * sum);
      }
    }
  }
  std::filesystem::copy_file("tests/golden/models/" + name + "/config.json", to + "/config.json");
  ASSERT_TRUE(WriteSafetensors(to + "/model.safetensors", list, [&](size_t index, const auto& write) {
                write(std::as_bytes(std::span(values[index])));
              }).ok());
}

std::vector<float> Logits(const Model& model, const Adapter* adapter) {
  ThreadPool pool({.threads = 1, .pin = false});
  const auto runner =
      SequenceRunner::Create(model, **kernels::SelectOps("scalar"), pool, {.max_positions = 16}).value();
  runner->SetAdapter(0, adapter);
  const std::vector<Token> tokens = {5, 17, 3, 99, 42, 8};
  return LogitsOf(*runner, tokens, nullptr).value();
}

// Fused and transposed projections, norms around them, models without a gate.
class MergedTest : public testing::TestWithParam<const char*> {};

TEST_P(MergedTest, AnAdapterComputesWhatMergedWeightsDo) {
  const TestFolder folder;
  LoadOptions options;
  options.model = std::string("tests/golden/models/") + GetParam();
  const auto base = LoadModel(options).value();
  const bool head = !base->network->tied;
  const AdapterFiles files = AdapterOfAll(*base->network, 4, 11, head);
  Merge(GetParam(), files, 8.0 / 4.0, folder.path());
  options.model = folder.path();
  const auto merged = LoadModel(options);
  ASSERT_TRUE(merged.ok()) << merged.error().message;
  const std::vector<float> wanted = Logits(**merged, nullptr);
  const std::vector<float> got = Logits(*base, files.Make(*base->network).value().get());
  const std::vector<float> plain = Logits(*base, nullptr);
  double moved = 0;
  double largest = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    largest = std::max(largest, std::fabs(static_cast<double>(got[i]) - static_cast<double>(wanted[i])));
    moved = std::max(moved, std::fabs(static_cast<double>(plain[i]) - static_cast<double>(wanted[i])));
  }
  EXPECT_GT(moved, 0.1);
  EXPECT_LT(largest, 1e-3 * moved);
}

INSTANTIATE_TEST_SUITE_P(Families, MergedTest,
                         testing::Values("llama", "gpt2", "phi3-longrope", "gemma2", "qwen3", "granite", "olmo2"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace causeway::model
