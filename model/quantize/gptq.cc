// All that grows with the cube of the columns runs in the linear kernel; what is written out here is triangular.
#include "model/quantize/gptq.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace causeway::model::quantize {
namespace {

constexpr int64_t kPanel = 128;
constexpr int kAttempts = 4;

// Sum of a[i] * b[i], in eight lanes.
float Dot(const float* a, const float* b, int64_t count) {
  constexpr int64_t kLanes = 8;
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += a[i + lane] * b[i + lane];
    }
  }
  float sum = 0.0F;
  for (; i < count; ++i) {
    sum += a[i] * b[i];
  }
  for (const float lane : lanes) {
    sum += lane;
  }
  return sum;
}

// y[m, n] = x[m, k] W[n, k]T over parts of larger matrices.
struct Corner {
  const float* data;
  int64_t stride;
};
void Multiply(const kernels::Ops& ops, kernels::Stream& stream, Corner x, int64_t m, Corner w, int64_t n, int64_t k,
              float* y) {
  const kernels::LinearTarget target[] = {{.weight = {.data = reinterpret_cast<const std::byte*>(w.data),
                                                      .format = kernels::FormatId::kF32,
                                                      .rows = n,
                                                      .columns = k,
                                                      .row_bytes = w.stride * static_cast<int64_t>(sizeof(float))},
                                           .y = y,
                                           .y_stride = n}};
  ops.linear(stream, {.x = x.data, .x_stride = x.stride, .m = m, .targets = target});
}

// ---- The factor --------------------------------------------------------------------------------------

// In place: the lower triangle becomes L of a = L LT. Panels of columns from left to right; false if `a` is not
// positive definite.
bool Cholesky(std::vector<float>& a, int64_t n, const kernels::Ops& ops, kernels::Stream& stream) {
  std::vector<float> update(static_cast<size_t>(n * kPanel));
  for (int64_t begin = 0; begin < n; begin += kPanel) {
    const int64_t width = std::min(kPanel, n - begin);
    const auto at = [&](int64_t row, int64_t column) -> float& { return a[static_cast<size_t>(row * n + column)]; };
    if (begin > 0) {
      Multiply(ops, stream, {&at(begin, 0), n}, n - begin, {&at(begin, 0), n}, width, begin, update.data());
      stream.pool.ParallelFor(n - begin, [&](int64_t row, int) {
        for (int64_t i = 0; i < width; ++i) {
          at(begin + row, begin + i) -= update[static_cast<size_t>(row * width + i)];
        }
      });
    }
    const auto solve = [&](int64_t row, int64_t end) {  // of one row, the columns before `end` of the panel
      for (int64_t j = begin; j < end; ++j) {
        double sum = static_cast<double>(at(row, j));
        for (int64_t k = begin; k < j; ++k) {
          sum -= static_cast<double>(at(row, k)) * static_cast<double>(at(j, k));
        }
        at(row, j) = static_cast<float>(sum / static_cast<double>(at(j, j)));
      }
    };
    for (int64_t row = begin; row < begin + width; ++row) {
      solve(row, row);
      double pivot = static_cast<double>(at(row, row));
      for (int64_t k = begin; k < row; ++k) {
        pivot -= static_cast<double>(at(row, k)) * static_cast<double>(at(row, k));
      }
      if (!(pivot > 0) || !std::isfinite(pivot)) {
        return false;
      }
      at(row, row) = static_cast<float>(std::sqrt(pivot));
    }
    stream.pool.ParallelFor(n - begin - width, [&](int64_t row, int) { solve(begin + width + row, begin + width); });
  }
  return true;
}

