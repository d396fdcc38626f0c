#include <cmath>
#include <cstring>

#include "tests/kernels/tables.h"

namespace causeway::kernels {
namespace {

using ElementwiseTest = KernelTest;
CAUSEWAY_FOR_EACH_TABLE(ElementwiseTest);

void ExpectClose(const std::vector<float>& got, const std::vector<float>& expected, double relative,
                 double absolute) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], expected[i], absolute + relative * std::fabs(expected[i])) << "at " << i;
  }
}

TEST_P(ElementwiseTest, RmsNorm) {
  for (const int64_t dim : {1, 7, 24, 64, 100, 2048}) {
    const int64_t groups = dim < 100 ? 3 : 1;
    const auto x = Random(5 * groups * dim, 1, 3.0F);
    const auto weight = Random(dim, 2);
    std::vector<float> expected(x.size());
    std::vector<float> got(x.size());
    const RmsNormArgs args{x.data(), groups * dim, weight.data(), 1e-5F, expected.data(), groups * dim,
                           5,        groups,       dim};
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
  for (const auto activation :
       {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh, Activation::kRelu}) {
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
    const auto table = Encode(Random(10 * 19, 1), format.id);
    const WeightView view{table.data(), format.id, 10, 19, BytesOf(format.id, 19)};
    const Token tokens[] = {3, 0, 9, 3};
    std::vector<float> expected(4 * 19, 1.0F);
    std::vector<float> got(expected);
    EmbedArgs args{view, tokens, 1.5F, expected.data(), 19, true};
    ref::kOps.embed(stream(), args);
    args.y = got.data();
    ops().embed(stream(), args);
    ExpectClose(got, expected, 1e-6, 1e-7);
  }
}

TEST_P(ElementwiseTest, RowsHaveTheSameBitsAloneAndTogether) {
  const int64_t dim = 1000;
  const auto x = Random(20 * dim, 1, 4.0F);
  const auto weight = Random(dim, 2);
  std::vector<float> whole(x.size());
  ops().rms_norm(threads3(), {x.data(), dim, weight.data(), 1e-6F, whole.data(), dim, 20, 1, dim});
  for (int64_t row = 0; row < 20; ++row) {
    std::vector<float> one(static_cast<size_t>(dim));
    ops().rms_norm(stream(), {x.data() + row * dim, dim, weight.data(), 1e-6F, one.data(), dim, 1, 1, dim});
    ASSERT_EQ(0, std::memcmp(one.data(), whole.data() + row * dim, one.size() * sizeof(float)));
  }
}

}  // namespace
}  // namespace causeway::kernels
