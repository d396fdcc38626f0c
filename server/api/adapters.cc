#include "server/api/adapters.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <utility>

#include "base/json.h"
#include "base/log.h"
#include "fmt/format.h"
#include "model/files.h"

namespace causeway::server {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxNameBytes = 256;
constexpr auto kReapInterval = std::chrono::milliseconds(200);

int64_t UnixNow() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string JoinedNames(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    text += (text.empty() ? "" : ",") + name;
  }
  return text;
}

}  // namespace

// ---- AdapterUse ------------------------------------------------------------------------------------

AdapterUse::AdapterUse(AdapterRef adapter) : adapter_(std::move(adapter)) {
  if (adapter_ != nullptr) {
    ++adapter_->waiting;
  }
}

AdapterUse::~AdapterUse() { End(); }

AdapterUse::AdapterUse(AdapterUse&& other) noexcept
    : adapter_(std::move(other.adapter_)), running_(std::exchange(other.running_, false)) {}

AdapterUse& AdapterUse::operator=(AdapterUse&& other) noexcept {
  if (this != &other) {
    End();
    adapter_ = std::move(other.adapter_);
    running_ = std::exchange(other.running_, false);
  }
  return *this;
}

void AdapterUse::Run() {
  if (adapter_ != nullptr && !std::exchange(running_, true)) {
    --adapter_->waiting;
    ++adapter_->running;
  }
}

void AdapterUse::End() {
  if (adapter_ != nullptr) {
    --(running_ ? adapter_->running : adapter_->waiting);
    adapter_.reset();
    running_ = false;
  }
}

// ---- AdapterTable ----------------------------------------------------------------------------------

AdapterTable::AdapterTable(const model::Network* network, AdapterSettings settings)
    : network_(network), settings_(std::move(settings)) {}

Result<void> AdapterTable::CheckName(const std::string& name, bool replace) const {
  const bool printable = std::all_of(name.begin(), name.end(), [](unsigned char c) { return c > 0x20 && c != 0x7f; });
  if (name.empty() || name.size() > kMaxNameBytes || !printable || name.find(',') != std::string::npos) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("an adapter's name has 1 to {} bytes without blanks and commas", kMaxNameBytes),
                     "lora_name");
  }
  const auto& reserved = settings_.reserved_names;
  if (std::find(reserved.begin(), reserved.end(), name) != reserved.end()) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("'{}' is a name of the model itself", name), "lora_name");
  }
  const std::lock_guard lock(mutex_);
  const bool taken = adapters_.contains(name);
  if (taken && !replace) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("an adapter '{}' is loaded already; load_inplace replaces it", name), "lora_name");
  }
  const auto held = std::ssize(adapters_) + std::ssize(unloaded_) - (taken ? 1 : 0);
  if (held >= settings_.max_adapters) {
    return MakeError(ErrorCode::kResourceExhausted,
                     fmt::format("{} adapters are loaded, {} more are still in use, and --max-loras is {}",
                                 adapters_.size(), unloaded_.size(), settings_.max_adapters),
                     "lora_name");
  }
  return {};
}

Result<void> AdapterTable::Load(const std::string& name, const std::string& path, bool replace) {
  Reap(Clock::now());
  TRY(CheckName(name, replace));
  const auto load = [&]() -> Result<std::shared_ptr<const model::Adapter>> {
    if (network_ == nullptr) {
      return MakeError(ErrorCode::kFailedPrecondition, "there is no model to adapt");
    }
    ASSIGN_OR_RETURN(const std::string folder, AdapterFolder(path, settings_.hub_caches));
    return model::LoadAdapter(*network_, {.name = name, .path = folder, .max_rank = settings_.max_rank});
  };
  auto loaded = load();
  if (!loaded.ok()) {
    Error error = std::move(loaded).error();
    error.param = "lora_path";
    return error;
  }
  auto entry = std::make_shared<LoadedAdapter>();
  entry->adapter = std::move(loaded).value();
  entry->created_unix = UnixNow();
  const model::Adapter& adapter = *entry->adapter;
  LOG_INFO("adapter {}: rank {}, {} modules, {:.1f} MiB, from {}", name, adapter.rank(), adapter.modules(),
           static_cast<double>(adapter.bytes()) / (1024.0 * 1024), adapter.path());
  const std::lock_guard lock(mutex_);
  AdapterRef& slot = adapters_[name];
  if (slot != nullptr) {
    unloaded_.push_back(std::move(slot));
  }
  slot = std::move(entry);
  return {};
}

