// How near attention over all layers comes to the limits that are measured in the same run: the read rate, taken just
// before and after it, in a decode step of 8 sequences of PREFIX positions that share nothing, the float peak in the
// prefill of one prompt. And what reading a shared prefix once per batch gains a decode step: of sequences that share a
// prefix as aliases (the same pages at addresses of their own) or as segments (one range for all), with and without
// cascade. attention_bench [THREADS [SEQUENCES [PREFIX [TABLE]]]] (default 2 16 4096, the best table).
// kernels/cpu/README.md has the figures of one machine.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/rng.h"
#include "kernels/cpu/peak.h"
#include "kernels/ops.h"
#include "kernels/scratch.h"
#include "memory/kv_geometry.h"
#include "memory/kv_view.h"
#include "memory/vm/vm_backend.h"

namespace causeway {
namespace {

constexpr int64_t kTail = 100;  // positions of each sequence behind the prefix
constexpr int64_t kAlone = 8;   // sequences that share nothing
constexpr int64_t kRun = 8;     // pages made huge at once

struct Shape {
  const char* name;
  int64_t layers, heads, kv_heads, head_dim;
};

// Sequences whose first pages are mapped at several addresses, and what kernels need to know of them.
class Batch {
 public:
  Batch(const Shape& shape, int64_t sequences, int64_t prefix, int64_t tail)
      : tail_(tail),
        geometry_(memory::ChooseGeometry({shape.layers, shape.kv_heads, shape.head_dim, 2}, 4096).value()) {
    const int64_t shared_pages = prefix / geometry_.tokens_per_page;
    const int64_t tail_pages = geometry_.PagesFor(tail);
    shared_ = shared_pages * geometry_.tokens_per_page;
    const int64_t pages = shared_pages + sequences * tail_pages;
    const int64_t range = (shared_pages + tail_pages) * geometry_.page_bytes;
    backend_ = memory::MakeLinuxBackend({geometry_.page_bytes, pages}).value();
    std::byte* const arena = backend_->ReserveArena(sequences * range).value();
    for (int64_t page = 0; page < pages; ++page) {
      CHECK(backend_->Create(static_cast<memory::PageId>(page)).ok());
    }
    for (int64_t page = 0; page < pages; page += kRun) {  // huge, where they can be: as the daemon's pages are
      backend_->ImproveRun(static_cast<memory::PageId>(page), std::min(kRun, pages - page));
    }
    std::vector<memory::PageId> ids(static_cast<size_t>(shared_pages + tail_pages));
    segments_.reserve(static_cast<size_t>(3 * sequences));
    for (int64_t i = 0; i < sequences; ++i) {
      for (int64_t page = 0; page < shared_pages + tail_pages; ++page) {
        ids[static_cast<size_t>(page)] =
            static_cast<memory::PageId>(page < shared_pages ? page : page + i * tail_pages);
      }
      std::byte* const base = arena + i * range;
      CHECK(backend_->Map(base, ids, true).ok());
      AddSequence(base, arena, i, tail_pages);
      Fill(base + (i == 0 ? 0 : shared_pages * geometry_.page_bytes), base + range);
    }
  }

  const memory::KvGeometry& geometry() const { return geometry_; }
  int64_t shared() const { return shared_; }

  std::vector<kernels::KvSequence> Aliases(bool cascade) const { return WithGroups(aliases_, cascade); }
  std::vector<kernels::KvSequence> Segments(bool cascade) const { return WithGroups(spelled_, cascade); }

 private:
  void AddSequence(std::byte* base, std::byte* canonical, int64_t i, int64_t tail_pages) {
    const int64_t tail = tail_pages * geometry_.tokens_per_page;
    const auto keep = [&](const kernels::KvSegment& segment) {
      segments_.push_back(segment);
      return &segments_.back();
    };
    const kernels::KvSegment* const whole = keep({base, 0, shared_ + tail});
    aliases_.push_back({.segments = {whole, 1}, .first_row = i, .rows = 1, .first_position = shared_ + tail_ - 1});
    const kernels::KvSegment* const head = keep({canonical, 0, shared_});
    keep({base + shared_ / geometry_.tokens_per_page * geometry_.page_bytes, shared_, tail});
    spelled_.push_back({.segments = {head, 2}, .first_row = i, .rows = 1, .first_position = shared_ + tail_ - 1});
  }

