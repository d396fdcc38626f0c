// From a call to the engine's request: template, tokenizer, defaults, limits.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "base/token.h"
#include "scheduler/request.h"
#include "server/api/app.h"
#include "server/api/generation.h"

namespace causeway::server {

struct StateContent;  // server/api/states.h

// The prompt's tokens. A text prompt's special tokens are recognised (clients that render templates
// themselves rely on it); a chat's messages can never become one.
Result<std::vector<Token>> EncodePrompt(const App& app, const GenerateCall& call);

// The call's prompt behind a state (null: alone). Behind a conversation, a chat is the rendering of all its messages
// and the new ones: what a client that sends them all would get, and found as far as the tokens agree. Behind anything
// else come the tokens of the new text, or of the new messages rendered alone, without the begin-of-text token.
Result<std::vector<Token>> EncodePromptBehind(const App& app, const GenerateCall& call, const StateContent* state);

// The conversation of the call's messages behind the state's; nothing if either has none.
std::optional<ChatPrompt> ConversationOf(const GenerateCall& call, const StateContent* state);

// Request > flags and the model's generation config > built-in. Unset max_tokens: 16 for a text, the rest
// of the context for a chat.
// `state` is what call.state names.
Result<scheduler::GenerateRequest> MakeRequest(const App& app, const GenerateCall& call,
                                               const StateContent* state = nullptr);

// What the engine is to compute the call with; null: the model as it is.
std::shared_ptr<const scheduler::Adapter> AdapterOf(const GenerateCall& call);

// The text that a chat renders to, for /tokenize and tests.
Result<std::vector<Token>> EncodeChat(const App& app, const ChatPrompt& chat);

}  // namespace causeway::server
