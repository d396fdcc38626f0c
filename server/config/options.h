// Every setting of the server as one plain value, and the table that declares each setting once:
// its name (flag --name, variable CAUSEWAY_NAME, file key `name`), type, default, bounds and
// documentation.
//
// Durations, sizes and defaults are spelled as a user would: "30s", "16MiB".
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"

namespace causeway::server {

// Values after all sources have been merged. Members have their defaults from the table, so an
// Options comes from DefaultOptions() or ResolveOptions(), never from `Options{}`.
struct Options {
  // Model
  std::string model;
  std::vector<std::string> served_model_name;
  std::optional<int64_t> max_model_len;
  std::string chat_template;
  std::string generation_config;
  std::vector<std::string> lora_modules;  // as ParseAdapterSpec (server/api/adapters.h) reads them
  std::string lora_dir;
  // Answers: what a request that leaves a field out gets
  std::optional<double> temperature;
  std::optional<int64_t> top_k;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<double> repetition_penalty;
  // Machine
  int64_t threads = 0;
  std::string cpu_affinity;
  std::string force_kernels;
  std::string activations;
  std::string repack_cache;
  std::optional<int64_t> kv_cache_memory;
  std::string kv_cache_dtype;
  std::string kv_huge_pages;
  int64_t kv_host_memory = 0;
  std::string kv_disk_dir;
  std::optional<int64_t> kv_disk_size;
  Duration kv_idle_trim{};
  std::string state_dir;
  // Scheduling
  int64_t max_num_seqs = 0;
  int64_t max_num_batched_tokens = 0;
  int64_t max_prefill_stall_steps = 0;
  bool enable_prefix_caching = true;
  int64_t max_queued_requests = 0;
  int64_t max_queued_tokens = 0;
  Duration queue_timeout{};
  Duration request_timeout{};
  // Listening
  std::string host;
  int64_t port = 0;
  bool grpc = false;
  int64_t grpc_port = 0;
  std::vector<std::string> api_key;
  std::vector<std::string> tenant;  // as ParseTenants (tenants.h) reads them
  bool enable_admin_endpoints = false;
  int64_t io_threads = 0;
  int64_t text_workers = 0;
  Duration shutdown_timeout{};
  // Limits
  int64_t max_body_size = 0;
  int64_t max_header_size = 0;
  int64_t max_connections = 0;
  int64_t max_output_buffer = 0;
  int64_t grpc_max_message_size = 0;
  int64_t grpc_max_streams = 0;
  int64_t max_prompts_per_request = 0;
  int64_t max_n = 0;
  int64_t max_logprobs = 0;
  int64_t max_stop_strings = 0;
  int64_t max_stop_size = 0;
  int64_t max_tools = 0;
  int64_t max_states = 0;
  int64_t max_loras = 0;
  int64_t max_lora_rank = 0;
  int64_t max_state_dir_size = 0;
  Duration header_timeout{};
  Duration body_timeout{};
  Duration keep_alive_timeout{};
  Duration write_timeout{};
  // Log
  std::string log_level;
  std::string log_format;
  // Where the rest may be written
  std::string config;

  bool operator==(const Options&) const = default;
};

enum class OptionGroup : uint8_t {
  kModel,
  kAnswers,
  kMachine,
  kScheduling,
  kListening,
  kLimits,
  kLog,
  kConfig,
};
std::string_view OptionGroupTitle(OptionGroup group);

// The alternative is the type: how text is parsed, checked and printed.
using OptionMember = std::variant<bool Options::*, int64_t Options::*, std::optional<int64_t> Options::*,
                                  std::optional<double> Options::*, std::string Options::*,
                                  std::vector<std::string> Options::*, Duration Options::*>;

struct OptionRow {
  std::string_view name;
  OptionGroup group;
  OptionMember member;
  std::string_view fallback;  // the default as a user would write it; empty: unset
  std::string_view doc;       // one or two sentences; says what unset means
  double min = 0;             // inclusive bounds of numbers, bytes, and seconds of a duration
  double max = 0;
  std::string_view choices = {};  // "auto|f32|f16": the texts allowed
  bool above_min = false;         // min itself is out of range
  bool bytes = false;             // an integer that takes a size suffix
  bool secret = false;            // never printed
  bool reloadable = false;        // SIGHUP reads it again from the environment and the file
  bool in_file = true;            // may stand in a configuration file
};

// All rows, in the order of help and of the configuration file.
std::span<const OptionRow> OptionTable();
// Null for a name that the table does not hold.
const OptionRow* FindOption(std::string_view name);

// "max-num-seqs" -> "CAUSEWAY_MAX_NUM_SEQS"
std::string EnvironmentName(std::string_view option);

Options DefaultOptions();

}  // namespace causeway::server
