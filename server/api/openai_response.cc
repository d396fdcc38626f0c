#include "server/api/openai_response.h"

#include <algorithm>
#include <string>
#include <utility>

#include "fmt/format.h"
#include "model/tokenizer/utf8.h"
#include "server/api/model_names.h"
#include "server/api/status.h"

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

// JSON has no infinity; clients know this one.
float Finite(float logprob) { return std::max(logprob, -9999.0F); }

OrderedJson TokenJson(const std::string& bytes, float logprob) {
  return {{"token", bytes}, {"logprob", Finite(logprob)}, {"bytes", BytesJson(bytes)}};
}

// A token in the older form, which has no list of bytes: part of a character is spelled "bytes:\xe2\x80".
std::string TokenName(const std::string& bytes) {
  if (model::tokenizer::IsValidUtf8(bytes)) {
    return bytes;
  }
  std::string name = "bytes:";
  for (const char c : bytes) {
    name += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return name;
}

// Characters that begin in `bytes`.
int64_t Characters(const std::string& bytes) {
  return std::count_if(bytes.begin(), bytes.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

// vLLM's form: null, or {id: {logprob, rank, decoded_token}}; the rank of the prompt's own token is known only if it is
// one of the likeliest.
OrderedJson PromptLogprobsJson(const std::vector<TokenInfo>& prompt) {
  OrderedJson list = OrderedJson::array();
  for (const TokenInfo& token : prompt) {
    OrderedJson entry = nullptr;
    if (token.has_logprob) {
      entry = OrderedJson::object();
      int rank = 0;
      for (const TokenInfo::Alternative& other : token.top) {
        entry[std::to_string(other.token)] = {
            {"logprob", Finite(other.logprob)}, {"rank", ++rank}, {"decoded_token", other.bytes}};
      }
      const std::string own = std::to_string(token.token);
      if (!entry.contains(own)) {
        entry[own] = {{"logprob", Finite(token.logprob)}, {"rank", nullptr}, {"decoded_token", token.bytes}};
      }
    }
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace

OrderedJson UsageJson(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

OrderedJson StateJson(const App& app, const StateInfo& state) {
  return {{"object", "state"},
          {"name", state.name},
          {"tokens", state.tokens},
          {"pages", state.pages},
          {"bytes", state.pages * app.kv.geometry().page_bytes},
          {"pinned", state.pages > 0},
          {"created", state.created_unix},
          {"expires_at", state.expires_unix ? OrderedJson(*state.expires_unix) : OrderedJson(nullptr)},
          {"uses", state.uses},
          {"adapter", state.adapter.empty() ? OrderedJson(nullptr) : OrderedJson(state.adapter)}};
}

OrderedJson ModelJson(const App& app, const std::string& name) {
  return {{"id", name},
          {"object", "model"},
          {"created", app.model.info.created},
          {"owned_by", "causeway"},
          {"root", app.model.info.name},
          {"parent", nullptr},
          {"max_model_len", app.limits.max_model_len}};
}

OrderedJson AdapterJson(const App& app, const LoadedAdapter& adapter) {
  return {{"id", adapter.name()},
          {"object", "model"},
          {"created", adapter.created_unix},
          {"owned_by", "causeway"},
          {"root", adapter.adapter->path()},
          {"parent", app.served_names.front()},
          {"max_model_len", app.limits.max_model_len}};
}

ResponseBuilder::ResponseBuilder(const App& app, const CompletionRequest& request, std::string id, int64_t created)
    : app_(app), request_(request), id_(std::move(id)), created_(created) {}

ResponseBuilder::Choice& ResponseBuilder::At(int choice) {
  if (static_cast<size_t>(choice) >= choices_.size()) {
    choices_.resize(static_cast<size_t>(choice) + 1);
  }
  return choices_[static_cast<size_t>(choice)];
}

// The answer is there, so that it could not be kept is no error of the request.
OrderedJson ResponseBuilder::SavedJson(const Result<StateInfo>& saved) const {
  return saved.ok() ? StateJson(app_, *saved) : ErrorJson(saved.error());
}

OrderedJson ResponseBuilder::Envelope(const char* object) const {
  return {{"id", id_},
          {"object", object},
          {"created", created_},
          {"model", ModelNameOf(app_, request_.calls.empty() ? nullptr : request_.calls.front().adapter)},
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
  return {{"content", std::move(content)}, {"refusal", nullptr}};
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
    out["tokens"].push_back(TokenName(token.bytes));
    out["token_logprobs"].push_back(token.has_logprob ? OrderedJson(Finite(token.logprob)) : OrderedJson(nullptr));
    OrderedJson top = nullptr;
    if (token.has_logprob) {
      top = OrderedJson::object();
      for (const TokenInfo::Alternative& other : token.top) {
        top.emplace(TokenName(other.bytes), Finite(other.logprob));
      }
      top.emplace(TokenName(token.bytes), Finite(token.logprob));  // always there, likely or not
    }
    out["top_logprobs"].push_back(std::move(top));
    out["text_offset"].push_back(choice.text_offset);
    choice.text_offset += token.in_text ? Characters(token.bytes) : 0;
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

std::string ResponseBuilder::SavedChunk(const Result<StateInfo>& saved) {
  OrderedJson body = Envelope(request_.chat ? "chat.completion.chunk" : "text_completion");
  body["saved_state"] = SavedJson(saved);
  return DumpJson(body);
}

void ResponseBuilder::StartPrompt(int first_choice, int n, const GenerationEvent& started) {
  for (int i = 0; i < n; ++i) {
    Choice& choice = At(first_choice + i);
    choice.text = started.text;
    if (request_.wants_logprobs && request_.echo && !request_.chat) {
      AppendCompletionLogprobs(choice, started.prompt, choice.logprobs);
    }
    if (request_.wants_prompt_logprobs) {
      choice.prompt_logprobs = PromptLogprobsJson(started.prompt);
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

std::string ResponseBuilder::Whole(const Usage& usage, const std::optional<Result<StateInfo>>& saved) {
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
    if (request_.wants_prompt_logprobs) {
      entry["prompt_logprobs"] = std::move(choice.prompt_logprobs);
    }
    if (request_.return_token_ids) {
      entry["token_ids"] = choice.token_ids;
    }
    body["choices"].push_back(std::move(entry));
  }
  body["usage"] = UsageJson(usage);
  if (saved) {
    body["saved_state"] = SavedJson(*saved);
  }
  return DumpJson(body);
}

}  // namespace causeway::server
