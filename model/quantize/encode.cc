#include "model/quantize/encode.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "kernels/quant/format.h"

namespace causeway::model::quantize {
namespace {

using kernels::BlockGrid;

// Calls body(begin, end, task) for strips of rows, in parallel.
template <typename Body>
void ForStrips(int64_t rows, ThreadPool& pool, const Body& body) {
  const int64_t strips = (rows + Codec::kStripRows - 1) / Codec::kStripRows;
  pool.ParallelFor(strips, [&](int64_t strip, int) {
    body(strip * Codec::kStripRows, std::min((strip + 1) * Codec::kStripRows, rows), static_cast<size_t>(strip));
  });
}

// Sums over strips, added up in their order: the same on any number of threads.
struct StripSums {
  explicit StripSums(int64_t rows) : error(static_cast<size_t>(rows / Codec::kStripRows + 1)), norm(error) {}
  std::vector<double> error, norm;

  void Add(size_t strip, float value, float stored) {
    const auto difference = static_cast<double>(value) - static_cast<double>(stored);
    error[strip] += difference * difference;
    norm[strip] += static_cast<double>(value) * static_cast<double>(value);
  }
  void Into(Encoded& encoded) const {
    for (size_t i = 0; i < error.size(); ++i) {
      encoded.squared_error += error[i];
      encoded.squared_norm += norm[i];
    }
  }
};

std::vector<std::vector<std::byte>> MakeParts(const TensorPlan& plan) {
  std::vector<std::vector<std::byte>> parts;
  for (const Part& part : plan.parts) {
    parts.emplace_back(static_cast<size_t>(part.bytes));
  }
  return parts;
}

void Prepare(const SourceTensor& tensor, ThreadPool& pool, Codec& codec) {
  if (!codec.WantsLargest()) {
    return;
  }
  std::vector<float> largest(static_cast<size_t>(tensor.rows() / Codec::kStripRows + 1));
  ForStrips(tensor.rows(), pool, [&](int64_t begin, int64_t end, size_t strip) {
    std::vector<float> values(static_cast<size_t>((end - begin) * tensor.columns()));
    ReadRows(tensor, begin, end, values.data());
    for (const float value : values) {
      largest[strip] = std::max(largest[strip], std::fabs(value));
    }
  });
  codec.Prepare(*std::max_element(largest.begin(), largest.end()));
}

}  // namespace

Encoded EncodeFloats(const TensorPlan& plan, ThreadPool& pool) {
  CHECK(plan.codec == nullptr);
  Encoded encoded;
  const SourceTensor& tensor = *plan.source;
  if (plan.verbatim) {
    encoded.parts.emplace_back(tensor.stored.data.begin(), tensor.stored.data.end());
    return encoded;
  }
  encoded.parts = MakeParts(plan);
  const kernels::WeightFormat& format = kernels::FormatOf(plan.type);
  StripSums sums(tensor.rows());
  ForStrips(tensor.rows(), pool, [&](int64_t begin, int64_t end, size_t strip) {
    std::vector<float> values(static_cast<size_t>((end - begin) * tensor.columns()));
    ReadRows(tensor, begin, end, values.data());
    std::byte* const target = encoded.parts[0].data() + kernels::BytesOf(plan.type, begin * tensor.columns());
    format.encode(values.data(), target, static_cast<int64_t>(values.size()));
    std::vector<float> stored(values.size());
    format.decode(target, stored.data(), static_cast<int64_t>(stored.size()));
    for (size_t i = 0; i < values.size(); ++i) {
      sums.Add(strip, values[i], stored[i]);
    }
  });
  sums.Into(encoded);
  return encoded;
}

Encoded EncodeNearest(TensorPlan& plan, std::span<const float> importance, ThreadPool& pool) {
  const SourceTensor& tensor = *plan.source;
  Codec& codec = *plan.codec;
  const int64_t columns = tensor.columns();
  const int64_t block = codec.Block(columns);
  const std::vector<float> equal(importance.empty() ? static_cast<size_t>(columns) : 0, 1.0F);
  const std::span<const float> weights = importance.empty() ? std::span<const float>(equal) : importance;
  Prepare(tensor, pool, codec);
  Encoded encoded;
  encoded.parts = MakeParts(plan);
  StripSums sums(tensor.rows());
  ForStrips(tensor.rows(), pool, [&](int64_t begin, int64_t end, size_t strip) {
    std::vector<float> values(static_cast<size_t>((end - begin) * columns));
    ReadRows(tensor, begin, end, values.data());
    std::vector<BlockGrid> grids(static_cast<size_t>(columns / block));
    std::vector<int32_t> codes(static_cast<size_t>(columns));
    for (int64_t row = begin; row < end; ++row) {
      const auto x = std::span<const float>(values).subspan(static_cast<size_t>((row - begin) * columns),
                                                            static_cast<size_t>(columns));
      for (size_t i = 0; i < grids.size(); ++i) {
        const size_t first = i * static_cast<size_t>(block);
        const auto group = x.subspan(first, static_cast<size_t>(block));
        grids[i] = {};
        codec.Fit(group, weights.subspan(first, group.size()), grids[i]);
        for (size_t j = 0; j < group.size(); ++j) {
          const auto place = static_cast<int>(j);
          codes[first + j] = grids[i].CodeOf(place, group[j]);
          sums.Add(strip, group[j], grids[i].ValueOf(place, codes[first + j]));
        }
      }
      codec.Store(row, grids, codes, encoded.parts);
    }
  });
  sums.Into(encoded);
  return encoded;
}

Encoded EncodeByGptq(TensorPlan& plan, const GptqFactor& factor, const kernels::Ops& ops, kernels::Stream& stream) {
  const SourceTensor& tensor = *plan.source;
  const int64_t columns = tensor.columns();
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  ForStrips(tensor.rows(), stream.pool,
            [&](int64_t begin, int64_t end, size_t) { ReadRows(tensor, begin, end, values.data() + begin * columns); });
  const std::vector<float> before = values;
  Prepare(tensor, stream.pool, *plan.codec);
  const Rounded rounded = RoundWithFactor(values, tensor.rows(), factor, *plan.codec, ops, stream);
  Encoded encoded;
  encoded.parts = MakeParts(plan);
  StripSums sums(tensor.rows());
  const size_t blocks = rounded.grids.size() / static_cast<size_t>(tensor.rows());
  ForStrips(tensor.rows(), stream.pool, [&](int64_t begin, int64_t end, size_t strip) {
    for (int64_t row = begin; row < end; ++row) {
      const auto at = static_cast<size_t>(row);
      const auto size = static_cast<size_t>(columns);
      plan.codec->Store(row, std::span(rounded.grids).subspan(at * blocks, blocks),
                        std::span(rounded.codes).subspan(at * size, size), encoded.parts);
      for (size_t i = at * size; i < (at + 1) * size; ++i) {
        sums.Add(strip, before[i], values[i]);
      }
    }
  });
  sums.Into(encoded);
  encoded.values = std::move(values);
  return encoded;
}

}  // namespace causeway::model::quantize