// M from L, which is of H with its columns in the opposite of the processing order: M[t][s] = L[r(s)][r(t)] /
// L[r(t)][r(t)] with r(t) = n - 1 - t.
void MakeFactor(const std::vector<float>& l, int64_t n, GptqFactor& factor, kernels::Stream& stream) {
  factor.m.resize(l.size());
  factor.importance.resize(static_cast<size_t>(n));
  stream.pool.ParallelFor(n, [&](int64_t t, int) {
    const int64_t column = n - 1 - t;
    const float diagonal = l[static_cast<size_t>(column * n + column)];
    for (int64_t s = 0; s < t; ++s) {
      factor.m[static_cast<size_t>(t * n + s)] = l[static_cast<size_t>((n - 1 - s) * n + column)] / diagonal;
    }
    factor.m[static_cast<size_t>(t * n + t)] = 1.0F;
    factor.importance[static_cast<size_t>(factor.order[static_cast<size_t>(t)])] = diagonal * diagonal;
  });
  const double sum = std::accumulate(factor.importance.begin(), factor.importance.end(), 0.0);
  for (float& value : factor.importance) {
    value *= static_cast<float>(static_cast<double>(n) / sum);
  }
}

// ---- Rounding ----------------------------------------------------------------------------------------

// One panel of columns of one weight: all its rows.
struct Panel {
  int64_t begin;  // processing order
  int64_t width;
};

class Rounder {
 public:
  Rounder(std::span<float> weights, int64_t rows, const GptqFactor& factor, const Codec& codec)
      : n_(static_cast<int64_t>(factor.order.size())),
        rows_(rows),
        block_(codec.Block(n_)),
        factor_(factor),
        codec_(codec),
        weights_(weights),
        lost_(weights.size()),
        // A panel holds whole blocks, so that the scales of each are fitted when its first column comes.
        panel_(block_ <= 2 * kPanel ? (kPanel + block_ - 1) / block_ * block_ : kPanel),
        early_scales_(factor.act_order || block_ > 2 * kPanel) {
    CHECK(codec.Fits(n_) && static_cast<int64_t>(weights.size()) == rows * n_);
    rounded_.grids.resize(static_cast<size_t>(rows * (n_ / block_)));
    rounded_.codes.resize(weights.size());
  }

  Rounded Run(const kernels::Ops& ops, kernels::Stream& stream) {
    if (early_scales_) {
      stream.pool.ParallelFor(rows_, [&](int64_t row, int) { FitAll(row); });
    }
    std::vector<float> carried(static_cast<size_t>(rows_ * panel_));
    for (int64_t begin = 0; begin < n_; begin += panel_) {
      const Panel panel{begin, std::min(panel_, n_ - begin)};
      if (begin > 0) {
        Multiply(ops, stream, {lost_.data(), n_}, rows_, {factor_.m.data() + begin * n_, n_}, panel.width, begin,
                 carried.data());
      }
      stream.pool.ParallelFor(rows_, [&](int64_t row, int) {
        RoundRow(row, panel,
                 std::span(carried).subspan(static_cast<size_t>(row * panel.width), static_cast<size_t>(panel.width)));
      });
    }
    return std::move(rounded_);
  }

 private:
  kernels::BlockGrid& GridOf(int64_t row, int64_t column) {
    return rounded_.grids[static_cast<size_t>(row * (n_ / block_) + column / block_)];
  }
  const float* MRow(int64_t t) const { return factor_.m.data() + t * n_; }

  void FitAll(int64_t row) {
    const auto importance = std::span(factor_.importance);
    for (int64_t column = 0; column < n_; column += block_) {
      const auto at = static_cast<size_t>(column);
      codec_.Fit(weights_.subspan(static_cast<size_t>(row * n_) + at, static_cast<size_t>(block_)),
                 importance.subspan(at, static_cast<size_t>(block_)), GridOf(row, column));
    }
  }

  // Scales for the block that begins at t, of what its columns would be if none of them were rounded: the part of
  // `carried` that M gives to later columns of the block through earlier ones is taken off.
  void FitAt(int64_t row, int64_t t, const float* carried) {
    float values[2 * kPanel];
    float moved[2 * kPanel];
    for (int64_t j = 0; j < block_; ++j) {
      moved[j] = carried[j] - Dot(moved, MRow(t + j) + t, j);
      values[j] = weights_[static_cast<size_t>(row * n_ + t + j)] + moved[j];
    }
    codec_.Fit({values, static_cast<size_t>(block_)},
               std::span(factor_.importance).subspan(static_cast<size_t>(t), static_cast<size_t>(block_)),
               GridOf(row, t));
  }

