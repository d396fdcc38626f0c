// Whole folders that are wrong in one way: the start fails with the tensor or the field by name.
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/network.h"
#include "model/tokenizer/tokenizer.h"
#include "tests/support/model_folders.h"

namespace causeway::model {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The model with one field of its configuration set (text: JSON; null text: removed).
std::string ErrorWith(const std::string& golden, const char* field, const char* value) {
  TestModel model(golden);
  if (value == nullptr) {
    model.config.erase(field);
  } else {
    model.config[field] = *ParseJson(value);
  }
  return model.Error();
}

struct FieldCase {
  const char* golden;
  const char* field;
  const char* value;
  const char* message;
};

TEST(LoadTest, EveryFieldThatIsWrongIsNamed) {
  const FieldCase cases[] = {
      {"llama", "hidden_size", nullptr, "hidden_size is missing"},
      {"llama", "hidden_size", "null", "hidden_size is missing"},
      {"llama", "hidden_size", "0", "hidden_size must be a whole number from 1"},
      {"llama", "hidden_size", "-64", "hidden_size must be"},
      {"llama", "hidden_size", "64.5", "hidden_size must be"},
      {"llama", "hidden_size", "\"64\"", "hidden_size must be"},
      {"llama", "hidden_size", "18446744073709551615", "hidden_size must be"},
      {"llama", "hidden_size", "68", "shape is [320, 64], the configuration wants [320, 68]"},
      {"llama", "num_hidden_layers", "5000", "num_hidden_layers must be"},
      {"llama", "num_hidden_layers", "3", "have no place in this family: model.layers.3"},
      {"llama", "num_hidden_layers", "5", "tensor model.layers.4.input_layernorm.weight is missing"},
      {"llama", "num_attention_heads", "3", "num_attention_heads"},
      {"llama", "num_key_value_heads", "3", "no multiple of num_key_value_heads 3"},
      {"llama", "head_dim", "8", "shape is [64, 64], the configuration wants [32, 64]"},
      {"llama", "vocab_size", "319", "tensor model.embed_tokens.weight: its shape is [320, 64]"},
      {"llama", "rms_norm_eps", "\"x\"", "rms_norm_eps must be a number"},
      {"llama", "hidden_act", "\"quick_gelu\"", "activation 'quick_gelu' is not served"},
      {"llama", "attention_bias", "true", "tensor model.layers.0.self_attn.q_proj.bias is missing"},
      {"llama", "tie_word_embeddings", "true", "lm_head.weight differs from the embedding"},
      {"llama", "tie_word_embeddings", "1", "tie_word_embeddings must be true or false"},
      {"llama", "partial_rotary_factor", "0.5", "partial_rotary_factor 0.5 is not served"},
      {"llama", "rope_scaling", R"({"rope_type":"dynamic","factor":2})", "rope scaling 'dynamic' is not served"},
      {"llama", "model_type", "\"nonesuch\"", "model_type 'nonesuch' is not served; known: llama"},
      {"llama", "model_type", nullptr, "model_type is missing"},
      {"llama", "quantization_config", R"({"quant_method":"aqlm"})", "quant_method 'aqlm'"},
      {"llama", "quantization_config", R"({"quant_method":5})", "quant_method must be a string"},
      {"llama", "layer_types", R"(["full_attention"])", "layer_types has 1 entries for 4 layers"},
      {"llama", "layer_types", R"(["full_attention","sliding_attention","full_attention","full_attention"])",
       "layer 1 sliding_attention"},
      {"mistral-window", "sliding_window", "0", "sliding_window must be"},
      {"mistral-window", "layer_types", R"(["chunked_attention","x","x","x"])", "layer type 'chunked_attention'"},
      {"gemma2", "use_bidirectional_attention", "true", "use_bidirectional_attention true is not served"},
      {"gemma2", "num_attention_heads", "65536", "at most 1024 are served"},
      {"gemma2", "query_pre_attn_scalar", "0", "query_pre_attn_scalar"},
      {"gemma3-v5", "sliding_window_pattern", "0", "sliding_window_pattern must be"},
      {"granite", "logits_scaling", "0", "logits_scaling must not be 0"},
      {"granite", "attention_multiplier", "0", "attention_multiplier must be above 0"},
      {"gpt2", "n_head", "7", "n_embd is no multiple of n_head"},
      {"gpt2", "activation_function", "\"tanh\"", "activation 'tanh' is not served"},
  };
  for (const FieldCase& one : cases) {
    EXPECT_THAT(ErrorWith(one.golden, one.field, one.value), HasSubstr(one.message))
        << one.golden << " " << one.field << " = " << (one.value == nullptr ? "(removed)" : one.value);
  }
}

TEST(LoadTest, FieldsThatMayBeSilentAreFilledAsUsual) {
  for (const char* field : {"rms_norm_eps", "hidden_act", "rope_theta", "attention_bias", "mlp_bias", "dtype"}) {
    EXPECT_EQ(ErrorWith("llama", field, nullptr), "loaded") << field;
  }
  TestModel gemma("gemma2");
  gemma.config.erase("attn_logit_softcapping");
  const auto model = gemma.Load();
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ((*model)->network->layers[0].attention.softcap, 50.0F);
}

TEST(LoadTest, ConfigurationsThatAreNoJsonObject) {
  const TestModel model("llama");
  for (const auto& [text, message] : {std::pair{"", "config.json"},
                                      {"[]", "is no JSON object"},
                                      {R"({"hidden_size":1e400})", "config.json"},
                                      {R"({"a":NaN})", "config.json"}}) {
    model.Write("config.json", text);
    const auto loaded = LoadModel({.model = model.path(), .weights = true, .progress = {}, .hub_caches = {}});
    ASSERT_FALSE(loaded.ok()) << text;
    EXPECT_THAT(loaded.error().message, HasSubstr(message));
  }
}

// The golden's one safetensors file with its header changed.
void Rewrite(const TestModel& model, const std::function<void(Json&, std::string&)>& change, int padding = 0) {
  const std::string file = model.Read("model.safetensors");
  uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);
  Json header = *ParseJson(std::string_view(file).substr(8, length));
  std::string data = file.substr(8 + length);
  change(header, data);
  std::string text = DumpJson(header);
  text.append((8 - text.size() % 8 + static_cast<size_t>(padding)) % 8, ' ');
  model.Write("model.safetensors", SafetensorsFile(text, data));
}

