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

TEST_P(LinearTest, AgreesWithTheReference) {
  for (const WeightFormat& format : WeightFormats()) {
    for (const Shape& shape : {Shape{1, 1, 1}, Shape{1, 5, 7}, Shape{2, 33, 64}, Shape{3, 8, 1024},
                               Shape{4, 70, 1031}, Shape{5, 3, 33}, Shape{16, 130, 260}, Shape{17, 64, 2049},
                               Shape{64, 9, 96}, Shape{67, 20, 1100}}) {
      const auto w = Random(shape.n * shape.k, 2);
      const Problem problem = Make(shape, format.id, Random(shape.m * shape.k, 1),
                                   Random(shape.n, 3), Encode(w, format.id));
      const auto expected = RunLinear(ref::kOps, stream(), problem, 0, shape.m);
      const auto got = RunLinear(ops(), threads3(), problem, 0, shape.m);
      // A sum of k products reaches sqrt(k)/3; its k/4 additions a lane (the fewest lanes) round by half an
      // ulp of that each, as a random walk; four sigmas.
      const auto k = static_cast<double>(shape.k);
      double tolerance = 4 * 6e-8 * std::sqrt(k / 4) * std::sqrt(k) / 3 + 1e-6;
      if (ops().rounds_x_for_bf16 && format.id == FormatId::kBF16) {
        // Each x is off by up to 2^-9 of itself, 1 / sqrt(3) of that in the mean; four sigmas.
        tolerance += 4 * 0x1p-9 / std::sqrt(3.0) * std::sqrt(k) / 3;
      }
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_NEAR(got[i], expected[i], tolerance)
            << format.name << " m=" << shape.m << " n=" << shape.n << " k=" << shape.k << " at " << i;
      }
    }
  }
}

TEST_P(LinearTest, ARowHasTheSameBitsAloneAndInAnyBatch) {
  for (const WeightFormat& format : WeightFormats()) {
    const Shape shape{70, 37, 1111};
    const auto w = Random(shape.n * shape.k, 5);
    const Problem problem =
        Make(shape, format.id, Random(shape.m * shape.k, 4), Random(shape.n, 6), Encode(w, format.id));
    const auto whole = RunLinear(ops(), threads3(), problem, 0, shape.m);
    for (const int64_t m : {1, 2, 3, 4, 5, 7, 16, 17, 65}) {
      for (int64_t first = 0; first + m <= shape.m; first += 13) {
        const auto part = RunLinear(ops(), stream(), problem, first, m);
        ASSERT_EQ(0, std::memcmp(part.data(), whole.data() + first * shape.n, part.size() * sizeof(float)))
            << format.name << " rows " << first << ".." << first + m;
      }
    }
  }
}

TEST_P(LinearTest, SharedInputGivesWhatSeparateCallsGive) {
  const Shape shape{4, 24, 50};
  const auto w = Random(shape.n * shape.k, 5);
  const Problem a = Make(shape, FormatId::kBF16, Random(shape.m * shape.k, 4), Random(shape.n, 6),
                         Encode(w, FormatId::kBF16));
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
    const Shape shape{3, 3, 45};
    const auto w = Random(shape.n * shape.k, 8);
    const auto bytes = Encode(w, format.id);
    auto* const memory = static_cast<std::byte*>(
        ::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_EQ(0, ::mprotect(memory + page, page, PROT_NONE));
    std::byte* const at_the_end = memory + page - bytes.size();
    std::memcpy(at_the_end, bytes.data(), bytes.size());
    Problem problem =
        Make(shape, format.id, Random(shape.m * shape.k, 9), Random(shape.n, 10), bytes);
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

}  // namespace
}  // namespace causeway::kernels
