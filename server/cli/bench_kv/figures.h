// What `causeway bench kv` measures: the figures by name, with their goals, and who measures them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "base/result.h"
#include "base/token.h"
#include "kernels/ops.h"
#include "memory/kv_cache_options.h"
#include "memory/kv_geometry.h"
#include "memory/vm/vm_backend.h"
#include "model/model.h"

namespace causeway::server::bench_kv {

// Where pages lie: in this machine's memory, or in that of its first CUDA device.
enum class Vm : uint8_t { kLinux, kCuda };

struct Sizes {
  Vm vm = Vm::kLinux;
  int64_t fork_tokens = 8192;             // of the sequence that is forked and copied, and of a scan
  int64_t lookup_tokens = 50000;          // of a prompt that is hashed and looked up
  int64_t prompt_tokens = 4096;           // shared by a cold request and a warm one
  int64_t requests = 2500;                // of the staggered workload
  int64_t pool_bytes = int64_t{2} << 30;  // of the workload's pages
  memory::PrefixSpelling spelling = memory::kLinuxPrefixSpelling;  // of what sequences share
  int64_t rounds = 5;  // of what takes long: copies, forks, scans, first tokens
};

enum class Goal : uint8_t { kNone, kBelow, kAtLeast, kAtMost };

// A row of the report.
struct FigureSpec {
  std::string_view key;  // ends in its unit where it has one
  std::string_view what;
  Goal goal = Goal::kNone;
  double bound = 0;  // for the median
};

std::span<const FigureSpec> AllFigures();

struct Distribution {
  double p50 = 0;
  double p99 = 0;
};

// Samples by key. One thread.
class Figures {
 public:
  // `key` is one of AllFigures(), given once.
  void Set(std::string_view key, std::vector<double> samples);
  // Those that were measured: {"key": {"p50": .., "p99": ..}, ...} in the order of AllFigures().
  OrderedJson Json() const;
  // For people: a line each with its goal, then what follows from several.
  std::string Table() const;

 private:
  std::optional<Distribution> Of(std::string_view key) const;
  std::string RatioLine(std::string_view what, std::string_view slow, std::string_view quick, double goal) const;

  std::map<std::string_view, Distribution> values_;
};

// Time since `start`.
inline double MicrosecondsSince(Instant start) { return ToSeconds(Clock::now() - start) * 1e6; }
inline double MillisecondsSince(Instant start) { return ToSeconds(Clock::now() - start) * 1e3; }

// Deterministic tokens in [0, vocab).
std::vector<Token> RandomTokens(uint64_t stream, int64_t count, int64_t vocab = 32000);

// What page sizes must be a multiple of. kFailedPrecondition or kUnsupported: there is no such memory here.
Result<int64_t> GranularityOf(Vm vm);
// A backend without pages, and one whose pages [0, pages) exist, as cheap to map as the system makes them.
Result<std::unique_ptr<memory::VmBackend>> MakeBackend(Vm vm, int64_t page_bytes, int64_t pages);
Result<std::unique_ptr<memory::VmBackend>> MakePages(Vm vm, int64_t page_bytes, int64_t pages);
// Such pages mapped in ascending order, as a fresh pool gives them, each written with `bytes` [page_bytes].
struct MappedPages {
  std::unique_ptr<memory::VmBackend> backend;
  std::byte* base = nullptr;
};
Result<MappedPages> MapPages(Vm vm, int64_t pages, std::span<const std::byte> bytes);

// Bytes of memory that the measurements take at most at a time.
int64_t PeakBytes(const memory::KvGeometry& geometry, const Sizes& sizes);

// ---- The measurements. Each sets its figures. ----

// create, map, unmap, alias, copy, seal and release of a page (pages.cc)
Result<void> MeasurePages(const memory::KvGeometry& geometry, const Sizes& sizes, Figures& figures);
// 16 pages taken and given back; a fork against a copy (spans.cc)
Result<void> MeasureSpans(const memory::KvGeometry& geometry, const Sizes& sizes, Figures& figures);
// hashing and finding a long prompt (spans.cc)
Result<void> MeasurePrefix(const memory::KvGeometry& geometry, const Sizes& sizes, Figures& figures);
// what stays when all is idle, what sequences waste, map calls of steady decode (workload.cc)
Result<void> MeasureWorkload(const memory::KvGeometry& geometry, const Sizes& sizes, Figures& figures);
// the layouts against one contiguous buffer, read by one thread of this machine (scan.cc) or by a kernel of the device
// (scan_cuda.cc; scan_cuda_none.cc: kUnsupported)
Result<void> MeasureScan(const memory::KvGeometry& geometry, const Sizes& sizes, Figures& figures);
Result<void> MeasureDeviceScan(const memory::KvGeometry& geometry, const Sizes& sizes, Figures& figures);
// first token of a prompt that is known and of one that is not, by a whole engine (first_token.cc)
struct FirstTokenSetup {
  const model::Model& model;
  const kernels::Ops& ops;
  ThreadPool& pool;
};
Result<void> MeasureFirstToken(const FirstTokenSetup& setup, const Sizes& sizes, Figures& figures);

}  // namespace causeway::server::bench_kv
