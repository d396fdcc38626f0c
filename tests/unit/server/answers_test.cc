// OpenAI's answers, whole and in chunks; the metrics text; and a generation whose engine fails.
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <string>

#include "server/api/generation.h"
#include "server/api/openai_response.h"
#include "tests/unit/server/app_fixture.h"

namespace causeway::server {
namespace {

TokenInfo Word(Token token, const std::string& bytes, float logprob) {
  TokenInfo info;
  info.token = token;
  info.bytes = bytes;
  info.has_logprob = true;
  info.logprob = logprob;
  info.top = {{7, " top", -0.5F}};
  return info;
}

GenerationEvent Delta(const std::string& text, std::vector<TokenInfo> tokens) {
  GenerationEvent event;
  event.text = text;
  event.tokens = std::move(tokens);
  return event;
}

GenerationEvent Done(FinishKind finish) {
  GenerationEvent event;
  event.kind = GenerationEvent::Kind::kSequenceDone;
  event.finish = finish;
  return event;
}

class ResponseTest : public AppTest {
 protected:
  OrderedJson WholeOf(const CompletionRequest& request, const std::vector<GenerationEvent>& deltas) {
    ResponseBuilder builder(app(), request, "id", 5);
    for (const GenerationEvent& delta : deltas) {
      builder.Add(0, delta);
    }
    builder.Finish(0, Done(FinishKind::kLength));
    return OrderedJson::parse(builder.Whole({.prompt_tokens = 3, .completion_tokens = 2, .cached_tokens = 1}));
  }
};

TEST_F(ResponseTest, AWholeCompletion) {
  CompletionRequest request;
  const OrderedJson body = WholeOf(request, {Delta("a", {Word(1, "a", -1)}), Delta("b", {Word(2, "b", -1)})});
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["id"], "id");
  EXPECT_EQ(body["created"], 5);
  EXPECT_EQ(body["model"], "fable");
  EXPECT_EQ(body["system_fingerprint"], "test");
  EXPECT_EQ(
      body["choices"],
      OrderedJson::parse(R"([{"index":0,"text":"ab","logprobs":null,"finish_reason":"length","stop_reason":null}])"));
  EXPECT_EQ(body["usage"], OrderedJson::parse(R"({"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,
                                                  "prompt_tokens_details":{"cached_tokens":1}})"));
}

TEST_F(ResponseTest, CompletionLogprobsAreParallelLists) {
  CompletionRequest request;
  request.wants_logprobs = true;
  TokenInfo special = Word(3, "<end>", -3);
  special.in_text = false;
  const OrderedJson logprobs =
      WholeOf(request, {Delta("é", {Word(1, "\xC3", -1), Word(2, "\xA9", -2)}),
                        Delta("x", {special, Word(4, "x", -INFINITY)})})["choices"][0]["logprobs"];
  EXPECT_EQ(logprobs["tokens"], OrderedJson::parse(R"(["bytes:\\xc3","bytes:\\xa9","<end>","x"])"));
  EXPECT_EQ(logprobs["text_offset"], OrderedJson::parse("[0,1,1,1]")) << "in characters; special tokens have no width";
  EXPECT_EQ(logprobs["token_logprobs"], OrderedJson::parse("[-1.0,-2.0,-3.0,-9999.0]"));
  EXPECT_EQ(logprobs["top_logprobs"][3], OrderedJson::parse(R"({" top":-0.5,"x":-9999.0})"))
      << "the drawn token is there";
}

TEST_F(ResponseTest, AWholeChat) {
  CompletionRequest request;
  request.chat = true;
  request.wants_logprobs = true;
  const OrderedJson body = WholeOf(request, {Delta("hi", {Word(1, "hi", -1)})});
  EXPECT_EQ(body["object"], "chat.completion");
  const OrderedJson& choice = body["choices"][0];
  EXPECT_EQ(choice["message"], OrderedJson::parse(R"({"role":"assistant","content":"hi","refusal":null})"));
  EXPECT_EQ(choice["logprobs"], OrderedJson::parse(R"({"content":[{"token":"hi","logprob":-1.0,"bytes":[104,105],
      "top_logprobs":[{"token":" top","logprob":-0.5,"bytes":[32,116,111,112]}]}],"refusal":null})"));
}

