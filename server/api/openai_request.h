// OpenAI's JSON requests to calls. Unknown fields are ignored and null means absent; what is there must
// have the right type and range, or the error names it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "server/api/adapters.h"
#include "server/api/app.h"
#include "server/api/generation.h"
#include "server/api/json_fields.h"

namespace causeway::server {

struct StreamOptions {
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;
};

struct CompletionRequest {
  std::vector<GenerateCall> calls;  // one a prompt
  StreamOptions stream;
  bool chat = false;
  bool echo = false;
  bool wants_logprobs = false;
  bool wants_prompt_logprobs = false;  // vLLM's field; echo with logprobs has them in `logprobs`
  bool return_token_ids = false;
};

Result<CompletionRequest> DecodeCompletion(const App& app, std::string_view body);
Result<CompletionRequest> DecodeChat(const App& app, std::string_view body);

// {"name": TEXT, "ttl": SECONDS} and the like: a time to live of at most ten years.
std::optional<Duration> ReadTtl(JsonFields& fields);
// The adapter that `model` names (model_names.h).
Result<AdapterRef> ReadModel(const App& app, JsonFields& fields);
// One prompt: text or token ids.
Result<std::variant<std::string, std::vector<int64_t>, ChatPrompt>> ReadPrompt(const OrderedJson& prompt);
// A chat's fields: messages, tools, chat_template_kwargs, ...
Result<ChatPrompt> ReadChat(const App& app, JsonFields& fields);

struct TokenizeRequest {
  GenerateCall call;  // a text or a chat
  bool return_token_strs = false;
};
Result<TokenizeRequest> DecodeTokenize(const App& app, std::string_view body);
Result<std::vector<Token>> DecodeDetokenize(const App& app, std::string_view body);

}  // namespace causeway::server
