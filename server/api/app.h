// What every handler sees: the wired parts of a running server. Built by main, read-only afterwards but
// for the lifecycle flags.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/keyed_hash.h"
#include "memory/kv_cache.h"
#include "memory/tier/page_store.h"
#include "model/model.h"
#include "scheduler/engine.h"
#include "server/api/access.h"
#include "server/metrics/memory_figures.h"

namespace causeway::server {

class Metrics;      // server/metrics/metrics.h
class TextWorkers;  // server/api/text_workers.h
class ChatTemplate;
class StateTable;     // server/api/states.h
class AdapterTable;   // server/api/adapters.h
class ControlWorker;  // server/api/control_worker.h

enum class Lifecycle : uint8_t { kStarting, kReady, kDraining, kStopped };

// Limits on what a client may send or hold. Every field is an option (server/config/options.h).
struct ServerLimits {
  int64_t max_body_bytes = 16 << 20;
  int64_t max_header_bytes = 32 << 10;
  int64_t max_connections = 10000;
  int64_t max_prompts_per_request = 128;
  int64_t max_stop_strings = 16;
  int64_t max_stop_bytes = 1024;
  int64_t max_tools = 128;
  int64_t max_states = 256;
  int64_t max_state_dir_bytes = int64_t{64} << 30;
  Duration queue_timeout = std::chrono::seconds(120);
  Duration request_timeout = std::chrono::hours(1);
  Duration header_timeout = std::chrono::seconds(10);
  Duration body_timeout = std::chrono::seconds(60);
  Duration keep_alive_timeout = std::chrono::seconds(75);
  Duration write_timeout = std::chrono::seconds(60);
  int64_t max_output_buffer_bytes = 1 << 20;  // of one stream whose client does not read
};

struct App {
  const model::Model& model;
  const ChatTemplate* chat_template;  // null: the model has none
  bool template_takes_tools;          // its source speaks of `tools`
  scheduler::Engine& engine;
  const memory::KvCache& kv;      // for its figures
  scheduler::ModelLimits limits;  // vocab, max_model_len, ...
  TextWorkers& text_workers;
  StateTable& states;
  AdapterTable& adapters;
  ControlWorker& control_worker;
  Metrics& metrics;
  std::vector<std::string> served_names;  // the first is the one in responses
  std::vector<ApiKey> api_keys;           // empty: no authentication
  std::string system_fingerprint;         // build, instruction set and KV format: same print, same bits
  Digest kv_fingerprint{};       // of all that the bytes of a KV page depend on beside tokens; set with state_dir
  int64_t kv_switch_length = 0;  // scheduler::EngineOptions
  std::string state_dir;         // empty: states are not saved
  std::string lora_dir;          // that clients may load adapters from; empty: any folder
  bool admin_endpoints = false;
  const memory::PageStore* tiers = nullptr;  // behind the KV cache, for its figures; null: none
  ServerLimits server_limits;
  model::GenerationDefaults defaults;  // generation config overlaid with flags
  std::atomic<Lifecycle> lifecycle{Lifecycle::kStarting};
};

}  // namespace causeway::server