  // carried: sums over the columns of earlier panels, [panel.width]; zero for the first.
  void RoundRow(int64_t row, const Panel& panel, std::span<float> carried) {
    float* const lost = lost_.data() + row * n_;
    const int64_t run = early_scales_ ? panel.width : block_;
    for (int64_t begin = panel.begin; begin < panel.begin + panel.width; begin += run) {
      float* const here = carried.data() + (begin - panel.begin);
      const int64_t end = std::min(begin + run, panel.begin + panel.width);
      for (int64_t t = begin; t < end; ++t) {
        here[t - begin] = (panel.begin > 0 ? here[t - begin] : 0.0F) +
                          Dot(lost + panel.begin, MRow(t) + panel.begin, begin - panel.begin);
      }
      if (!early_scales_) {
        FitAt(row, begin, here);
      }
      for (int64_t t = begin; t < end; ++t) {
        const float aim = here[t - begin] + Dot(lost + begin, MRow(t) + begin, t - begin);
        RoundOne(row, t, aim);
      }
    }
  }

  void RoundOne(int64_t row, int64_t t, float moved) {
    const int64_t column = factor_.order[static_cast<size_t>(t)];
    const auto at = static_cast<size_t>(row * n_ + column);
    const kernels::BlockGrid& grid = GridOf(row, column);
    const auto place = static_cast<int>(column % block_);
    const int code = grid.CodeOf(place, weights_[at] + moved);
    const float value = grid.ValueOf(place, code);
    rounded_.codes[at] = code;
    lost_[static_cast<size_t>(row * n_ + t)] = weights_[at] - value;
    weights_[at] = value;
  }

  const int64_t n_;
  const int64_t rows_;
  const int64_t block_;
  const GptqFactor& factor_;
  const Codec& codec_;
  const std::span<float> weights_;
  std::vector<float> lost_;  // [rows, n], processing order: w - q
  const int64_t panel_;
  const bool early_scales_;
  Rounded rounded_;
};

}  // namespace

Result<GptqFactor> Factorize(const Hessian& hessian, const GptqOptions& options, const kernels::Ops& ops,
                             kernels::Stream& stream) {
  const int64_t n = hessian.size;
  const auto diagonal = [&](int64_t i) { return static_cast<double>(hessian.sums[static_cast<size_t>(i * n + i)]); };
  GptqFactor factor;
  factor.act_order = options.act_order;
  factor.order.resize(static_cast<size_t>(n));
  std::iota(factor.order.begin(), factor.order.end(), 0);
  if (options.act_order) {
    std::stable_sort(factor.order.begin(), factor.order.end(),
                     [&](int64_t a, int64_t b) { return diagonal(a) > diagonal(b); });
  }
  double mean = 0;
  for (int64_t i = 0; i < n; ++i) {
    mean += diagonal(i) / static_cast<double>(n);
  }
  double damping = std::max(options.damping * mean, 1e-12);
  std::vector<float> a(hessian.sums.size());
  for (int attempt = 0; attempt < kAttempts && std::isfinite(mean); ++attempt, damping *= 10) {
    stream.pool.ParallelFor(n, [&](int64_t i, int) {
      const int64_t row = factor.order[static_cast<size_t>(n - 1 - i)];
      for (int64_t j = 0; j < n; ++j) {
        const int64_t column = factor.order[static_cast<size_t>(n - 1 - j)];
        a[static_cast<size_t>(i * n + j)] = hessian.sums[static_cast<size_t>(row * n + column)];
      }
      a[static_cast<size_t>(i * n + i)] += static_cast<float>(damping);
    });
    if (Cholesky(a, n, ops, stream)) {
      MakeFactor(a, n, factor, stream);
      return factor;
    }
  }
  return MakeError(ErrorCode::kFailedPrecondition,
                   "the calibration inputs of a layer are not finite, or depend on each other beyond repair");
}

Rounded RoundWithFactor(std::span<float> weights, int64_t rows, const GptqFactor& factor, const Codec& codec,
                        const kernels::Ops& ops, kernels::Stream& stream) {
  return Rounder(weights, rows, factor, codec).Run(ops, stream);
}

}  // namespace causeway::model::quantize
