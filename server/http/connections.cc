#include "server/http/connections.h"

#include <algorithm>

#include "server/http/session.h"

namespace causeway::server {
namespace {

constexpr int64_t kMinBodyBudget = int64_t{256} << 20;
constexpr int64_t kBodiesOfFullSize = 16;

}  // namespace

Connections::Connections(App& app_ref)
    : app(app_ref),
      max_body_bytes_(std::max(kMinBodyBudget, kBodiesOfFullSize * app_ref.server_limits.max_body_bytes)) {}

void Connections::Add(const std::shared_ptr<Session>& session) {
  const std::lock_guard lock(mutex_);
  sessions_.emplace(session.get(), session);
}

void Connections::Remove(const Session* session) {
  const std::lock_guard lock(mutex_);
  sessions_.erase(session);
}

int64_t Connections::size() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(sessions_.size());
}

std::vector<std::shared_ptr<Session>> Connections::All() const {
  std::vector<std::shared_ptr<Session>> all;
  const std::lock_guard lock(mutex_);
  for (const auto& [key, weak] : sessions_) {
    if (auto session = weak.lock()) {
      all.push_back(std::move(session));
    }
  }
  return all;
}

bool Connections::HoldBody(int64_t bytes) {
  if (body_bytes_.fetch_add(bytes) + bytes <= max_body_bytes_) {
    return true;
  }
  body_bytes_.fetch_sub(bytes);
  return false;
}

void Connections::DropBody(int64_t bytes) { body_bytes_.fetch_sub(bytes); }

}  // namespace causeway::server
