// The endpoints with short answers.
#include "server/http/handlers.h"

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include "base/json.h"
#include "model/tokenizer/tokenizer.h"
#include "server/api/memory_report.h"
#include "server/api/model_names.h"
#include "server/api/offload.h"
#include "server/api/openai_request.h"
#include "server/api/openai_response.h"
#include "server/api/prompt.h"
#include "server/api/text_workers.h"
#include "server/metrics/metrics.h"

namespace causeway::server {
namespace {

std::unique_ptr<Exchange> SendJson(Responder& responder, const OrderedJson& body, int status = 200) {
  responder.Send({.status = status, .body = DumpJson(body), .headers = {}});
  return nullptr;
}

// An answer whose body a text worker makes.
class OffloadedAnswer final : public Exchange {
 public:
  OffloadedAnswer(App& app, Responder& responder, std::function<Result<std::string>()> work)
      : app_(app), responder_(responder), body_(app.text_workers, responder, std::move(work)) {}

  void OnWake() override {
    if (auto body = body_.Take()) {
      responder_.Send(body->ok() ? HttpResponse{.status = 200, .body = std::move(**body), .headers = {}}
                                 : ErrorResponse(app_, body->error()));
    }
  }

 private:
  App& app_;
  Responder& responder_;
  Offloaded<std::string> body_;
};

Result<std::string> Tokenize(const App& app, std::string_view body) {
  ASSIGN_OR_RETURN(const TokenizeRequest request, DecodeTokenize(app, body));
  ASSIGN_OR_RETURN(const std::vector<Token> tokens, EncodePrompt(app, request.call));
  OrderedJson answer = {{"count", tokens.size()},
                        {"max_model_len", app.limits.max_model_len},
                        {"tokens", tokens},
                        {"token_strs", nullptr}};
  if (request.return_token_strs) {
    answer["token_strs"] = OrderedJson::array();
    for (const Token token : tokens) {
      answer["token_strs"].push_back(app.model.tokenizer->TokenText(token));
    }
  }
  return DumpJson(answer);
}

Result<std::string> Detokenize(const App& app, std::string_view body) {
  ASSIGN_OR_RETURN(const std::vector<Token> tokens, DecodeDetokenize(app, body));
  if (app.model.tokenizer == nullptr) {
    return MakeError(ErrorCode::kUnsupported, "this model has no tokenizer.json", "tokens");
  }
  return DumpJson(OrderedJson{{"prompt", app.model.tokenizer->Decode(tokens, false)}});
}

}  // namespace

std::unique_ptr<Exchange> HandleModels(App& app, HttpRequest, Responder& responder) {
  OrderedJson list = OrderedJson::array();
  for (const std::string& name : app.served_names) {
    list.push_back(ModelJson(app, name));
  }
  for (const AdapterRef& adapter : app.adapters.List()) {
    list.push_back(AdapterJson(app, *adapter));
  }
  return SendJson(responder, {{"object", "list"}, {"data", std::move(list)}});
}

std::unique_ptr<Exchange> HandleModel(App& app, HttpRequest request, Responder& responder) {
  const std::string name = request.path.substr(std::string_view("/v1/models/").size());
  const auto adapter = FindModelName(app, name);
  if (!adapter.ok()) {
    responder.Send(ErrorResponse(app, adapter.error()));
    return nullptr;
  }
  return SendJson(responder, *adapter == nullptr ? ModelJson(app, name) : AdapterJson(app, **adapter));
}

std::unique_ptr<Exchange> HandleTokenize(App& app, HttpRequest request, Responder& responder) {
  return std::make_unique<OffloadedAnswer>(app, responder,
                                           [&app, body = std::move(request.body)] { return Tokenize(app, body); });
}

std::unique_ptr<Exchange> HandleDetokenize(App& app, HttpRequest request, Responder& responder) {
  return std::make_unique<OffloadedAnswer>(app, responder,
                                           [&app, body = std::move(request.body)] { return Detokenize(app, body); });
}

std::unique_ptr<Exchange> HandleReady(App& app, HttpRequest, Responder& responder) {
  const bool ready = app.lifecycle == Lifecycle::kReady;
  return SendJson(responder, {{"status", ready ? "ok" : "unavailable"}}, ready ? 200 : 503);
}

std::unique_ptr<Exchange> HandleLive(App&, HttpRequest, Responder& responder) {
  return SendJson(responder, {{"status", "ok"}});
}

std::unique_ptr<Exchange> HandleMetrics(App& app, HttpRequest, Responder& responder) {
  responder.Send({.status = 200,
                  .body = app.metrics.Text(ReadMemory(app)),
                  .content_type = "text/plain; version=0.0.4; charset=utf-8",
                  .headers = {}});
  return nullptr;
}

std::unique_ptr<Exchange> HandleVersion(App& app, HttpRequest, Responder& responder) {
  return SendJson(responder, {{"version", CAUSEWAY_VERSION}, {"fingerprint", app.system_fingerprint}});
}

}  // namespace causeway::server
