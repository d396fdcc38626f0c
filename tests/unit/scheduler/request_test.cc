#include "scheduler/request.h"

#include <cmath>
#include <functional>
#include <limits>

#include <gtest/gtest.h>

#include "scheduler/policy/policy.h"

namespace causeway::scheduler {
namespace {

constexpr ModelLimits kLimits{.vocab = 100, .max_model_len = 50, .max_n = 4, .max_logprobs = 5};

GenerateRequest Valid() {
  GenerateRequest request;
  request.prompt = {1, 2, 99};
  return request;
}

struct Change {
  const char* param;  // at fault
  const char* name;
  std::function<void(GenerateRequest&)> make;
};
std::ostream& operator<<(std::ostream& out, const Change& change) { return out << change.name; }

TEST(ValidateRequest, TakesTheEdgesOfEveryRange) {
  const std::vector<std::function<void(GenerateRequest&)>> edges = {
      [](auto&) {},
      [](auto& r) { r.n = 4; },
      [](auto& r) { r.id.assign(128, 'x'); },
      [](auto& r) { r.sampling.temperature = 0; },
      [](auto& r) { r.sampling.temperature = 100; },
      [](auto& r) { r.sampling.top_k = -1; },
      [](auto& r) { r.sampling.top_k = std::numeric_limits<int>::max(); },
      [](auto& r) { r.sampling.top_p = 1e-30F; },
      [](auto& r) { r.sampling.min_p = 1; },
      [](auto& r) { r.sampling.presence_penalty = -2; },
      [](auto& r) { r.sampling.frequency_penalty = 2; },
      [](auto& r) { r.sampling.repetition_penalty = 0.001F; },
      [](auto& r) {
        r.sampling.logit_bias.assign(1024, {99, -100});
      },
      [](auto& r) { r.sampling.logprobs = 5; },
      [](auto& r) { r.sampling.prompt_logprobs = 0; },
      [](auto& r) { r.stop.max_tokens = 47; },
      [](auto& r) { r.stop.max_tokens = 0; },
      [](auto& r) { r.stop.min_tokens = 16; },
      [](auto& r) { r.stop.stop_token_ids.assign(128, 0); },
      [](auto& r) { r.prompt.assign(50, 1), r.stop.max_tokens = 0; },
      [](auto& r) { r.priority = Priority::kLow; },
  };
  for (size_t i = 0; i < edges.size(); ++i) {
    GenerateRequest request = Valid();
    edges[i](request);
    const auto valid = ValidateRequest(request, kLimits);
    EXPECT_TRUE(valid.ok()) << "case " << i << ": " << valid.error().message;
  }
}

class Refused : public testing::TestWithParam<Change> {};

TEST_P(Refused, NamesTheField) {
  GenerateRequest request = Valid();
  GetParam().make(request);
  const auto valid = ValidateRequest(request, kLimits);
  ASSERT_FALSE(valid.ok());
  EXPECT_EQ(valid.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(valid.error().param, GetParam().param);
  EXPECT_FALSE(valid.error().message.empty());
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

INSTANTIATE_TEST_SUITE_P(
    Fields, Refused,
    testing::Values(Change{"request_id", "long id", [](auto& r) { r.id.assign(129, 'x'); }},
                    Change{"cache_salt", "long salt", [](auto& r) { r.cache_salt.assign(257, 'x'); }},
                    Change{"prompt", "no prompt", [](auto& r) { r.prompt.clear(); }},
                    Change{"prompt", "id at vocab", [](auto& r) { r.prompt[1] = 100; }},
                    Change{"prompt", "negative id", [](auto& r) { r.prompt[1] = -1; }},
                    Change{"n", "n 0", [](auto& r) { r.n = 0; }}, Change{"n", "n 5", [](auto& r) { r.n = 5; }},
                    Change{"priority", "priority 3", [](auto& r) { r.priority = static_cast<Priority>(3); }},
                    Change{"priority", "priority -1", [](auto& r) { r.priority = static_cast<Priority>(-1); }},
                    Change{"max_tokens", "negative", [](auto& r) { r.stop.max_tokens = -1; }},
                    Change{"min_tokens", "negative", [](auto& r) { r.stop.min_tokens = -1; }},
                    Change{"min_tokens", "over max", [](auto& r) { r.stop.min_tokens = 17; }},
                    Change{"stop_token_ids", "many", [](auto& r) { r.stop.stop_token_ids.assign(129, 0); }},
                    Change{"stop_token_ids", "range", [](auto& r) { r.stop.stop_token_ids = {100}; }},
                    Change{"temperature", "negative", [](auto& r) { r.sampling.temperature = -0.1F; }},
                    Change{"temperature", "nan", [](auto& r) { r.sampling.temperature = kNan; }},
                    Change{"temperature", "inf", [](auto& r) { r.sampling.temperature = kInf; }},
                    Change{"top_p", "zero", [](auto& r) { r.sampling.top_p = 0; }},
                    Change{"top_p", "over", [](auto& r) { r.sampling.top_p = 1.01F; }},
                    Change{"top_p", "nan", [](auto& r) { r.sampling.top_p = kNan; }},
                    Change{"top_k", "-2", [](auto& r) { r.sampling.top_k = -2; }},
                    Change{"min_p", "over", [](auto& r) { r.sampling.min_p = 1.01F; }},
                    Change{"min_p", "nan", [](auto& r) { r.sampling.min_p = kNan; }},
                    Change{"presence_penalty", "under", [](auto& r) { r.sampling.presence_penalty = -2.1F; }},
                    Change{"presence_penalty", "nan", [](auto& r) { r.sampling.presence_penalty = kNan; }},
                    Change{"frequency_penalty", "over", [](auto& r) { r.sampling.frequency_penalty = 2.1F; }},
                    Change{"frequency_penalty", "nan", [](auto& r) { r.sampling.frequency_penalty = kNan; }},
                    Change{"repetition_penalty", "zero", [](auto& r) { r.sampling.repetition_penalty = 0; }},
                    Change{"repetition_penalty", "inf", [](auto& r) { r.sampling.repetition_penalty = kInf; }},
                    Change{"repetition_penalty", "nan", [](auto& r) { r.sampling.repetition_penalty = kNan; }},
                    Change{"logit_bias", "many",
                           [](auto& r) {
                             r.sampling.logit_bias.assign(1025, {1, 0});
                           }},
                    Change{"logit_bias", "id",
                           [](auto& r) {
                             r.sampling.logit_bias = {{100, 0}};
                           }},
                    Change{"logit_bias", "over",
                           [](auto& r) {
                             r.sampling.logit_bias = {{1, 101}};
                           }},
                    Change{"logit_bias", "nan",
                           [](auto& r) {
                             r.sampling.logit_bias = {{1, kNan}};
                           }},
                    Change{"logprobs", "over", [](auto& r) { r.sampling.logprobs = 6; }},
                    Change{"logprobs", "under", [](auto& r) { r.sampling.logprobs = -2; }},
                    Change{"prompt_logprobs", "over", [](auto& r) { r.sampling.prompt_logprobs = 6; }},
                    Change{"prompt_logprobs", "under", [](auto& r) { r.sampling.prompt_logprobs = -2; }}));

TEST(ValidateRequest, ContextLengthNamesBothNumbers) {
  GenerateRequest request = Valid();
  request.stop.max_tokens = 48;
  auto valid = ValidateRequest(request, kLimits);
  ASSERT_FALSE(valid.ok());
  EXPECT_EQ(valid.error().code, ErrorCode::kContextLength);
  for (const char* number : {"50 tokens", "51 (", "3 in the prompt", "48 of output"}) {
    EXPECT_NE(valid.error().message.find(number), std::string::npos) << valid.error().message;
  }
  request.prompt.assign(51, 1);
  request.stop.max_tokens = 0;
  EXPECT_EQ(ValidateRequest(request, kLimits).error().code, ErrorCode::kContextLength);
  request.prompt.assign(50, 1);
  request.stop.max_tokens = 1;  // a full context leaves no room for output
  EXPECT_EQ(ValidateRequest(request, kLimits).error().code, ErrorCode::kContextLength);
  request.stop.max_tokens = std::numeric_limits<int64_t>::max();  // a sum that does not fit 64 bits
  EXPECT_NE(ValidateRequest(request, kLimits).error().message.find("9223372036854775857"), std::string::npos);
}

// ---- Policy ----------------------------------------------------------------------------------------

TEST(Policy, ClassThenAgeThenOrderOfArrival) {
  constexpr Duration kAgeing = std::chrono::seconds(30);
  const Instant start = Instant() + std::chrono::hours(1);
  const auto at = [&](int seconds, Priority priority, SequenceId id) {
    return PrecedenceOf(start + std::chrono::seconds(seconds), priority, id, kAgeing);
  };
  EXPECT_LT(at(0, Priority::kNormal, 1), at(0, Priority::kNormal, 2));
  EXPECT_LT(at(0, Priority::kNormal, 2), at(1, Priority::kNormal, 1));
  EXPECT_LT(at(29, Priority::kHigh, 2), at(0, Priority::kNormal, 1));
  EXPECT_LT(at(0, Priority::kNormal, 1), at(31, Priority::kHigh, 2));  // lifted by its wait
  EXPECT_LT(at(59, Priority::kHigh, 2), at(0, Priority::kLow, 1));
  EXPECT_LT(at(0, Priority::kLow, 1), at(61, Priority::kHigh, 2));
}

}  // namespace
}  // namespace causeway::scheduler
