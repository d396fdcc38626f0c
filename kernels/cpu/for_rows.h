// Rows of activations over threads, for ops that take each row by itself.
#pragma once

#include <algorithm>

#include "kernels/ops.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr int64_t kLeastTaskValues = 4096;  // below this a task costs more than it saves
constexpr int64_t kMostTaskValues = 16384;  // above this threads need not end together

// Calls body(row) for each of `rows` rows of `values` numbers. A batch of decode is few rows, and still work for many
// threads.
template <typename Body>
void ForRows(Stream& stream, int64_t rows, int64_t values, Body body) {
  const auto rows_of = [&](int64_t numbers) { return numbers / (values + 1) + 1; };
  const int64_t per_task =
      std::clamp(rows / stream.pool.threads(), rows_of(kLeastTaskValues), rows_of(kMostTaskValues));
  stream.pool.ParallelFor((rows + per_task - 1) / per_task, [&](int64_t task, int) {
    const int64_t end = std::min(rows, (task + 1) * per_task);
    for (int64_t row = task * per_task; row < end; ++row) {
      body(row);
    }
  });
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
