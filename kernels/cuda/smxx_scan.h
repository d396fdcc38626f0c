// Reads rows and adds their words: what a kernel of attention costs at the least, without its arithmetic. It tells one
// layout of rows from another, and is the longest-running kernel that measurements need beside them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/result.h"

struct CUstream_st;

namespace causeway::kernels::cuda {

// Rows of several tensors (K or V of a layer) as memory::KvRows describes them: row t of tensor i lies at
// base + i * tensor_stride + t / tokens_per_page * page_bytes + t % tokens_per_page * row_stride.
// base (device memory), strides, page_bytes and row_bytes are multiples of 16.
struct RowScanArgs {
  const std::byte* base = nullptr;
  int64_t tensors = 1;  // at most 65535
  int64_t tensor_stride = 0;
  int64_t tokens = 0;  // rows of each
  int64_t tokens_per_page = 1;
  int64_t page_bytes = 0;
  int64_t row_stride = 0;
  int64_t row_bytes = 0;
  int64_t repeats = 1;  // each block reads its rows so often, mostly from caches: for a kernel that runs long
};

// Scans on a stream of its own. One thread.
class RowScan {
 public:
  struct Sum {
    uint64_t value = 0;       // of all 8-byte words of all rows, once a repeat, modulo 2^64
    double microseconds = 0;  // of the kernel, by the device's clock
  };

  virtual ~RowScan() = default;
  virtual CUstream_st* stream() const = 0;  // cudaStream_t
  // Launches a scan and returns. End() comes before the next one. kInvalidArgument: sizes.
  virtual Result<void> Begin(const RowScanArgs& args) = 0;
  // Whether the scan that was begun has not ended. kInternal: it failed.
  virtual Result<bool> Running() = 0;
  // Waits for it.
  virtual Result<Sum> End() = 0;
};

// kFailedPrecondition: no device.
Result<std::unique_ptr<RowScan>> MakeRowScan();

}  // namespace causeway::kernels::cuda
