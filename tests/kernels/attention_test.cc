#include <cmath>
#include <cstring>

#include "kernels/attention_plan.h"
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
    {4, 4, 64, 70, 40, 0, KvFormat::kF16},
    {8, 4, 32, 70, 0, 0, KvFormat::kBF16},
    {8, 2, 128, 70, 0, 0, KvFormat::kF16},
    {71, 1, 16, 20},
    {14, 2, 64, 150, 70, 0, KvFormat::kF16},
    {7, 7, 48, 140, 0, 0, KvFormat::kBF16},
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
  const Case c{4, 4, 16, 2700};
  Cache whole_cache(c, 32, {c.positions / 32 + 1});
  const auto whole = Run(ops(), stream(), c, whole_cache, c.positions);
  Cache cache(c, 16, {c.positions / 16 + 1});
  const auto got = Run(ops(), threads3(), c, cache, 2);  // three threads, one tile: split
  EXPECT_EQ(0, std::memcmp(got.data(), whole.data(), got.size() * sizeof(float)));
}

// Queries are taken in packs; what is wrong with one of them stays its own.
TEST_P(AttentionTest, AQueryOfNaNsHarmsNoOther) {
  for (const int64_t group : {1, 8}) {
    const Case c{group, 1, 32, 100, 0, 0, KvFormat::kF16};
    const int64_t width = c.heads * c.head_dim;
    Cache cache(c, 16, {c.positions / 16 + 1});
    Run(ops(), stream(), c, cache, c.positions);  // stores K and V
    const KvSequence sequence{cache.segments(), 0, c.positions, 0};
    const auto attend = [&](const std::vector<float>& q) {
      std::vector<float> y(q.size(), 0.0F);
      ops().attention(stream(), {.q = q.data(),
                                 .q_stride = width,
                                 .y = y.data(),
                                 .y_stride = width,
                                 .heads = c.heads,
                                 .layer = cache.layer(),
                                 .sequences = {&sequence, 1},
                                 .scale = 0.2F});
      return y;
    };
    auto q = Random(c.positions * width, 3, 2.0F);
    const auto whole = attend(q);
    const int64_t bad = 67 * width;  // of one head of one row
    std::fill_n(q.begin() + bad, c.head_dim, NAN);
    const auto got = attend(q);
    for (int64_t i = 0; i < c.positions * width; ++i) {
      const auto at = static_cast<size_t>(i);
      if (i >= bad && i < bad + c.head_dim) {
        ASSERT_TRUE(std::isnan(got[at])) << i;
      } else {
        ASSERT_EQ(0, std::memcmp(&got[at], &whole[at], sizeof(float))) << "group " << group << " at " << i;
      }
    }
  }
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

// ---- Cascade: a prefix that several sequences share is read once ------------------------------------

struct Member {
  int32_t group;     // negative: shares nothing
  int64_t position;  // of its first row
  int64_t rows;
};

// Sequences of a batch whose groups have equal rows in [0, shared): each at addresses of its own, as aliases have,
// and once more as two segments, the first of them its group's.
class CascadeBatch {
 public:
  CascadeBatch(const Ops& ops, Stream& stream, const Case& c, int64_t shared, std::vector<Member> members)
      : case_(c), members_(std::move(members)) {
    const int64_t row = c.kv_heads * c.head_dim * KvFormatBytes(c.format);
    layer_ = {.format = c.format,
              .page_bytes = 2 * kPage * row,
              .tokens_per_page = kPage,
              .k_offset = 0,
              .v_offset = kPage * row,
              .row_bytes = row,
              .kv_heads = c.kv_heads,
              .head_dim = c.head_dim};
    segments_.reserve(3 * members_.size());
    for (size_t i = 0; i < members_.size(); ++i) {
      const Member& member = members_[i];
      const int64_t pages = (member.position + member.rows) / kPage + 1;
      memory_.emplace_back(static_cast<size_t>(pages * layer_.page_bytes), std::byte{0xff});  // NaNs
      segments_.push_back({memory_.back().data(), 0, pages * kPage});
      aliases_.push_back({.segments = {&segments_.back(), 1},
                          .first_row = m_,
                          .rows = member.rows,
                          .first_position = member.position,
                          .shared_positions = shared,
                          .share_group = member.group});
      m_ += member.rows;
      StoreAll(ops, stream, i, shared);
    }
    SpellAsSegments(shared);
  }

  // One sequence after the other is the plain path: nobody to share with.
  std::vector<float> Plain(const Ops& ops, Stream& stream) const {
    std::vector<float> y(static_cast<size_t>(m_ * QWidth()), NAN);
    for (KvSequence sequence : aliases_) {
      sequence.share_group = -1;
      Attend(ops, stream, {&sequence, 1}, y);
    }
    return y;
  }
  std::vector<float> Together(const Ops& ops, Stream& stream, std::span<const KvSequence> sequences) const {
    std::vector<float> y(static_cast<size_t>(m_ * QWidth()), NAN);
    Attend(ops, stream, sequences, y);
    return y;
  }
  std::span<const KvSequence> aliases() const { return aliases_; }
  std::span<KvSequence> spelled() { return spelled_; }

  // Makes [0, positions) of one sequence's own memory unreadable in effect: NaNs.
  void Spoil(size_t member, int64_t positions) {
    std::memset(memory_[member].data(), 0xff, static_cast<size_t>(positions / kPage * layer_.page_bytes));
  }

  AttentionArgs Args(std::span<const KvSequence> sequences) const {
    return {.q = nullptr,
            .q_stride = QWidth(),
            .y = nullptr,
            .y_stride = QWidth(),
            .heads = case_.heads,
            .layer = layer_,
            .sequences = sequences,
            .scale = 1.0F / std::sqrt(static_cast<float>(case_.head_dim)),
            .window = case_.window,
            .softcap = case_.softcap};
  }

 private:
  static constexpr int64_t kPage = 16;

  int64_t QWidth() const { return case_.heads * case_.head_dim; }

  // K and V of a member: of its group before `shared`, its own from there.
  void StoreAll(const Ops& ops, Stream& stream, size_t member, int64_t shared) {
    const int64_t width = case_.kv_heads * case_.head_dim;
    const int64_t end = members_[member].position + members_[member].rows;
    const auto store = [&](int64_t from, int64_t to, uint64_t lineage) {
      if (from >= to) {
        return;
      }
      const auto k = KernelRandom(to * width, 2 * lineage, 2.0F);
      const auto v = KernelRandom(to * width, 2 * lineage + 1, 1.0F);
      const KvSequence sequence{aliases_[member].segments, 0, to - from, from};
      ops.kv_store(stream, {.k = k.data() + from * width,
                            .k_stride = width,
                            .v = v.data() + from * width,
                            .v_stride = width,
                            .layer = layer_,
                            .sequences = {&sequence, 1}});
    };
    const int32_t group = members_[member].group;
    store(0, std::min(shared, end), 100 + static_cast<uint64_t>(group < 0 ? 100 + static_cast<int>(member) : group));
    store(std::min(shared, end), end, 300 + member);
  }

  void SpellAsSegments(int64_t shared) {
    spelled_ = aliases_;
    for (size_t i = 0; i < spelled_.size(); ++i) {
      spelled_[i].share_group = -1;
      spelled_[i].shared_positions = 0;
      if (members_[i].group < 0 || shared == 0) {
        continue;
      }
      size_t leader = 0;
      while (members_[leader].group != members_[i].group) {
        ++leader;
      }
      const KvSegment* const first = segments_.data() + segments_.size();
      segments_.push_back({memory_[leader].data(), 0, shared});
      segments_.push_back(
          {memory_[i].data() + shared / kPage * layer_.page_bytes, shared, aliases_[i].segments[0].positions - shared});
      spelled_[i].segments = {first, 2};
    }
  }

  void Attend(const Ops& ops, Stream& stream, std::span<const KvSequence> sequences, std::vector<float>& y) const {
    const auto q = KernelRandom(m_ * QWidth(), 7, 2.0F);
    AttentionArgs args = Args(sequences);
    args.q = q.data();
    args.y = y.data();
    ops.attention(stream, args);
  }

  static std::vector<float> KernelRandom(int64_t count, uint64_t stream, float scale) {
    std::vector<float> values(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = (2.0F * static_cast<float>(RandomUniform(5, stream, i)) - 1.0F) * scale;
    }
    return values;
  }

  const Case case_;
  const std::vector<Member> members_;
  KvLayerView layer_;
  int64_t m_ = 0;
  std::vector<std::vector<std::byte>> memory_;
  std::vector<KvSegment> segments_;
  std::vector<KvSequence> aliases_, spelled_;
};

const Case kCascadeCases[] = {
    {4, 2, 16, 0},
    {2, 2, 24, 0, 0, 5.0F, KvFormat::kF16},
    {8, 1, 40, 0, 200, 0, KvFormat::kF16},
    {6, 3, 8, 0, 540, 2.0F, KvFormat::kBF16},
    {71, 1, 8, 0},
    {3, 1, 64, 0, 40, 0, KvFormat::kBF16},
};

TEST_P(AttentionTest, ACascadeHasTheBitsOfEachSequenceAlone) {
  const int trials = ops().name == "ref" ? 6 : 24;
  for (int trial = 0; trial < trials; ++trial) {
    auto draw = [&, n = uint64_t{0}](int64_t limit) mutable {
      return static_cast<int64_t>(RandomBits(kSeed, static_cast<uint64_t>(trial), n++) % static_cast<uint64_t>(limit));
    };
    const Case& c = kCascadeCases[static_cast<size_t>(trial) % std::size(kCascadeCases)];
    const int64_t shared = 16 * (1 + draw(trial % 3 == 0 ? 8 : 70));  // often ends inside a partition
    std::vector<Member> members;
    for (int64_t i = 2 + draw(8); i > 0; --i) {
      const int64_t rows = draw(3) == 0 ? 1 + draw(40) : 1;  // decodes and chunks
      members.push_back({static_cast<int32_t>(draw(3)) - 1, shared + draw(trial % 2 == 0 ? 20 : 600), rows});
    }
    CascadeBatch batch(ops(), stream(), c, shared, members);
    const auto plain = batch.Plain(ops(), stream());
    const auto aliased = batch.Together(ops(), trial % 2 == 0 ? stream() : threads3(), batch.aliases());
    GroupBySegments(batch.spelled(), 0);
    const auto segmented = batch.Together(ops(), threads3(), batch.spelled());
    const size_t bytes = plain.size() * sizeof(float);
    ASSERT_EQ(0, std::memcmp(aliased.data(), plain.data(), bytes)) << "seed " << kSeed << " trial " << trial;
    ASSERT_EQ(0, std::memcmp(segmented.data(), plain.data(), bytes)) << "seed " << kSeed << " trial " << trial;
  }
}

TEST_P(AttentionTest, ACascadeReadsThePrefixOnce) {
  if (ops().name == "ref") {
    GTEST_SKIP() << "the reference reads each sequence's own";
  }
  CascadeBatch batch(ops(), stream(), {4, 2, 16, 0}, 128, {{0, 140, 1}, {0, 128, 1}, {0, 170, 3}});
  const auto plain = batch.Plain(ops(), stream());
  batch.Spoil(1, 128);
  batch.Spoil(2, 128);
  const auto together = batch.Together(ops(), stream(), batch.aliases());
  EXPECT_EQ(0, std::memcmp(together.data(), plain.data(), plain.size() * sizeof(float)));
}

TEST_P(AttentionTest, ALongCascadeIsSplitAndMergedInWaves) {
  if (ops().name == "ref") {
    GTEST_SKIP() << "the reference has nothing to split";
  }
  const int64_t shared = 13600;  // 27 partitions; three threads and one kv head take at least 12 in a wave
  CascadeBatch batch(ops(), stream(), {2, 1, 8, 0}, shared,
                     {{0, shared, 1}, {0, shared + 500, 2}, {0, shared + 200, 1}});
  Scratch scratch(3);
  const AttentionPlan plan = PlanAttention(batch.Args(batch.aliases()), 3, scratch);
  ASSERT_EQ(plan.split.size(), 1U);
  ASSERT_GT(plan.split[0].partitions, plan.split[0].wave);
  const auto plain = batch.Plain(ops(), stream());
  const auto together = batch.Together(ops(), threads3(), batch.aliases());
  EXPECT_EQ(0, std::memcmp(together.data(), plain.data(), plain.size() * sizeof(float)));
}

// ---- The plan of a call ----------------------------------------------------------------------------

struct PlanCase {
  const char* what;
  int64_t kv_heads;
  int64_t window;
  int threads;
  int64_t shared;
  std::vector<Member> members;
  size_t tiles;      // in all
  size_t split;      // of these
  int64_t cascaded;  // positions that the first tile shares
};

TEST(AttentionPlanTest, IsARuleOfShapesAndThreads) {
  const PlanCase cases[] = {
      {"a group is one tile", 4, 0, 2, 128, {{0, 128, 1}, {0, 200, 1}, {0, 140, 2}}, 1, 0, 128},
      {"rows beyond a tile open another", 4, 0, 2, 128, {{0, 128, 17}, {0, 200, 17}}, 2, 0, 128},
      {"nobody to share with", 4, 0, 2, 128, {{0, 128, 1}, {1, 200, 1}}, 2, 0, 0},
      {"too short to pay", 4, 0, 2, 48, {{0, 128, 1}, {0, 200, 1}}, 2, 0, 0},
      {"out of the window", 4, 100, 2, 128, {{0, 400, 1}, {0, 500, 1}}, 2, 0, 0},
      {"a member inside the prefix shortens it", 4, 0, 2, 256, {{0, 130, 1}, {0, 300, 1}}, 1, 0, 128},
      {"threads are fed before reads are saved",
       2,
       0,
       8,
       128,
       {{0, 128, 1}, {0, 200, 1}, {0, 150, 1}, {0, 160, 1}},
       4,
       0,
       128},
      {"few long tiles are split", 2, 0, 8, 4096, {{0, 4096, 1}, {0, 4100, 1}, {-1, 20, 1}}, 2, 1, 4096},
      {"one thread splits nothing", 1, 0, 1, 4096, {{0, 4096, 1}, {0, 4100, 1}}, 1, 0, 4096},
      {"no rows, no tile", 4, 0, 2, 128, {{0, 128, 0}, {-1, 3, 1}}, 1, 0, 0},
  };
  Scratch scratch(1);
  for (const PlanCase& c : cases) {
    std::vector<KvSequence> sequences;
    for (const Member& member : c.members) {
      sequences.push_back({.segments = {},
                           .rows = member.rows,
                           .first_position = member.position,
                           .shared_positions = c.shared,
                           .share_group = member.group});
    }
    AttentionArgs args{};
    args.heads = 4 * c.kv_heads;
    args.layer.kv_heads = c.kv_heads;
    args.window = c.window;
    args.sequences = sequences;
    const AttentionPlan plan = PlanAttention(args, c.threads, scratch);
    EXPECT_EQ(plan.split.size() + plan.whole.size(), c.tiles) << c.what;
    EXPECT_EQ(plan.split.size(), c.split) << c.what;
    EXPECT_EQ(plan.split.empty() ? plan.whole[0].shared : plan.split[0].shared, c.cascaded) << c.what;
  }
}

struct TaskCase {
  const char* what;
  int64_t kv_heads;
  int64_t group;
  int threads;
  int64_t sequences;
  int64_t rows;
  int64_t position;
  size_t split;
  int64_t task_heads;
};

TEST(AttentionPlanTest, TasksTakeSeveralHeadsWhereRowsAreFewAndThreadsAreFed) {
  const TaskCase cases[] = {
      {"a step of many", 4, 8, 2, 8, 1, 300, 0, 4},
      {"no more queries than stay near", 32, 8, 1, 8, 1, 300, 0, 16},
      {"prompts are bound by arithmetic", 4, 8, 2, 8, 16, 300, 0, 1},
      {"threads are fed first", 8, 4, 16, 16, 1, 300, 0, 2},
      {"a short one alone", 4, 8, 2, 1, 1, 300, 0, 1},
      {"a long one alone is split by partitions", 4, 8, 2, 1, 1, 8000, 1, 4},
      {"few partitions leave heads to the threads", 4, 8, 2, 1, 1, 2100, 1, 2},
      {"one thread needs no feeding", 4, 8, 1, 1, 1, 8000, 0, 4},
  };
  Scratch scratch(1);
  for (const TaskCase& c : cases) {
    const std::vector<KvSequence> sequences(static_cast<size_t>(c.sequences),
                                            {.segments = {}, .rows = c.rows, .first_position = c.position});
    AttentionArgs args{};
    args.heads = c.group * c.kv_heads;
    args.layer.kv_heads = c.kv_heads;
    args.sequences = sequences;
    const AttentionPlan plan = PlanAttention(args, c.threads, scratch);
    EXPECT_EQ(plan.split.size(), c.split) << c.what;
    const AttentionTile& tile = plan.split.empty() ? plan.whole[0] : plan.split[0];
    EXPECT_EQ(tile.task_heads, c.task_heads) << c.what;
    EXPECT_EQ(tile.rows, c.rows) << c.what;
  }
}

}  // namespace
}  // namespace causeway::kernels
