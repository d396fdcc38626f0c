#include "server/grpc/convert.h"

#include <algorithm>

#include "base/json.h"
#include "fmt/format.h"
#include "server/api/model_names.h"

namespace causeway::server {
namespace {

template <typename T, typename Has>
std::optional<T> Optional(Has has, T value) {
  return has ? std::optional<T>(value) : std::nullopt;
}

Error Bad(std::string message, const char* field) {
  return MakeError(ErrorCode::kInvalidArgument, std::move(message), field);
}

// Ids stand in logs and responses: short and printable.
Result<void> CheckRequestId(const std::string& id) {
  const bool printable = std::all_of(id.begin(), id.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (id.size() > 128 || !printable) {
    return Bad("request_id must be at most 128 printable characters without blanks", "request_id");
  }
  return {};
}

// Counted before they are copied.
Result<void> CheckCounts(const App& app, const v1::SamplingParams& in) {
  const auto check = [](const char* field, int64_t size, int64_t most) -> Result<void> {
    return size <= most ? Result<void>() : Bad(fmt::format("{} may hold at most {} entries", field, most), field);
  };
  TRY(check("stop", in.stop_size(), app.server_limits.max_stop_strings));
  TRY(check("stop_token_ids", in.stop_token_ids_size(), scheduler::kMaxStopTokenIds));
  return check("logit_bias", static_cast<int64_t>(in.logit_bias().size()), scheduler::kMaxLogitBias);
}

SamplingFields ToSampling(const v1::SamplingParams& in) {
  SamplingFields out;
  out.temperature = Optional<double>(in.has_temperature(), in.temperature());
  out.top_k = Optional<int64_t>(in.has_top_k(), in.top_k());
  out.top_p = Optional<double>(in.has_top_p(), in.top_p());
  out.min_p = Optional<double>(in.has_min_p(), in.min_p());
  out.repetition_penalty = Optional<double>(in.has_repetition_penalty(), in.repetition_penalty());
  out.presence_penalty = Optional<double>(in.has_presence_penalty(), in.presence_penalty());
  out.frequency_penalty = Optional<double>(in.has_frequency_penalty(), in.frequency_penalty());
  out.seed = Optional<int64_t>(in.has_seed(), in.seed());
  out.max_tokens = Optional<int64_t>(in.has_max_tokens(), in.max_tokens());
  out.min_tokens = Optional<int64_t>(in.has_min_tokens(), in.min_tokens());
  out.n = Optional<int64_t>(in.has_n(), in.n());
  out.logprobs = Optional<int64_t>(in.has_logprobs(), in.logprobs());
  out.prompt_logprobs = Optional<int64_t>(in.has_prompt_logprobs(), in.prompt_logprobs());
  for (const auto& [id, bias] : in.logit_bias()) {
    out.logit_bias.emplace_back(id, bias);
  }
  std::sort(out.logit_bias.begin(), out.logit_bias.end());  // a proto map has no order
  out.stop.assign(in.stop().begin(), in.stop().end());
  out.stop_token_ids.assign(in.stop_token_ids().begin(), in.stop_token_ids().end());
  out.ignore_eos = in.ignore_eos();
  out.include_stop_str_in_output = in.include_stop_str_in_output();
  out.skip_special_tokens = !in.has_skip_special_tokens() || in.skip_special_tokens();
  return out;
}

Result<OrderedJson> ParseOr(const std::string& text, const char* field) {
  if (text.empty()) {
    return OrderedJson(nullptr);
  }
  auto json = ParseOrderedJson(text);
  if (!json.ok()) {
    return Bad(std::string(field) + ": " + json.error().message, field);
  }
  return json;
}

Result<void> CheckTools(const App& app, OrderedJson& tools) {
  if (tools.is_null()) {
    return {};
  }
  if (!tools.is_array() || static_cast<int64_t>(tools.size()) > app.server_limits.max_tools) {
    return Bad(fmt::format("tools_json must be a JSON array of at most {}", app.server_limits.max_tools), "tools_json");
  }
  if (tools.empty()) {
    tools = nullptr;
  } else if (!app.template_takes_tools) {
    return MakeError(ErrorCode::kUnsupported, "this model's chat template takes no tools", "tools_json");
  }
  return {};
}

scheduler::Priority ToPriority(v1::Priority priority) {
  switch (priority) {
    case v1::PRIORITY_HIGH: return scheduler::Priority::kHigh;
    case v1::PRIORITY_LOW: return scheduler::Priority::kLow;
    default: return scheduler::Priority::kNormal;
  }
}

void FillLogprob(const TokenInfo& in, v1::TokenLogprob& out) {
  out.set_token_id(in.token);
  out.set_token(in.bytes);
  if (in.has_logprob) {
    out.set_logprob(in.logprob);
  }
  for (const TokenInfo::Alternative& other : in.top) {
    auto& top = *out.add_top();
    top.set_token_id(other.token);
    top.set_token(other.bytes);
    top.set_logprob(other.logprob);
  }
}

void FillDelta(const GenerationEvent& event, v1::Delta& delta) {
  delta.set_index(event.index);
  delta.set_text(event.text);
  for (const TokenInfo& token : event.tokens) {
    delta.add_token_ids(token.token);
    if (token.has_logprob) {
      FillLogprob(token, *delta.add_logprobs());
    }
  }
}

void FillDone(const GenerationEvent& event, v1::SequenceDone& done) {
  done.set_index(event.index);
  done.set_finish_reason(event.finish == FinishKind::kStop ? v1::FINISH_REASON_STOP : v1::FINISH_REASON_LENGTH);
  if (const auto* const text = std::get_if<std::string>(&event.stop_reason)) {
    done.set_stop_string(*text);
  } else if (const auto* const token = std::get_if<Token>(&event.stop_reason)) {
    done.set_stop_token_id(*token);
  }
}

}  // namespace

Result<ChatPrompt> ToChat(const App& app, const v1::ChatPrompt& in) {
  ChatPrompt chat;
  chat.messages = OrderedJson::array();
  for (const v1::ChatMessage& message : in.messages()) {
    OrderedJson out = {{"role", message.role()}};
    out["content"] = message.has_content() ? message.content() : "";
    if (message.has_name()) {
      out["name"] = message.name();
    }
    if (message.has_tool_call_id()) {
      out["tool_call_id"] = message.tool_call_id();
    }
    if (message.has_reasoning_content()) {
      out["reasoning_content"] = message.reasoning_content();
    }
    ASSIGN_OR_RETURN(OrderedJson calls, ParseOr(message.tool_calls_json(), "tool_calls_json"));
    if (!calls.is_null()) {
      if (!calls.is_array()) {
        return Bad("tool_calls_json must be a JSON array", "tool_calls_json");
      }
      out["tool_calls"] = std::move(calls);
    }
    chat.messages.push_back(std::move(out));
  }
  if (chat.messages.empty()) {
    return Bad("a chat needs at least one message", "messages");
  }
  ASSIGN_OR_RETURN(chat.tools, ParseOr(in.tools_json(), "tools_json"));
  TRY(CheckTools(app, chat.tools));
  ASSIGN_OR_RETURN(chat.template_kwargs, ParseOr(in.template_kwargs_json(), "template_kwargs_json"));
  if (!chat.template_kwargs.is_null() && !chat.template_kwargs.is_object()) {
    return Bad("template_kwargs_json must be a JSON object", "template_kwargs_json");
  }
  if (in.continue_final_message() && in.has_add_generation_prompt() && in.add_generation_prompt()) {
    return Bad("continue_final_message and add_generation_prompt exclude each other", "continue_final_message");
  }
  chat.continue_final_message = in.continue_final_message();
  chat.add_generation_prompt =
      in.has_add_generation_prompt() ? in.add_generation_prompt() : !chat.continue_final_message;
  return chat;
}

Result<GenerateCall> ToCall(const App& app, const v1::GenerateRequest& request) {
  ASSIGN_OR_RETURN(AdapterRef adapter, FindModelName(app, request.model()));
  TRY(CheckRequestId(request.request_id()));
  TRY(CheckCounts(app, request.sampling()));
  GenerateCall call;
  call.adapter = std::move(adapter);
  call.request_id = request.request_id();
  call.sampling = ToSampling(request.sampling());
  call.add_special_tokens = !request.has_add_special_tokens() || request.add_special_tokens();
  call.echo = request.echo();
  call.priority = ToPriority(request.priority());
  call.cache_salt = request.cache_salt();
  call.state = request.state();
  if (!call.state.empty() && !request.has_add_special_tokens()) {
    call.add_special_tokens = false;
  }
  if (request.has_save_state()) {
    SaveTarget& save = call.save.emplace();
    save.name = request.save_state().name();
    save.overwrite = true;
    if (request.save_state().has_ttl_seconds()) {
      ASSIGN_OR_RETURN(save.ttl, ToTtl(request.save_state().ttl_seconds()));
    }
  }
  call.arrival = Clock::now();
  switch (request.prompt_case()) {
    case v1::GenerateRequest::kText: call.prompt = request.text(); return call;
    case v1::GenerateRequest::kTokenIds:
      call.prompt = std::vector<int64_t>(request.token_ids().ids().begin(), request.token_ids().ids().end());
      return call;
    case v1::GenerateRequest::kChat: {
      ASSIGN_OR_RETURN(call.prompt, ToChat(app, request.chat()));
      return call;
    }
    case v1::GenerateRequest::PROMPT_NOT_SET: break;
  }
  if (!call.state.empty()) {
    call.prompt = std::vector<int64_t>();  // goes on where the state ends
    return call;
  }
  return MakeError(ErrorCode::kInvalidArgument, "the request has no prompt", "prompt");
}

Result<GenerateCall> ToCall(const App& app, const v1::TokenizeRequest& request) {
  TRY(FindModelName(app, request.model()));
  GenerateCall call;
  call.add_special_tokens = !request.has_add_special_tokens() || request.add_special_tokens();
  if (request.has_chat()) {
    ASSIGN_OR_RETURN(call.prompt, ToChat(app, request.chat()));
  } else {
    call.prompt = request.text();
  }
  return call;
}

v1::GenerateResponse ToResponse(const App& app, const AnsweredCall& call, const GenerationEvent& event) {
  v1::GenerateResponse response;
  switch (event.kind) {
    case GenerationEvent::Kind::kStarted: {
      v1::Started& started = *response.mutable_started();
      started.set_request_id(call.request_id);
      started.set_model(call.model);
      started.set_prompt_tokens(event.usage.prompt_tokens);
      started.set_system_fingerprint(app.system_fingerprint);
      for (const TokenInfo& token : event.prompt) {
        FillLogprob(token, *started.add_prompt_logprobs());
      }
      break;
    }
    case GenerationEvent::Kind::kDelta: FillDelta(event, *response.mutable_delta()); break;
    case GenerationEvent::Kind::kSequenceDone: FillDone(event, *response.mutable_sequence_done()); break;
    case GenerationEvent::Kind::kDone: {
      v1::Usage& usage = *response.mutable_done()->mutable_usage();
      usage.set_prompt_tokens(event.usage.prompt_tokens);
      usage.set_completion_tokens(event.usage.completion_tokens);
      usage.set_cached_tokens(event.usage.cached_tokens);
      if (event.saved && event.saved->ok()) {
        FillState(app, **event.saved, *response.mutable_done()->mutable_saved_state());
      } else if (event.saved) {
        response.mutable_done()->set_save_error(event.saved->error().message);
      }
      break;
    }
    case GenerationEvent::Kind::kFailed: break;
  }
  return response;
}

void FillModel(const App& app, const std::string& name, const AdapterRef& adapter, v1::Model& model) {
  const model::ModelInfo& info = app.model.info;
  model.set_id(name);
  model.set_root(adapter != nullptr ? adapter->adapter->path() : info.name);
  model.set_parent(adapter != nullptr ? app.served_names.front() : std::string());
  model.set_created(adapter != nullptr ? adapter->created_unix : info.created);
  model.set_max_model_len(app.limits.max_model_len);
  model.set_family(info.family);
  model.set_weight_dtype(info.weight_dtype);
  model.set_parameters(info.parameters);
  model.set_vocab_size(info.vocab);
}

}  // namespace causeway::server