TEST(LoadTest, TensorsThatAreMissingOrExtraOrOfAnotherType) {
  const auto error = [](const std::function<void(Json&, std::string&)>& change) {
    const TestModel model("llama");
    Rewrite(model, change);
    return model.Error();
  };
  EXPECT_EQ(error([](Json&, std::string&) {}), "loaded");
  EXPECT_THAT(error([](Json& header, std::string&) {
                header["model.norm.weighd"] = header["model.norm.weight"];
                header.erase("model.norm.weight");
              }),
              HasSubstr("tensor model.norm.weight is missing"));
  EXPECT_THAT(error([](Json& header, std::string& data) {
                header["surplus"] = {{"dtype", "U8"}, {"shape", {1}}, {"data_offsets", {data.size(), data.size() + 1}}};
                data += 'x';
              }),
              HasSubstr("1 tensors have no place in this family: surplus"));
  EXPECT_THAT(error([](Json& header, std::string&) { header["model.norm.weight"]["dtype"] = "I32"; }),
              HasSubstr("tensor model.norm.weight: weights of type I32 are not served"));
  EXPECT_THAT(error([](Json& header, std::string&) {
                header["model.norm.weight"]["shape"] = {8, 8};
              }),
              HasSubstr("tensor model.norm.weight: its shape is [8, 8], the configuration wants [64]"));
  EXPECT_THAT(error([](Json&, std::string& data) { data.resize(data.size() - 1); }), HasSubstr("model.safetensors"));
}

TEST(LoadTest, BuffersOfOldCheckpointsAreNoWeights) {
  const TestModel model("llama");
  Rewrite(model, [](Json& header, std::string& data) {
    for (const char* name : {"model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"}) {
      header[name] = {{"dtype", "U8"}, {"shape", {8}}, {"data_offsets", {data.size(), data.size() + 8}}};
      data += "12345678";
    }
  });
  EXPECT_EQ(model.Error(), "loaded");
}

TEST(LoadTest, NamesOfABareDecoderAndOfWrappersAreFound) {
  struct Names {
    std::string body;
    std::string head;
  };
  for (const Names& names :
       {Names{"", ""}, Names{"language_model.model.", "language_model."}, Names{"model.language_model.", ""}}) {
    const TestModel model("llama");
    Rewrite(model, [&](Json& header, std::string&) {
      Json renamed = Json::object();
      for (const auto& [name, entry] : header.items()) {
        const bool inner = name.starts_with("model.");
        renamed[name[0] == '_' ? name : inner ? names.body + name.substr(6) : names.head + name] = entry;
      }
      header = renamed;
    });
    EXPECT_EQ(model.Error(), "loaded") << names.body;
  }
}

TEST(LoadTest, AHeaderThatIsNotPaddedLeavesTensorsOffTheirBoundary) {
  const TestModel model("llama");
  Rewrite(
      model, [](Json&, std::string&) {}, 1);
  const auto loaded = model.Load();
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_EQ(reinterpret_cast<uintptr_t>((*loaded)->network->embedding.data) % 4, 0U);
  EXPECT_EQ(reinterpret_cast<uintptr_t>((*loaded)->network->layers[3].mlp.down.weight.data) % 4, 0U);
}

TEST(LoadTest, AWrapperHoldsTheTextModel) {
  TestModel model("llama");
  model.config = Json{{"model_type", "wrapper"}, {"text_config", model.config}, {"vision_config", Json::object()}};
  Rewrite(model, [](Json& header, std::string& data) {
    header["vision_tower.x"] = {{"dtype", "U8"}, {"shape", {1}}, {"data_offsets", {data.size(), data.size() + 1}}};
    data += 'x';
  });
  EXPECT_EQ(model.Error(), "loaded");
}

TEST(LoadTest, GenerationConfigAddsToTheConfiguration) {
  TestModel model("llama");
  model.config["eos_token_id"] = 2;
  model.Write("generation_config.json", R"({"eos_token_id":[2,7],"temperature":0.5,"top_k":null,"top_p":0.9})");
  const auto loaded = model.Load();
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_THAT((*loaded)->generation.eos_ids, ElementsAre(2, 7));
  EXPECT_EQ((*loaded)->generation.temperature, 0.5F);
  EXPECT_EQ((*loaded)->generation.top_k, std::nullopt);
  for (const char* text :
       {R"({"eos_token_id":"x"})", R"({"eos_token_id":[-1]})", R"({"top_k":1e30})", R"({"top_p":"0.9"})", "[]", "{"}) {
    model.Write("generation_config.json", text);
    EXPECT_NE(model.Error(), "loaded") << text;
  }
}

TEST(LoadTest, ATokenizerThatIsWrongNamesItsFile) {
  const TestModel model("llama");
  model.Write("tokenizer.json", R"({"model":{"type":"WordPiece","vocab":{}}})");
  EXPECT_THAT(model.Error(), HasSubstr("tokenizer.json"));
  model.Write("tokenizer.json", std::string(100000, '['));
  EXPECT_THAT(model.Error(), HasSubstr("nested deeper"));
}

}  // namespace
}  // namespace causeway::model
