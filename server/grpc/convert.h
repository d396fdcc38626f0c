// Between proto messages and the API's types. Proto ends here.
#pragma once

#include "base/result.h"
#include "causeway/v1/causeway.pb.h"
#include "server/api/adapters.h"
#include "server/api/app.h"
#include "server/api/generation.h"
#include "server/api/state_calls.h"

namespace causeway::server {

// kNotFound for a model that is not served; kInvalidArgument for a bad field.
Result<GenerateCall> ToCall(const App& app, const v1::GenerateRequest& request);
Result<GenerateCall> ToCall(const App& app, const v1::TokenizeRequest& request);

// The prompt, salt and ttl of a state's making; of the others their names. Without tenant, id and deadline.
Result<StateCall> ToCall(const App& app, const v1::CreateStateRequest& request);
Result<StateCall> ToCall(const App& app, const v1::ExtendStateRequest& request);
Result<StateCall> ToCall(const App& app, const v1::ForkStateRequest& request);
Result<StateCall> ToCall(const App& app, const v1::PinStateRequest& request);
Result<StateCall> ToCall(const App& app, const v1::SaveStateRequest& request);
Result<StateCall> ToCall(const App& app, const v1::LoadStateRequest& request);
void FillState(const App& app, const StateInfo& info, v1::State& state);
// Of a time to live that was given.
Result<Duration> ToTtl(double seconds);
Result<ChatPrompt> ToChat(const App& app, const v1::ChatPrompt& in);

// What responses repeat of a call.
struct AnsweredCall {
  std::string request_id;
  std::string model;
};
v1::GenerateResponse ToResponse(const App& app, const AnsweredCall& call, const GenerationEvent& event);
// A name of the model itself (`adapter` null), or an adapter's.
void FillModel(const App& app, const std::string& name, const AdapterRef& adapter, v1::Model& model);

}  // namespace causeway::server
