#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/kv_address.h"
#include "kernels/quant/format.h"
#include "kernels/ref/ref.h"

namespace causeway::kernels::ref {
namespace {

FormatId FormatOfKv(KvFormat format) {
  switch (format) {
    case KvFormat::kF32: return FormatId::kF32;
    case KvFormat::kF16: return FormatId::kF16;
    case KvFormat::kBF16: return FormatId::kBF16;
  }
  return FormatId::kF32;
}

// Largest finite value of a cache format: what larger values saturate to.
float LargestOf(KvFormat format) {
  switch (format) {
    case KvFormat::kF16: return 65504.0F;
    case KvFormat::kBF16: return 3.3895314e38F;
    case KvFormat::kF32: break;
  }
  return std::numeric_limits<float>::max();
}

void StoreRow(KvFormat format, const float* values, std::byte* target, int64_t count) {
  const float largest = LargestOf(format);
  std::vector<float> clamped(values, values + count);
  for (float& value : clamped) {
    value = std::isnan(value) ? value : std::clamp(value, -largest, largest);
  }
  kernels::FormatOf(FormatOfKv(format)).encode(clamped.data(), target, count);
}

struct Query {
  const float* q;
  float* y;
  int64_t position;
  int64_t kv_head;
};

void Attend(const AttentionArgs& args, const KvSequence& sequence, const Query& query) {
  const KvLayerView& layer = args.layer;
  const WeightFormat& format = kernels::FormatOf(FormatOfKv(layer.format));
  const int64_t head_bytes = layer.head_dim * KvFormatBytes(layer.format);
  const int64_t first = args.window > 0 ? std::max<int64_t>(0, query.position - args.window + 1) : 0;
  std::vector<float> row(static_cast<size_t>(layer.head_dim));
  std::vector<double> scores;
  double largest = -std::numeric_limits<double>::infinity();
  for (int64_t t = first; t <= query.position; ++t) {
    format.decode(KRow(layer, sequence, t) + query.kv_head * head_bytes, row.data(), layer.head_dim);
    double score = 0;
    for (int64_t i = 0; i < layer.head_dim; ++i) {
      score += static_cast<double>(query.q[i]) * static_cast<double>(row[static_cast<size_t>(i)]);
    }
    score *= static_cast<double>(args.scale);
    if (args.softcap > 0) {
      score = static_cast<double>(args.softcap) * std::tanh(score / static_cast<double>(args.softcap));
    }
    scores.push_back(score);
    largest = std::max(largest, score);
  }
  double total = 0;
  std::vector<double> sum(static_cast<size_t>(layer.head_dim), 0.0);
  for (int64_t t = first; t <= query.position; ++t) {
    const double weight = std::exp(scores[static_cast<size_t>(t - first)] - largest);
    total += weight;
    format.decode(VRow(layer, sequence, t) + query.kv_head * head_bytes, row.data(), layer.head_dim);
    for (size_t i = 0; i < sum.size(); ++i) {
      sum[i] += weight * static_cast<double>(row[i]);
    }
  }
  for (size_t i = 0; i < sum.size(); ++i) {
    query.y[i] = static_cast<float>(sum[i] / total);
  }
}

}  // namespace

void KvStore(Stream&, const KvStoreArgs& args) {
  const int64_t values = args.layer.kv_heads * args.layer.head_dim;
  for (const KvSequence& sequence : args.sequences) {
    for (int64_t i = 0; i < sequence.rows; ++i) {
      const int64_t row = sequence.first_row + i;
      const int64_t position = sequence.first_position + i;
      StoreRow(args.layer.format, args.k + row * args.k_stride, KRow(args.layer, sequence, position), values);
      StoreRow(args.layer.format, args.v + row * args.v_stride, VRow(args.layer, sequence, position), values);
    }
  }
}

void Attention(Stream& stream, const AttentionArgs& args) {
  const int64_t group = args.heads / args.layer.kv_heads;
  for (const KvSequence& sequence : args.sequences) {
    stream.pool.ParallelFor(sequence.rows * args.heads, [&](int64_t task, int) {
      const int64_t i = task / args.heads;
      const int64_t head = task % args.heads;
      const int64_t row = sequence.first_row + i;
      Attend(args, sequence,
             {.q = args.q + row * args.q_stride + head * args.layer.head_dim,
              .y = args.y + row * args.y_stride + head * args.layer.head_dim,
              .position = sequence.first_position + i,
              .kv_head = head / group});
    });
  }
}

}  // namespace causeway::kernels::ref
