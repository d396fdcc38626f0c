// The KV cache's figures, and what changes it for everybody: those need --enable-admin-endpoints.
#include <functional>
#include <string>
#include <utility>

#include "base/json.h"
#include "fmt/format.h"
#include "server/api/control_worker.h"
#include "server/api/json_fields.h"
#include "server/api/memory_report.h"
#include "server/api/offload.h"
#include "server/http/handlers.h"
#include "server/http/target.h"

namespace causeway::server {
namespace {

// Waits for the engine on the control worker; answers with the memory's figures.
class MemoryExchange final : public Exchange {
 public:
  MemoryExchange(App& app, Responder& responder, std::function<Result<void>()> work)
      : app_(app),
        responder_(responder),
        body_(app.control_worker, responder, [&app, work = std::move(work)] { return Run(app, work); }) {}

  void OnWake() override {
    if (auto body = body_.Take()) {
      responder_.Send(body->ok() ? HttpResponse{.status = 200, .body = std::move(**body), .headers = {}}
                                 : ErrorResponse(app_, body->error()));
    }
  }

 private:
  static Result<std::string> Run(const App& app, const std::function<Result<void>()>& work) {
    TRY(work());
    return DumpJson(MemoryJson(ReadMemory(app)));
  }

  App& app_;
  Responder& responder_;
  Offloaded<std::string> body_;
};

std::unique_ptr<Exchange> Change(App& app, Responder& responder, std::function<Result<void>()> work) {
  return std::make_unique<MemoryExchange>(app, responder, std::move(work));
}

std::unique_ptr<Exchange> Refuse(const App& app, Responder& responder, std::string message, const char* param) {
  responder.Send(ErrorResponse(app, MakeError(ErrorCode::kInvalidArgument, std::move(message), param)));
  return nullptr;
}

Result<int64_t> ReadPages(const App& app, std::string_view body) {
  ASSIGN_OR_RETURN(const OrderedJson json, ParseOrderedJson(body));
  if (!json.is_object()) {
    return MakeError(ErrorCode::kInvalidArgument, "the body must be a JSON object");
  }
  JsonFields fields(json);
  const int64_t page_bytes = app.kv.geometry().page_bytes;
  const int64_t most = app.kv.options().max_pages * page_bytes;
  const auto bytes = fields.Int("kv_bytes", page_bytes, most);
  TRY(fields.Finish());
  if (!bytes) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("kv_bytes is missing: {} to {}", page_bytes, most),
                     "kv_bytes");
  }
  return *bytes / page_bytes;
}

}  // namespace

std::unique_ptr<Exchange> HandleMemory(App& app, HttpRequest, Responder& responder) {
  responder.Send({.status = 200, .body = DumpJson(MemoryJson(ReadMemory(app))), .headers = {}});
  return nullptr;
}

std::unique_ptr<Exchange> HandleTrim(App& app, HttpRequest, Responder& responder) {
  return Change(app, responder, [&app] { return app.engine.Trim(); });
}

std::unique_ptr<Exchange> HandleResize(App& app, HttpRequest request, Responder& responder) {
  return Change(app, responder, [&app, body = std::move(request.body)]() -> Result<void> {
    ASSIGN_OR_RETURN(const int64_t pages, ReadPages(app, body));
    return app.engine.Resize(pages);
  });
}

std::unique_ptr<Exchange> HandleResetPrefixCache(App& app, HttpRequest, Responder& responder) {
  return Change(app, responder, [&app] { return app.engine.DropPrefixes(); });
}

// vLLM's levels. 1 gives back the KV cache, 2 the weights and activations too. Nothing is discarded that could not be
// had again without a client's help.
std::unique_ptr<Exchange> HandleSleep(App& app, HttpRequest request, Responder& responder) {
  const std::string level = QueryValue(request.query, "level").value_or("1");
  if (level != "1" && level != "2") {
    return Refuse(app, responder, "level must be 1 or 2", "level");
  }
  return Change(app, responder, [&app, weights = level == "2"] { return app.engine.Sleep(weights); });
}

std::unique_ptr<Exchange> HandleWakeUp(App& app, HttpRequest request, Responder& responder) {
  if (QueryValue(request.query, "tags")) {
    return Refuse(app, responder, "tags are not served: everything wakes at once", "tags");
  }
  return Change(app, responder, [&app] { return app.engine.Wake(); });
}

std::unique_ptr<Exchange> HandleIsSleeping(App& app, HttpRequest, Responder& responder) {
  const OrderedJson body = {{"is_sleeping", app.engine.Stats().asleep}};
  responder.Send({.status = 200, .body = DumpJson(body), .headers = {}});
  return nullptr;
}

}  // namespace causeway::server
