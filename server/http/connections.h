// What the connections of a server share: who they are, and the bytes that they hold. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "server/api/app.h"

namespace causeway::server {

class Session;

class Connections {
 public:
  explicit Connections(App& app_ref);

  App& app;

  void Add(const std::shared_ptr<Session>& session);
  void Remove(const Session* session);  // from its destructor
  int64_t size() const;
  // Those that live at the moment of the call.
  std::vector<std::shared_ptr<Session>> All() const;

  // Counts bytes of request bodies. False, and nothing counted, if all bodies together would then be too many:
  // one body has a limit of its own, but ten thousand clients must not fill the memory.
  bool HoldBody(int64_t bytes);
  void DropBody(int64_t bytes);

 private:
  const int64_t max_body_bytes_;
  std::atomic<int64_t> body_bytes_{0};
  mutable std::mutex mutex_;
  std::unordered_map<const Session*, std::weak_ptr<Session>> sessions_;  // guarded by mutex_
};

}  // namespace causeway::server
