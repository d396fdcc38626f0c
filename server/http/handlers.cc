// The endpoints that answer at once.
#include "server/http/handlers.h"

#include <algorithm>

#include "base/json.h"
#include "model/tokenizer/tokenizer.h"
#include "server/api/openai_request.h"
#include "server/api/openai_response.h"
#include "server/api/prompt.h"
#include "server/metrics/metrics.h"

namespace causeway::server {
namespace {

std::unique_ptr<Exchange> SendJson(Responder& responder, const OrderedJson& body, int status = 200) {
  responder.Send({.status = status, .body = DumpJson(body), .headers = {}});
  return nullptr;
}

std::unique_ptr<Exchange> SendError(App& app, Responder& responder, const Error& error) {
  responder.Send(ErrorResponse(app, error));
  return nullptr;
}

}  // namespace

std::unique_ptr<Exchange> HandleModels(App& app, HttpRequest, Responder& responder) {
  OrderedJson list = OrderedJson::array();
  for (const std::string& name : app.served_names) {
    list.push_back(ModelJson(app, name));
  }
  return SendJson(responder, {{"object", "list"}, {"data", std::move(list)}});
}

std::unique_ptr<Exchange> HandleModel(App& app, HttpRequest request, Responder& responder) {
  const std::string name = request.path.substr(std::string_view("/v1/models/").size());
  if (std::find(app.served_names.begin(), app.served_names.end(), name) == app.served_names.end()) {
    return SendError(app, responder,
                     MakeError(ErrorCode::kNotFound, "the model '" + name + "' is not served here", "model"));
  }
  return SendJson(responder, ModelJson(app, name));
}

std::unique_ptr<Exchange> HandleTokenize(App& app, HttpRequest request, Responder& responder) {
  const auto decoded = DecodeTokenize(app, request.body);
  if (!decoded.ok()) {
    return SendError(app, responder, decoded.error());
  }
  const auto tokens = EncodePrompt(app, decoded->call);
  if (!tokens.ok()) {
    return SendError(app, responder, tokens.error());
  }
  OrderedJson body = {{"count", tokens->size()},
                      {"max_model_len", app.limits.max_model_len},
                      {"tokens", *tokens},
                      {"token_strs", nullptr}};
  if (decoded->return_token_strs) {
    body["token_strs"] = OrderedJson::array();
    for (const Token token : *tokens) {
      body["token_strs"].push_back(app.model.tokenizer->TokenText(token));
    }
  }
  return SendJson(responder, body);
}

std::unique_ptr<Exchange> HandleDetokenize(App& app, HttpRequest request, Responder& responder) {
  const auto tokens = DecodeDetokenize(app, request.body);
  if (!tokens.ok()) {
    return SendError(app, responder, tokens.error());
  }
  if (app.model.tokenizer == nullptr) {
    return SendError(app, responder,
                     MakeError(ErrorCode::kFailedPrecondition, "this model has no tokenizer.json", "tokens"));
  }
  return SendJson(responder, {{"prompt", app.model.tokenizer->Decode(*tokens, false)}});
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
                  .body = app.metrics.Text(app.engine.Stats()),
                  .content_type = "text/plain; version=0.0.4; charset=utf-8",
                  .headers = {}});
  return nullptr;
}

std::unique_ptr<Exchange> HandleVersion(App& app, HttpRequest, Responder& responder) {
  return SendJson(responder, {{"version", CAUSEWAY_VERSION}, {"fingerprint", app.system_fingerprint}});
}

}  // namespace causeway::server
