// Configurations of untrusted or unusual content: read as the reference does, or refused with the field's
// name. Numbers against the reference itself are in tests/golden.
#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/arch/registry.h"
#include "model/rope.h"
#include "tests/support/model_folders.h"

namespace causeway::model {
namespace {

using ::testing::HasSubstr;

Config Of(const char* text) { return Config(*ParseJson(text)); }

TEST(ConfigTest, NullMeansAbsentAndWrongTypesAreErrors) {
  const Config config = Of(R"({"null":null,"text":"x","number":2.5,"int":3,"flag":true,"big":9223372036854775808,
                               "list":[1,"x"]})");
  EXPECT_EQ(*config.Int("null", 0, 9, 7), 7);
  EXPECT_THAT(config.Int("null", 0, 9).error().message, HasSubstr("null is missing"));
  EXPECT_EQ(*config.Int("int", 0, 9), 3);
  for (const char* name : {"text", "number", "flag", "big", "list"}) {
    EXPECT_THAT(config.Int(name, 0, INT64_MAX).error().message, HasSubstr(name));
  }
  EXPECT_THAT(config.Int("int", 4, 9).error().message, HasSubstr("from 4 to 9, not 3"));
  EXPECT_EQ(*config.Number("int"), 3.0);
  EXPECT_FALSE(config.Number("text").ok());
  EXPECT_FALSE(config.Flag("int", false).ok());
  EXPECT_FALSE(config.Text("int").ok());
  EXPECT_FALSE(config.TextList("list").ok());
  EXPECT_FALSE(config.IntList("list").ok());
  EXPECT_FALSE(config.IntList("int").ok());
}

TEST(ConfigTest, DefaultsFillWhatIsAbsentButNotWhatIsNull) {
  const Json json = WithDefaults(*ParseJson(R"({"a":1,"b":null})"), R"({"a":5,"b":6,"c":7})");
  EXPECT_EQ(DumpJson(json), R"({"a":1,"b":null,"c":7})");
}

TEST(ConfigTest, EveryFamilysDefaultsAreAnObject) {
  for (const Architecture& architecture : Architectures()) {
    const auto json = ParseJson(architecture.defaults);
    ASSERT_TRUE(json.ok() && json->is_object()) << architecture.model_type;
  }
}

TEST(ConfigTest, TokenIdsAreOneOrAList) {
  const Json json = *ParseJson(R"({"one":2,"list":[2,3],"null":null,"text":"x","negative":[-1],"big":4294967296})");
  EXPECT_EQ(*ReadTokenIds(json, "one"), (std::vector<Token>{2}));
  EXPECT_EQ(*ReadTokenIds(json, "list"), (std::vector<Token>{2, 3}));
  EXPECT_TRUE(ReadTokenIds(json, "null")->empty());
  EXPECT_TRUE(ReadTokenIds(json, "absent")->empty());
  for (const char* name : {"text", "negative", "big"}) {
    EXPECT_THAT(ReadTokenIds(json, name).error().message, HasSubstr(name));
  }
}

TEST(RopeSettingsTest, BothSpellingsAndTheirPriority) {
  const Config v4 =
      Of(R"({"rope_theta":5e5,"rope_scaling":{"rope_type":"linear","factor":2},"rope_local_base_freq":7})");
  EXPECT_EQ(ReadRope(v4)->theta, 5e5);
  EXPECT_EQ(ReadRope(v4)->scaling, v4.Find("rope_scaling"));
  EXPECT_EQ(ReadLocalRope(v4)->theta, 7);
  EXPECT_EQ(ReadLocalRope(v4)->scaling, nullptr) << "scaling is of the global layers";
  const Config flat = Of(R"({"rope_theta":1,"rope_parameters":{"rope_theta":9,"partial_rotary_factor":0.5}})");
  EXPECT_EQ(ReadRope(flat)->theta, 9);
  EXPECT_EQ(ReadRope(flat)->rotary_fraction, 0.5);
  const Config nested = Of(R"({"rope_theta":1e6,"rope_local_base_freq":1e4,
                               "rope_parameters":{"full_attention":{"factor":3},"sliding_attention":{"rope_theta":8}}})");
  EXPECT_EQ(ReadRope(nested)->theta, 1e6) << "where the nested object is silent";
  EXPECT_EQ((*ReadRope(nested)->scaling)["factor"], 3);
  EXPECT_EQ(ReadLocalRope(nested)->theta, 8);
  for (const char* text : {R"({"rope_scaling":"linear"})", R"({"rope_parameters":[]})", R"({"rope_theta":"x"})",
                           R"({"rope_parameters":{"rope_theta":"x"}})", R"({"rope_parameters":{"full_attention":4}})",
                           R"({"partial_rotary_factor":0})", R"({"partial_rotary_factor":1.5})"}) {
    EXPECT_EQ(ReadRope(Of(text)).error().code, ErrorCode::kInvalidArgument) << text;
  }
}

std::string RopeError(const char* scaling) {
  const Json json = *ParseJson(scaling);
  const auto rope = MakeRope({.theta = 1e4, .dimensions = 8, .max_position_embeddings = 128, .scaling = &json});
  return rope.ok() ? "accepted" : rope.error().message;
}

TEST(RopeTest, BadScalingsAreNamedErrors) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"rope_type":"dynamic","factor":2})", "rope scaling 'dynamic' is not served"},
      {R"({"rope_type":3})", "rope_type is no string"},
      {R"({"type":"linear"})", "factor"},
      {R"({"type":"linear","factor":0})", "factor must be above 0"},
      {R"({"type":"linear","factor":"2"})", "factor"},
      {R"({"type":"llama3","factor":2,"low_freq_factor":4,"high_freq_factor":4})", "low_freq_factor 4"},
      {R"({"type":"llama3","factor":2,"low_freq_factor":1})", "high_freq_factor"},
      {R"({"type":"yarn","factor":2,"attention_factor":-1})", "attention_factor"},
      {R"({"type":"yarn","factor":2,"truncate":1})", "truncate"},
      {R"({"type":"yarn","factor":2,"original_max_position_embeddings":0})", "original_max_position_embeddings"},
      {R"({"type":"longrope","short_factor":[1,1,1,1]})", "long_factor"},
      {R"({"type":"longrope","short_factor":[1,1,1],"long_factor":[1,1,1,1]})", "short_factor is no list of 4"},
      {R"({"type":"longrope","short_factor":[1,1,1,0],"long_factor":[1,1,1,1]})", "bad value in short_factor"},
  };
  for (const auto& [scaling, message] : cases) {
    EXPECT_THAT(RopeError(scaling), HasSubstr(message)) << scaling;
  }
  EXPECT_EQ(RopeError(R"({"type":"yarn","factor":2,"beta_fast":null,"attention_factor":null})"), "accepted");
}

TEST(RopeTest, AnOddShareOfAHeadTurnsOneDimensionMore) {
  const auto rope = MakeRope({.theta = 1e4, .dimensions = 9, .max_position_embeddings = 128});
  ASSERT_TRUE(rope.ok());
  EXPECT_EQ(rope->rotary_dim, 10);
  ASSERT_EQ(rope->inverse_frequency.size(), 5U);
  EXPECT_NEAR(rope->inverse_frequency[4], std::pow(1e4, -8.0 / 9.0), 1e-9);
  EXPECT_FALSE(MakeRope({.theta = 1e4, .dimensions = 0}).ok());
  EXPECT_FALSE(MakeRope({.theta = -1, .dimensions = 8}).ok());
}

}  // namespace
}  // namespace causeway::model
