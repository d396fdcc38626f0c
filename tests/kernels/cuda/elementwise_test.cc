// Each device function against its slow twin, the `ref` table, on odd shapes; and the promise that
// a row does not depend on its neighbours. Skips where there is no device.
#include "kernels/cuda/smxx_elementwise.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "base/thread_pool.h"
#include "kernels/cuda/buffer.h"
#include "kernels/cuda/device.h"
#include "kernels/scratch.h"

namespace causeway::kernels::cuda {
namespace {

constexpr uint64_t kSeed = 11;
// A few units in the last place of a sum of `dim` terms; both sides add in float32.
constexpr float kRelative = 2e-6F;

std::vector<float> Random(int64_t count, uint64_t stream) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(RandomUniform(kSeed, stream, i) * 4 - 2);
  }
  return values;
}

class CudaElementwiseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto devices = ListCudaDevices();
    if (!devices.ok()) {
      GTEST_SKIP() << devices.error().message;
    }
    const auto ref = SelectOps("ref");
    ASSERT_TRUE(ref.ok());
    ref_ = *ref;
  }

  Stream stream() { return {pool_, scratch_}; }

  static DeviceFloats OnDevice(const std::vector<float>& values) {
    auto buffer = DeviceFloats::From(values);
    EXPECT_TRUE(buffer.ok());
    return std::move(*buffer);
  }

  static void ExpectNear(const std::vector<float>& want, const DeviceFloats& got, const std::string& what) {
    const auto host = got.ToHost();
    ASSERT_TRUE(host.ok()) << host.error().message;
    float largest = 0;
    for (const float value : want) {
      largest = std::max(largest, std::fabs(value));
    }
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(want[i], (*host)[i], kRelative * largest * 8) << what << " at " << i;
    }
  }

  const Ops* ref_ = nullptr;
  ThreadPool pool_{ThreadPoolOptions{.threads = 1, .pin = false}};
  Scratch scratch_{1};
};

constexpr int64_t kDims[] = {1, 3, 64, 257, 1024, 5120};
constexpr int64_t kRows[] = {1, 2, 37};

TEST_F(CudaElementwiseTest, RmsNormOverRowsAndGroups) {
  for (const int64_t dim : kDims) {
    for (const int64_t m : kRows) {
      for (const int64_t groups : {1, 5}) {
        const int64_t stride = groups * dim + 3;
        const auto x = Random(m * stride, 1);
        const auto weight = Random(dim, 2);
        std::vector<float> want(x.size());
        RmsNormArgs args{x.data(), stride, weight.data(), 1e-5F, want.data(), stride, m, groups, dim};
        Stream cpu = stream();
        ref_->rms_norm(cpu, args);
        const auto device_x = OnDevice(x);
        const auto device_weight = OnDevice(weight);
        auto y = OnDevice(std::vector<float>(x.size()));
        args.x = device_x.data();
        args.weight = device_weight.data();
        args.y = y.data();
        ASSERT_TRUE(RmsNorm(nullptr, args).ok());
        ExpectNear(want, y, "rms_norm dim " + std::to_string(dim));
      }
    }
  }
}

TEST_F(CudaElementwiseTest, LayerNormWithAndWithoutBias) {
  for (const int64_t dim : kDims) {
    for (const bool with_bias : {false, true}) {
      const int64_t m = 7;
      const auto x = Random(m * dim, 3);
      const auto weight = Random(dim, 4);
      const auto bias = Random(dim, 5);
      std::vector<float> want(x.size());
      LayerNormArgs args{x.data(), dim, weight.data(), with_bias ? bias.data() : nullptr, 1e-5F, want.data(), dim,
                         m,        dim};
      Stream cpu = stream();
      ref_->layer_norm(cpu, args);
      const auto device_x = OnDevice(x);
      const auto device_weight = OnDevice(weight);
      const auto device_bias = OnDevice(bias);
      auto y = OnDevice(std::vector<float>(x.size()));
      args.x = device_x.data();
      args.weight = device_weight.data();
      args.bias = with_bias ? device_bias.data() : nullptr;
      args.y = y.data();
      ASSERT_TRUE(LayerNorm(nullptr, args).ok());
      ExpectNear(want, y, "layer_norm dim " + std::to_string(dim));
    }
  }
}

