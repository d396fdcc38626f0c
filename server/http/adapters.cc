// Adapters loaded and unloaded while the server runs: vLLM's endpoints. They need --enable-admin-endpoints.
#include <functional>
#include <string>
#include <utility>

#include "base/json.h"
#include "fmt/format.h"
#include "server/api/adapters.h"
#include "server/api/control_worker.h"
#include "server/api/json_fields.h"
#include "server/api/offload.h"
#include "server/http/handlers.h"

namespace causeway::server {
namespace {

// Reads the adapter on the control worker: no step waits for the disk. Answers with a line of text.
class AdapterExchange final : public Exchange {
 public:
  AdapterExchange(App& app, Responder& responder, std::function<Result<std::string>()> work)
      : app_(app), responder_(responder), body_(app.control_worker, responder, std::move(work)) {}

  void OnWake() override {
    if (auto body = body_.Take()) {
      responder_.Send(body->ok() ? HttpResponse{.status = 200,
                                                .body = std::move(**body),
                                                .content_type = "text/plain; charset=utf-8",
                                                .headers = {}}
                                 : ErrorResponse(app_, body->error()));
    }
  }

 private:
  App& app_;
  Responder& responder_;
  Offloaded<std::string> body_;
};

// A text field that must be there.
Result<std::string> Required(JsonFields& fields, const char* name) {
  auto text = fields.Text(name);
  TRY(fields.Finish());
  if (!text || text->empty()) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("{} is missing", name), name);
  }
  return *std::move(text);
}

Result<OrderedJson> ReadObject(std::string_view body) {
  ASSIGN_OR_RETURN(OrderedJson json, ParseOrderedJson(body));
  if (!json.is_object()) {
    return MakeError(ErrorCode::kInvalidArgument, "the body must be a JSON object");
  }
  return json;
}

Result<std::string> Load(const App& app, std::string_view body) {
  ASSIGN_OR_RETURN(const OrderedJson json, ReadObject(body));
  JsonFields fields(json);
  ASSIGN_OR_RETURN(const std::string name, Required(fields, "lora_name"));
  ASSIGN_OR_RETURN(const std::string path, Required(fields, "lora_path"));
  const bool replace = fields.Flag("load_inplace").value_or(false);
  TRY(fields.Finish());
  ASSIGN_OR_RETURN(const std::string place, PlaceInFolder(app.lora_dir, path));
  TRY(app.adapters.Load(name, place, replace));
  return fmt::format("Success: adapter '{}' is loaded", name);
}

Result<std::string> Unload(const App& app, std::string_view body) {
  ASSIGN_OR_RETURN(const OrderedJson json, ReadObject(body));
  JsonFields fields(json);
  ASSIGN_OR_RETURN(const std::string name, Required(fields, "lora_name"));
  TRY(app.adapters.Unload(name));
  return fmt::format("Success: adapter '{}' is unloaded", name);
}

}  // namespace

std::unique_ptr<Exchange> HandleLoadAdapter(App& app, HttpRequest request, Responder& responder) {
  return std::make_unique<AdapterExchange>(app, responder,
                                           [&app, body = std::move(request.body)] { return Load(app, body); });
}

std::unique_ptr<Exchange> HandleUnloadAdapter(App& app, HttpRequest request, Responder& responder) {
  return std::make_unique<AdapterExchange>(app, responder,
                                           [&app, body = std::move(request.body)] { return Unload(app, body); });
}

}  // namespace causeway::server
