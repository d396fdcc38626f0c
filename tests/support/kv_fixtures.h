// Small KV caches for tests: page shapes, every backend, and tags that tell whose bytes a page holds.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "memory/kv_cache.h"
#include "memory/vm/cuda_backend.h"
#include "memory/vm/mock_backend.h"
#include "memory/vm/vm_backend.h"
#include "tests/support/fake_cuda_driver.h"

namespace causeway::memory {

inline constexpr int64_t kTestTokensPerPage = 16;

// One layer, one head of 32 floats: 16 tokens fill a system page exactly.
inline KvGeometry TestGeometry() {
  return {.shape = {.layers = 1, .kv_heads = 1, .head_dim = 32, .element_bytes = 4},
          .page_bytes = 4096,
          .tokens_per_page = kTestTokensPerPage,
          .row_bytes = 128};
}

inline KvCacheOptions TestCacheOptions(int64_t pages, int64_t spans, int64_t pages_per_span) {
  return {.geometry = TestGeometry(),
          .max_pages = pages,
          .max_spans = spans,
          .positions_per_span = pages_per_span * kTestTokensPerPage};
}

// Those that need no device.
inline std::vector<std::string> TestBackends() { return {"mock", "linux", "cuda"}; }

// By name: mock (with bytes), linux, or cuda (over a fake driver, what is sealed protected).
inline std::unique_ptr<VmBackend> MakeTestBackend(const std::string& name, int64_t pages,
                                                  int64_t page_bytes = TestGeometry().page_bytes) {
  const VmOptions options{.page_bytes = page_bytes, .max_pages = pages};
  if (name == "mock") {
    return std::make_unique<MockBackend>(options, MockBackend::Storage::kHeap);
  }
  if (name == "cuda") {
    auto backend = MakeCudaBackend(options, std::make_unique<FakeCudaDriver>(), {.protect_sealed = true});
    EXPECT_TRUE(backend.ok()) << backend.error().message;
    return std::move(backend).value();
  }
  auto backend = MakeLinuxBackend(options);
  EXPECT_TRUE(backend.ok()) << backend.error().message;
  return std::move(backend).value();
}

// A cache on a mock without bytes, and the mock itself to steer it.
struct MockedCache {
  std::unique_ptr<KvCache> cache;
  MockBackend* mock = nullptr;
};

inline MockedCache MakeMockedCache(const KvCacheOptions& options,
                                   MockBackend::Storage storage = MockBackend::Storage::kNone,
                                   KvCacheParts parts = {}) {
  auto backend = std::make_unique<MockBackend>(
      VmOptions{.page_bytes = options.geometry.page_bytes, .max_pages = options.max_pages}, storage);
  MockBackend* const mock = backend.get();
  auto cache = KvCache::Create(options, std::move(backend), std::move(parts));
  EXPECT_TRUE(cache.ok()) << cache.error().message;
  return {std::move(cache).value(), mock};
}

inline void WriteTag(const Span& span, int64_t page, uint64_t tag) {
  std::memcpy(span.page(page) + 8, &tag, sizeof tag);
}
inline uint64_t ReadTag(const Span& span, int64_t page) {
  uint64_t tag = 0;
  std::memcpy(&tag, span.page(page) + 8, sizeof tag);
  return tag;
}

}  // namespace causeway::memory
