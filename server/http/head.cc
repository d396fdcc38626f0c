#include "server/http/head.h"

#include <chrono>
#include <random>

#include <boost/beast/core/string.hpp>
#include <boost/beast/http/status.hpp>

#include "fmt/chrono.h"
#include "fmt/format.h"

namespace causeway::server {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;

constexpr size_t kMaxRequestId = 128;

// RFC 9110's date, made once a second and thread.
const std::string& HttpDate() {
  thread_local std::string text;
  thread_local std::time_t made = 0;
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  if (now != made) {
    made = now;
    text = fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", fmt::gmtime(now));
  }
  return text;
}

HeadFault Fault(ErrorCode code, std::string message, int status) {
  return {MakeError(code, std::move(message)), status};
}

}  // namespace

std::string NewRequestId() {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return fmt::format("{:016x}{:016x}", generator(), generator());
}

std::string RequestIdOf(const RequestMessage& message) {
  const auto given = message["X-Request-Id"];
  if (given.empty() || given.size() > kMaxRequestId) {
    return NewRequestId();
  }
  for (const char c : given) {
    if (c <= 0x20 || c >= 0x7f) {
      return NewRequestId();
    }
  }
  return std::string(given);
}

std::optional<memory::TenantId> TenantOf(const RequestMessage& message, std::span<const ApiKey> keys) {
  if (keys.empty()) {
    return memory::kDefaultTenant;
  }
  constexpr size_t kScheme = 7;  // "Bearer "
  const auto header = message[http::field::authorization];
  if (!beast::iequals(header.substr(0, kScheme), "Bearer ")) {
    return std::nullopt;
  }
  return TenantOf(keys, std::string_view(header.data() + kScheme, header.size() - kScheme));
}

std::string MethodLabel(const RequestMessage& message) {
  return message.method() == http::verb::unknown ? "other" : std::string(message.method_string());
}

std::optional<HeadFault> CheckHead(const RequestMessage& message) {
  if (message.version() >= 11 && message[http::field::host].empty() && message.count(http::field::host) == 0) {
    return Fault(ErrorCode::kInvalidArgument, "the request has no Host header", 400);
  }
  if (message.count(http::field::transfer_encoding) > 0 && !message.chunked()) {
    return Fault(ErrorCode::kUnsupported, "of transfer codings, only chunked is served", 501);
  }
  const auto coding = message[http::field::content_encoding];
  if (!coding.empty() && !beast::iequals(coding, "identity")) {
    return Fault(ErrorCode::kUnsupported, "send the body uncompressed", 415);
  }
  const auto expect = message[http::field::expect];
  if (!expect.empty() && !beast::iequals(expect, "100-continue")) {
    return Fault(ErrorCode::kUnsupported, "of expectations, only 100-continue is served", 417);
  }
  return std::nullopt;
}

std::string ResponseHead(const HeadFields& fields) {
  std::string head = fmt::format(
      "HTTP/1.1 {} {}\r\nServer: causeway\r\nDate: {}\r\nX-Request-Id: {}\r\nAccess-Control-Allow-Origin: *\r\n"
      "Access-Control-Expose-Headers: X-Request-Id, Retry-After\r\nConnection: {}\r\n",
      fields.status, std::string(http::obsolete_reason(static_cast<http::status>(fields.status))), HttpDate(),
      fields.request_id, fields.keep_alive ? "keep-alive" : "close");
  if (!fields.content_type.empty()) {
    head += fmt::format("Content-Type: {}\r\n", fields.content_type);
  }
  return head;
}

}  // namespace causeway::server
