// From a call to the engine's request: template, tokenizer, defaults, limits.
#pragma once

#include <vector>

#include "base/result.h"
#include "base/token.h"
#include "scheduler/request.h"
#include "server/api/app.h"
#include "server/api/generation.h"

namespace causeway::server {

// The prompt's tokens. A text prompt's special tokens are recognised (clients that render templates
// themselves rely on it); a chat's messages can never become one.
Result<std::vector<Token>> EncodePrompt(const App& app, const GenerateCall& call);

// Request > flags and the model's generation config > built-in. Unset max_tokens: 16 for a text, the rest
// of the context for a chat.
Result<scheduler::GenerateRequest> MakeRequest(const App& app, const GenerateCall& call);

// The text that a chat renders to, for /tokenize and tests.
Result<std::vector<Token>> EncodeChat(const App& app, const ChatPrompt& chat);

}  // namespace causeway::server
