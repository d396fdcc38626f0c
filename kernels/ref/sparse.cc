#include "kernels/quant/float16.h"
#include "kernels/ref/ref.h"

namespace causeway::kernels::ref {

void Sparse(Stream&, const SparseArgs& args) {
  for (int64_t m = 0; m < args.m; ++m) {
    const float* const x = args.x + m * args.x_stride;
    for (int64_t n = 0; n < args.rows; ++n) {
      float sum = 0.0F;
      for (uint32_t i = args.weight.offsets[n]; i < args.weight.offsets[n + 1]; ++i) {
        const SparseEntry& entry = args.weight.entries[i];
        sum += HalfToFloat(entry.half) * x[entry.column];
      }
      args.y[m * args.y_stride + n] += sum;
    }
  }
}

}  // namespace causeway::kernels::ref
