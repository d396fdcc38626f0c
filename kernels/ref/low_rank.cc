#include "kernels/low_rank.h"

#include <vector>

#include "kernels/ref/ref.h"

namespace causeway::kernels::ref {
namespace {

std::vector<float> Decode(const LowRankTerm& term, const std::byte* from, int64_t rows, int64_t stride) {
  std::vector<float> values(static_cast<size_t>(rows * stride));
  FormatOf(term.format).decode(from, values.data(), rows * stride);
  return values;
}

void AddTerm(const LowRankArgs& args, const LowRankTerm& term, std::span<const int32_t> rows) {
  const std::vector<float> a = Decode(term, term.a, term.rank, term.a_stride);
  std::vector<float> row(static_cast<size_t>(term.n));
  for (const int32_t m : rows) {
    const float* const x = args.x + m * args.x_stride;
    std::vector<double> sums(static_cast<size_t>(term.n));
    for (int64_t r = 0; r < term.rank; ++r) {
      double u = 0;
      for (int64_t k = 0; k < args.k; ++k) {
        u += static_cast<double>(x[k]) * static_cast<double>(a[static_cast<size_t>(r * term.a_stride + k)]);
      }
      FormatOf(term.format).decode(term.b + BytesOf(term.format, r * term.b_stride), row.data(), term.n);
      for (size_t n = 0; n < row.size(); ++n) {
        sums[n] += u * static_cast<double>(row[n]);
      }
    }
    float* const y = term.y + m * term.y_stride;
    for (int64_t n = 0; n < term.n; ++n) {
      const double sum = static_cast<double>(term.scale) * sums[static_cast<size_t>(n)];
      y[n] = static_cast<float>(static_cast<double>(y[n]) + sum);
    }
  }
}

}  // namespace

void LowRank(Stream&, const LowRankArgs& args) {
  for (const LowRankSegment& segment : args.segments) {
    for (const LowRankTerm& term : segment.terms) {
      AddTerm(args, term, segment.rows);
    }
  }
}

}  // namespace causeway::kernels::ref
