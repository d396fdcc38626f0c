// What clients do with states: the function behind HTTP's /v1/states and gRPC's States.
//
// create and extend run the prompt through the engine; save and load wait for the disk on the control worker; fork and
// pin only change the table.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "scheduler/engine.h"
#include "server/api/app.h"
#include "server/api/generation.h"
#include "server/api/state_file.h"

namespace causeway::server {

struct StateCall {
  enum class Kind : uint8_t { kCreate, kExtend, kFork, kPin, kSave, kLoad };
  Kind kind = Kind::kCreate;
  std::string name;             // the state that is made, changed or saved
  std::string source;           // kFork: the state that is copied
  std::string file;             // kSave, kLoad
  std::string cache_salt;       // kLoad: the one it was made with
  std::optional<Duration> ttl;  // none: no end (kExtend: the end it has)
  bool overwrite = false;       // kCreate, kFork, kSave (the file), kLoad
  GenerateCall prompt;          // kCreate, kExtend: prompt, salt, add_special_tokens, priority
  memory::TenantId tenant = memory::kDefaultTenant;
  std::string request_id;
  Instant arrival;
  Instant deadline = kNever;
};

// Reads the body of a call of this kind.
Result<StateCall> DecodeStateCall(const App& app, StateCall::Kind kind, std::string_view body);

KvIdentity IdentityOf(const App& app);

// Used by one thread at a time; the waker is called from others, and must outlive it. Destroying it gives the call up,
// where it can be: what the disk is at work on is finished.
class StateOperation {
 public:
  virtual ~StateOperation() = default;
  // Never fails at once: a bad call ends with an error.
  static std::unique_ptr<StateOperation> Start(App& app, StateCall call, scheduler::Waker& waker);
  // What became of it, once.
  virtual std::optional<Result<StateInfo>> Take() = 0;
};

}  // namespace causeway::server
