// What the cache takes for a sequence: pages, a fork, a copy, a prefix.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "memory/kv_cache.h"
#include "memory/page_pool.h"
#include "memory/prefix_index.h"
#include "server/cli/bench_kv/figures.h"

namespace causeway::server::bench_kv {
namespace {

using memory::KvCache;
using memory::Span;

constexpr int64_t kForks = 8;  // alive at once

Result<std::unique_ptr<KvCache>> MakeCache(const memory::KvGeometry& geometry, const Sizes& sizes, int64_t pages,
                                           int64_t spans, int64_t positions) {
  // What a server has after a while. The pages of a device, which are made only once, are made in a round that is not
  // timed; so are those of this machine, but not huge.
  ASSIGN_OR_RETURN(auto backend, sizes.vm == Vm::kLinux ? MakePages(sizes.vm, geometry.page_bytes, pages)
                                                        : MakeBackend(sizes.vm, geometry.page_bytes, pages));
  return KvCache::Create({.geometry = geometry,
                          .max_pages = pages,
                          .max_spans = spans,
                          .positions_per_span = positions,
                          .prefix_key = RandomKey(),
                          .prefix_spelling = sizes.spelling},
                         std::move(backend));
}

Result<Span> Take(KvCache& cache, int64_t positions, const memory::PrefixQuery& prefix = {}) {
  ASSIGN_OR_RETURN(Span span, cache.CreateSpan(positions, prefix));
  TRY(cache.Reserve(span, positions));
  return span;
}

// Half of a small server's spans are in use, the rest parked.
Result<void> MeasureAllocFree(const memory::KvGeometry& geometry, const Sizes& sizes, Figures& figures) {
  constexpr int64_t kSpans = 8;
  constexpr int64_t kPages = 16;
  constexpr int kRounds = 2000;
  const int64_t positions = kPages * geometry.tokens_per_page;
  ASSIGN_OR_RETURN(const auto cache, MakeCache(geometry, sizes, kSpans * kPages, kSpans, positions));
  std::vector<Span> spans(kSpans);
  for (Span& span : spans) {
    ASSIGN_OR_RETURN(span, Take(*cache, positions));
  }
  for (size_t i = 0; i < spans.size(); i += 2) {
    spans[i].Release();
  }
  std::vector<double> samples;
  for (int round = 0; round < kRounds; ++round) {
    const Instant start = Clock::now();
    ASSIGN_OR_RETURN(Span span, Take(*cache, positions));
    span.Release();
    samples.push_back(MicrosecondsSince(start));
  }
  figures.Set("alloc_free_16_pages_us", std::move(samples));
  return {};
}

// A sequence whose full pages are published, and whose last page is not full.
struct Parent {
  std::vector<Token> tokens;
  std::vector<Digest> keys;
  Span span;

