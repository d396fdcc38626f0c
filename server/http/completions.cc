// /v1/completions and /v1/chat/completions, whole and streamed.
#include <chrono>
#include <string>
#include <utility>

#include "server/api/offload.h"
#include "server/api/openai_request.h"
#include "server/api/openai_response.h"
#include "server/api/status.h"
#include "server/api/text_workers.h"
#include "server/http/handlers.h"

namespace causeway::server {
namespace {

int64_t UnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// The prompts of one request while they are being answered.
class CompletionAnswer {
 public:
  CompletionAnswer(App& app, CompletionRequest request, std::string id, Responder& responder)
      : app_(app),
        request_(std::move(request)),
        responder_(responder),
        builder_(app, request_, std::move(id), UnixSeconds()),
        n_(static_cast<int>(request_.calls[0].sampling.n.value_or(1))) {
    for (GenerateCall& call : request_.calls) {
      generations_.push_back(Generation::Start(app_, call, responder_));
    }
    open_ = generations_.size();
  }

  void Advance() {
    for (size_t prompt = 0; prompt < generations_.size() && !over_; ++prompt) {
      events_.clear();
      generations_[prompt]->Poll(events_);
      for (const GenerationEvent& event : events_) {
        if (!over_) {
          Take(static_cast<int>(prompt) * n_, event);
        }
      }
    }
    if (over_) {
      generations_.clear();  // what one failure leaves of the other prompts holds no place in the queue
    }
  }

 private:
  void Take(int first_choice, const GenerationEvent& event) {
    const int choice = first_choice + event.index;
    switch (event.kind) {
      case GenerationEvent::Kind::kStarted: return Started(first_choice, event);
      case GenerationEvent::Kind::kDelta: return Delta(choice, event);
      case GenerationEvent::Kind::kSequenceDone:
        if (request_.stream.stream) {
          responder_.Event(builder_.FinishChunk(choice, event, usage_));
        } else {
          builder_.Finish(choice, event);
        }
        return;
      case GenerationEvent::Kind::kDone: return Done(event);
      case GenerationEvent::Kind::kFailed: return Failed(event.error);
    }
  }

  void Started(int first_choice, const GenerationEvent& event) {
    usage_.prompt_tokens += event.usage.prompt_tokens;
    if (!request_.stream.stream) {
      return builder_.StartPrompt(first_choice, n_, event);
    }
    StartStream();
    if (request_.echo) {
      GenerationEvent prompt = event;
      prompt.tokens = event.prompt;
      for (int i = 0; i < n_; ++i) {
        responder_.Event(builder_.Chunk(first_choice + i, prompt, usage_));
      }
    }
  }

  void StartStream() {
    if (!std::exchange(streaming_, true)) {
      responder_.StartEvents();
    }
  }

  void Delta(int choice, const GenerationEvent& event) {
    usage_.completion_tokens += static_cast<int64_t>(event.tokens.size());
    if (request_.stream.stream) {
      responder_.Event(builder_.Chunk(choice, event, usage_));
    } else {
      builder_.Add(choice, event);
    }
  }

  void Done(const GenerationEvent& event) {
    final_.prompt_tokens += event.usage.prompt_tokens;
    final_.completion_tokens += event.usage.completion_tokens;
    final_.cached_tokens += event.usage.cached_tokens;
    if (--open_ > 0) {
      return;
    }
    over_ = true;
    if (!request_.stream.stream) {
      return responder_.Send({.status = 200, .body = builder_.Whole(final_, event.saved), .headers = {}});
    }
    if (request_.stream.include_usage) {
      responder_.Event(builder_.UsageChunk(final_));
    }
    if (event.saved) {
      responder_.Event(builder_.SavedChunk(*event.saved));
    }
    responder_.Event("[DONE]");
    responder_.EndEvents();
  }

  // Before the first byte an error has a status; later it is an event, and the stream ends.
  void Failed(const Error& error) {
    over_ = true;
    if (!streaming_) {
      return responder_.Send(ErrorResponse(app_, error));
    }
    responder_.Event(ErrorBody(error));
    responder_.Event("[DONE]");
    responder_.EndEvents();
  }

  App& app_;
  CompletionRequest request_;
  Responder& responder_;
  ResponseBuilder builder_;
  const int n_;
  size_t open_ = 0;
  bool streaming_ = false;
  bool over_ = false;
  Usage usage_;  // so far
  Usage final_;
  std::vector<GenerationEvent> events_;
  std::vector<std::unique_ptr<Generation>> generations_;
};

using Decoder = Result<CompletionRequest> (*)(const App& app, std::string_view body);

// Reading the body is a text worker's work; then come the answers.
class CompletionExchange final : public Exchange {
 public:
  CompletionExchange(App& app, HttpRequest request, Responder& responder, Decoder decode, const char* id_prefix)
      : app_(app),
        responder_(responder),
        id_(id_prefix + request.request_id),
        request_id_(std::move(request.request_id)),
        arrival_(request.arrival),
        tenant_(request.tenant),
        decoded_(app.text_workers, responder,
                 [&app, decode, body = std::move(request.body)] { return decode(app, body); }) {}

  void OnWake() override {
    if (answer_ == nullptr) {
      Begin();
    }
    if (answer_ != nullptr) {
      answer_->Advance();
    }
  }

 private:
  void Begin() {
    auto decoded = decoded_.Take();
    if (!decoded) {
      return;
    }
    if (!decoded->ok()) {
      return responder_.Send(ErrorResponse(app_, decoded->error()));
    }
    CompletionRequest request = std::move(*decoded).value();
    for (GenerateCall& call : request.calls) {
      call.request_id = request_id_;
      call.arrival = arrival_;
      call.tenant = tenant_;
    }
    answer_ = std::make_unique<CompletionAnswer>(app_, std::move(request), id_, responder_);
  }

  App& app_;
  Responder& responder_;
  const std::string id_;
  const std::string request_id_;
  const Instant arrival_;
  const memory::TenantId tenant_;
  Offloaded<CompletionRequest> decoded_;
  std::unique_ptr<CompletionAnswer> answer_;
};

}  // namespace

std::unique_ptr<Exchange> HandleChat(App& app, HttpRequest request, Responder& responder) {
  return std::make_unique<CompletionExchange>(app, std::move(request), responder, DecodeChat, "chatcmpl-");
}

std::unique_ptr<Exchange> HandleCompletion(App& app, HttpRequest request, Responder& responder) {
  return std::make_unique<CompletionExchange>(app, std::move(request), responder, DecodeCompletion, "cmpl-");
}

}  // namespace causeway::server
