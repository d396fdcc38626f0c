// What the machine can do at most, measured: the yardstick that `bench engine` holds its figures against.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/ops.h"

namespace causeway::kernels {

// Bytes per second read from memory, best of several passes.
struct ReadRate {
  double one_stream;   // each thread walks one range
  double far_streams;  // each thread walks four far-apart ranges in lockstep
};

struct MachineLimits {
  int threads = 0;                // of the pool it was measured on
  ReadRate read_one_thread{};     // worker 0 alone
  ReadRate read_all_threads{};    // all workers at once
  std::string_view instruction;   // the multiply-add that the table's linear uses for 16-bit weights
  double flops_one_thread = 0.0;  // of it; a multiply and an add count as two
  double flops_all_threads = 0.0;
  std::string_view float_instruction;  // what it multiplies float32 with: attention
  double float_flops_one_thread = 0.0;
  double float_flops_all_threads = 0.0;
  std::string_view int8_instruction;  // what it multiplies codes of weights in panels with
  double int8_ops_one_thread = 0.0;
  double int8_ops_all_threads = 0.0;
  double fork_join_seconds = 0.0;         // of an empty job, one right after the other
  double fork_join_asleep_seconds = 0.0;  // after a millisecond's pause, in which the workers have gone to sleep

  // The limit of decode: the better way to read.
  double ReadBytesPerSecond() const {
    return read_all_threads.one_stream > read_all_threads.far_streams ? read_all_threads.one_stream
                                                                      : read_all_threads.far_streams;
  }
};

// Takes about a second and 512 MiB. Call it on an idle pool, from the thread that owns it; `ops` must be one
// that this machine can run. Other processes on the machine make the limits look lower than they are.
MachineLimits MeasureLimits(ThreadPool& pool, const Ops& ops);

// The read rate of the moment. Where memory is shared with other machines it changes by a third within a second, so
// what is held against it must be measured beside it. Owner: the pool's; 512 MiB while it lives.
class ReadProbe {
 public:
  // Reads the way that was the better one for `limits`.
  ReadProbe(ThreadPool& pool, const MachineLimits& limits);
  ~ReadProbe();

  // Bytes per second of the next 64 MiB that no cache holds; takes a millisecond or two.
  double Measure();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// What memory gives beside work that is done again and again. The probe outlives it.
class ReadBeside {
 public:
  explicit ReadBeside(ReadProbe& probe) : probe_(probe), last_(probe.Measure()) {}

  // Right after the work, which took so long: at the better of the rates just before and after it.
  void Add(double seconds);
  // Of what memory could have given meanwhile, the bytes that the work reads each time: the median.
  double ShareOf(double bytes) const;
  double BytesPerSecond() const;  // the median

 private:
  ReadProbe& probe_;
  double last_;
  std::vector<double> rates_, readable_;  // by work
};

}  // namespace causeway::kernels
