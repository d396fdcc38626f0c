// What stands in a request's and a response's head besides the target. Internal to server/http.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>

#include "base/result.h"
#include "server/api/access.h"

namespace causeway::server {

using RequestMessage = boost::beast::http::request<boost::beast::http::string_body>;

std::string NewRequestId();
// The client's X-Request-Id if it is short and printable, else a new one.
std::string RequestIdOf(const RequestMessage& message);

// Whom the message's key (Authorization: Bearer KEY) belongs to; nothing without a good one. The default tenant if no
// key is asked for.
std::optional<memory::TenantId> TenantOf(const RequestMessage& message, std::span<const ApiKey> keys);

// The method as a metrics label: one of those that HTTP knows, else "other". Clients make up as many as they like.
std::string MethodLabel(const RequestMessage& message);

// What is wrong with a head that parsed: no Host, a body in a coding that is not served.
struct HeadFault {
  Error error;
  int status;
};
std::optional<HeadFault> CheckHead(const RequestMessage& message);

// "HTTP/1.1 200 OK\r\nDate: ...\r\n...": the lines that every response has, up to but without the empty one.
struct HeadFields {
  int status = 200;
  std::string_view content_type;  // empty: no body
  std::string_view request_id;
  bool keep_alive = true;
};
std::string ResponseHead(const HeadFields& fields);

}  // namespace causeway::server
