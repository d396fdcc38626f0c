#include "server/api/openai_request.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <span>

#include "fmt/format.h"
#include "server/api/model_names.h"

namespace causeway::server {
namespace {

constexpr int64_t kMaxCount = int64_t{1} << 40;

Error Bad(std::string message, const char* param) {
  return MakeError(ErrorCode::kInvalidArgument, std::move(message), param);
}

Result<OrderedJson> ParseObject(std::string_view body) {
  ASSIGN_OR_RETURN(OrderedJson json, ParseOrderedJson(body));
  if (!json.is_object()) {
    return Bad("the body must be a JSON object", "");
  }
  return json;
}

Result<std::vector<int64_t>> ReadIds(const OrderedJson& json, const char* name) {
  if (!json.is_array()) {
    return Bad(fmt::format("{} must be a list of token ids", name), name);
  }
  std::vector<int64_t> ids;
  for (const OrderedJson& id : json) {
    const bool too_big = id.is_number_unsigned() && id.get<uint64_t>() > uint64_t{INT64_MAX};
    if (!id.is_number_integer() || too_big) {
      return Bad(fmt::format("{} must hold whole token ids", name), name);
    }
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

// Lists are counted here and not only by the engine: each of a request's prompts gets a copy.
void ReadStop(const App& app, JsonFields& fields, SamplingFields& out) {
  if (const OrderedJson* const stop = fields.Find("stop")) {
    const OrderedJson list = stop->is_array() ? *stop : OrderedJson::array({*stop});
    if (static_cast<int64_t>(list.size()) > app.server_limits.max_stop_strings) {
      return fields.Fail("stop", fmt::format("may hold at most {} strings", app.server_limits.max_stop_strings));
    }
    for (const OrderedJson& item : list) {
      if (!item.is_string()) {
        return fields.Fail("stop", "must be a string or a list of strings");
      }
      out.stop.push_back(item.get<std::string>());
    }
  }
  if (const OrderedJson* const ids = fields.Find("stop_token_ids")) {
    if (ids->size() > scheduler::kMaxStopTokenIds) {
      return fields.Fail("stop_token_ids", fmt::format("may hold at most {} ids", scheduler::kMaxStopTokenIds));
    }
    auto read = ReadIds(*ids, "stop_token_ids");
    if (!read.ok()) {
      return fields.Fail("stop_token_ids", "must be a list of token ids");
    }
    out.stop_token_ids = std::move(read).value();
  }
}

void ReadLogitBias(JsonFields& fields, SamplingFields& out) {
  const OrderedJson* const map = fields.Find("logit_bias");
  if (map == nullptr) {
    return;
  }
  if (!map->is_object()) {
    return fields.Fail("logit_bias", "must be an object of token ids and numbers");
  }
  if (map->size() > scheduler::kMaxLogitBias) {
    return fields.Fail("logit_bias", fmt::format("may hold at most {} entries", scheduler::kMaxLogitBias));
  }
  for (const auto& [key, value] : map->items()) {
    int64_t id = 0;
    const auto end = std::from_chars(key.data(), key.data() + key.size(), id);
    if (end.ec != std::errc() || end.ptr != key.data() + key.size() || !value.is_number()) {
      return fields.Fail("logit_bias", "must be an object of token ids and numbers");
    }
    out.logit_bias.emplace_back(id, value.get<double>());
  }
}

void ReadSampling(const App& app, JsonFields& fields, SamplingFields& out) {
  out.temperature = fields.Number("temperature", 0, 100);
  out.top_p = fields.Number("top_p", 0, 1);
  out.top_k = fields.Int("top_k", -1, INT32_MAX);
  out.min_p = fields.Number("min_p", 0, 1);
  out.repetition_penalty = fields.Number("repetition_penalty", 1e-3, 1e3);
  out.presence_penalty = fields.Number("presence_penalty", -2, 2);
  out.frequency_penalty = fields.Number("frequency_penalty", -2, 2);
  out.seed = fields.Int("seed", INT64_MIN, INT64_MAX);
  out.n = fields.Int("n", 1, app.limits.max_n);
  out.min_tokens = fields.Int("min_tokens", 0, kMaxCount);
  out.max_tokens = fields.Int("max_tokens", 0, kMaxCount);
  out.prompt_logprobs = fields.Int("prompt_logprobs", 0, app.limits.max_logprobs);
  out.ignore_eos = fields.Flag("ignore_eos").value_or(false);
  out.include_stop_str_in_output = fields.Flag("include_stop_str_in_output").value_or(false);
  out.skip_special_tokens = fields.Flag("skip_special_tokens").value_or(true);
  ReadStop(app, fields, out);
  ReadLogitBias(fields, out);
}

scheduler::Priority ReadPriority(JsonFields& fields) {
  // vLLM's: a lower number goes first; here three classes.
  const int64_t priority = fields.Int("priority", INT32_MIN, INT32_MAX).value_or(0);
  return priority < 0   ? scheduler::Priority::kHigh
         : priority > 0 ? scheduler::Priority::kLow
                        : scheduler::Priority::kNormal;
}

Result<StreamOptions> ReadStream(JsonFields& fields) {
  StreamOptions options;
  options.stream = fields.Flag("stream").value_or(false);
  if (const OrderedJson* const nested = fields.Find("stream_options")) {
    if (!options.stream) {
      return Bad("stream_options is only allowed when stream is true", "stream_options");
    }
    if (!nested->is_object()) {
      return Bad("stream_options must be an object", "stream_options");
    }
    JsonFields inner(*nested);
    options.include_usage = inner.Flag("include_usage").value_or(false);
    options.continuous_usage = inner.Flag("continuous_usage_stats").value_or(false);
    TRY(inner.Finish());
  }
  return options;
}

// Fields that would change the answer and are not served are refused, not ignored; fields that only hint are ignored.
// A value that turns the field off is fine: clients spell out their defaults.
constexpr const char* kUnserved[] = {"suffix",
                                     "functions",
                                     "guided_json",
                                     "guided_regex",
                                     "guided_choice",
                                     "guided_grammar",
                                     "structured_outputs",
                                     "structural_tag",
                                     "allowed_token_ids",
                                     "bad_words",
                                     "logits_processors",
                                     "use_beam_search",
                                     "prompt_embeds",
                                     "truncate_prompt_tokens",
                                     "return_tokens_as_token_ids",
                                     "audio",
                                     "web_search_options",
                                     "documents",
                                     "chat_template"};

bool IsOff(const OrderedJson& value) { return value == false || value == "" || (value.is_array() && value.empty()); }

Result<void> RefuseUnserved(const App& app, JsonFields& fields, std::initializer_list<const char*> more) {
  const auto refuse = [](const char* name, std::string_view what) {
    return MakeError(ErrorCode::kUnsupported, fmt::format("{}{} is not served", name, what), name);
  };
  for (const auto& names : {std::span<const char* const>(kUnserved), std::span<const char* const>(more)}) {
    for (const char* const name : names) {
      if (const OrderedJson* const value = fields.Find(name); value != nullptr && !IsOff(*value)) {
        return refuse(name, "");
      }
    }
  }
  if (const OrderedJson* const format = fields.Find("response_format")) {
    const auto type = format->is_object() ? format->find("type") : format->end();
    if (!format->is_object() || type == format->end() || *type != "text") {
      return refuse("response_format", " other than text");
    }
  }
  if (const OrderedJson* const modalities = fields.Find("modalities")) {
    if (*modalities != OrderedJson::array({"text"})) {
      return refuse("modalities", " other than text");
    }
  }
  // With best_of == n all answers are returned, which is what n alone does.
  if (fields.Int("best_of", 0, INT32_MAX).value_or(1) > fields.Int("n", 1, app.limits.max_n).value_or(1)) {
    return refuse("best_of", " above n");
  }
  if (const OrderedJson* const choice = fields.Find("tool_choice")) {
    if (*choice != "auto" && *choice != "none") {
      return refuse("tool_choice", " other than auto and none");
    }
  }
  return {};
}

// vLLM's prompt_logprobs: in the whole answer only.
Result<void> ReadPromptLogprobs(const SamplingFields& sampling, CompletionRequest& request) {
  request.wants_prompt_logprobs = sampling.prompt_logprobs.has_value();
  if (request.wants_prompt_logprobs && request.stream.stream) {
    return Bad("prompt_logprobs are not streamed", "prompt_logprobs");
  }
  return {};
}

bool IsIdList(const OrderedJson& json) { return json.is_array() && !json.empty() && json[0].is_number(); }

// string | [string] | [int] | [[int]]
Result<void> ReadPrompts(const App& app, const OrderedJson* prompt, const GenerateCall& base,
                         std::vector<GenerateCall>& calls) {
  if (prompt == nullptr && !base.state.empty()) {
    calls.push_back(base);  // goes on where the state ends
    calls.back().prompt = std::vector<int64_t>();
    return {};
  }
  if (prompt == nullptr) {
    return Bad("prompt is missing", "prompt");
  }
  const OrderedJson list = prompt->is_array() && !IsIdList(*prompt) ? *prompt : OrderedJson::array({*prompt});
  if (list.empty() || static_cast<int64_t>(list.size()) > app.server_limits.max_prompts_per_request) {
    return Bad(fmt::format("prompt must hold 1 to {} prompts", app.server_limits.max_prompts_per_request), "prompt");
  }
  for (const OrderedJson& item : list) {
    GenerateCall call = base;
    ASSIGN_OR_RETURN(call.prompt, ReadPrompt(item));
    calls.push_back(std::move(call));
  }
  return {};
}

// A content of parts becomes one string: text parts are all that is served.
Result<void> FlattenContent(OrderedJson& message) {
  const auto content = message.find("content");
  if (content == message.end() || !content->is_array()) {
    return {};
  }
  std::string text;
  for (const OrderedJson& part : *content) {
    const auto type = part.is_object() ? part.find("type") : part.end();
    if (!part.is_object() || type == part.end() || *type != "text" || !part.contains("text") ||
        !part["text"].is_string()) {
      return MakeError(ErrorCode::kUnsupported, "only text parts are served in a message's content", "messages");
    }
    text += part["text"].get<std::string>();
  }
  *content = text;
  return {};
}

Result<OrderedJson> ReadMessages(const OrderedJson* messages) {
  if (messages == nullptr || !messages->is_array() || messages->empty()) {
    return Bad("messages must be a list with at least one message", "messages");
  }
  OrderedJson out = *messages;
  for (OrderedJson& message : out) {
    if (!message.is_object() || !message.contains("role") || !message["role"].is_string()) {
      return Bad("each message must be an object with a role", "messages");
    }
    for (const char* optional : {"name", "tool_calls", "tool_call_id", "refusal", "audio", "function_call"}) {
      if (message.contains(optional) && message[optional].is_null()) {
        message.erase(optional);
      }
    }
    TRY(FlattenContent(message));
    const auto content = message.find("content");
    const bool has_text = content != message.end() && content->is_string();
    if (!has_text && !message.contains("tool_calls")) {
      if (content != message.end() && !content->is_null()) {
        return Bad("a message's content must be a string or a list of parts", "messages");
      }
      message["content"] = "";
    }
  }
  return out;
}

// `state` and `save_state`: the name, or {"name", "ttl"}. Going on with a conversation under its name is what states
// are for, so save_state replaces what is there.
void ReadStates(JsonFields& fields, GenerateCall& call) {
  if (const auto state = fields.Text("state")) {
    call.state = *state;
    if (state->empty()) {
      fields.Fail("state", "must not be empty");
    }
  }
  const OrderedJson* const save = fields.Find("save_state");
  if (save == nullptr) {
    return;
  }
  SaveTarget target;
  target.overwrite = true;
  if (save->is_string()) {
    target.name = save->get<std::string>();
  } else if (save->is_object()) {
    JsonFields inner(*save);
    target.name = inner.Text("name").value_or("");
    target.ttl = ReadTtl(inner);
    if (const auto read = inner.Finish(); !read.ok()) {
      return fields.Fail("save_state", "has a wrong field: " + read.error().message);
    }
  } else {
    return fields.Fail("save_state", "must be a name, or an object with name and ttl");
  }
  call.save = std::move(target);
}

}  // namespace

// A missing name is forgiven; a wrong one is not.
Result<AdapterRef> ReadModel(const App& app, JsonFields& fields) {
  return FindModelName(app, fields.Text("model").value_or(""));
}

Result<std::variant<std::string, std::vector<int64_t>, ChatPrompt>> ReadPrompt(const OrderedJson& prompt) {
  using Prompt = std::variant<std::string, std::vector<int64_t>, ChatPrompt>;
  if (prompt.is_string()) {
    return Prompt(prompt.get<std::string>());
  }
  if (IsIdList(prompt)) {
    ASSIGN_OR_RETURN(auto ids, ReadIds(prompt, "prompt"));
    return Prompt(std::move(ids));
  }
  return Bad("a prompt must be a string or token ids (where several are served: or a list of such)", "prompt");
}

std::optional<Duration> ReadTtl(JsonFields& fields) {
  constexpr double kTenYears = 10 * 366 * 86400.0;
  const auto seconds = fields.Number("ttl", 0.001, kTenYears);
  return seconds ? std::optional(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(*seconds)))
                 : std::nullopt;
}

Result<ChatPrompt> ReadChat(const App& app, JsonFields& fields) {
  ChatPrompt chat;
  ASSIGN_OR_RETURN(chat.messages, ReadMessages(fields.Find("messages")));
  if (const OrderedJson* const tools = fields.Find("tools")) {
    if (!tools->is_array() || static_cast<int64_t>(tools->size()) > app.server_limits.max_tools) {
      return Bad(fmt::format("tools must be a list of at most {}", app.server_limits.max_tools), "tools");
    }
    const OrderedJson* const choice = fields.Find("tool_choice");
    if (!tools->empty() && (choice == nullptr || *choice != "none")) {
      if (!app.template_takes_tools) {
        return MakeError(ErrorCode::kUnsupported, "this model's chat template takes no tools", "tools");
      }
      chat.tools = *tools;
    }
  }
  if (const OrderedJson* const kwargs = fields.Find("chat_template_kwargs")) {
    if (!kwargs->is_object()) {
      return Bad("chat_template_kwargs must be an object", "chat_template_kwargs");
    }
    chat.template_kwargs = *kwargs;
  }
  if (const auto effort = fields.Text("reasoning_effort")) {  // what it means is the template's business
    chat.template_kwargs = chat.template_kwargs.is_null() ? OrderedJson::object() : chat.template_kwargs;
    chat.template_kwargs.emplace("reasoning_effort", *effort);
  }
  chat.continue_final_message = fields.Flag("continue_final_message").value_or(false);
  chat.add_generation_prompt = fields.Flag("add_generation_prompt").value_or(!chat.continue_final_message);
  if (chat.continue_final_message && chat.add_generation_prompt) {
    return Bad("continue_final_message and add_generation_prompt exclude each other", "continue_final_message");
  }
  return chat;
}

Result<CompletionRequest> DecodeCompletion(const App& app, std::string_view body) {
  ASSIGN_OR_RETURN(const OrderedJson json, ParseObject(body));
  JsonFields fields(json);
  ASSIGN_OR_RETURN(AdapterRef adapter, ReadModel(app, fields));
  TRY(RefuseUnserved(app, fields, {"tools"}));
  CompletionRequest request;
  ASSIGN_OR_RETURN(request.stream, ReadStream(fields));
  GenerateCall base;
  base.adapter = std::move(adapter);
  ReadSampling(app, fields, base.sampling);
  base.sampling.logprobs = fields.Int("logprobs", 0, app.limits.max_logprobs);
  base.priority = ReadPriority(fields);
  base.cache_salt = fields.Text("cache_salt").value_or("");
  ReadStates(fields, base);
  base.add_special_tokens = fields.Flag("add_special_tokens").value_or(base.state.empty());
  request.echo = fields.Flag("echo").value_or(false);
  base.echo = request.echo;
  request.wants_logprobs = base.sampling.logprobs.has_value();
  request.return_token_ids = fields.Flag("return_token_ids").value_or(false);
  TRY(ReadPromptLogprobs(base.sampling, request));
  if (request.echo && request.wants_logprobs) {
    base.sampling.prompt_logprobs = std::max(base.sampling.logprobs, base.sampling.prompt_logprobs);
  }
  TRY(fields.Finish());
  TRY(ReadPrompts(app, fields.Find("prompt"), base, request.calls));
  if (base.save && request.calls.size() > 1) {
    return Bad("only one answer can become a state: give one prompt", "prompt");
  }
  return request;
}

Result<CompletionRequest> DecodeChat(const App& app, std::string_view body) {
  ASSIGN_OR_RETURN(const OrderedJson json, ParseObject(body));
  JsonFields fields(json);
  ASSIGN_OR_RETURN(AdapterRef adapter, ReadModel(app, fields));
  TRY(RefuseUnserved(app, fields, {"echo", "add_special_tokens"}));
  CompletionRequest request;
  request.chat = true;
  ASSIGN_OR_RETURN(request.stream, ReadStream(fields));
  GenerateCall call;
  call.adapter = std::move(adapter);
  ReadSampling(app, fields, call.sampling);
  if (const auto newer = fields.Int("max_completion_tokens", 0, kMaxCount)) {
    call.sampling.max_tokens = newer;
  }
  call.priority = ReadPriority(fields);
  call.cache_salt = fields.Text("cache_salt").value_or("");
  ReadStates(fields, call);
  request.wants_logprobs = fields.Flag("logprobs").value_or(false);
  const auto top = fields.Int("top_logprobs", 0, app.limits.max_logprobs);
  if (top.value_or(0) > 0 && !request.wants_logprobs) {
    return Bad("top_logprobs needs logprobs to be true", "top_logprobs");
  }
  if (request.wants_logprobs) {
    call.sampling.logprobs = top.value_or(0);
  }
  request.return_token_ids = fields.Flag("return_token_ids").value_or(false);
  TRY(ReadPromptLogprobs(call.sampling, request));
  ASSIGN_OR_RETURN(ChatPrompt chat, ReadChat(app, fields));
  call.prompt = std::move(chat);
  TRY(fields.Finish());
  request.calls.push_back(std::move(call));
  return request;
}

Result<TokenizeRequest> DecodeTokenize(const App& app, std::string_view body) {
  ASSIGN_OR_RETURN(const OrderedJson json, ParseObject(body));
  JsonFields fields(json);
  TRY(ReadModel(app, fields));
  TokenizeRequest request;
  request.return_token_strs = fields.Flag("return_token_strs").value_or(false);
  if (fields.Find("messages") != nullptr) {
    ASSIGN_OR_RETURN(ChatPrompt chat, ReadChat(app, fields));
    request.call.prompt = std::move(chat);
  } else {
    const auto prompt = fields.Text("prompt");
    if (!prompt) {
      return Bad("prompt must be a string (or give messages)", "prompt");
    }
    request.call.prompt = *prompt;
    request.call.add_special_tokens = fields.Flag("add_special_tokens").value_or(true);
  }
  TRY(fields.Finish());
  return request;
}

Result<std::vector<Token>> DecodeDetokenize(const App& app, std::string_view body) {
  ASSIGN_OR_RETURN(const OrderedJson json, ParseObject(body));
  JsonFields fields(json);
  TRY(ReadModel(app, fields));
  const OrderedJson* const list = fields.Find("tokens");
  if (list == nullptr) {
    return Bad("tokens is missing", "tokens");
  }
  ASSIGN_OR_RETURN(const auto ids, ReadIds(*list, "tokens"));
  std::vector<Token> tokens;
  for (const int64_t id : ids) {
    if (id < 0 || id >= app.limits.vocab) {
      return Bad(fmt::format("token id {} is out of range; the vocabulary has {} ids", id, app.limits.vocab), "tokens");
    }
    tokens.push_back(static_cast<Token>(id));
  }
  return tokens;
}

}  // namespace causeway::server
