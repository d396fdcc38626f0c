// The LoRA adapters that requests may name as their model: loaded, listed and unloaded while the server runs.
//
// Unloading a name takes it from new requests at once. Those that hold the adapter end with it, and its memory goes
// when the last of them has: neither loading nor letting go is the engine's work.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "model/adapter/adapter.h"
#include "server/metrics/memory_figures.h"

namespace causeway::server {

struct LoadedAdapter {
  std::shared_ptr<const model::Adapter> adapter;
  int64_t created_unix = 0;
  // Requests that have not had a token yet, and those that have.
  mutable std::atomic<int64_t> waiting{0};
  mutable std::atomic<int64_t> running{0};

  const std::string& name() const { return adapter->name(); }
};
using AdapterRef = std::shared_ptr<const LoadedAdapter>;  // null: the model as it is

// A request's place in its adapter's figures. Used by one thread at a time.
class AdapterUse {
 public:
  AdapterUse() = default;
  explicit AdapterUse(AdapterRef adapter);  // waiting
  ~AdapterUse();
  AdapterUse(AdapterUse&& other) noexcept;
  AdapterUse& operator=(AdapterUse&& other) noexcept;

  void Run();
  void End();

 private:
  AdapterRef adapter_;
  bool running_ = false;
};

struct AdapterSettings {
  int64_t max_adapters = 8;  // loaded ones, and those that running requests still hold
  int64_t max_rank = 256;
  std::vector<std::string> hub_caches;
  std::vector<std::string> reserved_names;  // of the model itself
};

class AdapterTable {
 public:
  // `network` outlives the table and what it hands out; null: nothing can be loaded.
  AdapterTable(const model::Network* network, AdapterSettings settings);

  // Reads an adapter from a folder, or from a Hugging Face cache. kInvalidArgument for a name that is taken, unless
  // `replace`; kResourceExhausted where the limit is reached; what LoadAdapter says. Takes as long as the disk: for
  // the start, and the control worker. One thread at a time.
  Result<void> Load(const std::string& name, const std::string& path, bool replace);
  // kNotFound. One thread at a time with Load.
  Result<void> Unload(const std::string& name);

  // Any thread. Null if there is none of this name.
  AdapterRef Find(std::string_view name) const;
  // Any thread; by name.
  std::vector<AdapterRef> List() const;
  AdapterFigures Figures() const;

  // Lets go of unloaded adapters that nobody uses any more; when to be called again. The thread of Load.
  Instant Reap(Instant now);

 private:
  Result<void> CheckName(const std::string& name, bool replace) const;

  const model::Network* const network_;
  const AdapterSettings settings_;

  mutable std::mutex mutex_;                                 // adapters are let go of outside it
  std::map<std::string, AdapterRef, std::less<>> adapters_;  // guarded by mutex_
  std::vector<AdapterRef> unloaded_;  // guarded by mutex_; held by requests, or were a moment ago
};

// "NAME=PATH", or vLLM's {"name": NAME, "path": PATH}.
struct AdapterSpec {
  std::string name;
  std::string path;
};
Result<AdapterSpec> ParseAdapterSpec(const std::string& text);

// `path` itself if it is a folder, or where the hub's caches hold a repository of this name; kNotFound.
Result<std::string> AdapterFolder(const std::string& path, const std::vector<std::string>& hub_caches);

// Where a client may load an adapter from: `path` itself, or one in `folder` if that is set; kInvalidArgument for a way
// out of it.
Result<std::string> PlaceInFolder(const std::string& folder, const std::string& path);

}  // namespace causeway::server
