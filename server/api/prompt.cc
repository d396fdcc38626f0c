#include "server/api/prompt.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <string>

#include "fmt/format.h"
#include "model/tokenizer/tokenizer.h"
#include "server/api/adapters.h"
#include "server/api/states.h"
#include "server/template/template.h"

namespace causeway::server {
namespace {

constexpr int64_t kDefaultMaxTokens = 16;  // of text prompts, as OpenAI's

Error NeedsTokenizer() {
  return MakeError(ErrorCode::kUnsupported, "this model has no tokenizer.json: give the prompt as token ids", "prompt");
}

int64_t UnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

TemplateContext MakeContext(const App& app, const ChatPrompt& chat) {
  TemplateContext context;
  if (chat.template_kwargs.is_object()) {
    context.values = chat.template_kwargs;
  }
  const model::ChatFormat& format = app.model.chat;
  const auto set = [&](const char* name, OrderedJson value) {
    context.values[name] = std::move(value);
    context.trusted_names.emplace_back(name);
  };
  set("bos_token", format.bos_token);
  set("eos_token", format.eos_token);
  set("pad_token", format.pad_token);
  set("unk_token", format.unk_token);
  set("add_generation_prompt", chat.add_generation_prompt);
  context.values["messages"] = chat.messages;
  context.values["tools"] = chat.tools;
  context.now_unix_seconds = UnixSeconds();
  return context;
}

// continue_final_message: the rendering ends right behind the last message's own text.
Result<void> CutBehindLastMessage(const ChatPrompt& chat, std::vector<TemplatePiece>& pieces) {
  const OrderedJson& last = chat.messages.back();
  const auto content = last.find("content");
  if (content == last.end() || !content->is_string()) {
    return MakeError(ErrorCode::kInvalidArgument, "continue_final_message needs a last message with text",
                     "continue_final_message");
  }
  while (!pieces.empty() && pieces.back().trusted) {
    pieces.pop_back();
  }
  return {};
}

template <typename T>
T Pick(const std::optional<T>& asked, std::optional<T> configured, T built_in) {
  return asked ? *asked : configured ? *configured : built_in;
}

std::optional<double> Widen(const std::optional<float>& value) {
  return value ? std::optional<double>(*value) : std::nullopt;
}

// A number that a float can hold: 1e39 is a client's error, not infinity.
Result<float> ToFloat(const char* name, double value) {
  if (!(std::fabs(value) <= static_cast<double>(std::numeric_limits<float>::max()))) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("{} is out of range", name), name);
  }
  return static_cast<float>(value);
}

Result<int> ToInt(const char* name, int64_t value) {
  if (value < std::numeric_limits<int>::min() || value > std::numeric_limits<int>::max()) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("{} is out of range", name), name);
  }
  return static_cast<int>(value);
}

Result<Token> ToToken(const char* name, int64_t id, int64_t vocab) {
  if (id < 0 || id >= vocab) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("{}: token id {} is out of range; the vocabulary has {} ids", name, id, vocab), name);
  }
  return static_cast<Token>(id);
}

Result<scheduler::SamplingParams> ResolveSampling(const App& app, const SamplingFields& asked) {
  const model::GenerationDefaults& defaults = app.defaults;
  scheduler::SamplingParams params;
  ASSIGN_OR_RETURN(params.temperature,
                   ToFloat("temperature", Pick(asked.temperature, Widen(defaults.temperature), 1.0)));
  ASSIGN_OR_RETURN(params.top_p, ToFloat("top_p", Pick(asked.top_p, Widen(defaults.top_p), 1.0)));
  ASSIGN_OR_RETURN(params.min_p, ToFloat("min_p", Pick(asked.min_p, Widen(defaults.min_p), 0.0)));
  ASSIGN_OR_RETURN(
      params.repetition_penalty,
      ToFloat("repetition_penalty", Pick(asked.repetition_penalty, Widen(defaults.repetition_penalty), 1.0)));
  ASSIGN_OR_RETURN(params.presence_penalty, ToFloat("presence_penalty", asked.presence_penalty.value_or(0)));
  ASSIGN_OR_RETURN(params.frequency_penalty, ToFloat("frequency_penalty", asked.frequency_penalty.value_or(0)));
  const int64_t top_k = asked.top_k ? *asked.top_k : defaults.top_k.value_or(0);
  ASSIGN_OR_RETURN(params.top_k, ToInt("top_k", top_k));
  ASSIGN_OR_RETURN(params.logprobs, ToInt("logprobs", asked.logprobs.value_or(-1)));
  ASSIGN_OR_RETURN(params.prompt_logprobs, ToInt("prompt_logprobs", asked.prompt_logprobs.value_or(-1)));
  params.seed = static_cast<uint64_t>(asked.seed.value_or(0));
  for (const auto& [id, bias] : asked.logit_bias) {
    ASSIGN_OR_RETURN(const Token token, ToToken("logit_bias", id, app.limits.vocab));
    ASSIGN_OR_RETURN(const float value, ToFloat("logit_bias", bias));
    params.logit_bias.push_back({token, value});
  }
  return params;
}