TEST_F(ResponseTest, ChunksOfAChat) {
  CompletionRequest request;
  request.chat = true;
  request.stream = {.stream = true, .include_usage = true, .continuous_usage = false};
  ResponseBuilder builder(app(), request, "id", 5);
  const auto chunk = [&](const std::string& text) { return OrderedJson::parse(builder.Chunk(0, Delta(text, {}), {})); };
  const OrderedJson first = chunk("a");
  EXPECT_EQ(first["object"], "chat.completion.chunk");
  EXPECT_EQ(first["choices"][0]["delta"], OrderedJson::parse(R"({"role":"assistant","content":"a"})"));
  EXPECT_TRUE(first["usage"].is_null() && first["choices"][0]["finish_reason"].is_null());
  EXPECT_EQ(chunk("b")["choices"][0]["delta"], OrderedJson::parse(R"({"content":"b"})"));
  const OrderedJson last = OrderedJson::parse(builder.FinishChunk(0, Done(FinishKind::kStop), {}));
  EXPECT_EQ(last["choices"][0]["delta"], OrderedJson::object());
  EXPECT_EQ(last["choices"][0]["finish_reason"], "stop");
  const OrderedJson usage = OrderedJson::parse(builder.UsageChunk({.prompt_tokens = 1, .completion_tokens = 2}));
  EXPECT_EQ(usage["choices"], OrderedJson::array());
  EXPECT_EQ(usage["usage"]["total_tokens"], 3);
}

TEST_F(ResponseTest, PromptLogprobsAreKeyedByTokenId) {
  CompletionRequest request;
  request.wants_prompt_logprobs = true;
  ResponseBuilder builder(app(), request, "id", 5);
  GenerationEvent started;
  started.kind = GenerationEvent::Kind::kStarted;
  TokenInfo first = Word(1, "a", 0);
  first.has_logprob = false;
  started.prompt = {first, Word(9, "b", -4)};
  builder.StartPrompt(0, 1, started);
  builder.Finish(0, Done(FinishKind::kLength));
  EXPECT_EQ(OrderedJson::parse(builder.Whole({}))["choices"][0]["prompt_logprobs"],
            OrderedJson::parse(R"([null,{"7":{"logprob":-0.5,"rank":1,"decoded_token":" top"},
                                         "9":{"logprob":-4.0,"rank":null,"decoded_token":"b"}}])"));
}

// ---- Metrics

using MetricsTest = AppTest;

