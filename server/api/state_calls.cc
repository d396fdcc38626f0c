#include "server/api/state_calls.h"

#include <utility>
#include <vector>

#include "base/json.h"
#include "fmt/format.h"
#include "server/api/control_worker.h"
#include "server/api/json_fields.h"
#include "server/api/offload.h"
#include "server/api/openai_request.h"
#include "server/api/states.h"

namespace causeway::server {
namespace {

Result<void> CheckFileName(const std::string& file) {
  if (!IsStateName(file)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "a file has a plain name: 1 to 64 of A-Z a-z 0-9 . _ -, the first no dot", "file");
  }
  return {};
}

StateTable::PutOptions Target(const StateCall& call) {
  StateTable::PutOptions options;
  options.ttl = call.ttl;
  options.overwrite = call.overwrite;
  return options;
}

// ---- Through the engine

class ComputedState final : public StateOperation {
 public:
  ComputedState(App& app, GenerateCall call, scheduler::Waker& waker)
      : generation_(Generation::Start(app, std::move(call), waker)) {}

  std::optional<Result<StateInfo>> Take() override {
    events_.clear();
    generation_->Poll(events_);
    for (GenerationEvent& event : events_) {
      if (event.kind == GenerationEvent::Kind::kFailed) {
        return event.error;
      }
      if (event.kind == GenerationEvent::Kind::kDone) {
        return std::move(event.saved);
      }
    }
    return std::nullopt;
  }

 private:
  std::unique_ptr<Generation> generation_;
  std::vector<GenerationEvent> events_;
};

GenerateCall ComputingCall(StateCall call) {
  GenerateCall out = std::move(call.prompt);
  const bool extends = call.kind == StateCall::Kind::kExtend;
  out.request_id = std::move(call.request_id);
  out.sampling = {};
  out.sampling.max_tokens = 0;
  out.tenant = call.tenant;
  out.arrival = call.arrival;
  out.deadline = call.deadline;
  out.state = extends ? call.name : std::string();
  out.save = SaveTarget{std::move(call.name), call.ttl, call.overwrite || extends, extends};
  return out;
}

// ---- Through the disk

StateFolder FolderOf(const App& app) { return {app.state_dir, app.server_limits.max_state_dir_bytes, IdentityOf(app)}; }

const std::string& TenantName(const App& app, memory::TenantId tenant) { return app.kv.tenants()[tenant].name; }

Result<StateInfo> SaveState(App& app, const StateCall& call) {
  TRY(CheckFileName(call.file));
  ASSIGN_OR_RETURN(const auto content, app.states.Read(call.tenant, call.name, Clock::now()));
  TRY(FolderOf(app).Save(TenantName(app, call.tenant), call.file, *content, call.overwrite));
  return app.states.Get(call.tenant, call.name, Clock::now());
}

Result<StateInfo> LoadState(App& app, const StateCall& call) {
  TRY(CheckFileName(call.file));
  TRY(app.states.CheckPut(call.tenant, call.name, call.overwrite, Clock::now()));
  ASSIGN_OR_RETURN(OpenedState opened, FolderOf(app).Open(TenantName(app, call.tenant), call.file, call.cache_salt));
  for (const Token token : opened.tokens) {
    if (token < 0 || token >= app.limits.vocab) {
      return MakeError(ErrorCode::kFailedPrecondition, "the file has tokens that the model does not know", "file");
    }
  }
  auto content = std::make_shared<StateContent>();
  content->cache_salt = call.cache_salt;
  content->switched = opened.switched;
  content->chat = std::move(opened.chat);
  content->adapter = opened.adapter;
  const auto page_tokens = static_cast<size_t>(app.kv.geometry().tokens_per_page);
  const size_t full = opened.pages * page_tokens;
  if (full > 0) {
    scheduler::Engine::LoadRequest request;
    request.tokens.assign(opened.tokens.begin(), opened.tokens.begin() + static_cast<std::ptrdiff_t>(full));
    request.cache_salt = call.cache_salt;
    request.tenant = call.tenant;
    request.switched = opened.switched;
    request.adapter = opened.adapter.digest;
    request.source = std::move(opened.source);
    ASSIGN_OR_RETURN(content->pinned, app.engine.Load(std::move(request)));
  }
  content->tokens = std::move(opened.tokens);
  return app.states.Put(call.tenant, call.name, std::move(content), Target(call), Clock::now());
}

class StoredState final : public StateOperation {
 public:
  StoredState(App& app, StateCall call, scheduler::Waker& waker)
      : result_(app.control_worker, waker, [&app, call = std::move(call)] {
          return call.kind == StateCall::Kind::kSave ? SaveState(app, call) : LoadState(app, call);
        }) {}
  std::optional<Result<StateInfo>> Take() override { return result_.Take(); }

