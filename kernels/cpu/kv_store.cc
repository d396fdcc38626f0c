// Stores the K and V rows of a step into their pages.
#include "kernels/cpu/kv_rows.h"
#include "kernels/cpu/ops.h"
#include "kernels/quant/float16.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

void EncodeF16(const float* values, std::byte* target, int64_t count) {
  const Vec largest = Set1(65504.0F);  // larger values saturate; NaN stays (it is min's first operand)
  const Vec smallest = Set1(-65504.0F);
  const auto saturate = [&](Vec v) { return Max(smallest, Min(largest, v)); };
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    StoreF16(target + 2 * i, saturate(Load(values + i)));
  }
  if (i < count) {
    alignas(64) std::byte part[kLanes * 2];
    StoreF16(part, saturate(LoadPart(values + i, count - i)));
    std::memcpy(target + 2 * i, part, static_cast<size_t>((count - i) * 2));
  }
}

void EncodeBF16(const float* values, std::byte* target, int64_t count) {
  constexpr float kLargest = 3.3895314e38F;
  for (int64_t i = 0; i < count; ++i) {
    const float value = values[i] > kLargest ? kLargest : values[i] < -kLargest ? -kLargest : values[i];
    const uint16_t stored = FloatToBFloat(value);
    std::memcpy(target + 2 * i, &stored, sizeof(stored));
  }
}

void EncodeRow(KvFormat format, const float* values, std::byte* target, int64_t count) {
  switch (format) {
    case KvFormat::kF32: std::memcpy(target, values, static_cast<size_t>(count) * sizeof(float)); return;
    case KvFormat::kF16: return EncodeF16(values, target, count);
    case KvFormat::kBF16: return EncodeBF16(values, target, count);
  }
}

}  // namespace

void KvStore(Stream& stream, const KvStoreArgs& args) {
  constexpr int64_t kRowsPerTask = 16;
  const int64_t values = args.layer.kv_heads * args.layer.head_dim;
  for (const KvSequence& sequence : args.sequences) {
    stream.pool.ParallelFor((sequence.rows + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int) {
      const int64_t begin = task * kRowsPerTask;
      const int64_t end = begin + kRowsPerTask < sequence.rows ? begin + kRowsPerTask : sequence.rows;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = sequence.first_row + i;
        const int64_t position = sequence.first_position + i;
        EncodeRow(args.layer.format, args.k + row * args.k_stride, KRow(args.layer, sequence, position), values);
        EncodeRow(args.layer.format, args.v + row * args.v_stride, VRow(args.layer, sequence, position), values);
      }
    });
  }
}

}  // namespace causeway::kernels::CAUSEWAY_ISA
