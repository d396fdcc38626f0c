#include "server/api/openai_response.h"

#include <utility>

namespace causeway::server {
namespace {

const char* FinishName(FinishKind finish) { return finish == FinishKind::kStop ? "stop" : "length"; }

OrderedJson StopReasonJson(const GenerationEvent& done) {
  if (const auto* const text = std::get_if<std::string>(&done.stop_reason)) {
    return *text;
  }
  if (const auto* const token = std::get_if<Token>(&done.stop_reason)) {
    return *token;
  }
  return nullptr;
}

OrderedJson BytesJson(const std::string& bytes) {
  OrderedJson list = OrderedJson::array();
  for (const char c : bytes) {
    list.push_back(static_cast<int>(static_cast<unsigned char>(c)));
  }
  return list;
}

OrderedJson TokenJson(const std::string& bytes, float logprob) {
  return {{"token", bytes}, {"logprob", logprob}, {"bytes", BytesJson(bytes)}};
}

}  // namespace

OrderedJson UsageJson(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

OrderedJson ModelJson(const App& app, const std::string& name) {
  return {{"id", name},
          {"object", "model"},
          {"created", app.model.info.created},
          {"owned_by", "causeway"},
          {"root", app.model.info.name},
          {"max_model_len", app.limits.max_model_len}};
}

ResponseBuilder::ResponseBuilder(const App& app, const CompletionRequest& request, std::string id,
                                 int64_t created)
    : app_(app), request_(request), id_(std::move(id)), created_(created) {}

ResponseBuilder::Choice& ResponseBuilder::At(int choice) {
  if (static_cast<size_t>(choice) >= choices_.size()) {
    choices_.resize(static_cast<size_t>(choice) + 1);
  }
  return choices_[static_cast<size_t>(choice)];
}

OrderedJson ResponseBuilder::Envelope(const char* object) const {
  return {{"id", id_},
          {"object", object},
          {"created", created_},
          {"model", app_.served_names.front()},
          {"system_fingerprint", app_.system_fingerprint},
          {"choices", OrderedJson::array()}};
}

OrderedJson ResponseBuilder::ChatLogprobs(const std::vector<TokenInfo>& tokens) const {
  OrderedJson content = OrderedJson::array();
  for (const TokenInfo& token : tokens) {
    OrderedJson entry = TokenJson(token.bytes, token.logprob);
    entry["top_logprobs"] = OrderedJson::array();
    for (const TokenInfo::Alternative& other : token.top) {
      entry["top_logprobs"].push_back(TokenJson(other.bytes, other.logprob));
    }
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}};
}

// OpenAI's older form: four parallel lists.
void ResponseBuilder::AppendCompletionLogprobs(Choice& choice, const std::vector<TokenInfo>& tokens,
                                               OrderedJson& out) const {
  if (out.is_null()) {
    out = {{"tokens", OrderedJson::array()},
           {"token_logprobs", OrderedJson::array()},
           {"top_logprobs", OrderedJson::array()},
           {"text_offset", OrderedJson::array()}};
  }
  for (const TokenInfo& token : tokens) {
    out["tokens"].push_back(token.bytes);
    out["token_logprobs"].push_back(token.has_logprob ? OrderedJson(token.logprob) : OrderedJson(nullptr));
    OrderedJson top = nullptr;
    if (token.has_logprob) {
      top = OrderedJson::object();
      for (const TokenInfo::Alternative& other : token.top) {
        top[other.bytes] = other.logprob;
      }
    }
    out["top_logprobs"].push_back(std::move(top));
    out["text_offset"].push_back(choice.text_offset);
    choice.text_offset += static_cast<int64_t>(token.bytes.size());
  }
}

OrderedJson ResponseBuilder::LogprobsOf(Choice& choice, const std::vector<TokenInfo>& tokens) const {
  if (!request_.wants_logprobs) {
    return nullptr;
  }
  if (request_.chat) {
    return ChatLogprobs(tokens);
  }
  OrderedJson out;
  AppendCompletionLogprobs(choice, tokens, out);
  return out;
}

std::string ResponseBuilder::Chunk(int choice, const GenerationEvent& delta, const Usage& so_far) {
  Choice& state = At(choice);
  OrderedJson body = Envelope(request_.chat ? "chat.completion.chunk" : "text_completion");
  OrderedJson entry = {{"index", choice}};
  if (request_.chat) {
    OrderedJson content = OrderedJson::object();
    if (!std::exchange(state.role_sent, true)) {
      content["role"] = "assistant";  // with the first real output: harnesses time this chunk
    }
    content["content"] = delta.text;
    entry["delta"] = std::move(content);
  } else {
    entry["text"] = delta.text;
  }
  entry["logprobs"] = LogprobsOf(state, delta.tokens);
  entry["finish_reason"] = nullptr;
  if (request_.return_token_ids) {
    entry["token_ids"] = OrderedJson::array();
    for (const TokenInfo& token : delta.tokens) {
      entry["token_ids"].push_back(token.token);
    }
  }
  body["choices"].push_back(std::move(entry));
  if (request_.stream.include_usage) {
    body["usage"] = request_.stream.continuous_usage ? UsageJson(so_far) : OrderedJson(nullptr);
  }
  return DumpJson(body);
}

std::string ResponseBuilder::FinishChunk(int choice, const GenerationEvent& done, const Usage& so_far) {
  Choice& state = At(choice);
  OrderedJson body = Envelope(request_.chat ? "chat.completion.chunk" : "text_completion");
  OrderedJson entry = {{"index", choice}};
  if (request_.chat) {
    entry["delta"] = OrderedJson::object();
    if (!std::exchange(state.role_sent, true)) {
      entry["delta"] = {{"role", "assistant"}, {"content", ""}};
    }
  } else {
    entry["text"] = "";
  }
  entry["logprobs"] = nullptr;
  entry["finish_reason"] = FinishName(done.finish);
  entry["stop_reason"] = StopReasonJson(done);
  body["choices"].push_back(std::move(entry));
  if (request_.stream.include_usage) {
    body["usage"] = request_.stream.continuous_usage ? UsageJson(so_far) : OrderedJson(nullptr);
  }
  return DumpJson(body);
}

std::string ResponseBuilder::UsageChunk(const Usage& usage) {
  OrderedJson body = Envelope(request_.chat ? "chat.completion.chunk" : "text_completion");
  body["usage"] = UsageJson(usage);
  return DumpJson(body);
}

void ResponseBuilder::StartPrompt(int first_choice, int n, const GenerationEvent& started) {
  for (int i = 0; i < n; ++i) {
    Choice& choice = At(first_choice + i);
    choice.text = started.text;
    if (request_.wants_logprobs && request_.echo && !request_.chat) {
      AppendCompletionLogprobs(choice, started.prompt, choice.logprobs);
    }
  }
}

void ResponseBuilder::Add(int choice, const GenerationEvent& delta) {
  Choice& state = At(choice);
  state.text += delta.text;
  for (const TokenInfo& token : delta.tokens) {
    state.token_ids.push_back(token.token);
  }
  if (!request_.wants_logprobs) {
    return;
  }
  if (!request_.chat) {
    return AppendCompletionLogprobs(state, delta.tokens, state.logprobs);
  }
  OrderedJson more = ChatLogprobs(delta.tokens);
  if (state.logprobs.is_null()) {
    state.logprobs = std::move(more);
  } else {
    for (OrderedJson& entry : more["content"]) {
      state.logprobs["content"].push_back(std::move(entry));
    }
  }
}

void ResponseBuilder::Finish(int choice, const GenerationEvent& done) {
  At(choice).finish_reason = FinishName(done.finish);
  At(choice).stop_reason = StopReasonJson(done);
}

std::string ResponseBuilder::Whole(const Usage& usage) {
  OrderedJson body = Envelope(request_.chat ? "chat.completion" : "text_completion");
  for (size_t i = 0; i < choices_.size(); ++i) {
    Choice& choice = choices_[i];
    OrderedJson entry = {{"index", i}};
    if (request_.chat) {
      entry["message"] = {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
    } else {
      entry["text"] = choice.text;
    }
    entry["logprobs"] = std::move(choice.logprobs);
    entry["finish_reason"] = choice.finish_reason;
    entry["stop_reason"] = choice.stop_reason;
    if (request_.return_token_ids) {
      entry["token_ids"] = choice.token_ids;
    }
    body["choices"].push_back(std::move(entry));
  }
  body["usage"] = UsageJson(usage);
  return DumpJson(body);
}

}  // namespace causeway::server
