// Many sequences of unlike lengths that come and go: what they waste, what stays when all have ended, and how often
// steady decode asks the system for anything.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/rng.h"
#include "memory/kv_cache.h"
#include "server/cli/bench_kv/figures.h"

namespace causeway::server::bench_kv {
namespace {

using memory::KvCache;
using memory::Span;

constexpr uint64_t kSeed = 2500;
constexpr int64_t kConcurrency = 96;
constexpr int64_t kIdleMoments = 5;  // the requests come in so many waves
constexpr int64_t kBeginnings = 16;  // system prompts that requests have in common
constexpr int64_t kMaxPrompt = 128;  // of a request's own tokens
constexpr int64_t kMinOutput = 16;
constexpr int64_t kMaxOutput = 256;

int64_t Draw(uint64_t request, uint64_t what, int64_t low, int64_t high) {
  return low + static_cast<int64_t>(RandomBits(kSeed, request, what) % static_cast<uint64_t>(high - low + 1));
}

// A request that runs: its tokens so far, all of which are computed.
struct Running {
  std::vector<Token> tokens;
  std::vector<Digest> keys;
  int64_t final_size = 0;
  Span span;

  int64_t size() const { return static_cast<int64_t>(tokens.size()); }
};

// The cache under a staggered load: a request is admitted where all that it will need fits, and adds a token a step.
class Workload {
 public:
  Workload(const memory::KvGeometry& geometry, KvCache& cache) : geometry_(geometry), cache_(cache) {
    for (uint64_t i = 0; i < kBeginnings; ++i) {
      beginnings_.push_back(RandomTokens(1000 + i, 2 * geometry.tokens_per_page));
    }
  }

  // Runs requests [first, end) to their ends.
  Result<void> Run(int64_t first, int64_t end) {
    int64_t next = first;
    while (next < end || !running_.empty()) {
      while (next < end && static_cast<int64_t>(running_.size()) < kConcurrency) {
        Running request = Make(static_cast<uint64_t>(next));
        const int64_t pages = geometry_.PagesFor(request.final_size);
        if (promised_ + pages > cache_.options().max_pages) {
          CHECK_MSG(!running_.empty(), "a request is larger than the pool");
          break;
        }
        TRY(Admit(request));
        promised_ += pages;
        running_.push_back(std::move(request));
        ++next;
      }
      TRY(Step());
    }
    return {};
  }

  std::vector<double> TakeWaste() { return std::exchange(waste_, {}); }

 private:
  Running Make(uint64_t id) const {
    Running request;
    request.tokens = beginnings_[static_cast<size_t>(Draw(id, 0, 0, kBeginnings - 1))];
    const auto own = RandomTokens(5000 + id, Draw(id, 1, 1, kMaxPrompt));
    request.tokens.insert(request.tokens.end(), own.begin(), own.end());
    request.final_size = request.size() + Draw(id, 2, kMinOutput, kMaxOutput);
    return request;
  }

  Result<void> Admit(Running& request) {
    cache_.AppendPrefixKeys(cache_.PrefixRoot(""), request.tokens, request.keys);
    const int64_t most = (request.size() - 1) / geometry_.tokens_per_page;  // the last token is always computed
    ASSIGN_OR_RETURN(request.span, cache_.CreateSpan(request.final_size, {request.keys, request.tokens, most}));
    TRY(cache_.Reserve(request.span, request.size()));
    cache_.Publish(request.span, request.keys, request.tokens);
    return {};
  }

  Result<void> Step() {
    for (size_t i = 0; i < running_.size();) {
      Running& request = running_[i];
      const double tokens_per_page = static_cast<double>(geometry_.tokens_per_page);
      waste_.push_back(static_cast<double>(request.span.capacity_positions() - request.size()) / tokens_per_page);
      request.tokens.push_back(static_cast<Token>(request.size()));
      TRY(cache_.Reserve(request.span, request.size()));
      if (request.size() < request.final_size) {
        ++i;
        continue;
      }
      cache_.AppendPrefixKeys(cache_.PrefixRoot(""), request.tokens, request.keys);
      cache_.Publish(request.span, request.keys, request.tokens);
      promised_ -= geometry_.PagesFor(request.final_size);
      std::swap(request, running_.back());
      running_.pop_back();
    }
    return {};
  }

