#include <vector>

#include "kernels/ref/ref.h"
#include "kernels/rows_op.h"

namespace causeway::kernels::ref {
namespace {

void DecodeRow(const WeightView& weight, int64_t row, std::vector<float>& values) {
  values.resize(static_cast<size_t>(weight.columns));
  FormatOf(weight.format).decode(weight.data + row * weight.row_bytes, values.data(), weight.columns);
}

}  // namespace

void Embed(Stream&, const EmbedArgs& args) {
  std::vector<float> row;
  for (size_t m = 0; m < args.tokens.size(); ++m) {
    DecodeRow(args.table, args.tokens[m], row);
    float* const y = args.y + static_cast<int64_t>(m) * args.y_stride;
    for (int64_t i = 0; i < args.table.columns; ++i) {
      const float value = row[static_cast<size_t>(i)] * args.scale;
      y[i] = args.accumulate ? y[i] + value : value;
    }
  }
}

void Linear(Stream& stream, const LinearArgs& args) {
  if (args.made_by != nullptr) {
    MakeRows(kOps, stream, *args.made_by);
  }
  LinearPanels(stream, args);
  for (const LinearTarget& target : args.targets) {
    if (target.weight.layout != WeightLayout::kRows) {
      continue;
    }
    stream.pool.ParallelFor(target.weight.rows, [&](int64_t n, int) {
      std::vector<float> row;
      DecodeRow(target.weight, n, row);
      for (int64_t m = 0; m < args.m; ++m) {
        const float* const x = args.x + m * args.x_stride;
        double sum = 0;
        for (int64_t k = 0; k < target.weight.columns; ++k) {
          sum += static_cast<double>(x[k]) * static_cast<double>(row[static_cast<size_t>(k)]);
        }
        if (target.bias != nullptr) {
          sum += static_cast<double>(target.bias[n]);
        }
        target.y[m * target.y_stride + n] = static_cast<float>(sum);
      }
    });
  }
}

}  // namespace causeway::kernels::ref
