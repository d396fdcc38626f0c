// The part of convert.h that is about states.
#include <chrono>

#include "server/api/model_names.h"
#include "server/grpc/convert.h"

namespace causeway::server {
namespace {

// CreateStateRequest and ExtendStateRequest name their prompts alike.
template <typename Request>
Result<GenerateCall> ToPrompt(const App& app, const Request& request, bool add_special_tokens) {
  GenerateCall call;
  ASSIGN_OR_RETURN(call.adapter, FindModelName(app, request.model()));
  call.add_special_tokens = request.has_add_special_tokens() ? request.add_special_tokens() : add_special_tokens;
  if (request.has_text()) {
    call.prompt = request.text();
  } else if (request.has_token_ids()) {
    call.prompt = std::vector<int64_t>(request.token_ids().ids().begin(), request.token_ids().ids().end());
  } else if (request.has_chat()) {
    ASSIGN_OR_RETURN(ChatPrompt chat, ToChat(app, request.chat()));
    if (!request.chat().has_add_generation_prompt()) {
      chat.add_generation_prompt = false;  // it is to be gone on with, by whom is open
    }
    call.prompt = std::move(chat);
  } else {
    return MakeError(ErrorCode::kInvalidArgument, "the request has no prompt", "prompt");
  }
  return call;
}

template <typename Request>
Result<StateCall> Begin(StateCall::Kind kind, const Request& request) {
  StateCall call;
  call.kind = kind;
  call.name = request.name();
  if constexpr (requires { request.has_ttl_seconds(); }) {
    if (request.has_ttl_seconds()) {
      ASSIGN_OR_RETURN(call.ttl, ToTtl(request.ttl_seconds()));
    }
  }
  if constexpr (requires { request.overwrite(); }) {
    call.overwrite = request.overwrite();
  }
  if constexpr (requires { request.file(); }) {
    call.file = request.file();
  }
  return call;
}

}  // namespace

Result<Duration> ToTtl(double seconds) {
  constexpr double kTenYears = 10 * 366 * 86400.0;
  if (!(seconds >= 0.001 && seconds <= kTenYears)) {
    return MakeError(ErrorCode::kInvalidArgument, "ttl_seconds must be from 0.001 to ten years", "ttl_seconds");
  }
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

Result<StateCall> ToCall(const App& app, const v1::CreateStateRequest& request) {
  ASSIGN_OR_RETURN(StateCall call, Begin(StateCall::Kind::kCreate, request));
  ASSIGN_OR_RETURN(call.prompt, ToPrompt(app, request, true));
  call.prompt.cache_salt = request.cache_salt();
  return call;
}

Result<StateCall> ToCall(const App& app, const v1::ExtendStateRequest& request) {
  ASSIGN_OR_RETURN(StateCall call, Begin(StateCall::Kind::kExtend, request));
  ASSIGN_OR_RETURN(call.prompt, ToPrompt(app, request, false));
  return call;
}

Result<StateCall> ToCall(const App&, const v1::ForkStateRequest& request) {
  ASSIGN_OR_RETURN(StateCall call, Begin(StateCall::Kind::kFork, request));
  call.source = request.name();
  call.name = request.new_name();
  return call;
}

Result<StateCall> ToCall(const App&, const v1::PinStateRequest& request) {
  return Begin(StateCall::Kind::kPin, request);
}

Result<StateCall> ToCall(const App&, const v1::SaveStateRequest& request) {
  return Begin(StateCall::Kind::kSave, request);
}

Result<StateCall> ToCall(const App&, const v1::LoadStateRequest& request) {
  ASSIGN_OR_RETURN(StateCall call, Begin(StateCall::Kind::kLoad, request));
  call.cache_salt = request.cache_salt();
  return call;
}

void FillState(const App& app, const StateInfo& info, v1::State& state) {
  state.set_name(info.name);
  state.set_tokens(info.tokens);
  state.set_pages(info.pages);
  state.set_bytes(info.pages * app.kv.geometry().page_bytes);
  state.set_created(info.created_unix);
  if (info.expires_unix) {
    state.set_expires_at(*info.expires_unix);
  }
  state.set_uses(info.uses);
  state.set_adapter(info.adapter);
}

}  // namespace causeway::server
