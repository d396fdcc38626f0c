// The one place that maps errors to what clients see: HTTP status, OpenAI's type and code, gRPC's code.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace causeway::server {

struct Status {
  int http;
  int grpc;               // grpc::StatusCode
  std::string_view type;  // of OpenAI's error object
  std::string_view code;  // the same; empty: null
};

Status StatusOf(ErrorCode code);
// {"error": {message, type, param, code}}. The message of an internal error is for the log, not the client.
OrderedJson ErrorJson(const Error& error);
std::string ErrorBody(const Error& error);

}  // namespace causeway::server
