// How much of the work a kernel takes at a time, by machine: shapes that show in speed and in no result.
#pragma once

#include <cstdint>
#include <string>

#include "base/thread_pool.h"

namespace causeway::kernels {

struct Ops;

// What shapes depend on, measured once at start.
struct MachineShape {
  int64_t level2_bytes = 512 << 10;  // of a core
  double read_bytes_per_s = 10e9;    // all threads together
  double int8_ops_per_s = 200e9;     // all threads together; a multiply and an add count as two
  // How much faster one row of x is multiplied with weights in panels where they are asked for ahead than where that is
  // left to hardware.
  double asked_over_followed = 0.0;  // 0: not measured
};

struct LinearTuning {
  // Quantized x that meets all panels before other rows do: it stays near while panels come from memory.
  int64_t x_block_bytes = 512 << 10;
  int64_t least_block_rows = 64;  // though they be longer: fewer, and the panels would come too slowly
  // Whether one row of x asks for the panels it comes to. Where hardware keeps ahead of one stream by itself, requests
  // beside it cost 5 to 20 % (Zen 4); where memory is farther away, nothing else brings a third of it (Emerald Rapids).
  bool asks_for_one_row = false;

  // Rows of x in a block; `row_bytes` each.
  int64_t BlockRows(int64_t row_bytes) const;
  // "x in blocks of 512 KiB, at least 68 rows; one row follows hardware".
  std::string Describe() const;
};

// A pure function.
LinearTuning TuneLinear(const MachineShape& shape);

// Takes about a tenth of a second and 64 MiB. Call it as MeasureLimits, of which it is the short form.
MachineShape MeasureShape(ThreadPool& pool, const Ops& ops);

}  // namespace causeway::kernels
