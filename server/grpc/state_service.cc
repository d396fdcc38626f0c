#include "server/grpc/state_service.h"

#include <memory>
#include <optional>
#include <utility>

#include "causeway/v1/causeway.grpc.pb.h"
#include "server/api/state_calls.h"
#include "server/api/states.h"
#include "server/grpc/convert.h"

namespace causeway::server {
namespace {

// One call that makes or changes a state.
class StateReactor final : public LateReactor<StateOperation> {
 public:
  static StateReactor* Start(App& app, WakeThread& wakes, grpc::CallbackServerContext& context, Result<StateCall> call,
                             v1::State& response) {
    auto reactor = std::make_unique<StateReactor>(app, wakes, context, response);
    reactor->Begin(std::move(call));
    return reactor.release();
  }

  StateReactor(App& app, WakeThread& wakes, grpc::CallbackServerContext& context, v1::State& response)
      : LateReactor(wakes), app_(app), context_(context), response_(response) {}

 private:
  void Begin(Result<StateCall> call) {
    const auto start = [&]() -> Result<std::unique_ptr<StateOperation>> {
      ASSIGN_OR_RETURN(const memory::TenantId tenant, Authorize(app_, context_));
      if (!call.ok()) {
        return call.error();
      }
      call->tenant = tenant;
      call->request_id = NewCallId();
      call->arrival = Clock::now();
      call->deadline = DeadlineOf(context_);
      return StateOperation::Start(app_, std::move(call).value(), *this);
    };
    Await(start, context_);
  }

  std::optional<grpc::Status> Take(StateOperation& operation) override {
    const auto state = operation.Take();
    if (!state) {
      return std::nullopt;
    }
    if (state->ok()) {
      FillState(app_, **state, response_);
    }
    return state->ok() ? grpc::Status::OK : Refuse(context_, state->error());
  }

  App& app_;
  grpc::CallbackServerContext& context_;
  v1::State& response_;
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
