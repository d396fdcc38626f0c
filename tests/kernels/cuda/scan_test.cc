// The scan adds every word of every row once, wherever a layout puts the rows. Skips where there is no device.
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "kernels/cuda/buffer.h"
#include "kernels/cuda/smxx_scan.h"

namespace causeway::kernels::cuda {
namespace {

constexpr int64_t kWord = 8;

std::vector<float> RandomBytes(int64_t bytes) {
  std::vector<float> values(static_cast<size_t>(bytes / 4));
  for (size_t i = 0; i < values.size(); ++i) {
    const auto bits = static_cast<uint32_t>(RandomBits(5, 1, i));
    std::memcpy(&values[i], &bits, sizeof bits);
  }
  return values;
}

// The same on the host, word by word.
uint64_t SumOf(const std::vector<float>& memory, const RowScanArgs& args) {
  uint64_t sum = 0;
  for (int64_t tensor = 0; tensor < args.tensors; ++tensor) {
    for (int64_t token = 0; token < args.tokens; ++token) {
      const int64_t row = tensor * args.tensor_stride + token / args.tokens_per_page * args.page_bytes +
                          token % args.tokens_per_page * args.row_stride;
      for (int64_t at = row; at < row + args.row_bytes; at += kWord) {
        uint64_t word = 0;
        std::memcpy(&word, reinterpret_cast<const std::byte*>(memory.data()) + at, sizeof word);
        sum += word;
      }
    }
  }
  return sum * static_cast<uint64_t>(args.repeats);
}

TEST(CudaScanTest, AddsEveryWordOfEveryRow) {
  auto scan = MakeRowScan();
  if (!scan.ok()) {
    GTEST_SKIP() << scan.error().message;
  }
  const auto memory = RandomBytes(8 << 20);
  const auto device = DeviceFloats::From(memory);
  ASSERT_TRUE(device.ok());
  const auto* const base = reinterpret_cast<const std::byte*>(device->data());
  const RowScanArgs shapes[] = {
      {.tokens = 1, .row_bytes = 16},
      {.tensors = 3,
       .tensor_stride = 1 << 20,
       .tokens = 1000,
       .tokens_per_page = 1000,
       .row_stride = 1024,
       .row_bytes = 1024},
      // slab, per layer and sliced, of pages that are not full
      {.tensors = 4,
       .tensor_stride = 16 * 272,
       .tokens = 83,
       .tokens_per_page = 16,
       .page_bytes = 1 << 16,
       .row_stride = 272,
       .row_bytes = 272,
       .repeats = 3},
      {.tensors = 4,
       .tensor_stride = 2 << 20,
       .tokens = 611,
       .tokens_per_page = 240,
       .page_bytes = 1 << 16,
       .row_stride = 272,
       .row_bytes = 272},
      {.tensors = 4,
       .tensor_stride = 272,
       .tokens = 83,
       .tokens_per_page = 16,
       .page_bytes = 1 << 16,
       .row_stride = 4 * 272,
       .row_bytes = 272,
       .repeats = 2},
      // a row larger than what a block reads
      {.tensors = 2,
       .tensor_stride = 4 << 20,
       .tokens = 5,
       .tokens_per_page = 2,
       .page_bytes = 512 << 10,
       .row_stride = 192 << 10,
       .row_bytes = 80 << 10},
  };
  for (RowScanArgs args : shapes) {
    const uint64_t want = SumOf(memory, args);
    args.base = base;
    const auto begun = (*scan)->Begin(args);
    ASSERT_TRUE(begun.ok()) << begun.error().message;
    const auto sum = (*scan)->End();
    ASSERT_TRUE(sum.ok()) << sum.error().message;
    EXPECT_EQ(sum->value, want) << "row of " << args.row_bytes << " bytes, stride " << args.row_stride;
    EXPECT_GT(sum->microseconds, 0);
    EXPECT_FALSE((*scan)->Running().value());
  }
}

TEST(CudaScanTest, RefusesSizesThatItCannotRead) {
  auto scan = MakeRowScan();
  if (!scan.ok()) {
    GTEST_SKIP() << scan.error().message;
  }
  for (const RowScanArgs& args : {RowScanArgs{.tokens = 0, .row_bytes = 16}, RowScanArgs{.tokens = 1, .row_bytes = 8},
                                  RowScanArgs{.tokens = 1, .row_stride = 24, .row_bytes = 16},
                                  RowScanArgs{.tensors = 65536, .tokens = 1, .row_bytes = 16}}) {
    EXPECT_EQ((*scan)->Begin(args).error().code, ErrorCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace causeway::kernels::cuda
