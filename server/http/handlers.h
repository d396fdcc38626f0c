// The handlers that routes.cc names.
#pragma once

#include <memory>

#include "server/http/exchange.h"

namespace causeway::server {

std::unique_ptr<Exchange> HandleChat(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleCompletion(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleModels(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleModel(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleTokenize(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleDetokenize(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleReady(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleLive(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleMetrics(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleVersion(App& app, HttpRequest request, Responder& responder);

}  // namespace causeway::server