bool Has(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST_F(MetricsTest, TheTextCarriesVllmsNamesAndLabels) {
  const Instant now = Clock::now();
  const auto later = [&](int seconds) { return now + std::chrono::seconds(seconds); };
  metrics_.ObserveFinished({.reason = "stop",
                            .prompt_tokens = 4,
                            .generation_tokens = 3,
                            .max_tokens = 9,
                            .n = 2,
                            .times = {now, later(1), later(2), later(6)}});
  metrics_.ObserveFinished({.reason = "abort", .first_of_request = false, .times = {now, kNever, kNever, later(1)}});
  metrics_.SetCacheConfig(64, 100);
  scheduler::EngineStats stats;
  stats.running = 3;
  stats.waiting = 2;
  stats.kv_usage = 0.25;
  stats.prompt_tokens = 40;
  MemoryFigures figures;
  figures.engine = stats;
  (void)metrics_.Text(figures);
  const std::string text = metrics_.Text(figures);  // a second scrape adds nothing
  const std::string labels = R"(engine="0",model_name="fable")";
  EXPECT_TRUE(Has(text, "vllm:num_requests_running{" + labels + "} 3"));
  EXPECT_TRUE(Has(text, "vllm:num_requests_waiting{" + labels + "} 2"));
  EXPECT_TRUE(Has(text, "vllm:kv_cache_usage_perc{" + labels + "} 0.25"));
  EXPECT_TRUE(Has(text, "vllm:prompt_tokens_total{" + labels + "} 40"));
  EXPECT_TRUE(
      Has(text, R"(vllm:cache_config_info{block_size="64",engine="0",model_name="fable",num_gpu_blocks="100"} 1)"));
  EXPECT_TRUE(Has(text, R"(vllm:request_success_total{engine="0",finished_reason="stop",model_name="fable"} 1)"));
  EXPECT_TRUE(Has(text, R"(vllm:request_success_total{engine="0",finished_reason="abort",model_name="fable"} 1)"));
  EXPECT_TRUE(Has(text, R"(vllm:request_success_total{engine="0",finished_reason="error",model_name="fable"} 0)"));
  EXPECT_TRUE(Has(text, "vllm:e2e_request_latency_seconds_count{" + labels + "} 2"));
  EXPECT_TRUE(Has(text, "vllm:request_params_n_count{" + labels + "} 1")) << "once a request, not once a sequence";
  EXPECT_TRUE(Has(text, "vllm:request_queue_time_seconds_count{" + labels + "} 1")) << "the aborted one never ran";
  EXPECT_TRUE(Has(text, "vllm:request_time_per_output_token_seconds_sum{" + labels + "} 2"));
}

// ---- Generation

class BlockingWaker final : public scheduler::Waker {
 public:
  void Wake() noexcept override {
    const std::lock_guard lock(mutex_);
    awake_ = true;
    condition_.notify_one();
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    condition_.wait(lock, [this] { return std::exchange(awake_, false); });
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool awake_ = false;  // guarded by mutex_
};

class GenerationTest : public AppTest {
 protected:
  // Everything that happens to a call.
  std::vector<GenerationEvent> Run(GenerateCall call) {
    call.arrival = Clock::now();
    BlockingWaker waker;
    const auto generation = Generation::Start(app(), std::move(call), waker);
    std::vector<GenerationEvent> events;
    while (events.empty() || (events.back().kind != GenerationEvent::Kind::kDone &&
                              events.back().kind != GenerationEvent::Kind::kFailed)) {
      waker.Wait();
      generation->Poll(events);
    }
    return events;
  }
};

TEST_F(GenerationTest, AFailedStepIsOneTerminalError) {
  GenerateCall call;
  call.prompt = std::string("hello");
  call.sampling.n = 2;
  const auto events = Run(std::move(call));
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].kind, GenerationEvent::Kind::kFailed);
  EXPECT_EQ(events[0].error.code, ErrorCode::kInternal);
  EXPECT_TRUE(
      Has(metrics_.Text({}), R"(vllm:request_success_total{engine="0",finished_reason="error",model_name="fable"} 2)"));
}

TEST_F(GenerationTest, ABadCallIsAnErrorWithItsField) {
  GenerateCall call;
  call.prompt = std::vector<int64_t>{1, 1 << 30};
  EXPECT_EQ(Run(call).back().error.param, "prompt");
  call.prompt = std::vector<int64_t>(65, 1);
  EXPECT_EQ(Run(call).back().error.code, ErrorCode::kContextLength);
  call.prompt = std::string("a");
  call.sampling.stop = {""};
  EXPECT_EQ(Run(call).back().error.param, "stop");
  call.sampling.stop = {};
  call.sampling.temperature = 1e39;
  EXPECT_EQ(Run(call).back().error.param, "temperature");
  call.sampling.temperature = {};
  call.prompt = ChatPrompt{};
  EXPECT_EQ(Run(call).back().error.code, ErrorCode::kUnsupported) << "no template";
}

TEST_F(GenerationTest, LeavingAtAnyTimeIsSafe) {
  for (int i = 0; i < 200; ++i) {
    GenerateCall call;
    call.prompt = std::string("hello");
    call.arrival = Clock::now();
    BlockingWaker waker;
    const auto generation = Generation::Start(app(), std::move(call), waker);
    if (i % 2 == 0) {
      std::vector<GenerationEvent> events;
      generation->Poll(events);
    }
  }
}

}  // namespace
}  // namespace causeway::server
