// Calls' events to OpenAI's JSON: whole answers and the chunks of a stream.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "server/api/app.h"
#include "server/api/generation.h"
#include "server/api/openai_request.h"

namespace causeway::server {

// Builds the bodies of one request. `choice` counts over prompts and sequences: prompt * n + index.
class ResponseBuilder {
 public:
  ResponseBuilder(const App& app, const CompletionRequest& request, std::string id, int64_t created);

  // ---- Streamed
  // The chunk of a delta; the first of a chat choice carries the role.
  std::string Chunk(int choice, const GenerationEvent& delta, const Usage& so_far);
  std::string FinishChunk(int choice, const GenerationEvent& done, const Usage& so_far);
  std::string UsageChunk(const Usage& usage);
  std::string SavedChunk(const Result<StateInfo>& saved);

  // ---- Whole
  void StartPrompt(int first_choice, int n, const GenerationEvent& started);
  void Add(int choice, const GenerationEvent& delta);
  void Finish(int choice, const GenerationEvent& done);
  std::string Whole(const Usage& usage, const std::optional<Result<StateInfo>>& saved = std::nullopt);

 private:
  struct Choice {
    std::string text;
    OrderedJson logprobs;
    OrderedJson finish_reason;
    OrderedJson stop_reason;
    OrderedJson prompt_logprobs;
    std::vector<Token> token_ids;
    int64_t text_offset = 0;
    bool role_sent = false;
  };

  Choice& At(int choice);
  OrderedJson SavedJson(const Result<StateInfo>& saved) const;
  OrderedJson Envelope(const char* object) const;
  OrderedJson ChatLogprobs(const std::vector<TokenInfo>& tokens) const;
  void AppendCompletionLogprobs(Choice& choice, const std::vector<TokenInfo>& tokens, OrderedJson& out) const;
  OrderedJson LogprobsOf(Choice& choice, const std::vector<TokenInfo>& tokens) const;

  const App& app_;
  const CompletionRequest& request_;
  const std::string id_;
  const int64_t created_;
  std::vector<Choice> choices_;
};

OrderedJson UsageJson(const Usage& usage);
OrderedJson StateJson(const App& app, const StateInfo& state);
// A name of the model itself, and an adapter, as /v1/models lists them.
OrderedJson ModelJson(const App& app, const std::string& name);
OrderedJson AdapterJson(const App& app, const LoadedAdapter& adapter);

}  // namespace causeway::server