TEST_F(CudaElementwiseTest, RopeRotatesTheFirstDimensions) {
  for (const int64_t head_dim : {8, 24, 64, 128, 256}) {
    for (const int64_t rotary_dim : {head_dim, head_dim / 2}) {
      const int64_t m = 5;
      const int64_t heads = 3;
      auto x = Random(m * heads * head_dim, 6);
      const auto cosine = Random(m * rotary_dim / 2, 7);
      const auto sine = Random(m * rotary_dim / 2, 8);
      auto device_x = OnDevice(x);
      const auto device_cosine = OnDevice(cosine);
      const auto device_sine = OnDevice(sine);
      RopeArgs args{x.data(), heads * head_dim, m, heads, head_dim, rotary_dim, cosine.data(), sine.data()};
      Stream cpu = stream();
      ref_->rope(cpu, args);
      args.x = device_x.data();
      args.cosine = device_cosine.data();
      args.sine = device_sine.data();
      ASSERT_TRUE(Rope(nullptr, args).ok());
      ExpectNear(x, device_x, "rope head_dim " + std::to_string(head_dim));
    }
  }
}

TEST_F(CudaElementwiseTest, EveryActivation) {
  for (const Activation activation : {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh, Activation::kRelu}) {
    for (const bool gated : {false, true}) {
      const int64_t m = 3;
      const int64_t dim = 777;
      const auto gate = Random(m * dim, 9);
      const auto up = Random(m * dim, 10);
      std::vector<float> want(gate.size());
      ActivationArgs args{activation, gate.data(), dim, gated ? up.data() : nullptr, dim, want.data(), dim, m, dim};
      Stream cpu = stream();
      ref_->activation(cpu, args);
      auto device_gate = OnDevice(gate);
      const auto device_up = OnDevice(up);
      args.gate = device_gate.data();
      args.up = gated ? device_up.data() : nullptr;
      args.y = device_gate.data();  // in place
      ASSERT_TRUE(Activate(nullptr, args).ok());
      ExpectNear(want, device_gate, "activation " + std::to_string(static_cast<int>(activation)));
    }
  }
}

TEST_F(CudaElementwiseTest, AddScaledAndScaleCap) {
  const int64_t m = 4;
  const int64_t dim = 1001;
  auto x = Random(m * dim, 12);
  const auto y = Random(m * dim, 13);
  auto device_x = OnDevice(x);
  const auto device_y = OnDevice(y);
  Stream cpu = stream();
  AddScaledArgs add{x.data(), dim, y.data(), dim, 0.37F, m, dim};
  ref_->add_scaled(cpu, add);
  add.x = device_x.data();
  add.y = device_y.data();
  ASSERT_TRUE(AddScaled(nullptr, add).ok());
  ExpectNear(x, device_x, "add_scaled");
  for (const float cap : {0.0F, 30.0F}) {
    ScaleCapArgs args{x.data(), dim, 3.0F, cap, m, dim};
    ref_->scale_cap(cpu, args);
    args.x = device_x.data();
    ASSERT_TRUE(ScaleCap(nullptr, args).ok());
    ExpectNear(x, device_x, "scale_cap");
  }
}

TEST_F(CudaElementwiseTest, ARowDoesNotDependOnItsNeighbours) {
  const int64_t m = 70;
  const int64_t dim = 1000;
  const auto x = OnDevice(Random(m * dim, 14));
  const auto weight = OnDevice(Random(dim, 15));
  auto together = OnDevice(std::vector<float>(m * dim));
  auto alone = OnDevice(std::vector<float>(m * dim));
  ASSERT_TRUE(RmsNorm(nullptr, {x.data(), dim, weight.data(), 1e-6F, together.data(), dim, m, 1, dim}).ok());
  for (int64_t row = 0; row < m; ++row) {
    ASSERT_TRUE(
        RmsNorm(nullptr, {x.data() + row * dim, dim, weight.data(), 1e-6F, alone.data() + row * dim, dim, 1, 1, dim})
            .ok());
  }
  EXPECT_EQ(*together.ToHost(), *alone.ToHost());
}

}  // namespace
}  // namespace causeway::kernels::cuda
