// Named states: the beginnings of prompts whose KV is kept. A state is its tokens; the pages are an index entry that
// nobody can evict, so a request that begins with the tokens finds them, and answers the same without them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/keyed_hash.h"
#include "base/result.h"
#include "base/token.h"
#include "memory/tenant.h"
#include "scheduler/pinned.h"
#include "server/api/generation.h"

namespace causeway::server {

// What a state was computed with: a state keeps no adapter loaded.
struct StateAdapter {
  std::string name;  // empty: none
  Digest digest{};   // scheduler::Adapter::digest; zeros: none
};
StateAdapter StateAdapterOf(const GenerateCall& call);

// Immutable: shared by forks, and by requests that began behind it.
struct StateContent {
  std::vector<Token> tokens;  // at least one; those behind the last full page have no KV here
  std::string cache_salt;
  bool switched = false;           // scheduler::Engine::LoadRequest
  std::optional<ChatPrompt> chat;  // the conversation that it is; none for one of prompts
  std::shared_ptr<const scheduler::PinnedPrefix> pinned;
  StateAdapter adapter;
};

// Letters, digits, '.', '_' and '-', 1 to 64 of them, the first no dot.
bool IsStateName(std::string_view name);

// Any thread. Names are a tenant's own: those of others are not found. What has expired is not found either, whether
// Expire has seen it or not.
class StateTable {
 public:
  // `wake`: Expire should be called anew, something ends sooner than it said.
  StateTable(int64_t max_states, std::function<void()> wake);

  using Content = std::shared_ptr<const StateContent>;
  struct PutOptions {
    std::optional<Duration> ttl;  // none: no end
    bool overwrite = false;
    bool keep_end = false;  // of what is overwritten, where no ttl is given
    Content expected;       // if set: kFailedPrecondition unless this is what is overwritten
  };

  // Whether Put could work: kInvalidArgument (the name), kFailedPrecondition, kResourceExhausted (too many).
  Result<void> CheckPut(memory::TenantId tenant, const std::string& name, bool overwrite, Instant now) const;
  Result<StateInfo> Put(memory::TenantId tenant, const std::string& name, Content content, const PutOptions& options,
                        Instant now);
  // kNotFound, as all below.
  Result<StateInfo> Get(memory::TenantId tenant, const std::string& name, Instant now) const;
  Result<Content> Read(memory::TenantId tenant, const std::string& name, Instant now) const;
  Result<Content> Use(memory::TenantId tenant, const std::string& name, Instant now);  // and counts it
  Result<StateInfo> SetTtl(memory::TenantId tenant, const std::string& name, std::optional<Duration> ttl, Instant now);
  Result<void> Erase(memory::TenantId tenant, const std::string& name, Instant now);

  // By name.
  std::vector<StateInfo> List(memory::TenantId tenant, Instant now) const;
  // Lets go of what is over; when the next one will be, or kNever.
  Instant Expire(Instant now);
  int64_t size() const;

 private:
  using Key = std::pair<memory::TenantId, std::string>;
  struct Entry {
    Content content;
    int64_t created_unix = 0;
    Instant expires = kNever;
    uint64_t uses = 0;
  };
  using Entries = std::map<Key, Entry>;

  // end() if it is not there, or over.
  Entries::const_iterator FindLocked(memory::TenantId tenant, const std::string& name, Instant now) const;
  Result<void> CheckRoomLocked(memory::TenantId tenant, const std::string& name, bool overwrite, Instant now) const;
  Result<Entries::iterator> ExistingLocked(memory::TenantId tenant, const std::string& name, Instant now);
  static StateInfo InfoOf(const std::string& name, const Entry& entry, Instant now);
  void WakeFor(Instant expires) const;

  const int64_t max_states_;
  const std::function<void()> wake_;
  mutable std::mutex mutex_;  // contents are let go of outside it
  Entries entries_;           // guarded by mutex_
};

}  // namespace causeway::server
