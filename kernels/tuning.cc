#include "kernels/tuning.h"

#include <algorithm>
#include <cmath>

#include "fmt/format.h"

namespace causeway::kernels {
namespace {

constexpr int64_t kMostBlockRows = 4096;
// Packed weights are read in this part of the time that they are multiplied in, or less.
constexpr double kReadShare = 1.0 / 8;
constexpr double kBytesPerWeight = 1.0;  // of the widest, about
constexpr double kWorthAsking = 1.1;     // less may be noise

}  // namespace

int64_t LinearTuning::BlockRows(int64_t row_bytes) const {
  return std::clamp(x_block_bytes / row_bytes, least_block_rows, kMostBlockRows);
}

std::string LinearTuning::Describe() const {
  return fmt::format("x in blocks of {} KiB, at least {} rows; one row {}", x_block_bytes >> 10, least_block_rows,
                     asks_for_one_row ? "asks ahead" : "follows hardware");
}

LinearTuning TuneLinear(const MachineShape& shape) {
  // A row of x takes two operations a weight.
  const double rows = kBytesPerWeight / shape.read_bytes_per_s / (2.0 / shape.int8_ops_per_s) / kReadShare;
  return {.x_block_bytes = shape.level2_bytes / 2,  // panels, and what is asked for ahead, pass through it too
          .least_block_rows = std::clamp(static_cast<int64_t>(std::ceil(rows)), int64_t{16}, kMostBlockRows),
          .asks_for_one_row = shape.asked_over_followed > kWorthAsking};
}

}  // namespace causeway::kernels
