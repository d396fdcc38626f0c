#include <cmath>
#include <cstring>

#include <sys/mman.h>
#include <unistd.h>

#include "tests/kernels/tables.h"

namespace causeway::kernels {
namespace {

using LinearTest = KernelTest;
CAUSEWAY_FOR_EACH_TABLE(LinearTest);

struct Shape {
  int64_t m, n, k;
};

struct Problem {
  std::vector<float> x;
  std::vector<std::byte> weight;
  std::vector<float> bias;
  WeightView view;
};

std::vector<float> RunLinear(const Ops& ops, Stream& stream, const Problem& problem, int64_t first, int64_t m) {
  std::vector<float> y(static_cast<size_t>(m * problem.view.rows), NAN);
  const LinearTarget target{problem.view, problem.bias.data(), y.data(), problem.view.rows};
  ops.linear(stream, {.x = problem.x.data() + first * problem.view.columns,
                      .x_stride = problem.view.columns,
                      .m = m,
                      .targets = {&target, 1}});
  return y;
}

Problem Make(const Shape& shape, FormatId format, std::vector<float> x, std::vector<float> bias,
             std::vector<std::byte> bytes) {
  Problem problem{std::move(x), std::move(bytes), std::move(bias), {}};
  problem.view = {.data = problem.weight.data(),
                  .format = format,
                  .rows = shape.n,
                  .columns = shape.k,
                  .row_bytes = BytesOf(format, shape.k)};
  return problem;
}

// For sweeps over many shapes: the floats, and one block format of each size. All blocks take one path (decoded, then
// as float32), of which BlocksGiveWhatTheirFloatsGive shows for each format that it is that path.
std::vector<WeightFormat> SweptFormats() {
  std::vector<WeightFormat> swept;
  for (const WeightFormat& format : WeightFormats()) {
    const bool block = format.block_elements > 1;
    if (!block || format.id == FormatId::kQ4_0 || format.id == FormatId::kQ4_K) {
      swept.push_back(format);
    }
  }
  return swept;
}

double NormOf(const float* values, int64_t count) {
  double squares = 0;
  for (int64_t i = 0; i < count; ++i) {
    squares += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  }
  return std::sqrt(squares);
}

class LinearAgreementTest : public KernelTest {
 protected:
  // Products of random signs have a norm of |x| |w| / sqrt(k). A lane's sum walks over at most k / 4 of them
  // and rounds by half an ulp at each step; four sigmas. Rounding x to BF16 moves each product by up to 2^-8
  // of itself, 1 / sqrt(3) of that in the mean; four sigmas.
  void Expect(Shape shape, FormatId format) {
    shape.k = WholeBlocks(shape.k, format);
    const auto w = Random(shape.n * shape.k, 2);
    const Problem problem = Make(shape, format, Random(shape.m * shape.k, 1), Random(shape.n, 3), Encode(w, format));
    const auto expected = RunLinear(ref::kOps, stream(), problem, 0, shape.m);
    const auto got = RunLinear(ops(), threads3(), problem, 0, shape.m);
    const auto k = static_cast<double>(shape.k);
    const double rounding = format == FormatId::kBF16 && shape.k > ops().rounds_x_beyond ? 0x1p-8 / std::sqrt(3.0) : 0;
    for (int64_t m = 0; m < shape.m; ++m) {
      const double x_norm = NormOf(problem.x.data() + m * shape.k, shape.k);
      for (int64_t n = 0; n < shape.n; ++n) {
        const double products = x_norm * NormOf(w.data() + n * shape.k, shape.k) / std::sqrt(k);
        const double tolerance = 4 * (0x1p-24 * std::sqrt(k / 4) + rounding) * products + 0x1p-22;
        const auto at = static_cast<size_t>(m * shape.n + n);
        ASSERT_NEAR(got[at], expected[at], tolerance) << FormatOf(format).name << " m=" << shape.m << " n=" << shape.n
                                                      << " k=" << shape.k << " at " << m << "," << n;
      }
    }
  }
};
CAUSEWAY_FOR_EACH_TABLE(LinearAgreementTest);

TEST_P(LinearAgreementTest, EveryHeight) {
  for (const WeightFormat& format : SweptFormats()) {
    for (int64_t m = 1; m <= 20; ++m) {
      Expect({m, 13, 100 + 31 * m}, format.id);
    }
  }
}

TEST_P(LinearAgreementTest, EveryWidth) {
  for (const WeightFormat& format : SweptFormats()) {
    for (int64_t n = 1; n <= 40; ++n) {
      Expect({1 + n % 7, n, n % 2 == 0 ? 65 : 530}, format.id);
    }
  }
}

TEST_P(LinearAgreementTest, OddDepthsGroupsAndBlocksOfX) {
  for (const WeightFormat& format : SweptFormats()) {
    for (const int64_t k : {1, 2, 17, 31, 32, 33, 511, 512, 513, 1024, 1025, 2049, 3100}) {
      for (const int64_t m : {1, 3, 6}) {
        Expect({m, 7, k}, format.id);
      }
    }
    Expect({150, 19, 2100}, format.id);  // more of x than the second-level cache keeps
  }
}

// A row of x gives the same bits whichever path and height it takes: few rows, many rows that fit the cache,
// many that do not; any number of threads.
TEST_P(LinearTest, ARowHasTheSameBitsAloneAndInAnyBatch) {
  ThreadPool pool({.threads = 2, .pin = false});
  Scratch scratch(2);
  Stream threads2{pool, scratch};
  for (const WeightFormat& format : SweptFormats()) {
    for (const int64_t k : {37, 1111, 2100}) {
      const Shape shape{150, 37, WholeBlocks(k, format.id)};
      const auto w = Random(shape.n * shape.k, 5);
      const Problem problem =
          Make(shape, format.id, Random(shape.m * shape.k, 4), Random(shape.n, 6), Encode(w, format.id));
      const auto whole = RunLinear(ops(), threads3(), problem, 0, shape.m);
      for (int64_t m = 1; m <= 66; m += m < 20 ? 1 : 23) {
        const int64_t first = (m * 29) % (shape.m - m);
        for (Stream* const one : {&stream(), &threads2, &threads3()}) {
          const auto part = RunLinear(ops(), *one, problem, first, m);
          ASSERT_EQ(0, std::memcmp(part.data(), whole.data() + first * shape.n, part.size() * sizeof(float)))
              << format.name << " k=" << k << " rows " << first << ".." << first + m;
        }
        if (ops().name == "ref" && m > 3) {
          break;  // one path only, and slow
        }
      }
    }
  }
}

// Rows of the weight may lie anywhere: a part of a larger matrix gives the bits of the whole.
TEST_P(LinearTest, AnOutputHasTheSameBitsInAnyWeight) {
  for (const WeightFormat& format : WeightFormats()) {
    const Shape shape{5, 41, WholeBlocks(1100, format.id)};
    const auto w = Random(shape.n * shape.k, 5);
    Problem problem =
        Make(shape, format.id, Random(shape.m * shape.k, 4), std::vector<float>(41), Encode(w, format.id));
    const WeightView whole_view = problem.view;
    const auto whole = RunLinear(ops(), threads3(), problem, 0, shape.m);
    for (const int64_t first : {0, 1, 17, 40}) {
      for (const int64_t m : {1, 5}) {
        problem.view.data = whole_view.data + first * whole_view.row_bytes;
        problem.view.rows = shape.n - first;
        const auto part = RunLinear(ops(), stream(), problem, 0, m);
        for (int64_t row = 0; row < m; ++row) {
          ASSERT_EQ(0, std::memcmp(part.data() + row * problem.view.rows, whole.data() + row * shape.n + first,
                                   static_cast<size_t>(problem.view.rows) * sizeof(float)))
              << format.name << " from row " << first;
        }
      }
    }
  }
}

// Blocks are decoded and multiplied as float32 is: the same bits as from a file of the decoded values.
TEST_P(LinearTest, BlocksGiveWhatTheirFloatsGive) {
  for (const WeightFormat& format : WeightFormats()) {
    const Shape shape{6, 45, WholeBlocks(600, format.id)};
    const auto w = Random(shape.n * shape.k, 5);
    const Problem blocks =
        Make(shape, format.id, Random(shape.m * shape.k, 4), Random(shape.n, 6), Encode(w, format.id));
    std::vector<float> values(w.size());
    format.decode(blocks.weight.data(), values.data(), shape.n * shape.k);
    const Problem floats = Make(shape, FormatId::kF32, blocks.x, blocks.bias, Encode(values, FormatId::kF32));
    for (const int64_t m : {1, 6}) {
      if (format.block_elements > 1 || format.id == FormatId::kF32) {
        EXPECT_EQ(RunLinear(ops(), threads3(), blocks, 0, m), RunLinear(ops(), stream(), floats, 0, m)) << format.name;
      }
    }
  }
}

TEST_P(LinearTest, SharedInputGivesWhatSeparateCallsGive) {
  const Shape shape{4, 24, 600};
  const auto w = Random(shape.n * shape.k, 5);
  const Problem a =
      Make(shape, FormatId::kBF16, Random(shape.m * shape.k, 4), Random(shape.n, 6), Encode(w, FormatId::kBF16));
  const Problem b = Make(shape, FormatId::kF32, a.x, Random(shape.n, 7), Encode(w, FormatId::kF32));
  std::vector<float> ya(static_cast<size_t>(shape.m * shape.n));
  std::vector<float> yb(ya.size());
  const LinearTarget targets[] = {{a.view, a.bias.data(), ya.data(), shape.n},
                                  {b.view, b.bias.data(), yb.data(), shape.n}};
  ops().linear(stream(), {.x = a.x.data(), .x_stride = shape.k, .m = shape.m, .targets = targets});
  EXPECT_EQ(ya, RunLinear(ops(), stream(), a, 0, shape.m));
  EXPECT_EQ(yb, RunLinear(ops(), stream(), b, 0, shape.m));
}

TEST_P(LinearTest, NeverReadsBehindTheWeight) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  for (const WeightFormat& format : WeightFormats()) {
    const Shape shape{3, 3, WholeBlocks(45, format.id)};
    const auto w = Random(shape.n * shape.k, 8);
    const auto bytes = Encode(w, format.id);
    auto* const memory =
        static_cast<std::byte*>(::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_EQ(0, ::mprotect(memory + page, page, PROT_NONE));
    std::byte* const at_the_end = memory + page - bytes.size();
    std::memcpy(at_the_end, bytes.data(), bytes.size());
    Problem problem = Make(shape, format.id, Random(shape.m * shape.k, 9), Random(shape.n, 10), bytes);
    const auto expected = RunLinear(ops(), stream(), problem, 0, shape.m);
    problem.view.data = at_the_end;
    EXPECT_EQ(RunLinear(ops(), stream(), problem, 0, 1),
              std::vector<float>(expected.begin(), expected.begin() + shape.n));
    EXPECT_EQ(RunLinear(ops(), stream(), problem, 0, shape.m), expected);
    ::munmap(memory, 2 * page);
  }
}

TEST_P(LinearTest, EmptyBatchDoesNothing) {
  const auto w = Random(4, 1);
  const Problem problem = Make({0, 2, 2}, FormatId::kF32, {}, Random(2, 2), Encode(w, FormatId::kF32));
  EXPECT_TRUE(RunLinear(ops(), stream(), problem, 0, 0).empty());
}

class SparseTest : public KernelTest {};
CAUSEWAY_FOR_EACH_TABLE(SparseTest);

// The same bits as the reference, whatever the number of rows of x and of threads; what lies between rows stays.
TEST_P(SparseTest, EqualsTheReferenceToTheBit) {
  constexpr int64_t kRows = 150;
  constexpr int64_t kColumns = 97;
  constexpr int64_t kMost = 37;
  std::vector<uint32_t> offsets = {0};
  std::vector<SparseEntry> entries;
  for (uint64_t row = 0; row < kRows; ++row) {
    for (uint16_t column = 0; column < kColumns && row % 7 != 3; ++column) {
      if (RandomUniform(kSeed, row, column) < 0.1) {
        entries.push_back({column, static_cast<uint16_t>(RandomBits(kSeed, row + 1000, column) & 0xbbff)});
      }
    }
    offsets.push_back(static_cast<uint32_t>(entries.size()));
  }
  const std::vector<float> x = Random(kMost * (kColumns + 3), 1);
  const std::vector<float> before = Random(kMost * (kRows + 5), 2);
  const auto run = [&](const Ops& table, Stream& with, int64_t first, int64_t m) {
    std::vector<float> y = before;
    table.sparse(with, {.weight = {offsets.data() + 10, entries.data()},  // rows from 10 on
                        .rows = kRows - 10,
                        .columns = kColumns,
                        .x = x.data() + first * (kColumns + 3),
                        .x_stride = kColumns + 3,
                        .m = m,
                        .y = y.data() + first * (kRows + 5),
                        .y_stride = kRows + 5});
    return y;
  };
  for (const int64_t m : {1, 2, 4, 5, 16, 17, 37}) {
    const int64_t first = kMost - m;
    const std::vector<float> expected = run(ref::kOps, stream(), first, m);
    EXPECT_NE(expected, before);
    EXPECT_EQ(run(ops(), stream(), first, m), expected) << m << " rows, seed " << kSeed;
    EXPECT_EQ(run(ops(), threads3(), first, m), expected) << m << " rows, three threads";
  }
}

}  // namespace
}  // namespace causeway::kernels
