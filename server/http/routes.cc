// Every endpoint: one row.
#include <algorithm>
#include <cmath>

#include "fmt/format.h"
#include "server/api/status.h"
#include "server/http/exchange.h"
#include "server/http/handlers.h"

namespace causeway::server {
namespace {

constexpr bool kAdmin = true;

constexpr Route kRoutes[] = {
    {"POST", "/v1/chat/completions", false, HandleChat},
    {"POST", "/v1/completions", false, HandleCompletion},
    {"GET", "/v1/models", false, HandleModels},
    {"GET", "/v1/models/*", false, HandleModel},
    {"POST", "/tokenize", false, HandleTokenize},
    {"POST", "/detokenize", false, HandleDetokenize},
    {"GET", "/health", true, HandleReady},
    {"GET", "/health/ready", true, HandleReady},
    {"GET", "/health/live", true, HandleLive},
    {"GET", "/metrics", true, HandleMetrics},
    {"GET", "/version", false, HandleVersion},
    {"POST", "/v1/states", false, HandleStateCreate},
    {"GET", "/v1/states", false, HandleStateList},
    {"POST", "/v1/states/load", false, HandleStateLoad},
    {"POST", "/v1/states/*", false, HandleStateVerb},
    {"PATCH", "/v1/states/*", false, HandleStatePin},
    {"GET", "/v1/states/*", false, HandleStateGet},
    {"DELETE", "/v1/states/*", false, HandleStateDelete},
    {"GET", "/v1/memory", false, HandleMemory},
    {"GET", "/is_sleeping", false, HandleIsSleeping},
    {"POST", "/v1/load_lora_adapter", false, HandleLoadAdapter, kAdmin},
    {"POST", "/v1/unload_lora_adapter", false, HandleUnloadAdapter, kAdmin},
    {"POST", "/v1/memory/trim", false, HandleTrim, kAdmin},
    {"POST", "/v1/memory/resize", false, HandleResize, kAdmin},
    {"POST", "/reset_prefix_cache", false, HandleResetPrefixCache, kAdmin},
    {"POST", "/sleep", false, HandleSleep, kAdmin},
    {"POST", "/wake_up", false, HandleWakeUp, kAdmin},
};

// Routes for administrators are not there unless they are asked for.
bool Matches(const Route& route, std::string_view path, bool admin) {
  std::string_view pattern = route.path;
  if (route.admin && !admin) {
    return false;
  }
  if (pattern.ends_with('*')) {
    pattern.remove_suffix(1);
    return path.starts_with(pattern) && path.size() > pattern.size();
  }
  return pattern == path;
}

}  // namespace

const Route* FindRoute(std::string_view method, std::string_view path, bool admin, int& status) {
  status = 404;
  for (const Route& route : kRoutes) {
    if (Matches(route, path, admin)) {
      if (route.method == method || (method == "HEAD" && route.method == "GET")) {
        return &route;
      }
      status = 405;
    }
  }
  return nullptr;
}

std::string AllowedMethods(std::string_view path, bool admin) {
  std::string methods;
  for (const Route& route : kRoutes) {
    if (Matches(route, path, admin)) {
      methods += fmt::format("{}{}, ", route.method, route.method == "GET" ? ", HEAD" : "");
    }
  }
  return methods.empty() ? methods : methods + "OPTIONS";
}

HttpResponse ErrorResponse(const App& app, const Error& error) {
  HttpResponse response;
  response.status = StatusOf(error.code).http;
  response.body = ErrorBody(error);
  if (error.code == ErrorCode::kResourceExhausted || error.code == ErrorCode::kUnavailable) {
    // The prompts that wait, at the rate at which they have been computed.
    const scheduler::EngineStats stats = app.engine.Stats();
    const double seconds = stats.prefill_rate > 0 ? stats.backlog_tokens / stats.prefill_rate : 1.0;
    response.headers.emplace_back("Retry-After",
                                  std::to_string(static_cast<int>(std::clamp(std::ceil(seconds), 1.0, 60.0))));
  }
  if (error.code == ErrorCode::kUnauthenticated) {
    response.headers.emplace_back("WWW-Authenticate", "Bearer");
  }
  return response;
}

}  // namespace causeway::server