 private:
  Offloaded<StateInfo> result_;
};

// ---- Through the table alone

class TableState final : public StateOperation {
 public:
  explicit TableState(Result<StateInfo> result) : result_(std::move(result)) {}
  std::optional<Result<StateInfo>> Take() override { return std::exchange(result_, std::nullopt); }

 private:
  std::optional<Result<StateInfo>> result_;
};

Result<StateInfo> ForkState(App& app, const StateCall& call) {
  const Instant now = Clock::now();
  ASSIGN_OR_RETURN(auto content, app.states.Read(call.tenant, call.source, now));
  return app.states.Put(call.tenant, call.name, std::move(content), Target(call), now);
}

// ---- Reading a call

Result<void> ReadCallPrompt(const App& app, JsonFields& fields, GenerateCall& call, bool extends) {
  const bool chat = fields.Find("messages") != nullptr;
  if (chat == (fields.Find("prompt") != nullptr)) {
    return MakeError(ErrorCode::kInvalidArgument, "give either prompt or messages", "prompt");
  }
  ASSIGN_OR_RETURN(call.adapter, ReadModel(app, fields));
  call.cache_salt = fields.Text("cache_salt").value_or("");
  call.add_special_tokens = fields.Flag("add_special_tokens").value_or(!extends);
  TRY(fields.Finish());
  if (!chat) {
    ASSIGN_OR_RETURN(call.prompt, ReadPrompt(*fields.Find("prompt")));
    return {};
  }
  ASSIGN_OR_RETURN(ChatPrompt prompt, ReadChat(app, fields));
  if (fields.Find("add_generation_prompt") == nullptr) {
    prompt.add_generation_prompt = false;  // it is to be gone on with, by whom is open
  }
  call.prompt = std::move(prompt);
  return fields.Finish();
}

}  // namespace

Result<StateCall> DecodeStateCall(const App& app, StateCall::Kind kind, std::string_view body) {
  using Kind = StateCall::Kind;
  ASSIGN_OR_RETURN(const OrderedJson json,
                   body.empty() ? Result<OrderedJson>(OrderedJson::object()) : ParseOrderedJson(body));
  if (!json.is_object()) {
    return MakeError(ErrorCode::kInvalidArgument, "the body must be a JSON object");
  }
  JsonFields fields(json);
  StateCall call;
  call.kind = kind;
  call.ttl = ReadTtl(fields);
  if (kind == Kind::kCreate || kind == Kind::kFork || kind == Kind::kLoad) {
    call.name = fields.Text("name").value_or("");
    call.overwrite = fields.Flag("overwrite").value_or(false);
  }
  if (kind == Kind::kSave || kind == Kind::kLoad) {
    call.file = fields.Text("file").value_or("");
    call.overwrite = fields.Flag("overwrite").value_or(false);
  }
  if (kind == Kind::kLoad) {
    call.cache_salt = fields.Text("cache_salt").value_or("");
  }
  if (kind == Kind::kCreate || kind == Kind::kExtend) {
    TRY(ReadCallPrompt(app, fields, call.prompt, kind == Kind::kExtend));
  }
  TRY(fields.Finish());
  return call;
}

KvIdentity IdentityOf(const App& app) {
  const memory::KvGeometry& geometry = app.kv.geometry();
  const model::ModelInfo& info = app.model.info;
  KvIdentity identity;
  identity.model = fmt::format("{} ({}, {} parameters)", info.name, info.family, info.parameters);
  identity.layout = fmt::format("{} layers of {} heads of {} x {} bytes, {} tokens in {} bytes", geometry.shape.layers,
                                geometry.shape.kv_heads, geometry.shape.head_dim, geometry.shape.element_bytes,
                                geometry.tokens_per_page, geometry.page_bytes);
  identity.build = app.system_fingerprint;
  identity.fingerprint = app.kv_fingerprint;
  identity.page_tokens = geometry.tokens_per_page;
  identity.page_bytes = geometry.page_bytes;
  return identity;
}

std::unique_ptr<StateOperation> StateOperation::Start(App& app, StateCall call, scheduler::Waker& waker) {
  std::unique_ptr<StateOperation> operation;
  switch (call.kind) {
    case StateCall::Kind::kCreate:
    case StateCall::Kind::kExtend: return std::make_unique<ComputedState>(app, ComputingCall(std::move(call)), waker);
    case StateCall::Kind::kSave:
    case StateCall::Kind::kLoad: return std::make_unique<StoredState>(app, std::move(call), waker);
    case StateCall::Kind::kFork: operation = std::make_unique<TableState>(ForkState(app, call)); break;
    case StateCall::Kind::kPin:
      operation = std::make_unique<TableState>(app.states.SetTtl(call.tenant, call.name, call.ttl, Clock::now()));
      break;
  }
  waker.Wake();
  return operation;
}

}  // namespace causeway::server