Result<scheduler::StopParams> ResolveStop(const App& app, const GenerateCall& call, int64_t prompt) {
  const SamplingFields& asked = call.sampling;
  scheduler::StopParams stop;
  const int64_t rest = std::max<int64_t>(0, app.limits.max_model_len - prompt);
  const bool chat = std::holds_alternative<ChatPrompt>(call.prompt);
  stop.max_tokens = asked.max_tokens.value_or(chat ? rest : std::min(rest, kDefaultMaxTokens));
  if (!asked.max_tokens && rest == 0) {
    stop.max_tokens = 1;  // lets validation say that the prompt alone is too long, with both numbers
  }
  stop.min_tokens = asked.min_tokens.value_or(0);
  stop.ignore_eos = asked.ignore_eos;
  stop.eos_ids = app.defaults.eos_ids;
  for (const int64_t id : asked.stop_token_ids) {
    ASSIGN_OR_RETURN(const Token token, ToToken("stop_token_ids", id, app.limits.vocab));
    stop.stop_token_ids.push_back(token);
  }
  return stop;
}

Result<void> CheckStopStrings(const App& app, const std::vector<std::string>& stops) {
  if (static_cast<int64_t>(stops.size()) > app.server_limits.max_stop_strings) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("at most {} stop strings", app.server_limits.max_stop_strings), "stop");
  }
  for (const std::string& stop : stops) {
    if (stop.empty() || static_cast<int64_t>(stop.size()) > app.server_limits.max_stop_bytes) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("a stop string must have 1 to {} bytes", app.server_limits.max_stop_bytes), "stop");
    }
  }
  return {};
}

}  // namespace

Result<std::vector<Token>> EncodeChat(const App& app, const ChatPrompt& chat) {
  if (app.model.tokenizer == nullptr) {
    return NeedsTokenizer();
  }
  if (app.chat_template == nullptr) {
    return MakeError(ErrorCode::kUnsupported,
                     "this model has no chat template: use /v1/completions, or start with --chat-template", "messages");
  }
  ASSIGN_OR_RETURN(auto rendered, app.chat_template->Render(MakeContext(app, chat)));
  if (chat.continue_final_message) {
    TRY(CutBehindLastMessage(chat, rendered));
  }
  std::vector<model::Tokenizer::Piece> pieces;
  for (TemplatePiece& piece : rendered) {
    pieces.push_back({std::move(piece.text), piece.trusted});
  }
  return app.model.tokenizer->EncodePieces(pieces, false);
}

Result<std::vector<Token>> EncodePrompt(const App& app, const GenerateCall& call) {
  if (const auto* const chat = std::get_if<ChatPrompt>(&call.prompt)) {
    return EncodeChat(app, *chat);
  }
  if (const auto* const text = std::get_if<std::string>(&call.prompt)) {
    if (app.model.tokenizer == nullptr) {
      return NeedsTokenizer();
    }
    return app.model.tokenizer->Encode(*text, {.add_special_tokens = call.add_special_tokens});
  }
  std::vector<Token> ids;
  for (const int64_t id : std::get<std::vector<int64_t>>(call.prompt)) {
    ASSIGN_OR_RETURN(const Token token, ToToken("prompt", id, app.limits.vocab));
    ids.push_back(token);
  }
  return ids;
}

