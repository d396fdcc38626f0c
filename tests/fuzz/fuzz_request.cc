// The bodies of HTTP requests on their way to the engine: decode, render, tokenize, validate. The first
// byte picks the endpoint: p(rompt), c(hat), t(okenize), d(etokenize).
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/check.h"
#include "memory/kv_cache.h"
#include "memory/vm/mock_backend.h"
#include "model/model.h"
#include "model/tokenizer/tokenizer.h"
#include "scheduler/executor.h"
#include "server/api/adapters.h"
#include "server/api/control_worker.h"
#include "server/api/openai_request.h"
#include "server/api/prompt.h"
#include "server/api/states.h"
#include "server/api/text_workers.h"
#include "server/metrics/metrics.h"
#include "server/template/template.h"
#include "tests/support/kv_fixtures.h"

namespace {

using namespace causeway;          // NOLINT: the whole file is one program
using namespace causeway::server;  // NOLINT

class NoExecutor final : public scheduler::Executor {
 public:
  void Launch(const scheduler::Plan&) override { CHECK_MSG(false, "nothing is submitted here"); }
  Result<const scheduler::StepResult*> Await() override { return MakeError(ErrorCode::kInternal, "no step"); }
};

// A server up to the engine's door, with the built-in tokenizer and template.
struct Rig {
  std::unique_ptr<const model::Model> model =
      *model::LoadModel({.model = "", .weights = false, .progress = {}, .hub_caches = {}});
  std::unique_ptr<const ChatTemplate> chat_template =
      std::make_unique<const ChatTemplate>(*ChatTemplate::Parse(model->chat.template_source));
  memory::MockedCache kv = memory::MakeMockedCache(memory::TestCacheOptions(8, 4, 2));
  NoExecutor executor;
  scheduler::ModelLimits limits{.vocab = static_cast<int64_t>(model->tokenizer->vocab_size()), .max_model_len = 512};
  scheduler::Engine engine{{.limits = limits}, *kv.cache, executor};
  TextWorkers workers{1, 1};
  Metrics metrics{"fable"};
  StateTable states{4, [this] { control_worker.Notify(); }};
  AdapterTable adapters{nullptr, {}};
  ControlWorker control_worker{1, [this](Instant now) { return states.Expire(now); }};
  App app{.model = *model,
          .chat_template = chat_template.get(),
          .template_takes_tools = true,
          .engine = engine,
          .kv = *kv.cache,
          .limits = limits,
          .text_workers = workers,
          .states = states,
          .adapters = adapters,
          .control_worker = control_worker,
          .metrics = metrics,
          .served_names = {"fable"},
          .api_keys = {},
          .system_fingerprint = "fuzz",
          .kv_fingerprint = {},
          .kv_switch_length = 0,
          .state_dir = {},
          .lora_dir = {},
          .admin_endpoints = false,
          .tiers = nullptr,
          .server_limits = {},
          .defaults = model->generation};
};

void CheckCalls(const App& app, const std::vector<GenerateCall>& calls) {
  for (const GenerateCall& call : calls) {
    const auto request = MakeRequest(app, call);
    if (request.ok()) {
      (void)scheduler::ValidateRequest(*request, app.limits);
    } else {
      CHECK(!request.error().message.empty());
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Rig* const rig = new Rig;  // NOLINT: lives as long as the process
  if (size == 0) {
    return 0;
  }
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == 't') {
    const auto request = DecodeTokenize(rig->app, body);
    if (request.ok()) {
      (void)EncodePrompt(rig->app, request->call);
    }
  } else if (data[0] == 'd') {
    const auto ids = DecodeDetokenize(rig->app, body);
    if (ids.ok()) {
      (void)rig->model->tokenizer->Decode(*ids, false);
    }
  } else {
    const auto request = data[0] == 'c' ? DecodeChat(rig->app, body) : DecodeCompletion(rig->app, body);
    if (request.ok()) {
      CheckCalls(rig->app, request->calls);
    }
  }
  return 0;
}