  std::vector<kernels::KvSequence> WithGroups(std::vector<kernels::KvSequence> sequences, bool cascade) const {
    for (kernels::KvSequence& sequence : sequences) {
      sequence.share_group = cascade ? 0 : -1;
      sequence.shared_positions = shared_;
    }
    return sequences;
  }

  // Half-precision numbers of [0.5, 1) with either sign.
  static void Fill(std::byte* begin, std::byte* end) {
    auto* const values = reinterpret_cast<uint16_t*>(begin);
    const auto count = static_cast<uint64_t>(end - begin) / 2;
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t bits = i * 0x9e3779b97f4a7c15U >> 48;
      values[i] = static_cast<uint16_t>(0x3800U | (bits & 0x83ffU));
    }
  }

  const int64_t tail_;  // positions of each behind the shared ones
  const memory::KvGeometry geometry_;
  int64_t shared_ = 0;
  std::unique_ptr<memory::VmBackend> backend_;
  std::vector<kernels::KvSegment> segments_;
  std::vector<kernels::KvSequence> aliases_, spelled_;
};

// What the measurements run on.
struct Bench {
  kernels::Stream& stream;
  const kernels::Ops& ops;
  const kernels::MachineLimits& limits;
  kernels::ReadProbe& probe;
};

// Of several steps of all layers.
struct Step {
  double seconds = 0;  // of the best
  kernels::ReadBeside beside;
};

Step MeasureStep(const Bench& bench, const Shape& shape, const Batch& batch,
                 const std::vector<kernels::KvSequence>& sequences) {
  const int64_t width = shape.heads * shape.head_dim;
  int64_t rows = 0;
  for (const kernels::KvSequence& sequence : sequences) {
    rows += sequence.rows;
  }
  std::vector<float> q(static_cast<size_t>(rows * width));
  std::vector<float> y(q.size());
  for (size_t i = 0; i < q.size(); ++i) {
    q[i] = static_cast<float>(RandomUniform(1, 2, i)) - 0.5F;
  }
  Step measured{.beside = kernels::ReadBeside(bench.probe)};
  for (int step = 0; step < 9; ++step) {
    const Instant start = Clock::now();
    for (int64_t layer = 0; layer < shape.layers; ++layer) {
      bench.ops.attention(bench.stream, {.q = q.data(),
                                         .q_stride = width,
                                         .y = y.data(),
                                         .y_stride = width,
                                         .heads = shape.heads,
                                         .layer = memory::LayerView(batch.geometry(), kernels::KvFormat::kF16, layer),
                                         .sequences = sequences,
                                         .scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim))});
    }
    const double seconds = ToSeconds(Clock::now() - start);
    measured.seconds = step == 0 ? seconds : std::min(measured.seconds, seconds);
    measured.beside.Add(seconds);
  }
  return measured;
}

// `positions`: those that all queries see, one by one.
void Print(const Bench& bench, const Shape& shape, const char* what, const Step& step, double bytes, double positions) {
  const double flops = positions * static_cast<double>(4 * shape.layers * shape.heads * shape.head_dim);
  fmt::print("{:<24} {:<24} {:>8.2f} {:>8.1f} {:>8.2f} {:>8.0f} {:>8.0f} {:>8.0f}\n", shape.name, what,
             step.seconds * 1e3, bytes / 1e6, bytes / step.seconds / 1e9, step.beside.ShareOf(bytes) * 100,
             flops / step.seconds / 1e9, flops / step.seconds / bench.limits.float_flops_all_threads * 100);
}

