#include "server/grpc/grpc_server.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>
#include <optional>
#include <vector>

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include "base/check.h"
#include "base/log.h"
#include "causeway/v1/causeway.grpc.pb.h"
#include "fmt/format.h"
#include "model/tokenizer/tokenizer.h"
#include "server/api/model_names.h"
#include "server/api/prompt.h"
#include "server/grpc/adapter_service.h"
#include "server/grpc/call_support.h"
#include "server/grpc/convert.h"
#include "server/grpc/state_service.h"
#include "server/metrics/metrics.h"

namespace causeway::server {
namespace {

// One Generate call. gRPC's threads, text workers and the engine meet here, under one mutex; only one
// write is in flight at a time. Deleted in OnDone, which comes once nothing else can.
class GenerateReactor final : public grpc::ServerWriteReactor<v1::GenerateResponse>, public scheduler::Waker {
 public:
  // The call owns itself from here until the last Release, as the callback API prescribes.
  static GenerateReactor* Start(App& app, WakeThread& wakes, std::atomic<int64_t>& calls,
                                grpc::CallbackServerContext& context, const v1::GenerateRequest& request) {
    auto reactor = std::unique_ptr<GenerateReactor>(new GenerateReactor(app, wakes, calls, context));
    reactor->Begin(request);
    return reactor.release();
  }

  void Wake() noexcept override {
    if (wake_pending_.exchange(true)) {
      return;
    }
    holders_.fetch_add(1);
    const bool posted = wakes_.Post([this] {
      wake_pending_ = false;
      Advance();
      Release();
    });
    CHECK(posted);
  }

  void OnWriteDone(bool ok) override {
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      if (!ok) {
        FinishLocked(grpc::Status(grpc::StatusCode::CANCELLED, "the client went away"));
        return;
      }
    }
    Advance();
  }

  void OnCancel() override {
    const std::lock_guard lock(mutex_);
    FinishLocked(grpc::Status(grpc::StatusCode::CANCELLED, "cancelled"));
  }

  void OnDone() override { Release(); }

 private:
  GenerateReactor(App& app, WakeThread& wakes, std::atomic<int64_t>& calls, grpc::CallbackServerContext& context)
      : app_(app), wakes_(wakes), calls_(calls), context_(context) {}

  void Begin(const v1::GenerateRequest& request) {
    auto call = Prepare(request);
    const std::lock_guard lock(mutex_);
    if (!call.ok()) {
      return FinishLocked(Refuse(context_, call.error()));
    }
    generation_ = Generation::Start(app_, std::move(call).value(), *this);
  }

  Result<GenerateCall> Prepare(const v1::GenerateRequest& request) {
    ASSIGN_OR_RETURN(const memory::TenantId tenant, Authorize(app_, context_));
    counted_ = true;
    if (++calls_ > app_.server_limits.max_connections) {
      app_.metrics.CountRejected("too_many_connections");
      return MakeError(ErrorCode::kResourceExhausted, "too many calls are under way");
    }
    ASSIGN_OR_RETURN(GenerateCall call, ToCall(app_, request));
    if (call.request_id.empty()) {
      call.request_id = NewCallId();
    }
    call_ = {call.request_id, ModelNameOf(app_, call.adapter)};
    sequences_ = static_cast<int>(std::clamp<int64_t>(call.sampling.n.value_or(1), 1, app_.limits.max_n));
    call.deadline = DeadlineOf(context_);
    call.tenant = tenant;
    return call;
  }

  // Takes what has happened and writes the next message if none is under way.
  void Advance() {
    const std::lock_guard lock(mutex_);
    if (finished_) {
      return;
    }
    if (generation_ != nullptr) {
      events_.clear();
      generation_->Poll(events_);
      for (const GenerationEvent& event : events_) {
        Take(event);
      }
    }
    if (writing_) {
      if (TooMuchWaits()) {
        LOG_WARNING("request {}: the client does not read its stream; dropped", call_.request_id);
        app_.metrics.CountRejected("slow_client");
        FinishLocked(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "the client does not read its stream"));
      }
      return;
    }
    if (!outbox_.empty()) {
      writing_ = true;
      current_ = std::move(outbox_.front());
      outbox_.pop_front();
      StartWrite(&current_);
    } else if (final_) {
      FinishLocked(*final_);
    }
  }

