// Solitary equality: a request's tokens and log probabilities are the same to the last bit whether it ran alone or
// among others, in chunks of any size, on any number of threads, preempted and computed again, on pages of any size,
// cold or behind a prefix that others computed, with an adapter or without among others that have theirs.
#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "kernels/ops.h"
#include "memory/kv_cache.h"
#include "model/model.h"
#include "model/runner.h"
#include "scheduler/scheduler.h"
#include "tests/support/adapter_files.h"
#include "tests/support/run_scale.h"

namespace causeway::model {
namespace {

using scheduler::GenerateRequest;
using scheduler::OutputEvent;

constexpr uint64_t kSeed = 2024;
constexpr int64_t kMaxLength = 256;  // of a sequence

// One way to run the requests.
struct Way {
  std::string name;
  int64_t budget = 512;  // max_num_batched_tokens: the largest chunk
  int64_t max_num_seqs = 16;
  int threads = 1;
  int64_t pages = 512;
  int64_t tokens_per_page = 64;
  kernels::KvFormat format = kernels::KvFormat::kF32;
  bool alone = false;     // one request after the other
  bool preempts = false;  // expected to
  bool cold = false;      // without prefix caching
  int rounds = 1;         // the same requests so often; the last answers count
  memory::PrefixSpelling spelling = memory::PrefixSpelling::kAlias;
  bool together = false;  // all of them arrive at once, and rows that share a prefix are expected
};

// All that a client sees of a sequence, floats as their bits.
using Answer = std::vector<uint32_t>;
using Answers = std::map<std::pair<scheduler::RequestKey, int>, Answer>;

uint32_t Bits(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

void Append(const OutputEvent& event, Answer& answer) {
  if (event.kind == OutputEvent::Kind::kFinish) {
    answer.push_back(1000 + static_cast<uint32_t>(event.finish));
    return;
  }
  answer.push_back(static_cast<uint32_t>(event.kind));
  answer.push_back(static_cast<uint32_t>(event.token));
  answer.push_back(Bits(event.logprob));
  for (const scheduler::TokenLogprob& other : event.top) {
    answer.push_back(static_cast<uint32_t>(other.token));
    answer.push_back(Bits(other.logprob));
  }
}

// Request `i`: lengths at random (some around a page's end), one way of sampling after another.
GenerateRequest MakeRequest(uint64_t i, int64_t vocab, int64_t most_prompt, int64_t most_output) {
  const auto draw = [&](uint64_t what, int64_t low, int64_t high) {
    return low + static_cast<int64_t>(RandomBits(kSeed, i, what) % static_cast<uint64_t>(high - low + 1));
  };
  GenerateRequest request;
  const int64_t prompt = i % 4 == 1 ? 60 : draw(0, 1, most_prompt);
  for (int64_t p = 0; p < prompt; ++p) {
    const uint64_t source = i % 3 == 0 && p < 40 ? 3000 : i;  // every third begins alike
    request.prompt.push_back(
        static_cast<Token>(RandomBits(kSeed, source, 100 + static_cast<uint64_t>(p)) % static_cast<uint64_t>(vocab)));
  }
  request.stop = {.max_tokens = draw(1, 2, most_output),
                  .min_tokens = 2,
                  .ignore_eos = i % 2 == 0,
                  .eos_ids = {2},
                  .stop_token_ids = {static_cast<Token>(draw(2, 0, vocab - 1))}};
  scheduler::SamplingParams& sampling = request.sampling;
  sampling.seed = RandomBits(kSeed, i, 3);
  sampling.temperature = 0.9F;
  sampling.logprobs = static_cast<int>(i % 3) * 2;
  switch (i % 8) {
    case 0:
      sampling.temperature = 0;
      sampling.prompt_logprobs = 2;
      break;
    case 1:
      sampling.top_k = 20;
      request.n = 2;
      break;
    case 2: sampling.top_p = 0.8F; break;
    case 3:
      sampling.min_p = 0.05F;
      sampling.prompt_logprobs = 0;
      request.n = 3;
      break;
    case 4:
      sampling.repetition_penalty = 1.3F;
      sampling.temperature = 1.5F;
      break;
    case 5:
      sampling.presence_penalty = 0.7F;
      sampling.frequency_penalty = -0.4F;
      break;
    case 6: sampling.logit_bias = {{5, 4.0F}, {9, -100.0F}, {11, 3.5F}}; break;
    default:
      sampling.top_k = 50, sampling.top_p = 0.9F, sampling.min_p = 0.01F, sampling.repetition_penalty = 1.1F;
      sampling.presence_penalty = 0.2F, sampling.frequency_penalty = 0.2F, sampling.logit_bias = {{3, 1.0F}};
      break;
  }
  return request;
}

class Harness {
 public:
  Harness(const Model& model, const kernels::Ops& ops, const Way& way)
      : way_(way), pool_({.threads = way.threads, .pin = false}) {
    memory::KvGeometry geometry =
        memory::ChooseGeometry(model.KvShape(kernels::KvFormatBytes(way.format)), 4096).value();
    geometry.tokens_per_page = way.tokens_per_page;
    geometry.page_bytes = (geometry.BytesPerToken() * way.tokens_per_page + 4095) / 4096 * 4096;
    auto backend = memory::MakeLinuxBackend({geometry.page_bytes, way.pages}).value();
    cache_ = memory::KvCache::Create({.geometry = geometry,
                                      .max_pages = way.pages,
                                      .max_spans = way.max_num_seqs,
                                      .positions_per_span = kMaxLength,
                                      .prefix_spelling = way.spelling},
                                     std::move(backend))
                 .value();
    runner_ = std::make_unique<Runner>(model, ops, pool_,
                                       RunnerOptions{.geometry = geometry,
                                                     .kv_format = way.format,
                                                     .max_batched_tokens = std::max(way.budget, way.max_num_seqs),
                                                     .max_num_seqs = way.max_num_seqs});
    scheduler_ =
        std::make_unique<scheduler::Scheduler>(scheduler::SchedulerOptions{.max_num_seqs = way.max_num_seqs,
                                                                           .max_num_batched_tokens = way.budget,
                                                                           .max_model_len = kMaxLength,
                                                                           .prefix_caching = !way.cold,
                                                                           .kv_switch_length = model.KvSwitchLength()},
                                               *cache_);
  }

  Answers Run(const std::vector<GenerateRequest>& requests) {
    for (int round = 0; round < way_.rounds; ++round) {
      answers_.clear();
      RunOnce(requests);
    }
    EXPECT_EQ(scheduler_->preemptions() > 0, way_.preempts) << way_.name;
    EXPECT_TRUE(way_.rounds == 1 || scheduler_->prefix_hit_tokens() > 0) << way_.name;
    EXPECT_TRUE(!way_.together || cascaded_rows_ > 0) << way_.name;
    EXPECT_TRUE(!way_.cold || scheduler_->prefix_hit_tokens() == 0) << way_.name;
    return std::move(answers_);
  }

 private:
  // Requests arrive in an order and at steps drawn at random, or one when the one before has ended.
  void RunOnce(const std::vector<GenerateRequest>& requests) {
    std::vector<size_t> order(requests.size());
    for (size_t i = 0; i < order.size(); ++i) {
      order[i] = i;
      std::swap(order[i], order[RandomBits(kSeed, 77, i) % (i + 1)]);
    }
    const Instant now{};
    size_t arrived = 0;
    for (uint64_t step = 0; arrived < requests.size() || !scheduler_->idle(); ++step) {
      const auto comes = way_.together ? requests.size()
                         : way_.alone  ? (scheduler_->idle() ? 1U : 0U)
                                       : RandomBits(kSeed, 78, step) % 4;
      for (uint64_t i = 0; i < comes && arrived < requests.size(); ++i, ++arrived) {
        scheduler_->Add(order[arrived], requests[order[arrived]], now);
      }
      const scheduler::Plan& plan = scheduler_->Next(now);
      for (const scheduler::PlanRow& row : plan.rows) {
        cascaded_rows_ += row.share_group >= 0 && row.shared_positions >= 64 ? 1 : 0;
      }
      if (!plan.empty()) {
        runner_->Launch(plan);
        scheduler_->Apply(**runner_->Await(), now);
      }
      scheduler_->TakeEvents(events_);
      for (const scheduler::SchedulerEvent& event : events_) {
        Append(event.output, answers_[{event.request, event.output.index}]);
      }
      events_.clear();
    }
  }

  const Way way_;
  ThreadPool pool_;
  std::unique_ptr<memory::KvCache> cache_;
  std::unique_ptr<Runner> runner_;
  std::unique_ptr<scheduler::Scheduler> scheduler_;
  std::vector<scheduler::SchedulerEvent> events_;
  Answers answers_;
  int64_t cascaded_rows_ = 0;
};

void ExpectSame(const Answers& alone, const Answers& answers, const std::string& where) {
  ASSERT_EQ(alone.size(), answers.size()) << where;
  for (const auto& [name, expected] : alone) {
    const Answer& got = answers.at(name);
    const auto differs = std::mismatch(expected.begin(), expected.end(), got.begin(), got.end());
    EXPECT_TRUE(expected == got) << where << ", request " << name.first << " sequence " << name.second
                                 << " differs from word " << differs.first - expected.begin() << " of "
                                 << expected.size();
  }
}

// A pool of a few small pages: what runs outgrows it and is preempted.
Way TinyPool(int threads, int64_t pages) {
  return {
      .name = "tiny pool", .budget = 64, .threads = threads, .pages = pages, .tokens_per_page = 16, .preempts = true};
}

const std::vector<Way>& AllWays() {
  static const std::vector<Way> ways = {
      {.name = "chunks of 1", .budget = 1},
      {.name = "chunks of 7", .budget = 7},
      {.name = "chunks of 64", .budget = 64},
      {.name = "chunks of 512"},
      {.name = "two threads", .budget = 64, .threads = 2},
      {.name = "small pages", .budget = 33, .max_num_seqs = 5, .tokens_per_page = 16},
      TinyPool(2, 12),
      {.name = "known prefixes", .budget = 64, .threads = 2, .tokens_per_page = 16, .rounds = 2},
  };
  return ways;
}

void ExpectSolitaryEquality(const Model& model, const kernels::Ops& ops, const std::vector<GenerateRequest>& requests,
                            const std::vector<Way>& ways, kernels::KvFormat format) {
  const Way alone{.name = "alone", .format = format, .alone = true, .cold = true};
  const Answers expected = Harness(model, ops, alone).Run(requests);
  for (Way way : ways) {
    way.format = format;
    ExpectSame(expected, Harness(model, ops, way).Run(requests),
               model.info.name + ", " + std::string(ops.name) + ", " + way.name);
  }
}

std::vector<GenerateRequest> MakeRequests(const Model& model, uint64_t count, int64_t most_prompt,
                                          int64_t most_output) {
  std::vector<GenerateRequest> requests;
  for (uint64_t i = 0; i < count; ++i) {
    requests.push_back(MakeRequest(i, model.info.vocab, most_prompt, most_output));
  }
  return requests;
}

// One of the ways for each kind of cut: chunks, threads, preemption, known prefixes.
std::vector<Way> FewWays() { return {AllWays()[1], AllWays()[4], AllWays()[6], AllWays()[7]}; }

TEST(SolitaryEquality, BuiltInModelOnTheBestKernels) {
  const auto model = LoadModel({}).value();
  const kernels::Ops& ops = **kernels::SelectOps("");
  const auto requests = kQuickBuild ? MakeRequests(*model, 16, 120, 32) : MakeRequests(*model, 4, 20, 12);
  ExpectSolitaryEquality(*model, ops, requests, kQuickBuild ? AllWays() : std::vector<Way>{AllWays()[4]},
                         kernels::KvFormat::kF32);
}

TEST(SolitaryEquality, BuiltInModelOnEveryTable) {
  if (!kQuickBuild) {
    GTEST_SKIP() << "the small families cover every table";
  }
  const auto model = LoadModel({}).value();
  for (const kernels::Ops* ops : kernels::AllOps()) {
    if (kernels::CanRun(*ops) && ops->extends.empty()) {  // no weight is in panels
      const bool slow = ops->name == "ref";
      const auto requests = MakeRequests(*model, slow ? 2 : 5, slow ? 8 : 60, slow ? 5 : 16);
      ExpectSolitaryEquality(*model, *ops, requests, {AllWays()[1], AllWays()[4]}, kernels::KvFormat::kF16);
    }
  }
}

// Sixteen sequences, all behind one prefix of 100 tokens and half of them behind a longer one: their attention reads it
// once for all.
std::vector<GenerateRequest> RequestsBehindOnePrefix(int64_t vocab) {
  std::vector<GenerateRequest> requests;
  for (uint64_t i = 0; i < 16; ++i) {
    GenerateRequest request;
    for (uint64_t p = 0; p < 150 + i; ++p) {
      const uint64_t source = p < 100 ? 1 : p < 140 ? 2 + i % 2 * i : 100 + i;
      request.prompt.push_back(static_cast<Token>(RandomBits(kSeed, source, p) % static_cast<uint64_t>(vocab)));
    }
    request.stop.max_tokens = 6 + static_cast<int64_t>(i);
    request.stop.ignore_eos = true;
    request.sampling.temperature = 0.8F;
    request.sampling.seed = i;
    request.sampling.logprobs = 3;
    requests.push_back(std::move(request));
  }
  return requests;
}

void ExpectEqualityBehindOnePrefix(const Model& model, const kernels::Ops& ops) {
  const Way together{.name = "behind one prefix", .threads = 2, .tokens_per_page = 16, .rounds = 2, .together = true};
  Way segments = together;
  segments.name = "behind one prefix in segments";
  segments.spelling = memory::PrefixSpelling::kSegments;
  Way chunks = segments;
  chunks.name = "behind one prefix in segments, in chunks";
  chunks.budget = 24;
  auto requests = RequestsBehindOnePrefix(model.info.vocab);
  if (!kQuickBuild || ops.name == "ref") {
    requests.resize(3);
  }
  ExpectSolitaryEquality(model, ops, requests, {together, segments, chunks}, kernels::KvFormat::kF32);
}

TEST(SolitaryEquality, ManySequencesBehindOnePrefix) {
  ExpectEqualityBehindOnePrefix(*LoadModel({}).value(), **kernels::SelectOps(""));
}

// With windows and soft-caps.
TEST(SolitaryEquality, ManySequencesBehindOnePrefixOnEveryTable) {
  LoadOptions options;
  options.model = "tests/golden/models/gemma2";
  const auto model = LoadModel(options).value();
  for (const kernels::Ops* ops : kernels::AllOps()) {
    if (kernels::CanRun(*ops) && ops->extends.empty()) {
      ExpectEqualityBehindOnePrefix(*model, *ops);
    }
  }
}

// The requests with one of two adapters or none, also where they begin alike.
std::vector<GenerateRequest> WithAdapters(const Network& network, std::vector<GenerateRequest> requests) {
  const std::shared_ptr<const Adapter> adapters[] = {
      nullptr, AdapterOfAll(network, 5, kSeed).Make(network, "a").value(),
      AdapterOfAll(network, 16, kSeed + 1, true).Make(network, "b").value()};
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].adapter = adapters[(i + i / 3) % 3];
  }
  return requests;
}

// Weights that are a sum of two terms, columns in an order of their own.
TEST(SolitaryEquality, SparseTermsOnEveryTable) {
  LoadOptions options;
  options.model = "tests/golden/quant/spqr-3bit";
  const auto model = LoadModel(options).value();
  for (const kernels::Ops* ops : kernels::AllOps()) {
    if (kernels::CanRun(*ops)) {
      const bool few = !kQuickBuild || ops->name == "ref";
      ExpectSolitaryEquality(*model, *ops, MakeRequests(*model, few ? 4 : 12, few ? 20 : 60, few ? 12 : 20),
                             {AllWays()[1], AllWays()[4]}, kernels::KvFormat::kF32);
    }
  }
}

class Families : public testing::TestWithParam<std::string> {};

TEST_P(Families, OnEveryTable) {
  LoadOptions options;
  options.model = "tests/golden/models/" + GetParam();
  const auto model = LoadModel(options).value();
  const kernels::Ops* const best = *kernels::SelectOps("");
  for (const kernels::Ops* ops : kernels::AllOps()) {
    if (!kernels::CanRun(*ops)) {
      GTEST_LOG_(INFO) << "this machine cannot run " << ops->name;
      continue;
    }
    if (!ops->extends.empty()) {
      continue;  // its ops are another table's where no weight is in panels
    }
    if (!kQuickBuild || ops->name == "ref") {
      ExpectSolitaryEquality(*model, *ops, WithAdapters(*model->network, MakeRequests(*model, 4, 20, 12)),
                             {AllWays()[1], AllWays()[4]}, kernels::KvFormat::kF32);
      continue;
    }
    const auto requests = WithAdapters(*model->network, MakeRequests(*model, 12, 100, 36));
    ExpectSolitaryEquality(*model, *ops, requests, ops == best ? AllWays() : FewWays(), kernels::KvFormat::kF32);
    if (ops == best) {
      ExpectSolitaryEquality(*model, *ops, requests, {AllWays()[1]}, kernels::KvFormat::kBF16);
    }
  }
}

// Windows and soft-caps; rope that depends on the length; learned positions.
INSTANTIATE_TEST_SUITE_P(Golden, Families, testing::Values("gemma2", "phi3-longrope", "gpt2"), [](const auto& info) {
  std::string name = info.param;
  std::erase(name, '-');
  return name;
});

}  // namespace
}  // namespace causeway::model
