// Between proto messages and the API's types. Proto ends here.
#pragma once

#include "base/result.h"
#include "causeway/v1/causeway.pb.h"
#include "server/api/app.h"
#include "server/api/generation.h"

namespace causeway::server {

// kNotFound for a model that is not served; kInvalidArgument for a bad field.
Result<GenerateCall> ToCall(const App& app, const v1::GenerateRequest& request);
Result<GenerateCall> ToCall(const App& app, const v1::TokenizeRequest& request);
Result<void> CheckModelName(const App& app, const std::string& name);

v1::GenerateResponse ToResponse(const App& app, const std::string& request_id, const GenerationEvent& event);
void FillModel(const App& app, const std::string& name, v1::Model& model);

}  // namespace causeway::server
