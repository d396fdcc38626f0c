// Low-rank terms: every table against ref, and a row's bits alone, among others and on threads.
#include "kernels/low_rank.h"

#include <cmath>
#include <cstring>

#include "tests/kernels/tables.h"

namespace causeway::kernels {
namespace {

// A and B of one term in the layout that kernels read.
struct Weights {
  FormatId format;
  int64_t rank, k, n, a_stride, b_stride;
  std::vector<std::byte> a, b;

  LowRankTerm Term(float* y, int64_t first = 0, int64_t columns = 0) const {
    return {.a = a.data(),
            .b = b.data() + BytesOf(format, first),
            .format = format,
            .rank = rank,
            .a_stride = a_stride,
            .b_stride = b_stride,
            .scale = 1.75F,
            .y = y + first,
            .y_stride = n,
            .n = columns > 0 ? columns : n};
  }
};

int64_t Padded(int64_t count, int64_t to) { return (count + to - 1) / to * to; }

class LowRankTest : public KernelTest {
 protected:
  static Weights Make(FormatId format, int64_t rank, int64_t k, int64_t n, uint64_t stream) {
    Weights weights{format, rank, k, n, Padded(k, kLowRankColumns), Padded(n, kLowRankColumns), {}, {}};
    const auto fill = [&](int64_t rows, int64_t used, int64_t columns, int64_t stride, uint64_t at) {
      const auto random = Random(used * columns, at);
      std::vector<float> values(static_cast<size_t>(rows * stride));
      for (int64_t i = 0; i < used * columns; ++i) {
        values[static_cast<size_t>(i / columns * stride + i % columns)] = random[static_cast<size_t>(i)];
      }
      return Encode(values, format);
    };
    weights.a = fill(Padded(rank, kLowRankRows), rank, k, weights.a_stride, stream);
    weights.b = fill(rank + 1, rank, n, weights.b_stride, stream + 1);
    return weights;
  }

  static std::vector<int32_t> Every(int32_t step, int32_t first, int32_t m) {
    std::vector<int32_t> rows;
    for (int32_t row = first; row < m; row += step) {
      rows.push_back(row);
    }
    return rows;
  }
};
CAUSEWAY_FOR_EACH_TABLE(LowRankTest);

TEST_P(LowRankTest, EqualsRef) {
  constexpr int32_t kRows = 401;  // more of a segment than go by tiles of ranks
  for (const FormatId format : {FormatId::kF32, FormatId::kF16, FormatId::kBF16}) {
    for (const auto& [rank, k, n] : {std::array<int64_t, 3>{1, 1, 1}, {3, 17, 5}, {8, 64, 40}, {6, 100, 1037}}) {
      const auto x = Random(kRows * k, 1);
      const Weights one = Make(format, rank, k, n, 10);
      const Weights two = Make(FormatId::kF32, rank + 5, k, n, 20);
      const auto rows_one = Every(3, 0, kRows);
      const auto rows_two = Every(3, 2, kRows);
      const auto run = [&](const Ops& table, Stream& s) {
        auto y = Random(kRows * n, 3);
        const LowRankTerm terms_one[] = {one.Term(y.data())};
        const LowRankTerm terms_two[] = {two.Term(y.data())};
        const LowRankSegment segments[] = {{rows_one, terms_one}, {rows_two, terms_two}};
        table.low_rank(s, {x.data(), k, k, segments});
        return y;
      };
      const auto expected = run(ref::kOps, stream());
      const auto got = run(ops(), threads3());
      const double tolerance = 1e-6 * static_cast<double>(k * (rank + 5));
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_NEAR(got[i], expected[i], tolerance + 1e-6 * std::fabs(expected[i])) << "rank " << rank << " at " << i;
      }
      const auto untouched = Random(kRows * n, 3);
      EXPECT_EQ(0, std::memcmp(got.data() + n, untouched.data() + n, static_cast<size_t>(n) * sizeof(float)));
    }
  }
}

TEST_P(LowRankTest, ARowHasTheSameBitsAloneAndAmongOthers) {
  constexpr int32_t kRows = 260;
  constexpr int64_t kColumns = 150;
  constexpr int64_t kOut = 600;
  const auto x = Random(kRows * kColumns, 1);
  const Weights one = Make(FormatId::kBF16, 7, kColumns, kOut, 10);
  const Weights two = Make(FormatId::kF16, 16, kColumns, kOut, 20);
  const auto before = Random(kRows * kOut, 3);
  auto together = before;
  const auto odd = Every(2, 1, kRows);
  const auto even = Every(2, 0, kRows);
  const LowRankTerm terms_one[] = {one.Term(together.data())};
  const LowRankTerm terms_two[] = {two.Term(together.data())};
  const LowRankSegment segments[] = {{even, terms_one}, {odd, terms_two}};
  ops().low_rank(threads3(), {x.data(), kColumns, kColumns, segments});
  for (int32_t row = 0; row < kRows; ++row) {
    auto alone = before;
    const LowRankTerm term[] = {(row % 2 == 0 ? one : two).Term(alone.data())};
    const LowRankSegment segment[] = {{{&row, 1}, term}};
    ops().low_rank(stream(), {x.data(), kColumns, kColumns, segment});
    ASSERT_EQ(0, std::memcmp(alone.data() + row * kOut, together.data() + row * kOut, kOut * sizeof(float)))
        << "row " << row;
  }
}

// A fused projection: its parts have one A, and columns of one B.
TEST_P(LowRankTest, PartsOfOneTermEqualTheWhole) {
  constexpr int32_t kRows = 5;
  constexpr int64_t kColumns = 48;
  constexpr int64_t kOut = 90;
  const auto x = Random(kRows * kColumns, 1);
  const Weights fused = Make(FormatId::kF32, 5, kColumns, kOut, 10);
  const auto rows = Every(1, 0, kRows);
  auto whole = Random(kRows * kOut, 3);
  auto parts = whole;
  const LowRankTerm one[] = {fused.Term(whole.data())};
  const LowRankTerm three[] = {fused.Term(parts.data(), 0, 40), fused.Term(parts.data(), 40, 25),
                               fused.Term(parts.data(), 65, 25)};
  const LowRankSegment in_one[] = {{rows, one}};
  const LowRankSegment in_three[] = {{rows, three}};
  ops().low_rank(stream(), {x.data(), kColumns, kColumns, in_one});
  ops().low_rank(threads3(), {x.data(), kColumns, kColumns, in_three});
  EXPECT_EQ(0, std::memcmp(whole.data(), parts.data(), whole.size() * sizeof(float)));
}

}  // namespace
}  // namespace causeway::kernels
