// Linear alone, weights in panels or, of 16 and 32 bits, in rows: seconds and rates of matrices that together are
// larger than the caches, batch by batch.
//   linear_bench [FORMAT=q4_0] [THREADS=2] [KERNELS=] [ROWS OF X=] [COLUMNS=2048]
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "base/rng.h"
#include "fmt/format.h"
#include "kernels/cpu/peak.h"
#include "kernels/pack.h"
#include "kernels/packed.h"
#include "kernels/quant/format.h"
#include "kernels/scratch.h"

namespace causeway::kernels {
namespace {

double Seconds(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int Run(const std::string& name, int threads, const std::string& kernels, int64_t only, int64_t columns) {
  constexpr int64_t kMatrices = 48;
  constexpr int64_t kRows = 4096;
  constexpr int64_t kAllRows = kMatrices * kRows;
  const auto ops = SelectOps(kernels);
  const auto& formats = WeightFormats();
  const auto format = std::find_if(formats.begin(), formats.end(), [&](const auto& one) { return one.name == name; });
  if (!ops.ok() || format == formats.end()) {
    std::cerr << "unknown kernels, or an unknown format\n";
    return 1;
  }
  ThreadPool pool({.threads = threads, .pin = true});
  Scratch scratch(threads);
  Stream stream{pool, scratch};
  // Any bytes are weights; rates do not depend on them (scales that are not numbers aside).
  std::vector<std::byte> bytes(static_cast<size_t>(BytesOf(format->id, kAllRows * columns)), std::byte{0x2a});
  WeightView view{bytes.data(), format->id, kAllRows, columns, BytesOf(format->id, columns)};
  const bool panels = PackingOf(format->id).kind != PackedKind::kNone;
  const int64_t all_bytes = panels ? PackedBytes(PackingOf(format->id), kAllRows, columns) : std::ssize(bytes);
  const std::byte* weights = bytes.data();
  if (panels) {
    std::byte* const packed = scratch.Plan(all_bytes);
    PackPanels(view, packed);
    const auto start_pack = std::chrono::steady_clock::now();
    PackPanels(view, packed);
    std::cout << fmt::format("packing {:.2f} GB/s of {}, one thread\n",
                             static_cast<double>(bytes.size()) / Seconds(start_pack) / 1e9, name);
    weights = packed;
    view.layout = WeightLayout::kPanels;
  }
  view.rows = kRows;
  const MachineLimits limits = MeasureLimits(pool, **ops);
  std::cout << fmt::format("read {:.1f} GB/s, {} {:.0f} GOP/s\n", limits.ReadBytesPerSecond() / 1e9,
                           std::string(limits.int8_instruction), limits.int8_ops_all_threads / 1e9);
  std::vector<float> x(static_cast<size_t>(512 * columns));
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>(RandomUniform(1, 2, i)) - 0.5F;
  }
  std::vector<float> y(static_cast<size_t>(512 * kRows));
  ReadProbe probe(pool, limits);
  const MachineShape shape = MeasureShape(pool, **ops);
  stream.tuning = TuneLinear(shape);
  std::cout << fmt::format("tuned: {} (asking is {:.2f} times as fast)\n", stream.tuning.Describe(),
                           shape.asked_over_followed);
  for (const int64_t m : {1, 2, 3, 4, 6, 8, 12, 16, 32, 512}) {
    if (only != 0 && m != only) {
      continue;
    }
    std::vector<double> times;
    ReadBeside beside(probe);
    const int64_t together = m > 16 ? 1 : kMatrices;  // many rows do not wait for memory: one matrix stands for all
    for (int i = 0; i < (m > 16 ? 30 : 16); ++i) {
      const auto start = std::chrono::steady_clock::now();
      for (int64_t matrix = 0; matrix < together; ++matrix) {
        view.data = weights + matrix * (all_bytes / kMatrices);
        const LinearTarget target{view, nullptr, y.data(), kRows};
        (*ops)->linear(stream, {.x = x.data(), .x_stride = columns, .m = m, .targets = {&target, 1}});
      }
      const double seconds = Seconds(start) * static_cast<double>(kMatrices) / static_cast<double>(together);
      beside.Add(seconds);
      times.push_back(seconds);
    }
    std::sort(times.begin(), times.end());
    const double best = times.front();
    std::cout << fmt::format(
        "m {:3}: {:7.2f} ms, {:5.1f} GB/s, {:6.0f} GOP/s, {:3.0f}% of the read rate; median {:7.2f} ms\n", m,
        best * 1e3, static_cast<double>(all_bytes) / best / 1e9,
        2.0 * kAllRows * columns * static_cast<double>(m) / best / 1e9,
        100 * beside.ShareOf(static_cast<double>(all_bytes)), times[times.size() / 2] * 1e3);
  }
  return 0;
}

}  // namespace
}  // namespace causeway::kernels

int main(int argc, char** argv) {
  return causeway::kernels::Run(argc > 1 ? argv[1] : "q4_0", argc > 2 ? std::atoi(argv[2]) : 2, argc > 3 ? argv[3] : "",
                                argc > 4 ? std::atoi(argv[4]) : 0, argc > 5 ? std::atoi(argv[5]) : 2048);
}
