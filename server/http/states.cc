// /v1/states and what lies below it.
#include <string>
#include <utility>

#include "base/json.h"
#include "fmt/format.h"
#include "server/api/offload.h"
#include "server/api/openai_response.h"
#include "server/api/state_calls.h"
#include "server/api/states.h"
#include "server/api/text_workers.h"
#include "server/http/handlers.h"

namespace causeway::server {
namespace {

constexpr std::string_view kStates = "/v1/states/";

// Reads the body on a text worker, then makes the call.
class StateExchange final : public Exchange {
 public:
  // `name`: of the path; empty where the body names the state.
  StateExchange(App& app, HttpRequest request, Responder& responder, StateCall::Kind kind, std::string name)
      : app_(app),
        responder_(responder),
        kind_(kind),
        name_(std::move(name)),
        tenant_(request.tenant),
        request_id_(std::move(request.request_id)),
        arrival_(request.arrival),
        decoded_(app.text_workers, responder,
                 [&app, kind, body = std::move(request.body)] { return DecodeStateCall(app, kind, body); }) {}

  void OnWake() override {
    if (operation_ == nullptr) {
      Begin();
    }
    if (operation_ == nullptr) {
      return;
    }
    if (const auto state = operation_->Take()) {
      responder_.Send(state->ok()
                          ? HttpResponse{.status = 200, .body = DumpJson(StateJson(app_, **state)), .headers = {}}
                          : ErrorResponse(app_, state->error()));
    }
  }

 private:
  void Begin() {
    auto decoded = decoded_.Take();
    if (!decoded) {
      return;
    }
    if (!decoded->ok()) {
      return responder_.Send(ErrorResponse(app_, decoded->error()));
    }
    StateCall call = std::move(*decoded).value();
    if (kind_ == StateCall::Kind::kFork) {
      call.source = name_;
    } else if (!name_.empty()) {
      call.name = name_;
    }
    call.tenant = tenant_;
    call.request_id = request_id_;
    call.arrival = arrival_;
    operation_ = StateOperation::Start(app_, std::move(call), responder_);
  }

  App& app_;
  Responder& responder_;
  const StateCall::Kind kind_;
  const std::string name_;
  const memory::TenantId tenant_;
  const std::string request_id_;
  const Instant arrival_;
  Offloaded<StateCall> decoded_;
  std::unique_ptr<StateOperation> operation_;
};

std::unique_ptr<Exchange> Run(App& app, HttpRequest request, Responder& responder, StateCall::Kind kind,
                              std::string name = {}) {
  return std::make_unique<StateExchange>(app, std::move(request), responder, kind, std::move(name));
}

std::unique_ptr<Exchange> SendJson(Responder& responder, const OrderedJson& body) {
  responder.Send({.status = 200, .body = DumpJson(body), .headers = {}});
  return nullptr;
}

std::unique_ptr<Exchange> Refuse(const App& app, Responder& responder, const Error& error) {
  responder.Send(ErrorResponse(app, error));
  return nullptr;
}

std::string NameIn(const HttpRequest& request) { return request.path.substr(kStates.size()); }

}  // namespace

std::unique_ptr<Exchange> HandleStateCreate(App& app, HttpRequest request, Responder& responder) {
  return Run(app, std::move(request), responder, StateCall::Kind::kCreate);
}

std::unique_ptr<Exchange> HandleStateLoad(App& app, HttpRequest request, Responder& responder) {
  return Run(app, std::move(request), responder, StateCall::Kind::kLoad);
}

std::unique_ptr<Exchange> HandleStatePin(App& app, HttpRequest request, Responder& responder) {
  std::string name = NameIn(request);
  return Run(app, std::move(request), responder, StateCall::Kind::kPin, std::move(name));
}

// POST /v1/states/NAME/VERB
std::unique_ptr<Exchange> HandleStateVerb(App& app, HttpRequest request, Responder& responder) {
  constexpr std::pair<std::string_view, StateCall::Kind> kVerbs[] = {{"extend", StateCall::Kind::kExtend},
                                                                     {"fork", StateCall::Kind::kFork},
                                                                     {"pin", StateCall::Kind::kPin},
                                                                     {"save", StateCall::Kind::kSave}};
  const std::string rest = NameIn(request);
  const size_t slash = rest.find('/');
  for (const auto& [verb, kind] : kVerbs) {
    if (slash != std::string::npos && slash > 0 && rest.substr(slash + 1) == verb) {
      return Run(app, std::move(request), responder, kind, rest.substr(0, slash));
    }
  }
  return Refuse(app, responder,
                MakeError(ErrorCode::kNotFound, fmt::format("there is no {}; states know extend, fork, pin and save",
                                                            request.path.substr(0, 200))));
}

std::unique_ptr<Exchange> HandleStateList(App& app, HttpRequest request, Responder& responder) {
  OrderedJson list = OrderedJson::array();
  for (const StateInfo& state : app.states.List(request.tenant, Clock::now())) {
    list.push_back(StateJson(app, state));
  }
  return SendJson(responder, {{"object", "list"}, {"data", std::move(list)}});
}

std::unique_ptr<Exchange> HandleStateGet(App& app, HttpRequest request, Responder& responder) {
  const auto state = app.states.Get(request.tenant, NameIn(request), Clock::now());
  return state.ok() ? SendJson(responder, StateJson(app, *state)) : Refuse(app, responder, state.error());
}

std::unique_ptr<Exchange> HandleStateDelete(App& app, HttpRequest request, Responder& responder) {
  const std::string name = NameIn(request);
  const auto erased = app.states.Erase(request.tenant, name, Clock::now());
  return erased.ok() ? SendJson(responder, {{"id", name}, {"object", "state.deleted"}, {"deleted", true}})
                     : Refuse(app, responder, erased.error());
}

}  // namespace causeway::server