  const memory::KvGeometry geometry_;
  KvCache& cache_;
  std::vector<std::vector<Token>> beginnings_;
  std::vector<Running> running_;
  int64_t promised_ = 0;  // pages that what runs will have at its end
  std::vector<double> waste_;
};

Result<std::unique_ptr<KvCache>> MakeCache(const memory::KvGeometry& geometry, Vm vm, int64_t pages, int64_t spans,
                                           int64_t positions) {
  ASSIGN_OR_RETURN(auto backend, MakeBackend(vm, geometry.page_bytes, pages));
  return KvCache::Create(
      {.geometry = geometry, .max_pages = pages, .max_spans = spans, .positions_per_span = positions},
      std::move(backend));
}

Result<void> MeasureStaggered(const memory::KvGeometry& geometry, const Sizes& sizes, Figures& figures) {
  const int64_t longest = 2 * geometry.tokens_per_page + kMaxPrompt + kMaxOutput;
  const int64_t pages = std::clamp(sizes.pool_bytes / geometry.page_bytes, geometry.PagesFor(longest),
                                   kConcurrency * geometry.PagesFor(longest));
  ASSIGN_OR_RETURN(const auto cache, MakeCache(geometry, sizes.vm, pages, kConcurrency, longest));
  Workload workload(geometry, *cache);
  std::vector<double> pinned;
  for (int64_t wave = 0; wave < kIdleMoments; ++wave) {
    TRY(workload.Run(sizes.requests * wave / kIdleMoments, sizes.requests * (wave + 1) / kIdleMoments));
    TRY(cache->Trim());  // what a server does when it has been idle for a while
    const memory::KvCacheStats stats = cache->Stats();
    CHECK(stats.live_pages == 0);
    const int64_t ideal = std::max<int64_t>(1, stats.cached_pages) * geometry.page_bytes;
    pinned.push_back(static_cast<double>(cache->backend().PhysicalBytes()) / static_cast<double>(ideal));
  }
  figures.Set("idle_pinned_ratio", std::move(pinned));
  figures.Set("waste_pages_per_sequence", workload.TakeWaste());
  return {};
}

// Sequences that start one after the other, each where one has ended, in ranges that are parked with their pages.
Result<void> MeasureSteadyDecode(const memory::KvGeometry& geometry, Vm vm, Figures& figures) {
  constexpr int64_t kSequences = 16;
  constexpr int64_t kPages = 8;
  const int64_t length = kPages * geometry.tokens_per_page;
  ASSIGN_OR_RETURN(const auto cache, MakeCache(geometry, vm, kSequences * kPages, kSequences, length));
  std::vector<Span> spans(kSequences);
  for (Span& span : spans) {  // the sequences before
    ASSIGN_OR_RETURN(span, cache->CreateSpan(length));
    TRY(cache->Reserve(span, length));
  }
  for (Span& span : spans) {
    span.Release();
  }
  std::vector<double> calls;
  const auto calls_now = [&] {
    const memory::KvCacheStats stats = cache->Stats();
    return stats.map_calls + stats.ahead_calls + stats.unmap_calls;
  };
  std::vector<int64_t> sizes(kSequences, 0);
  for (int64_t step = 0; step < 4 * length; ++step) {
    const uint64_t before = calls_now();
    for (size_t i = 0; i < spans.size(); ++i) {
      if (step < static_cast<int64_t>(i) * length / kSequences) {
        continue;  // not there yet
      }
      if (!spans[i]) {
        ASSIGN_OR_RETURN(spans[i], cache->CreateSpan(length));
        sizes[i] = 0;
      }
      TRY(cache->Reserve(spans[i], ++sizes[i]));
      if (sizes[i] == length) {
        spans[i].Release();
      }
    }
    calls.push_back(static_cast<double>(calls_now() - before));
  }
  figures.Set("map_calls_per_decode_step", std::move(calls));
  return {};
}

}  // namespace

Result<void> MeasureWorkload(const memory::KvGeometry& geometry, const Sizes& sizes, Figures& figures) {
  TRY(MeasureStaggered(geometry, sizes, figures));
  return MeasureSteadyDecode(geometry, sizes.vm, figures);
}

}  // namespace causeway::server::bench_kv
