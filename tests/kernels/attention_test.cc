#include <cmath>
#include <cstring>

#include "kernels/quant/format.h"
#include "tests/kernels/tables.h"

namespace causeway::kernels {
namespace {

struct Case {
  int64_t heads, kv_heads, head_dim, positions;
  int64_t window = 0;
  float softcap = 0;
  KvFormat format = KvFormat::kF32;
};

// A sequence's KV in one or several segments, with rubbish where nothing was written.
class Cache {
 public:
  Cache(const Case& c, int64_t tokens_per_page, std::vector<int64_t> segment_pages) : c_(c) {
    const int64_t row = c.kv_heads * c.head_dim * KvFormatBytes(c.format);
    layer_ = {.format = c.format,
              .page_bytes = 4 * tokens_per_page * row + 64,
              .tokens_per_page = tokens_per_page,
              .k_offset = 2 * tokens_per_page * row,
              .v_offset = 3 * tokens_per_page * row,
              .row_bytes = row,
              .kv_heads = c.kv_heads,
              .head_dim = c.head_dim};
    int64_t first = 0;
    for (const int64_t pages : segment_pages) {
      memory_.emplace_back(static_cast<size_t>(pages * layer_.page_bytes), std::byte{0xff});  // NaNs
      segments_.push_back({memory_.back().data(), first, pages * tokens_per_page});
      first += pages * tokens_per_page;
    }
  }
  const KvLayerView& layer() const { return layer_; }
  std::span<const KvSegment> segments() const { return segments_; }

