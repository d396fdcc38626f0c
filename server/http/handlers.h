// The handlers that routes.cc names.
#pragma once

#include <memory>

#include "server/http/exchange.h"

namespace causeway::server {

std::unique_ptr<Exchange> HandleChat(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleCompletion(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleModels(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleModel(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleLoadAdapter(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleUnloadAdapter(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleTokenize(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleDetokenize(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleReady(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleLive(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleMetrics(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleVersion(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleStateCreate(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleStateLoad(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleStatePin(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleStateVerb(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleStateList(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleStateGet(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleStateDelete(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleMemory(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleTrim(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleResize(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleResetPrefixCache(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleSleep(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleWakeUp(App& app, HttpRequest request, Responder& responder);
std::unique_ptr<Exchange> HandleIsSleeping(App& app, HttpRequest request, Responder& responder);

}  // namespace causeway::server
