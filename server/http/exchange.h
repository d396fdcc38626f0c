// What a handler sees of a connection, so that handlers know no sockets.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "memory/tenant.h"
#include "scheduler/engine.h"
#include "server/api/app.h"

namespace causeway::server {

struct HttpRequest {
  std::string method;
  std::string path;   // decoded, without the query
  std::string query;  // as it came
  std::string body;
  std::string request_id;  // the client's X-Request-Id, or one of ours
  Instant arrival;
  memory::TenantId tenant = memory::kDefaultTenant;  // whose key it carries
};

struct HttpResponse {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";  // empty: no body
  std::vector<std::pair<std::string, std::string>> headers;
};

// The answering side of one request. All calls but Wake on the connection's thread.
class Responder : public scheduler::Waker {
 public:
  // One whole answer.
  virtual void Send(HttpResponse response) = 0;
  // A stream of server-sent events: StartEvents once, then Event for each `data:`, then EndEvents.
  virtual void StartEvents() = 0;
  virtual void Event(std::string_view data) = 0;
  virtual void EndEvents() = 0;
};

// A request that is being answered. OnWake runs on the connection's thread some time after Responder::Wake.
// Destroyed when the answer is out or the client is gone; the work behind it is cancelled then.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual void OnWake() = 0;
};

// Null: answered at once.
using Handler = std::unique_ptr<Exchange> (*)(App& app, HttpRequest request, Responder& responder);

struct Route {
  std::string_view method;
  std::string_view path;  // a trailing "*" takes the rest
  bool open;              // no API key needed
  Handler handle;
  bool admin = false;  // only with --enable-admin-endpoints
};

// The route of a request, `admin` ones among them if they are enabled; null with the status to answer (404 or 405).
const Route* FindRoute(std::string_view method, std::string_view path, bool admin, int& status);
// "GET, HEAD, OPTIONS"; empty for a path that no route has.
std::string AllowedMethods(std::string_view path, bool admin);

HttpResponse ErrorResponse(const App& app, const Error& error);

}  // namespace causeway::server