  void Take(const GenerationEvent& event) {
    if (event.kind == GenerationEvent::Kind::kFailed) {
      final_ = Refuse(context_, event.error);
      return;
    }
    if (event.kind == GenerationEvent::Kind::kStarted) {
      return Begun(event);
    }
    // Deltas that wait behind a write are joined, so a slow client costs one message, not one a token.
    v1::GenerateResponse response = ToResponse(app_, call_, event);
    if (event.kind == GenerationEvent::Kind::kDelta && !outbox_.empty() && outbox_.back().has_delta() &&
        outbox_.back().delta().index() == event.index) {
      v1::Delta& last = *outbox_.back().mutable_delta();
      last.mutable_text()->append(response.delta().text());
      last.mutable_token_ids()->MergeFrom(response.delta().token_ids());
      last.mutable_logprobs()->MergeFrom(response.delta().logprobs());
    } else {
      outbox_.push_back(std::move(response));
    }
    if (event.kind == GenerationEvent::Kind::kDone) {
      final_ = grpc::Status::OK;
    }
  }

  // Each sequence repeats the prompt, if that was asked for.
  void Begun(const GenerationEvent& event) {
    outbox_.push_back(ToResponse(app_, call_, event));
    for (int index = 0; !event.text.empty() && index < sequences_; ++index) {
      v1::Delta& delta = *outbox_.emplace_back().mutable_delta();
      delta.set_index(index);
      delta.set_text(event.text);
    }
  }

  // What waits for a client that does not read has a limit, as over HTTP.
  bool TooMuchWaits() const {
    size_t bytes = 0;
    for (const v1::GenerateResponse& response : outbox_) {
      bytes += response.ByteSizeLong();
    }
    return !final_ && static_cast<int64_t>(bytes) > app_.server_limits.max_output_buffer_bytes;
  }

  // OnDone follows; no wake may come after it, so the generation ends first.
  void FinishLocked(const grpc::Status& status) {
    if (!finished_) {
      finished_ = true;
      generation_.reset();
      calls_ -= counted_ ? 1 : 0;  // before the client hears of the end and calls again
      Finish(status);
    }
  }

  // The reactor lives until OnDone and every pending wake have let go.
  void Release() {
    if (holders_.fetch_sub(1) == 1) {
      const std::unique_ptr<GenerateReactor> ended(this);  // Start let go of it
    }
  }

  App& app_;
  WakeThread& wakes_;
  std::atomic<int64_t>& calls_;  // under way on this server
  grpc::CallbackServerContext& context_;
  AnsweredCall call_;
  int sequences_ = 1;
  bool counted_ = false;  // among calls_
  std::atomic<bool> wake_pending_{false};
  std::atomic<int> holders_{1};  // OnDone and a pending wake

  std::mutex mutex_;  // guards what follows
  std::unique_ptr<Generation> generation_;
  std::vector<GenerationEvent> events_;
  std::deque<v1::GenerateResponse> outbox_;
  v1::GenerateResponse current_;
  std::optional<grpc::Status> final_;
  bool writing_ = false;
  bool finished_ = false;
};