std::optional<ChatPrompt> ConversationOf(const GenerateCall& call, const StateContent* state) {
  const auto* const chat = std::get_if<ChatPrompt>(&call.prompt);
  if (chat == nullptr || (state != nullptr && !state->chat)) {
    return std::nullopt;
  }
  if (state == nullptr) {
    return *chat;
  }
  ChatPrompt all = *chat;
  all.messages = state->chat->messages;
  all.messages.insert(all.messages.end(), chat->messages.begin(), chat->messages.end());
  all.tools = chat->tools.is_null() ? state->chat->tools : chat->tools;
  all.template_kwargs = chat->template_kwargs.is_null() ? state->chat->template_kwargs : chat->template_kwargs;
  return all;
}

Result<std::vector<Token>> EncodePromptBehind(const App& app, const GenerateCall& call, const StateContent* state) {
  if (state == nullptr) {
    return EncodePrompt(app, call);
  }
  if (const auto conversation = ConversationOf(call, state)) {
    return EncodeChat(app, *conversation);
  }
  ASSIGN_OR_RETURN(const std::vector<Token> more, EncodePrompt(app, call));
  const bool chat = std::holds_alternative<ChatPrompt>(call.prompt);
  const auto begin = chat ? app.model.tokenizer->TokenId(app.model.chat.bos_token) : std::nullopt;
  std::vector<Token> tokens = state->tokens;
  tokens.insert(tokens.end(), more.begin() + (begin && !more.empty() && more.front() == *begin ? 1 : 0), more.end());
  return tokens;
}

std::shared_ptr<const scheduler::Adapter> AdapterOf(const GenerateCall& call) {
  if (call.adapter == nullptr) {
    return nullptr;
  }
  return {call.adapter, call.adapter->adapter.get()};  // holds the table's entry: that is how it knows of the use
}

namespace {

Result<void> CheckState(const GenerateCall& call, const StateContent* state) {
  if (call.save && call.sampling.n.value_or(1) != 1) {
    return MakeError(ErrorCode::kInvalidArgument, "only one answer can become a state: n must be 1", "n");
  }
  if (state == nullptr) {
    return {};
  }
  if (call.echo) {
    return MakeError(ErrorCode::kInvalidArgument, "echo and state exclude each other", "echo");
  }
  if (!call.cache_salt.empty() && call.cache_salt != state->cache_salt) {
    return MakeError(ErrorCode::kInvalidArgument, "the state was made with another cache_salt; its own holds",
                     "cache_salt");
  }
  if (StateAdapterOf(call).digest != state->adapter.digest) {
    return MakeError(ErrorCode::kInvalidArgument,
                     state->adapter.name.empty()
                         ? "the state was made without an adapter"
                         : fmt::format("the state was made with the adapter '{}'; name that as the model, as it was "
                                       "loaded then",
                                       state->adapter.name),
                     "model");
  }
  return {};
}

}  // namespace

Result<scheduler::GenerateRequest> MakeRequest(const App& app, const GenerateCall& call, const StateContent* state) {
  TRY(CheckStopStrings(app, call.sampling.stop));
  TRY(CheckState(call, state));
  scheduler::GenerateRequest request;
  request.id = call.request_id.substr(0, 128);
  ASSIGN_OR_RETURN(request.prompt, EncodePromptBehind(app, call, state));
  ASSIGN_OR_RETURN(request.sampling, ResolveSampling(app, call.sampling));
  ASSIGN_OR_RETURN(request.stop, ResolveStop(app, call, static_cast<int64_t>(request.prompt.size())));
  ASSIGN_OR_RETURN(request.n, ToInt("n", call.sampling.n.value_or(1)));
  request.priority = call.priority;
  request.cache_salt = state != nullptr ? state->cache_salt : call.cache_salt;
  request.tenant = call.tenant;
  request.adapter = AdapterOf(call);
  request.pin = call.save.has_value();
  request.arrival = call.arrival;
  request.queue_deadline = call.arrival + app.server_limits.queue_timeout;
  request.run_deadline = std::min(call.deadline, call.arrival + app.server_limits.request_timeout);
  return request;
}

}  // namespace causeway::server