Result<void> AdapterTable::Unload(const std::string& name) {
  {
    const std::lock_guard lock(mutex_);
    const auto it = adapters_.find(name);
    if (it == adapters_.end()) {
      return MakeError(ErrorCode::kNotFound, fmt::format("there is no adapter '{}'", name), "lora_name");
    }
    unloaded_.push_back(std::move(it->second));
    adapters_.erase(it);
  }
  LOG_INFO("adapter {}: unloaded", name);
  Reap(Clock::now());
  return {};
}

AdapterRef AdapterTable::Find(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const auto it = adapters_.find(name);
  return it == adapters_.end() ? nullptr : it->second;
}

std::vector<AdapterRef> AdapterTable::List() const {
  std::vector<AdapterRef> list;
  const std::lock_guard lock(mutex_);
  for (const auto& [name, adapter] : adapters_) {
    list.push_back(adapter);
  }
  return list;
}

AdapterFigures AdapterTable::Figures() const {
  AdapterFigures figures;
  figures.max = settings_.max_adapters;
  std::vector<std::string> running;
  std::vector<std::string> waiting;
  const std::lock_guard lock(mutex_);
  const auto add = [&](const LoadedAdapter& one) {
    figures.bytes += one.adapter->bytes();
    if (one.running > 0) {
      running.push_back(one.name());
    }
    if (one.waiting > 0) {
      waiting.push_back(one.name());
    }
  };
  for (const auto& [name, adapter] : adapters_) {
    add(*adapter);
  }
  for (const AdapterRef& adapter : unloaded_) {
    add(*adapter);
  }
  figures.loaded = std::ssize(adapters_);
  figures.unloading = std::ssize(unloaded_);
  figures.running = JoinedNames(running);
  figures.waiting = JoinedNames(waiting);
  return figures;
}

// Nobody can take a new share in an unloaded adapter, so the last one stays the last.
Instant AdapterTable::Reap(Instant now) {
  std::vector<AdapterRef> dropped;
  const std::lock_guard lock(mutex_);
  const auto unused = std::stable_partition(unloaded_.begin(), unloaded_.end(),
                                            [](const AdapterRef& one) { return one.use_count() > 1; });
  std::move(unused, unloaded_.end(), std::back_inserter(dropped));
  unloaded_.erase(unused, unloaded_.end());
  return unloaded_.empty() ? kNever : now + kReapInterval;
}

// ---- Names and places ------------------------------------------------------------------------------

Result<AdapterSpec> ParseAdapterSpec(const std::string& text) {
  AdapterSpec spec;
  if (text.starts_with('{')) {
    ASSIGN_OR_RETURN(const Json json, ParseJson(text));
    for (const auto& [key, value] : json.items()) {
      if (!value.is_string() || (key != "name" && key != "path" && key != "base_model_name")) {
        return MakeError(ErrorCode::kInvalidArgument,
                         fmt::format("--lora-modules {}: known are the texts name, path and base_model_name", text),
                         "lora-modules");
      }
    }
    spec = {json.value("name", ""), json.value("path", "")};
  } else if (const size_t at = text.find('='); at != std::string::npos) {
    spec = {text.substr(0, at), text.substr(at + 1)};
  }
  if (spec.name.empty() || spec.path.empty()) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("--lora-modules {}: give NAME=PATH or {{\"name\": NAME, \"path\": PATH}}", text),
                     "lora-modules");
  }
  return spec;
}

Result<std::string> AdapterFolder(const std::string& path, const std::vector<std::string>& hub_caches) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    return path;
  }
  const auto place = model::FindModel(path, hub_caches);
  if (!place.ok()) {
    return MakeError(ErrorCode::kNotFound,
                     fmt::format("no adapter '{}': give a folder, or org/name of one that is in the Hugging Face cache "
                                 "(nothing is downloaded)",
                                 path));
  }
  return place->folder;
}

Result<std::string> PlaceInFolder(const std::string& folder, const std::string& path) {
  if (folder.empty()) {
    return path;
  }
  std::error_code failed;
  const fs::path root = fs::weakly_canonical(folder, failed);
  const fs::path place = failed ? fs::path() : fs::weakly_canonical(root / path, failed);  // an absolute path stays one
  const auto [end, ignored] = std::mismatch(root.begin(), root.end(), place.begin(), place.end());
  if (failed || end != root.end()) {
    return MakeError(ErrorCode::kInvalidArgument, "adapters are loaded from the folder of --lora-dir only",
                     "lora_path");
  }
  return place.string();
}

}  // namespace causeway::server
