#include <cmath>
#include <cstring>

#include "tests/kernels/tables.h"

namespace causeway::kernels {
namespace {

using ElementwiseTest = KernelTest;
CAUSEWAY_FOR_EACH_TABLE(ElementwiseTest);

void ExpectClose(const std::vector<float>& got, const std::vector<float>& expected, double relative, double absolute) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], expected[i], absolute + relative * std::fabs(expected[i])) << "at " << i;
  }
}

TEST_P(ElementwiseTest, RmsNorm) {
  for (const int64_t dim : {1, 7, 17, 24, 64, 100, 513, 2048}) {
    const int64_t groups = dim < 100 ? 3 : 1;
    const auto x = Random(5 * groups * dim, 1, 3.0F);
    const auto weight = Random(dim, 2);
    std::vector<float> expected(x.size());
    std::vector<float> got(x.size());
    const RmsNormArgs args{x.data(), groups * dim, weight.data(), 1e-5F, expected.data(), groups * dim, 5, groups, dim};
    ref::kOps.rms_norm(stream(), args);
    RmsNormArgs mine = args;
    mine.y = got.data();
    ops().rms_norm(threads3(), mine);
    ExpectClose(got, expected, 1e-5, 1e-7);
  }
}

TEST_P(ElementwiseTest, LayerNorm) {
  for (const int64_t dim : {1, 7, 64, 100, 768}) {
    const auto x = Random(9 * dim, 1, 3.0F);
    const auto weight = Random(dim, 2);
    const auto bias = Random(dim, 3);
    std::vector<float> expected(x.size());
    std::vector<float> got(x.size());
    LayerNormArgs args{x.data(), dim, weight.data(), bias.data(), 1e-5F, expected.data(), dim, 9, dim};
    ref::kOps.layer_norm(stream(), args);
    args.y = got.data();
    ops().layer_norm(threads3(), args);
    ExpectClose(got, expected, 1e-5, 1e-6);
  }
}

TEST_P(ElementwiseTest, RopeRotatesTheFirstPairsOnly) {
  for (const int64_t rotary : {2, 16, 24, 64}) {
    const int64_t head_dim = rotary + 10;
    const auto x = Random(4 * 3 * head_dim, 1);
    std::vector<float> cosine;
    std::vector<float> sine;
    for (int64_t i = 0; i < 4 * rotary / 2; ++i) {
      cosine.push_back(std::cos(static_cast<float>(i)));
      sine.push_back(std::sin(static_cast<float>(i)));
    }
    auto expected = x;
    auto got = x;
    RopeArgs args{expected.data(), 3 * head_dim, 4, 3, head_dim, rotary, cosine.data(), sine.data()};
    ref::kOps.rope(stream(), args);
    args.x = got.data();
    ops().rope(threads3(), args);
    ExpectClose(got, expected, 1e-6, 1e-6);
    EXPECT_EQ(got[static_cast<size_t>(rotary)], x[static_cast<size_t>(rotary)]);
  }
}

TEST_P(ElementwiseTest, ActivationsOverTheirWholeRange) {
  std::vector<float> gate;
  for (float v = -30.0F; v <= 30.0F; v += 0.0173F) {
    gate.push_back(v);
  }
  for (const float v : {0.0F, -0.0F, 1e-8F, -1e-8F, 100.0F, -100.0F, 1e4F, -1e4F}) {
    gate.push_back(v);
  }
  const auto count = static_cast<int64_t>(gate.size());
  const auto up = Random(count, 2);
  for (const auto activation : {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh, Activation::kRelu}) {
    for (const float* second : {static_cast<const float*>(nullptr), up.data()}) {
      std::vector<float> expected(gate.size());
      std::vector<float> got(gate.size());
      ActivationArgs args{activation, gate.data(), count, second, count, expected.data(), count, 1, count};
      ref::kOps.activation(stream(), args);
      args.y = got.data();
      ops().activation(stream(), args);
      // GELU's erf has an absolute error of 1.5e-7, times x where it does not cancel.
      ExpectClose(got, expected, 2e-6, 3e-6);
    }
  }
}

TEST_P(ElementwiseTest, AddScaledAndScaleCap) {
  const auto y = Random(3 * 37, 1);
  auto expected = Random(3 * 37, 2);
  auto got = expected;
  ref::kOps.add_scaled(stream(), {expected.data(), 37, y.data(), 37, 0.22F, 3, 37});
  ops().add_scaled(threads3(), {got.data(), 37, y.data(), 37, 0.22F, 3, 37});
  ExpectClose(got, expected, 1e-6, 1e-7);
  ref::kOps.scale_cap(stream(), {expected.data(), 37, 25.0F, 10.0F, 3, 37});
  ops().scale_cap(threads3(), {got.data(), 37, 25.0F, 10.0F, 3, 37});
  ExpectClose(got, expected, 2e-6, 1e-5);
}