// One prompt, all of its rows in one call.
void MeasurePrefill(const Bench& bench, const Shape& shape, int64_t prompt, const char* what) {
  const Batch batch(shape, 1, 0, prompt);
  std::vector<kernels::KvSequence> sequences = batch.Aliases(false);
  sequences[0].rows = prompt;
  sequences[0].first_position = 0;
  const auto rows = static_cast<double>(prompt);
  Print(bench, shape, what, MeasureStep(bench, shape, batch, sequences),
        rows * static_cast<double>(batch.geometry().BytesPerToken()), rows * (rows + 1) / 2);
}

// Sequences that share nothing: what decode reads at most.
void MeasureAlone(const Bench& bench, const Shape& shape, int64_t positions) {
  const Batch batch(shape, kAlone, 0, positions);
  const auto all = static_cast<double>(kAlone * positions);
  Print(bench, shape, "8 that share nothing", MeasureStep(bench, shape, batch, batch.Aliases(false)),
        all * static_cast<double>(batch.geometry().BytesPerToken()), all);
}

void Measure(const Bench& bench, const Shape& shape, int64_t count, int64_t prefix) {
  MeasurePrefill(bench, shape, 512, "a prompt of 512");
  MeasurePrefill(bench, shape, 2048, "a prompt of 2048");
  MeasureAlone(bench, shape, prefix);
  const Batch batch(shape, count, prefix, kTail);
  const auto row = static_cast<double>(batch.geometry().BytesPerToken());
  const double plain_bytes = row * static_cast<double>(count * (batch.shared() + kTail));
  const double cascade_bytes = row * static_cast<double>(batch.shared() + count * kTail);
  const double positions = plain_bytes / row;
  const auto print = [&](const char* what, const Step& step, double bytes) {
    Print(bench, shape, what, step, bytes, positions);
  };
  print("alias", MeasureStep(bench, shape, batch, batch.Aliases(false)), plain_bytes);
  print("segments", MeasureStep(bench, shape, batch, batch.Segments(false)), plain_bytes);
  print("alias, cascade", MeasureStep(bench, shape, batch, batch.Aliases(true)), cascade_bytes);
  print("segments, cascade", MeasureStep(bench, shape, batch, batch.Segments(true)), cascade_bytes);
}

int64_t Argument(int argc, char** argv, int at, int64_t fallback) {
  if (at >= argc) {
    return fallback;
  }
  int64_t value = 0;
  const std::string_view text = argv[at];
  std::from_chars(text.data(), text.data() + text.size(), value);
  CHECK_MSG(value > 0 && value <= 1 << 20, "{} is no number from 1 to {}", text, 1 << 20);
  return value;
}

}  // namespace
}  // namespace causeway

int main(int argc, char** argv) {
  using namespace causeway;
  const auto threads = static_cast<int>(std::min<int64_t>(1024, Argument(argc, argv, 1, 2)));
  ThreadPool pool({.threads = threads, .pin = false});
  kernels::Scratch scratch(threads);
  kernels::Stream stream{pool, scratch};
  const Result<const kernels::Ops*> ops_or = kernels::SelectOps(argc > 4 ? argv[4] : "");
  CHECK_MSG(ops_or.ok(), "no table {} here", argv[4]);
  const kernels::Ops& ops = **ops_or;
  const kernels::MachineLimits limits = kernels::MeasureLimits(pool, ops);
  kernels::ReadProbe probe(pool, limits);
  fmt::print("{} kernels, {} threads, read {:.1f} GB/s, {} {:.0f} GFLOP/s\n", ops.name, threads,
             limits.ReadBytesPerSecond() / 1e9, limits.float_instruction, limits.float_flops_all_threads / 1e9);
  fmt::print("{:<24} {:<24} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}\n", "shape", "sequences", "ms/step", "MB read", "GB/s",
             "% read", "GFLOP/s", "% peak");
  const Shape shapes[] = {{"22 x 32/4 heads of 64", 22, 32, 4, 64},
                          {"8 x 32/8 heads of 128", 8, 32, 8, 128},
                          {"8 x 16/16 heads of 64", 8, 16, 16, 64}};
  for (const Shape& shape : shapes) {
    Measure({stream, ops, limits, probe}, shape, Argument(argc, argv, 2, 16), Argument(argc, argv, 3, 4096));
  }
  return 0;
}
