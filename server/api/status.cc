#include "server/api/status.h"

namespace causeway::server {

Status StatusOf(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return {400, 3, "invalid_request_error", ""};
    case ErrorCode::kNotFound: return {404, 5, "invalid_request_error", "not_found"};
    case ErrorCode::kTooLarge: return {413, 3, "invalid_request_error", "request_too_large"};
    case ErrorCode::kContextLength: return {400, 3, "invalid_request_error", "context_length_exceeded"};
    case ErrorCode::kUnauthenticated: return {401, 16, "invalid_request_error", "invalid_api_key"};
    case ErrorCode::kResourceExhausted: return {429, 8, "rate_limit_error", "rate_limit_exceeded"};
    case ErrorCode::kDeadlineExceeded: return {504, 4, "timeout_error", "deadline_exceeded"};
    case ErrorCode::kCancelled: return {499, 1, "invalid_request_error", "cancelled"};
    case ErrorCode::kUnavailable: return {503, 14, "server_error", "unavailable"};
    case ErrorCode::kFailedPrecondition: return {409, 9, "invalid_request_error", "failed_precondition"};
    case ErrorCode::kUnsupported: return {400, 12, "invalid_request_error", "unsupported"};
    case ErrorCode::kInternal: break;
  }
  return {500, 13, "server_error", "internal_error"};
}

OrderedJson ErrorJson(const Error& error) {
  const Status status = StatusOf(error.code);
  const bool internal = error.code == ErrorCode::kInternal;
  OrderedJson body;
  body["message"] = internal ? "internal error; the server's log has the details" : error.message;
  body["type"] = status.type;
  body["param"] = error.param.empty() ? OrderedJson(nullptr) : OrderedJson(error.param);
  const bool no_model = error.code == ErrorCode::kNotFound && error.param == "model";
  body["code"] = no_model              ? OrderedJson("model_not_found")
                 : status.code.empty() ? OrderedJson(nullptr)
                                       : OrderedJson(status.code);
  return {{"error", std::move(body)}};
}

std::string ErrorBody(const Error& error) { return DumpJson(ErrorJson(error)); }

}  // namespace causeway::server