 private:
  Case c_;
  KvLayerView layer_;
  std::vector<std::vector<std::byte>> memory_;
  std::vector<KvSegment> segments_;
};

class AttentionTest : public KernelTest {
 protected:
  // Stores and attends in chunks, as a prefill would.
  std::vector<float> Run(const Ops& ops, Stream& stream, const Case& c, Cache& cache, int64_t chunk) {
    const int64_t q_width = c.heads * c.head_dim;
    const int64_t kv_width = c.kv_heads * c.head_dim;
    const auto q = Random(c.positions * q_width, 1, 2.0F);
    const auto k = Random(c.positions * kv_width, 2, 2.0F);
    const auto v = Random(c.positions * kv_width, 3);
    std::vector<float> y(q.size(), NAN);
    for (int64_t first = 0; first < c.positions; first += chunk) {
      const KvSequence sequence{cache.segments(), 0, std::min(chunk, c.positions - first), first};
      ops.kv_store(stream, {.k = k.data() + first * kv_width,
                            .k_stride = kv_width,
                            .v = v.data() + first * kv_width,
                            .v_stride = kv_width,
                            .layer = cache.layer(),
                            .sequences = {&sequence, 1}});
      ops.attention(stream, {.q = q.data() + first * q_width,
                             .q_stride = q_width,
                             .y = y.data() + first * q_width,
                             .y_stride = q_width,
                             .heads = c.heads,
                             .layer = cache.layer(),
                             .sequences = {&sequence, 1},
                             .scale = 1.0F / std::sqrt(static_cast<float>(c.head_dim)),
                             .window = c.window,
                             .softcap = c.softcap});
    }
    return y;
  }
};
CAUSEWAY_FOR_EACH_TABLE(AttentionTest);

const Case kCases[] = {
    {4, 2, 16, 70},
    {4, 1, 24, 33, 8},
    {2, 2, 64, 40, 0, 5.0F},
    {6, 2, 80, 21, 3, 2.0F, KvFormat::kF16},
    {8, 1, 128, 100, 0, 0, KvFormat::kBF16},
    {3, 3, 96, 50, 17, 30.0F, KvFormat::kF16},
    {10, 2, 256, 35, 0, 50.0F, KvFormat::kBF16},
    {71, 1, 16, 20},
    {1, 1, 1, 18},
    {2, 1, 8, 1100, 0, 0, KvFormat::kF16},
    {2, 1, 8, 1100, 600},
};

TEST_P(AttentionTest, AgreesWithTheReference) {
  for (const Case& c : kCases) {
    Cache cache(c, 16, {c.positions / 16 + 1});
    Cache ref_cache(c, 16, {c.positions / 16 + 1});
    const auto expected = Run(ref::kOps, stream(), c, ref_cache, c.positions);
    const auto got = Run(ops(), threads3(), c, cache, c.positions);
    for (size_t i = 0; i < got.size(); ++i) {
      // V is below one, so is the output; exp contributes 3e-7 times a score of up to 20 or so.
      ASSERT_NEAR(got[i], expected[i], 1e-5) << "head_dim " << c.head_dim << " at " << i;
    }
  }
}

TEST_P(AttentionTest, BitsDoNotDependOnChunksThreadsPagesOrSegments) {
  for (const Case& c : kCases) {
    if (c.positions > 500 && ops().name == "ref") {
      continue;  // the reference is slow and has nothing to cut
    }
    Cache whole_cache(c, 64, {c.positions / 64 + 1});
    const auto whole = Run(ops(), stream(), c, whole_cache, c.positions);
    for (const int64_t chunk : {1, 7, 64, 512}) {
      if (c.positions > 500 && chunk < 64) {
        continue;
      }
      Cache cache(c, 16, {1, 1, c.positions / 16 + 1});
      const auto got = Run(ops(), threads3(), c, cache, chunk);
      ASSERT_EQ(0, std::memcmp(got.data(), whole.data(), got.size() * sizeof(float)))
          << "head_dim " << c.head_dim << " chunk " << chunk;
    }
  }
}

// Sequences of unlike lengths in one call: each gets the bits that it gets alone.
TEST_P(AttentionTest, SequencesDoNotSeeEachOther) {
  const Case c{4, 2, 40, 90, 0, 0, KvFormat::kF16};
  const int64_t q_width = c.heads * c.head_dim;
  Cache caches[3] = {Cache(c, 16, {6}), Cache(c, 16, {2, 4}), Cache(c, 16, {6})};
  const int64_t lengths[3] = {90, 47, 3};
  const int64_t rows[3] = {1, 5, 2};  // a decode and two chunks, one behind the other
  std::vector<std::vector<float>> alone;
  std::vector<KvSequence> sequences;
  std::vector<float> q;
  int64_t total = 0;
  for (int i = 0; i < 3; ++i) {
    Case prompt = c;
    prompt.positions = lengths[i];
    const auto y = Run(ops(), stream(), prompt, caches[i], 16);
    const auto begin = static_cast<ptrdiff_t>((lengths[i] - rows[i]) * q_width);
    alone.emplace_back(y.begin() + begin, y.end());
    const auto all_q = Random(lengths[i] * q_width, 1, 2.0F);
    q.insert(q.end(), all_q.begin() + begin, all_q.end());
    sequences.push_back({caches[i].segments(), total, rows[i], lengths[i] - rows[i]});
    total += rows[i];
  }
  std::vector<float> y(q.size(), NAN);
  ops().attention(threads3(), {.q = q.data(),
                               .q_stride = q_width,
                               .y = y.data(),
                               .y_stride = q_width,
                               .heads = c.heads,
                               .layer = caches[0].layer(),
                               .sequences = sequences,
                               .scale = 1.0F / std::sqrt(static_cast<float>(c.head_dim))});
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(
        0, std::memcmp(y.data() + sequences[i].first_row * q_width, alone[i].data(), alone[i].size() * sizeof(float)))
        << "sequence " << i;
  }
}

TEST_P(AttentionTest, ALongDecodeHasTheBitsOfAPrefill) {
  if (ops().name == "ref") {
    GTEST_SKIP() << "the reference has nothing to split";
  }
  const Case c{2, 1, 8, 2700};
  Cache whole_cache(c, 32, {c.positions / 32 + 1});
  const auto whole = Run(ops(), stream(), c, whole_cache, c.positions);
  Cache cache(c, 16, {c.positions / 16 + 1});
  const auto got = Run(ops(), threads3(), c, cache, 2);  // three threads, one kv head: split
  EXPECT_EQ(0, std::memcmp(got.data(), whole.data(), got.size() * sizeof(float)));
}

TEST_P(AttentionTest, StoreSaturatesFiniteValues) {
  const Case c{1, 1, 8, 1, 0, 0, KvFormat::kF16};
  Cache cache(c, 16, {1});
  const std::vector<float> huge = {1e9F, -1e9F, 65504.0F, 65519.9F, 1.0F, 0.0F, -0.0F, 1e-8F};
  const KvSequence sequence{cache.segments(), 0, 1, 0};
  ops().kv_store(stream(), {.k = huge.data(),
                            .k_stride = 8,
                            .v = huge.data(),
                            .v_stride = 8,
                            .layer = cache.layer(),
                            .sequences = {&sequence, 1}});
  float stored[8];
  FormatOf(FormatId::kF16).decode(cache.segments()[0].base + cache.layer().k_offset, stored, 8);
  EXPECT_EQ(stored[0], 65504.0F);
  EXPECT_EQ(stored[1], -65504.0F);
  EXPECT_EQ(stored[2], 65504.0F);
  EXPECT_EQ(stored[3], 65504.0F);
  EXPECT_EQ(stored[4], 1.0F);
}

}  // namespace
}  // namespace causeway::kernels
