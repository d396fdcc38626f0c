// Every layout: rows lie apart and inside what is mapped, and attention on it gives the same bits.
#include "memory/kv_layout.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "base/thread_pool.h"
#include "kernels/ops.h"
#include "kernels/scratch.h"
#include "memory/kv_view.h"

namespace causeway::memory {
namespace {

constexpr uint64_t kSeed = 31;

KvGeometry GeometryOf(int64_t layers, int64_t kv_heads, int64_t head_dim) {
  return ChooseGeometry({layers, kv_heads, head_dim, 2}, 4096).value();
}

// Whether byte `at` of a sequence's address range is mapped when it holds `tokens`.
template <KvLayoutPolicy L>
bool IsMapped(const KvGeometry& geometry, int64_t capacity, int64_t tokens, int64_t at) {
  const int64_t range = PagesOfRange<L>(geometry, capacity) * geometry.page_bytes;
  return at >= 0 && at < L::Ranges(geometry) * range &&
         at % range < PagesOfRange<L>(geometry, tokens) * geometry.page_bytes;
}

TEST(KvLayout, RowsLieApartAndInWhatIsMapped) {
  for (const auto& [layers, kv_heads, head_dim] : {std::array<int64_t, 3>{3, 2, 24}, {1, 1, 8}, {22, 4, 64}}) {
    const KvGeometry geometry = GeometryOf(layers, kv_heads, head_dim);
    ForEachLayout([&](auto layout) {
      using L = decltype(layout);
      const int64_t capacity = 3 * geometry.tokens_per_page + 5;
      for (const int64_t tokens : {int64_t{1}, geometry.tokens_per_page, 2 * geometry.tokens_per_page + 1}) {
        std::vector<int64_t> starts;
        for (int64_t layer = 0; layer < geometry.shape.layers; ++layer) {
          const KvRows rows = L::Rows(geometry, capacity, layer);
          EXPECT_EQ(rows.tokens_per_page % 16, 0) << L::kName;
          for (int64_t t = 0; t < tokens; ++t) {
            starts.push_back(rows.KAt(t));
            starts.push_back(rows.VAt(t));
          }
        }
        std::sort(starts.begin(), starts.end());
        for (size_t i = 0; i < starts.size(); ++i) {
          ASSERT_TRUE(IsMapped<L>(geometry, capacity, tokens, starts[i])) << L::kName;
          ASSERT_TRUE(IsMapped<L>(geometry, capacity, tokens, starts[i] + geometry.row_bytes - 1)) << L::kName;
          ASSERT_TRUE(i == 0 || starts[i - 1] + geometry.row_bytes <= starts[i]) << L::kName;
        }
      }
    });
  }
}

TEST(KvLayout, FiguresOfLlama8B) {
  const KvGeometry geometry = GeometryOf(32, 8, 128);  // 16 tokens fill 2 MiB
  constexpr int64_t kMiB = 1 << 20;
  EXPECT_EQ(WasteBytes<SlabLayout>(geometry, 16), 0);
  EXPECT_EQ(WasteBytes<SlabLayout>(geometry, 17), 2 * kMiB - 128 * 1024);
  EXPECT_EQ(WasteBytes<SlicedLayout>(geometry, 17), 2 * kMiB - 128 * 1024);
  EXPECT_EQ(WasteBytes<PerLayerLayout>(geometry, 1), 128 * kMiB - 128 * 1024);  // a page in each of 64 tensors
  EXPECT_EQ(TouchedPages<SlabLayout>(geometry, 8192), 512);
  EXPECT_EQ(TouchedPages<SlicedLayout>(geometry, 8192), 512);
  EXPECT_EQ(TouchedPages<PerLayerLayout>(geometry, 8192), 16);
  EXPECT_EQ(AddressBytes<SlabLayout>(geometry, 8192), 1024 * kMiB);
}

// Stores and attends one sequence of `tokens` in a layout; the outputs of the last rows of all layers.
template <KvLayoutPolicy L>
std::vector<float> Attend(const kernels::Ops& ops, kernels::Stream& stream, const KvGeometry& geometry,
                          int64_t tokens) {
  constexpr int64_t kRows = 3;
  const int64_t kv_width = geometry.shape.kv_heads * geometry.shape.head_dim;
  const int64_t q_width = 2 * kv_width;
  std::vector<std::byte> memory(static_cast<size_t>(AddressBytes<L>(geometry, tokens)), std::byte{0xff});  // NaNs
  const kernels::KvSegment segment{memory.data(), 0, PagesOfRange<L>(geometry, tokens) * L::TokensPerPage(geometry)};
  std::vector<float> values(static_cast<size_t>(2 * tokens * kv_width));
  std::vector<float> q(static_cast<size_t>(kRows * q_width));
  std::vector<float> outputs;
  for (int64_t layer = 0; layer < geometry.shape.layers; ++layer) {
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>(RandomUniform(kSeed, static_cast<uint64_t>(layer), i)) - 0.5F;
    }
    for (size_t i = 0; i < q.size(); ++i) {
      q[i] = static_cast<float>(RandomUniform(kSeed, static_cast<uint64_t>(100 + layer), i)) - 0.5F;
    }
    const auto view = LayerView<L>(geometry, kernels::KvFormat::kF16, layer, tokens);
    const kernels::KvSequence all{{&segment, 1}, 0, tokens, 0};
    ops.kv_store(stream, {.k = values.data(),
                          .k_stride = kv_width,
                          .v = values.data() + tokens * kv_width,
                          .v_stride = kv_width,
                          .layer = view,
                          .sequences = {&all, 1}});
    const kernels::KvSequence last{{&segment, 1}, 0, kRows, tokens - kRows};
    std::vector<float> y(q.size());
    ops.attention(stream, {.q = q.data(),
                           .q_stride = q_width,
                           .y = y.data(),
                           .y_stride = q_width,
                           .heads = 2 * geometry.shape.kv_heads,
                           .layer = view,
                           .sequences = {&last, 1},
                           .scale = 0.3F});
    outputs.insert(outputs.end(), y.begin(), y.end());
  }
  return outputs;
}

TEST(KvLayout, AttentionGivesTheSameBitsOnEach) {
  const KvGeometry geometry = GeometryOf(3, 2, 24);
  ThreadPool pool({.threads = 2, .pin = false});
  kernels::Scratch scratch(2);
  kernels::Stream stream{pool, scratch};
  for (const kernels::Ops* ops : kernels::AllOps()) {
    if (!kernels::CanRun(*ops)) {
      continue;
    }
    const auto expected = Attend<SlabLayout>(*ops, stream, geometry, 150);
    ForEachLayout([&](auto layout) {
      using L = decltype(layout);
      const auto got = Attend<L>(*ops, stream, geometry, 150);
      EXPECT_EQ(0, std::memcmp(got.data(), expected.data(), got.size() * sizeof(float)))
          << ops->name << " on " << L::kName;
    });
  }
}

}  // namespace
}  // namespace causeway::memory
