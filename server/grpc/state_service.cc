#include "server/grpc/state_service.h"

#include <atomic>
#include <mutex>
#include <utility>

#include "base/check.h"
#include "causeway/v1/causeway.grpc.pb.h"
#include "server/api/state_calls.h"
#include "server/api/states.h"
#include "server/grpc/convert.h"

namespace causeway::server {
namespace {

// One call that makes or changes a state. As with GenerateReactor, gRPC's threads and wakes meet under one mutex, and
// the call owns itself until OnDone and the last wake have let go.
class StateReactor final : public grpc::ServerUnaryReactor, public scheduler::Waker {
 public:
  static StateReactor* Start(App& app, WakeThread& wakes, grpc::CallbackServerContext& context, Result<StateCall> call,
                             v1::State& response) {
    auto reactor = std::unique_ptr<StateReactor>(new StateReactor(app, wakes, context, response));
    reactor->Begin(std::move(call));
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

  void OnCancel() override {
    const std::lock_guard lock(mutex_);
    FinishLocked(grpc::Status(grpc::StatusCode::CANCELLED, "cancelled"));
  }

  void OnDone() override { Release(); }

 private:
  StateReactor(App& app, WakeThread& wakes, grpc::CallbackServerContext& context, v1::State& response)
      : app_(app), wakes_(wakes), context_(context), response_(response) {}

  void Begin(Result<StateCall> call) {
    const auto tenant = Authorize(app_, context_);
    const std::lock_guard lock(mutex_);
    if (!tenant.ok()) {
      return FinishLocked(Refuse(context_, tenant.error()));
    }
    if (!call.ok()) {
      return FinishLocked(Refuse(context_, call.error()));
    }
    call->tenant = *tenant;
    call->request_id = NewCallId();
    call->arrival = Clock::now();
    call->deadline = DeadlineOf(context_);
    operation_ = StateOperation::Start(app_, std::move(call).value(), *this);
  }

  void Advance() {
    const std::lock_guard lock(mutex_);
    if (finished_ || operation_ == nullptr) {
      return;
    }
    const auto state = operation_->Take();
    if (!state) {
      return;
    }
    if (state->ok()) {
      FillState(app_, **state, response_);
    }
    FinishLocked(state->ok() ? grpc::Status::OK : Refuse(context_, state->error()));
  }

  // No wake may come after OnDone, so the operation ends first.
  void FinishLocked(const grpc::Status& status) {
    if (!std::exchange(finished_, true)) {
      operation_.reset();
      Finish(status);
    }
  }

  void Release() {
    if (holders_.fetch_sub(1) == 1) {
      const std::unique_ptr<StateReactor> ended(this);  // Start let go of it
    }
  }

  App& app_;
  WakeThread& wakes_;
  grpc::CallbackServerContext& context_;
  v1::State& response_;
  std::atomic<bool> wake_pending_{false};
  std::atomic<int> holders_{1};  // OnDone and a pending wake

  std::mutex mutex_;  // guards what follows
  std::unique_ptr<StateOperation> operation_;
  bool finished_ = false;
};

class StateService final : public v1::States::CallbackService {
 public:
  StateService(App& app, WakeThread& wakes) : app_(app), wakes_(wakes) {}

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;

  Reactor* CreateState(Context* context, const v1::CreateStateRequest* request, v1::State* response) override {
    return Run(*context, *request, *response);
  }
  Reactor* ExtendState(Context* context, const v1::ExtendStateRequest* request, v1::State* response) override {
    return Run(*context, *request, *response);
  }
  Reactor* ForkState(Context* context, const v1::ForkStateRequest* request, v1::State* response) override {
    return Run(*context, *request, *response);
  }
  Reactor* PinState(Context* context, const v1::PinStateRequest* request, v1::State* response) override {
    return Run(*context, *request, *response);
  }
  Reactor* SaveState(Context* context, const v1::SaveStateRequest* request, v1::State* response) override {
    return Run(*context, *request, *response);
  }
  Reactor* LoadState(Context* context, const v1::LoadStateRequest* request, v1::State* response) override {
    return Run(*context, *request, *response);
  }

  Reactor* GetState(Context* context, const v1::GetStateRequest* request, v1::State* response) override {
    return Answer(*context, [&](memory::TenantId tenant) -> Result<void> {
      ASSIGN_OR_RETURN(const StateInfo info, app_.states.Get(tenant, request->name(), Clock::now()));
      FillState(app_, info, *response);
      return {};
    });
  }
  Reactor* ListStates(Context* context, const v1::ListStatesRequest*, v1::ListStatesResponse* response) override {
    return Answer(*context, [&](memory::TenantId tenant) -> Result<void> {
      for (const StateInfo& info : app_.states.List(tenant, Clock::now())) {
        FillState(app_, info, *response->add_states());
      }
      return {};
    });
  }
  Reactor* DeleteState(Context* context, const v1::DeleteStateRequest* request, v1::DeleteStateResponse*) override {
    return Answer(*context,
                  [&](memory::TenantId tenant) { return app_.states.Erase(tenant, request->name(), Clock::now()); });
  }

 private:
  template <typename Request>
  Reactor* Run(Context& context, const Request& request, v1::State& response) {
    return StateReactor::Start(app_, wakes_, context, ToCall(app_, request), response);
  }

  template <typename Body>
  Reactor* Answer(Context& context, Body body) {
    const auto tenant = Authorize(app_, context);
    const Result<void> result = tenant.ok() ? body(*tenant) : Result<void>(tenant.error());
    Reactor* const reactor = context.DefaultReactor();
    reactor->Finish(result.ok() ? grpc::Status::OK : Refuse(context, result.error()));
    return reactor;
  }

  App& app_;
  WakeThread& wakes_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeStateService(App& app, WakeThread& wakes) {
  return std::make_unique<StateService>(app, wakes);
}

}  // namespace causeway::server