TEST_P(ElementwiseTest, EmbedScalesAndAdds) {
  for (const WeightFormat& format : WeightFormats()) {
    const int64_t dim = WholeBlocks(19, format.id);
    const auto table = Encode(Random(10 * dim, 1), format.id);
    const WeightView view{table.data(), format.id, 10, dim, BytesOf(format.id, dim)};
    const Token tokens[] = {3, 0, 9, 3};
    for (const bool accumulate : {true, false}) {
      std::vector<float> expected(static_cast<size_t>(4 * dim), 1.0F);
      std::vector<float> got(expected);
      EmbedArgs args{view, tokens, 1.5F, expected.data(), dim, accumulate};
      ref::kOps.embed(stream(), args);
      args.y = got.data();
      ops().embed(stream(), args);
      ExpectClose(got, expected, 1e-6, 1e-7);
    }
  }
}

// Calls run(stream, first row, rows, y) for all rows on three threads, then for some on one: same bits.
template <typename Run>
void ExpectSameBits(Stream& alone, Stream& together, int64_t rows, int64_t dim, const char* op, Run run) {
  std::vector<float> whole(static_cast<size_t>(rows * dim));
  run(together, 0, rows, whole.data());
  for (const int64_t count : {1, 3, 9}) {
    for (int64_t first = 0; first + count <= rows; first += count) {
      std::vector<float> part(static_cast<size_t>(count * dim));
      run(alone, first, count, part.data());
      ASSERT_EQ(0, std::memcmp(part.data(), whole.data() + first * dim, part.size() * sizeof(float)))
          << op << " rows " << first << ".." << first + count;
    }
  }
}

TEST_P(ElementwiseTest, RowsHaveTheSameBitsAloneAndTogether) {
  constexpr int64_t kRows = 27;
  for (const int64_t dim : {2, 34, 1006}) {
    const auto x = Random(kRows * dim, 1, 4.0F);
    const auto other = Random(kRows * dim, 2);
    const auto expect = [&](const char* op, auto run) { ExpectSameBits(stream(), threads3(), kRows, dim, op, run); };
    expect("rms_norm", [&](Stream& s, int64_t first, int64_t m, float* y) {
      ops().rms_norm(s, {x.data() + first * dim, dim, other.data(), 1e-6F, y, dim, m, 1, dim});
    });
    expect("layer_norm", [&](Stream& s, int64_t first, int64_t m, float* y) {
      ops().layer_norm(s, {x.data() + first * dim, dim, other.data(), other.data() + 1, 1e-6F, y, dim, m, dim});
    });
    expect("rope", [&](Stream& s, int64_t first, int64_t m, float* y) {
      std::memcpy(y, x.data() + first * dim, static_cast<size_t>(m * dim) * sizeof(float));
      const float* const angles = other.data() + first * dim / 2;
      ops().rope(s, {y, dim, m, 1, dim, dim, angles, angles});
    });
    expect("activation", [&](Stream& s, int64_t first, int64_t m, float* y) {
      ops().activation(
          s, {Activation::kGeluTanh, x.data() + first * dim, dim, other.data() + first * dim, dim, y, dim, m, dim});
    });
    expect("add_scaled", [&](Stream& s, int64_t first, int64_t m, float* y) {
      std::memcpy(y, x.data() + first * dim, static_cast<size_t>(m * dim) * sizeof(float));
      ops().add_scaled(s, {y, dim, other.data() + first * dim, dim, 0.3F, m, dim});
    });
    expect("scale_cap", [&](Stream& s, int64_t first, int64_t m, float* y) {
      std::memcpy(y, x.data() + first * dim, static_cast<size_t>(m * dim) * sizeof(float));
      ops().scale_cap(s, {y, dim, 0.7F, 3.0F, m, dim});
    });
    const WeightView table{reinterpret_cast<const std::byte*>(x.data()), FormatId::kF32, kRows, dim, 4 * dim};
    expect("embed", [&](Stream& s, int64_t first, int64_t m, float* y) {
      std::vector<Token> tokens;
      for (int64_t i = 0; i < m; ++i) {
        tokens.push_back(static_cast<Token>((first + i) * 5 % kRows));
      }
      ops().embed(s, {table, tokens, 1.5F, y, dim, false});
    });
  }
}

}  // namespace
}  // namespace causeway::kernels