  int64_t size() const { return static_cast<int64_t>(tokens.size()); }
  int64_t full_pages() const { return static_cast<int64_t>(keys.size()); }
};

// What the scheduler does for a further answer of the same request: the full pages are shared, the one in which the
// prompt ends is copied.
Result<Span> Fork(KvCache& cache, const Parent& parent) {
  ASSIGN_OR_RETURN(Span span, cache.CreateSpan(parent.size(), {parent.keys, parent.tokens, parent.full_pages()}));
  CHECK(span.sealed_pages() == parent.full_pages());
  TRY(cache.Reserve(span, parent.size()));
  TRY(cache.CopyPage(parent.span, span, parent.full_pages()));
  return span;
}

Result<Span> Copy(KvCache& cache, const Parent& parent) {
  ASSIGN_OR_RETURN(Span span, Take(cache, parent.size()));
  for (int64_t page = 0; page <= parent.full_pages(); ++page) {
    TRY(cache.CopyPage(parent.span, span, page));
  }
  return span;
}

Result<void> MeasureForks(const memory::KvGeometry& geometry, const Sizes& sizes, Figures& figures) {
  const int64_t pages = std::max<int64_t>(2, sizes.fork_tokens / geometry.tokens_per_page);
  const int64_t tokens = pages * geometry.tokens_per_page - geometry.tokens_per_page / 2;
  ASSIGN_OR_RETURN(const auto cache,
                   MakeCache(geometry, sizes, 2 * pages + 2 * kForks, kForks + 2, pages * geometry.tokens_per_page));
  Parent parent;
  parent.tokens = RandomTokens(1, tokens);
  cache->AppendPrefixKeys(cache->PrefixRoot(""), parent.tokens, parent.keys);
  ASSIGN_OR_RETURN(parent.span, Take(*cache, tokens));
  cache->Publish(parent.span, parent.keys, parent.tokens);
  CHECK(parent.span.sealed_pages() == parent.full_pages());

  std::vector<double> copies, forks;
  for (int64_t round = 0; round <= sizes.rounds; ++round) {
    const Instant start = Clock::now();
    ASSIGN_OR_RETURN(const Span copy, Copy(*cache, parent));
    if (round > 0) {  // the first one makes its pages
      copies.push_back(MicrosecondsSince(start));
    }
    // Each fork finds a range with one page mapped, so that the page which it copies into exists. An alias maps all
    // that is shared anew; a segment was mapped for the first of them.
    std::vector<Span> alive(kForks);
    for (Span& span : alive) {
      ASSIGN_OR_RETURN(span, Take(*cache, 1));
    }
    alive.clear();
    for (int64_t i = 0; i < kForks; ++i) {
      const Instant fork_start = Clock::now();
      ASSIGN_OR_RETURN(Span fork, Fork(*cache, parent));
      if (round > 0) {
        forks.push_back(MicrosecondsSince(fork_start));
      }
      alive.push_back(std::move(fork));
    }
  }
  figures.Set("copy_8k_us", std::move(copies));
  figures.Set("fork_8k_us", std::move(forks));
  return {};
}

}  // namespace

Result<void> MeasureSpans(const memory::KvGeometry& geometry, const Sizes& sizes, Figures& figures) {
  TRY(MeasureAllocFree(geometry, sizes, figures));
  return MeasureForks(geometry, sizes, figures);
}

// The index alone, on pages of the smallest size: what is in them does not matter to it.
Result<void> MeasurePrefix(const memory::KvGeometry& geometry, const Sizes& sizes, Figures& figures) {
  constexpr int64_t kPageBytes = 4096;
  constexpr int kRounds = 40;
  const int64_t page_tokens = geometry.tokens_per_page;
  const int64_t count = std::max<int64_t>(1, sizes.lookup_tokens / page_tokens);
  const auto tokens = RandomTokens(2, std::max(page_tokens, sizes.lookup_tokens));
  ASSIGN_OR_RETURN(const auto backend, memory::MakeLinuxBackend({kPageBytes, count}));
  memory::PagePool pool(*backend, count);
  std::vector<memory::PageRef> pages;
  TRY(pool.Acquire(count, 0, pages));
  memory::PrefixIndex index(page_tokens, RandomKey());

  std::vector<double> hashing, finding;
  std::vector<Digest> keys;
  for (int round = 0; round < kRounds; ++round) {
    keys.clear();
    const Instant start = Clock::now();
    index.AppendKeys(index.Root(""), tokens, keys);
    hashing.push_back(MillisecondsSince(start));
  }
  memory::PrefixIndex::Hold hold;
  for (size_t i = 0; i < keys.size(); ++i) {
    const auto own = std::span(tokens).subspan(i * static_cast<size_t>(page_tokens), static_cast<size_t>(page_tokens));
    CHECK(index.Insert(hold, keys[i], own, pages[i]) == memory::PrefixIndex::Inserted::kAdded);
  }
  hold.Reset();
  std::vector<memory::PageRef> found;
  found.reserve(pages.size());
  for (int round = 0; round < kRounds; ++round) {
    found.clear();
    const Instant start = Clock::now();
    const auto held = index.Find(keys, tokens, count, found);
    finding.push_back(MillisecondsSince(start));
    CHECK(held.pages() == count);
  }
  figures.Set("prefix_hash_50k_ms", std::move(hashing));
  figures.Set("prefix_lookup_50k_ms", std::move(finding));
  return {};
}

}  // namespace causeway::server::bench_kv
