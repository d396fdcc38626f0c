#include "server/api/states.h"

#include <algorithm>
#include <chrono>

#include "fmt/format.h"
#include "server/api/adapters.h"

namespace causeway::server {
namespace {

constexpr size_t kMaxName = 64;

int64_t UnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Error NotFound(const std::string& name) {
  return MakeError(ErrorCode::kNotFound, fmt::format("there is no state '{}'", name.substr(0, kMaxName)), "state");
}

Result<void> CheckName(const std::string& name) {
  if (!IsStateName(name)) {
    return MakeError(
        ErrorCode::kInvalidArgument,
        fmt::format("a state's name has 1 to {} of A-Z a-z 0-9 . _ - and does not begin with a dot", kMaxName), "name");
  }
  return {};
}

Instant EndOf(std::optional<Duration> ttl, Instant now) { return ttl ? now + *ttl : kNever; }

}  // namespace

bool IsStateName(std::string_view name) {
  const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
  return plain && !name.empty() && name.size() <= kMaxName && name.front() != '.';
}

StateAdapter StateAdapterOf(const GenerateCall& call) {
  return call.adapter != nullptr ? StateAdapter{call.adapter->name(), call.adapter->adapter->digest()} : StateAdapter{};
}

StateTable::StateTable(int64_t max_states, std::function<void()> wake)
    : max_states_(max_states), wake_(std::move(wake)) {}

StateTable::Entries::const_iterator StateTable::FindLocked(memory::TenantId tenant, const std::string& name,
                                                           Instant now) const {
  const auto found = entries_.find({tenant, name});
  return found == entries_.end() || found->second.expires <= now ? entries_.end() : found;
}

Result<StateTable::Entries::iterator> StateTable::ExistingLocked(memory::TenantId tenant, const std::string& name,
                                                                 Instant now) {
  const auto found = entries_.find({tenant, name});
  if (found == entries_.end() || found->second.expires <= now) {
    return NotFound(name);
  }
  return found;
}

StateInfo StateTable::InfoOf(const std::string& name, const Entry& entry, Instant now) {
  StateInfo info;
  info.name = name;
  info.tokens = static_cast<int64_t>(entry.content->tokens.size());
  info.pages = entry.content->pinned != nullptr ? entry.content->pinned->pages() : 0;
  info.adapter = entry.content->adapter.name;
  info.created_unix = entry.created_unix;
  if (entry.expires != kNever) {
    info.expires_unix = UnixSeconds() + std::chrono::round<std::chrono::seconds>(entry.expires - now).count();
  }
  info.uses = entry.uses;
  return info;
}

void StateTable::WakeFor(Instant expires) const {
  if (expires != kNever && wake_) {
    wake_();
  }
}

Result<void> StateTable::CheckPut(memory::TenantId tenant, const std::string& name, bool overwrite, Instant now) const {
  TRY(CheckName(name));
  const std::lock_guard lock(mutex_);
  return CheckRoomLocked(tenant, name, overwrite, now);
}

Result<void> StateTable::CheckRoomLocked(memory::TenantId tenant, const std::string& name, bool overwrite,
                                         Instant now) const {
  const bool exists = FindLocked(tenant, name, now) != entries_.end();
  if (exists && !overwrite) {
    return MakeError(ErrorCode::kFailedPrecondition, fmt::format("there is a state '{}' already", name), "name");
  }
  const auto others = std::count_if(entries_.begin(), entries_.end(), [&](const auto& one) {
    return one.second.expires > now && one.first != Key(tenant, name);
  });
  if (others >= max_states_) {
    return MakeError(ErrorCode::kResourceExhausted, fmt::format("there are {} states, which is the limit", others),
                     "name");
  }
  return {};
}

Result<StateInfo> StateTable::Put(memory::TenantId tenant, const std::string& name, Content content,
                                  const PutOptions& options, Instant now) {
  TRY(CheckName(name));
  StateInfo info;
  Entry entry{std::move(content), UnixSeconds(), EndOf(options.ttl, now), 0};
  {
    const std::lock_guard lock(mutex_);
    const auto existing = FindLocked(tenant, name, now);
    const bool as_expected = existing != entries_.end() && existing->second.content == options.expected;
    if (options.expected != nullptr && !as_expected) {
      return MakeError(ErrorCode::kFailedPrecondition,
                       fmt::format("the state '{}' was changed or deleted meanwhile", name), "name");
    }
    TRY(CheckRoomLocked(tenant, name, options.overwrite, now));
    if (existing != entries_.end()) {
      entry.uses = existing->second.uses;
      if (options.keep_end && !options.ttl) {
        entry.expires = existing->second.expires;
      }
    }
    std::swap(entries_[{tenant, name}], entry);
    info = InfoOf(name, entries_[{tenant, name}], now);
  }
  WakeFor(EndOf(options.ttl, now));
  return info;
}

Result<StateInfo> StateTable::Get(memory::TenantId tenant, const std::string& name, Instant now) const {
  const std::lock_guard lock(mutex_);
  const auto found = FindLocked(tenant, name, now);
  if (found == entries_.end()) {
    return NotFound(name);
  }
  return InfoOf(name, found->second, now);
}

Result<StateTable::Content> StateTable::Read(memory::TenantId tenant, const std::string& name, Instant now) const {
  const std::lock_guard lock(mutex_);
  const auto found = FindLocked(tenant, name, now);
  if (found == entries_.end()) {
    return NotFound(name);
  }
  return found->second.content;
}

Result<StateTable::Content> StateTable::Use(memory::TenantId tenant, const std::string& name, Instant now) {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(const auto found, ExistingLocked(tenant, name, now));
  ++found->second.uses;
  return found->second.content;
}

Result<StateInfo> StateTable::SetTtl(memory::TenantId tenant, const std::string& name, std::optional<Duration> ttl,
                                     Instant now) {
  StateInfo info;
  {
    const std::lock_guard lock(mutex_);
    ASSIGN_OR_RETURN(const auto found, ExistingLocked(tenant, name, now));
    found->second.expires = EndOf(ttl, now);
    info = InfoOf(name, found->second, now);
  }
  WakeFor(EndOf(ttl, now));
  return info;
}

Result<void> StateTable::Erase(memory::TenantId tenant, const std::string& name, Instant now) {
  Content gone;  // let go of behind the lock
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(const auto found, ExistingLocked(tenant, name, now));
  gone = std::move(found->second.content);
  entries_.erase(found);
  return {};
}

std::vector<StateInfo> StateTable::List(memory::TenantId tenant, Instant now) const {
  std::vector<StateInfo> infos;
  const std::lock_guard lock(mutex_);
  for (auto it = entries_.lower_bound({tenant, ""}); it != entries_.end() && it->first.first == tenant; ++it) {
    if (it->second.expires > now) {
      infos.push_back(InfoOf(it->first.second, it->second, now));
    }
  }
  return infos;
}

Instant StateTable::Expire(Instant now) {
  std::vector<Content> gone;
  Instant next = kNever;
  const std::lock_guard lock(mutex_);
  std::erase_if(entries_, [&](auto& one) {
    if (one.second.expires <= now) {
      gone.push_back(std::move(one.second.content));
      return true;
    }
    next = std::min(next, one.second.expires);
    return false;
  });
  return next;
}

int64_t StateTable::size() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(entries_.size());
}

}  // namespace causeway::server