class Service final : public v1::Causeway::CallbackService {
 public:
  Service(App& app, WakeThread& wakes) : app_(app), wakes_(wakes) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(grpc::CallbackServerContext* context,
                                                           const v1::GenerateRequest* request) override {
    return GenerateReactor::Start(app_, wakes_, calls_, *context, *request);
  }

  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context, const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override {
    return Answer(*context, [&]() -> Result<void> {
      ASSIGN_OR_RETURN(const GenerateCall call, ToCall(app_, *request));
      ASSIGN_OR_RETURN(const std::vector<Token> tokens, EncodePrompt(app_, call));
      response->mutable_token_ids()->Add(tokens.begin(), tokens.end());
      response->set_max_model_len(app_.limits.max_model_len);
      for (size_t i = 0; request->return_token_strs() && i < tokens.size(); ++i) {
        response->add_token_strs(app_.model.tokenizer->TokenText(tokens[i]));
      }
      return {};
    });
  }

  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context, const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override {
    return Answer(*context, [&]() -> Result<void> {
      TRY(FindModelName(app_, request->model()));
      if (app_.model.tokenizer == nullptr) {
        return MakeError(ErrorCode::kUnsupported, "this model has no tokenizer.json");
      }
      const std::vector<Token> tokens(request->token_ids().begin(), request->token_ids().end());
      for (const Token token : tokens) {
        if (token < 0 || token >= app_.limits.vocab) {
          return MakeError(ErrorCode::kInvalidArgument, fmt::format("token id {} is out of range", token), "token_ids");
        }
      }
      response->set_text(app_.model.tokenizer->Decode(tokens, false));
      return {};
    });
  }

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context, const v1::ListModelsRequest*,
                                       v1::ListModelsResponse* response) override {
    return Answer(*context, [&]() -> Result<void> {
      for (const std::string& name : app_.served_names) {
        FillModel(app_, name, nullptr, *response->add_models());
      }
      for (const AdapterRef& adapter : app_.adapters.List()) {
        FillModel(app_, adapter->name(), adapter, *response->add_models());
      }
      return {};
    });
  }

  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context, const v1::GetModelRequest* request,
                                     v1::Model* response) override {
    return Answer(*context, [&]() -> Result<void> {
      ASSIGN_OR_RETURN(const AdapterRef adapter, FindModelName(app_, request->model()));
      FillModel(app_, request->model().empty() ? app_.served_names.front() : request->model(), adapter, *response);
      return {};
    });
  }

 private:
  template <typename Body>
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext& context, Body body) {
    const auto tenant = Authorize(app_, context);
    const Result<void> result = tenant.ok() ? body() : Result<void>(tenant.error());
    grpc::ServerUnaryReactor* const reactor = context.DefaultReactor();
    reactor->Finish(result.ok() ? grpc::Status::OK : Refuse(context, result.error()));
    return reactor;
  }

  App& app_;
  WakeThread& wakes_;
  std::atomic<int64_t> calls_{0};
};

}  // namespace

struct GrpcServer::Impl {
  explicit Impl(App& app)
      : service(app, wakes), states(MakeStateService(app, wakes)), adapters(MakeAdapterService(app, wakes)) {}
  WakeThread wakes;
  Service service;
  std::unique_ptr<grpc::Service> states;
  std::unique_ptr<grpc::Service> adapters;
  std::unique_ptr<grpc::Server> server;
  int port = 0;
};

GrpcServer::GrpcServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GrpcServer::~GrpcServer() { Stop(); }

Result<std::unique_ptr<GrpcServer>> GrpcServer::Start(App& app, const GrpcOptions& options) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  auto impl = std::make_unique<Impl>(app);
  grpc::ServerBuilder builder;
  const bool v6 = options.host.find(':') != std::string::npos;
  const std::string address = fmt::format("{}{}{}:{}", v6 ? "[" : "", options.host, v6 ? "]" : "", options.port);
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &impl->port);
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, static_cast<int>(options.max_streams));
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.RegisterService(&impl->service);
  builder.RegisterService(impl->states.get());
  builder.RegisterService(impl->adapters.get());
  impl->server = builder.BuildAndStart();
  if (impl->server == nullptr || impl->port == 0) {
    return MakeError(ErrorCode::kFailedPrecondition, "cannot listen for gRPC on " + address, "grpc-port");
  }
  impl->server->GetHealthCheckService()->SetServingStatus(false);
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(impl)));  // NOLINT: private constructor
}

uint16_t GrpcServer::port() const { return static_cast<uint16_t>(impl_->port); }

void GrpcServer::SetServing(bool serving) {
  auto* const health = impl_->server->GetHealthCheckService();
  health->SetServingStatus(serving);
  health->SetServingStatus("causeway.v1.Causeway", serving);
  health->SetServingStatus("causeway.v1.States", serving);
  health->SetServingStatus("causeway.v1.Adapters", serving);
}

void GrpcServer::Stop() {
  if (impl_->server != nullptr) {
    impl_->server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
    impl_->server->Wait();
    impl_->server.reset();
  }
}

}  // namespace causeway::server
