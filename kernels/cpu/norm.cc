// RMSNorm and LayerNorm. A row's sum runs over vectors in ascending order into one accumulator, then the
// fixed tree of ReduceAdd.
#include <cmath>

#include "kernels/cpu/for_rows.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/vec.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

// sum of f(x[i]) over a row; f(0) need not be 0: lanes behind the end are not counted.
template <typename F>
inline float SumRow(const float* x, int64_t dim, F f) {
  Vec sum = Zero();
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    sum = Add(sum, f(Load(x + i)));
  }
  if (i < dim) {
    float part[kLanes];
    Store(part, f(LoadPart(x + i, dim - i)));
    sum = Add(sum, LoadPart(part, dim - i));
  }
  return ReduceAdd(sum);
}

// y[i] = f(x[i], weight[i], bias[i])
template <typename F>
inline void WriteRow(const float* x, const float* weight, const float* bias, float* y, int64_t dim, F f) {
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    Store(y + i, f(Load(x + i), Load(weight + i), bias != nullptr ? Load(bias + i) : Zero()));
  }
  if (i < dim) {
    const int64_t n = dim - i;
    const Vec b = bias != nullptr ? LoadPart(bias + i, n) : Zero();
    StorePart(y + i, f(LoadPart(x + i, n), LoadPart(weight + i, n), b), n);
  }
}

void RmsNormRow(const float* x, const float* weight, float eps, float* y, int64_t dim) {
  const float squares = SumRow(x, dim, [](Vec v) { return Mul(v, v); });
  const float scale = 1.0F / std::sqrt(squares / static_cast<float>(dim) + eps);
  WriteRow(x, weight, nullptr, y, dim, [&](Vec v, Vec w, Vec) { return Mul(Mul(v, Set1(scale)), w); });
}

void LayerNormRow(const LayerNormArgs& args, int64_t row) {
  const float* const x = args.x + row * args.x_stride;
  const auto count = static_cast<float>(args.dim);
  const float mean = SumRow(x, args.dim, [](Vec v) { return v; }) / count;
  const float squares = SumRow(x, args.dim, [&](Vec v) {
    const Vec centred = Sub(v, Set1(mean));
    return Mul(centred, centred);
  });
  const float scale = 1.0F / std::sqrt(squares / count + args.eps);
  WriteRow(x, args.weight, args.bias, args.y + row * args.y_stride, args.dim,
           [&](Vec v, Vec w, Vec b) { return Fma(Mul(Sub(v, Set1(mean)), Set1(scale)), w, b); });
}

}  // namespace

void RmsNorm(Stream& stream, const RmsNormArgs& args) {
  ForRows(stream, args.m, args.groups * args.dim, [&](int64_t row) {
    for (int64_t group = 0; group < args.groups; ++group) {
      RmsNormRow(args.x + row * args.x_stride + group * args.dim, args.weight, args.eps,
                 args.y + row * args.y_stride + group * args.dim, args.dim);
    }
  });
}

void LayerNorm(Stream& stream, const LayerNormArgs& args) {
  ForRows(stream, args.m, args.dim, [&](int64_t row) { LayerNormRow(args, row); });
}

}  // namespace causeway::kernels::CAUSEWAY_ISA
