// The loops are assembly: a compiler that keeps an accumulator in memory, or drops a load whose result no
// one uses, would measure something else.
#include "kernels/cpu/peak.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "kernels/packed.h"
#include "kernels/scratch.h"

namespace causeway::kernels {
namespace {

constexpr int kRepeats = 9;
constexpr int64_t kBufferBytes = int64_t{512} << 20;  // beyond every last-level cache worth the name
constexpr int64_t kBlockBytes = 256;                  // of one stream in one step
constexpr int64_t kStreams = 4;
constexpr int64_t kStagger = 4096 + 576;  // streams at round distances would share cache sets and banks
constexpr int64_t kMultiplyAddRounds = 400000;
constexpr int kShortRepeats = 3;
constexpr int64_t kShortBufferBytes = int64_t{64} << 20;
constexpr int64_t kShortRounds = 20000;
constexpr int kOneRowRepeats = 17;
constexpr int64_t kFlushedBytes = int64_t{16} << 20;
constexpr int64_t kProbeBytes = int64_t{64} << 20;

// ---- Multiply-add ------------------------------------------------------------------------------------

struct MultiplyAdd {
  std::string_view table;
  std::string_view name;
  int64_t flops_per_round;
  void (*run)(int64_t rounds);
};

#if defined(__x86_64__)
// Twelve independent chains: enough for two units of up to six cycles.
#define CAUSEWAY_TWELVE(op, r)                                                                                      \
  op " %%" r "0, %%" r "0, %%" r "0\n" op " %%" r "1, %%" r "1, %%" r "1\n" op " %%" r "2, %%" r "2, %%" r "2\n" op \
     " %%" r "3, %%" r "3, %%" r "3\n" op " %%" r "4, %%" r "4, %%" r "4\n" op " %%" r "5, %%" r "5, %%" r "5\n" op \
     " %%" r "6, %%" r "6, %%" r "6\n" op " %%" r "7, %%" r "7, %%" r "7\n" op " %%" r "8, %%" r "8, %%" r "8\n" op \
     " %%" r "9, %%" r "9, %%" r "9\n" op " %%" r "10, %%" r "10, %%" r "10\n" op " %%" r "11, %%" r "11, %%" r "11\n"

#define CAUSEWAY_CLOBBERS                                                                                             \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
      "xmm14", "xmm15", "cc", "memory"

#define CAUSEWAY_LOOP(clear, body, after) \
  asm volatile(clear ".p2align 5\n1:\n" body "dec %0\njnz 1b\n" after : "+r"(rounds) : : CAUSEWAY_CLOBBERS)

void RunFma256(int64_t rounds) { CAUSEWAY_LOOP("vzeroall\n", CAUSEWAY_TWELVE("vfmadd231ps", "ymm"), "vzeroupper\n"); }
void RunFma512(int64_t rounds) { CAUSEWAY_LOOP("vzeroall\n", CAUSEWAY_TWELVE("vfmadd231ps", "zmm"), "vzeroupper\n"); }
void RunDotInt8(int64_t rounds) { CAUSEWAY_LOOP("vzeroall\n", CAUSEWAY_TWELVE("vpdpbusd", "zmm"), "vzeroupper\n"); }
void RunPairsInt8(int64_t rounds) { CAUSEWAY_LOOP("vzeroall\n", CAUSEWAY_TWELVE("vpmaddubsw", "ymm"), "vzeroupper\n"); }
void RunDotInt8Ymm(int64_t rounds) {
  CAUSEWAY_LOOP("vzeroall\n", CAUSEWAY_TWELVE("%{vex%} vpdpbusd", "ymm"), "vzeroupper\n");
}
void RunDotBF16(int64_t rounds) { CAUSEWAY_LOOP("vzeroall\n", CAUSEWAY_TWELVE("vdpbf16ps", "zmm"), "vzeroupper\n"); }
// Without FMA: six multiplies and six adds, each chain on its own register.
void RunMulAdd128(int64_t rounds) {
  CAUSEWAY_LOOP(
      "xorps %%xmm0, %%xmm0\nxorps %%xmm1, %%xmm1\nxorps %%xmm2, %%xmm2\nxorps %%xmm3, %%xmm3\n"
      "xorps %%xmm4, %%xmm4\nxorps %%xmm5, %%xmm5\nxorps %%xmm6, %%xmm6\nxorps %%xmm7, %%xmm7\n"
      "xorps %%xmm8, %%xmm8\nxorps %%xmm9, %%xmm9\nxorps %%xmm10, %%xmm10\nxorps %%xmm11, %%xmm11\n",
      "mulps %%xmm0, %%xmm0\naddps %%xmm1, %%xmm1\nmulps %%xmm2, %%xmm2\naddps %%xmm3, %%xmm3\n"
      "mulps %%xmm4, %%xmm4\naddps %%xmm5, %%xmm5\nmulps %%xmm6, %%xmm6\naddps %%xmm7, %%xmm7\n"
      "mulps %%xmm8, %%xmm8\naddps %%xmm9, %%xmm9\nmulps %%xmm10, %%xmm10\naddps %%xmm11, %%xmm11\n",
      "");
}

constexpr MultiplyAdd kMultiplyAdds[] = {
    {"avx512_bf16", "vdpbf16ps zmm", int64_t{12} * 64, RunDotBF16},
    {"avx512_vnni", "vfmadd231ps zmm", int64_t{12} * 32, RunFma512},
    {"avx512", "vfmadd231ps zmm", int64_t{12} * 32, RunFma512},
    {"avx2_vnni", "vfmadd231ps ymm", int64_t{12} * 16, RunFma256},
    {"avx2", "vfmadd231ps ymm", int64_t{12} * 16, RunFma256},
    {"scalar", "mulps + addps xmm", int64_t{12} * 4, RunMulAdd128},
    {"ref", "mulps + addps xmm", int64_t{12} * 4, RunMulAdd128},
};
constexpr MultiplyAdd kFloatMultiplyAdds[] = {
    {"avx512_bf16", "vfmadd231ps zmm", int64_t{12} * 32, RunFma512},
    {"avx512_vnni", "vfmadd231ps zmm", int64_t{12} * 32, RunFma512},
    {"avx512", "vfmadd231ps zmm", int64_t{12} * 32, RunFma512},
    {"avx2_vnni", "vfmadd231ps ymm", int64_t{12} * 16, RunFma256},
    {"avx2", "vfmadd231ps ymm", int64_t{12} * 16, RunFma256},
    {"ref", "mulps + addps xmm", int64_t{12} * 4, RunMulAdd128},
};
// Products of codes. The tables without an integer kernel of their own multiply them as the compiler likes.
constexpr MultiplyAdd kInt8MultiplyAdds[] = {
    {"avx512_bf16", "vpdpbusd zmm", int64_t{12} * 128, RunDotInt8},
    {"avx512_vnni", "vpdpbusd zmm", int64_t{12} * 128, RunDotInt8},
    {"avx512", "vpmaddubsw ymm", int64_t{12} * 64, RunPairsInt8},
    {"avx2_vnni", "vpdpbusd ymm", int64_t{12} * 64, RunDotInt8Ymm},
    {"avx2", "vpmaddubsw ymm", int64_t{12} * 64, RunPairsInt8},
    {"ref", "mulps + addps xmm", int64_t{12} * 4, RunMulAdd128},
};
#else
// Sixteen chains that the compiler may put into vectors, but not into one another.
void RunPortable(int64_t rounds) {
  float chains[16] = {};
  for (int64_t i = 0; i < rounds; ++i) {
    for (float& chain : chains) {
      chain = chain * 0.5F + 1.0F;
    }
    asm volatile("" : : "r"(chains) : "memory");
  }
}

#if defined(__aarch64__)
// Sixteen independent chains: enough for four units of up to four cycles.
#define CAUSEWAY_SIXTEEN(op, to, from)                                                                                 \
  op " v0." to ", v16." from ", v17." from "\n" op " v1." to ", v16." from ", v17." from "\n" op " v2." to             \
     ", v16." from ", v17." from "\n" op " v3." to ", v16." from ", v17." from "\n" op " v4." to ", v16." from         \
     ", v17." from "\n" op " v5." to ", v16." from ", v17." from "\n" op " v6." to ", v16." from ", v17." from "\n" op \
     " v7." to ", v16." from ", v17." from "\n" op " v8." to ", v16." from ", v17." from "\n" op " v9." to             \
     ", v16." from ", v17." from "\n" op " v10." to ", v16." from ", v17." from "\n" op " v11." to ", v16." from       \
     ", v17." from "\n" op " v12." to ", v16." from ", v17." from "\n" op " v13." to ", v16." from ", v17." from       \
     "\n" op " v14." to ", v16." from ", v17." from "\n" op " v15." to ", v16." from ", v17." from "\n"

#define CAUSEWAY_LOOP(body)                                                                                          \
  asm volatile(                                                                                                      \
      ".arch armv8.2-a+dotprod\n"                                                                                    \
      "movi v16.16b, #0\nmovi v17.16b, #0\n.p2align 5\n1:\n" body "subs %0, %0, #1\nb.ne 1b\n"                       \
      : "+r"(rounds)                                                                                                 \
      :                                                                                                              \
      : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", \
        "v17", "cc", "memory")

void RunFma128(int64_t rounds) { CAUSEWAY_LOOP(CAUSEWAY_SIXTEEN("fmla", "4s", "4s")); }
void RunDotInt8(int64_t rounds) { CAUSEWAY_LOOP(CAUSEWAY_SIXTEEN("sdot", "4s", "16b")); }
void RunLongInt8(int64_t rounds) { CAUSEWAY_LOOP(CAUSEWAY_SIXTEEN("smull", "8h", "8b")); }
#endif

constexpr MultiplyAdd kMultiplyAdds[] = {
#if defined(__aarch64__)
    {"neon_dotprod", "fmla 4s", int64_t{16} * 8, RunFma128},
    {"neon", "fmla 4s", int64_t{16} * 8, RunFma128},
#endif
    {"scalar", "portable multiply and add", int64_t{16} * 2, RunPortable},
    {"ref", "portable multiply and add", int64_t{16} * 2, RunPortable},
};
constexpr MultiplyAdd kFloatMultiplyAdds[] = {
#if defined(__aarch64__)
    {"neon_dotprod", "fmla 4s", int64_t{16} * 8, RunFma128},
    {"neon", "fmla 4s", int64_t{16} * 8, RunFma128},
#endif
    {"ref", "portable multiply and add", int64_t{16} * 2, RunPortable},
};
constexpr MultiplyAdd kInt8MultiplyAdds[] = {
#if defined(__aarch64__)
    {"neon_dotprod", "sdot 16b", int64_t{16} * 32, RunDotInt8},
    {"neon", "smull 8b", int64_t{16} * 16, RunLongInt8},
#endif
    {"ref", "portable multiply and add", int64_t{16} * 2, RunPortable},
};
#endif

// The row of a table; the last one for those that have none.
const MultiplyAdd& RowOf(std::span<const MultiplyAdd> rows, const Ops& ops) {
  for (const MultiplyAdd& row : rows) {
    if (row.table == ops.name) {
      return row;
    }
  }
  return rows.back();
}

// ---- Reading -----------------------------------------------------------------------------------------

// Reads `steps` blocks of kBlockBytes from each of four addresses, which all advance by kBlockBytes.
void ReadBlocks(const std::byte* a, const std::byte* b, const std::byte* c, const std::byte* d, int64_t steps) {
#if defined(__x86_64__)
#define CAUSEWAY_LINE(p, at)                              \
  "movaps " #at "(%" p "), %%xmm0\nmovaps " #at "+16(%" p \
  "), %%xmm1\n"                                           \
  "movaps " #at "+32(%" p "), %%xmm2\nmovaps " #at "+48(%" p "), %%xmm3\n"
#define CAUSEWAY_BLOCK(p) CAUSEWAY_LINE(p, 0) CAUSEWAY_LINE(p, 64) CAUSEWAY_LINE(p, 128) CAUSEWAY_LINE(p, 192)
  asm volatile(".p2align 5\n1:\n" CAUSEWAY_BLOCK("0") CAUSEWAY_BLOCK("1") CAUSEWAY_BLOCK("2")
                   CAUSEWAY_BLOCK("3") "add $256, %0\nadd $256, %1\nadd $256, %2\nadd $256, %3\ndec %4\njnz 1b\n"
               : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(steps)
               :
               : "xmm0", "xmm1", "xmm2", "xmm3", "cc", "memory");
#undef CAUSEWAY_BLOCK
#undef CAUSEWAY_LINE
#elif defined(__aarch64__)
#define CAUSEWAY_LINE(p, at) "ldp q0, q1, [%" p ", #" #at "]\nldp q2, q3, [%" p ", #" #at "+32]\n"
#define CAUSEWAY_BLOCK(p) CAUSEWAY_LINE(p, 0) CAUSEWAY_LINE(p, 64) CAUSEWAY_LINE(p, 128) CAUSEWAY_LINE(p, 192)
  asm volatile(
      ".p2align 5\n1:\n" CAUSEWAY_BLOCK("0") CAUSEWAY_BLOCK("1") CAUSEWAY_BLOCK("2") CAUSEWAY_BLOCK(
          "3") "add %0, %0, #256\nadd %1, %1, #256\nadd %2, %2, #256\nadd %3, %3, #256\nsubs %4, %4, #1\nb.ne 1b\n"
      : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(steps)
      :
      : "v0", "v1", "v2", "v3", "cc", "memory");
#undef CAUSEWAY_BLOCK
#undef CAUSEWAY_LINE
#else
  for (; steps > 0; --steps, a += kBlockBytes, b += kBlockBytes, c += kBlockBytes, d += kBlockBytes) {
    for (int64_t i = 0; i < kBlockBytes; i += 8) {
      for (const std::byte* const p : {a, b, c, d}) {
        uint64_t word;
        std::memcpy(&word, p + i, sizeof(word));
        asm volatile("" : : "r"(word));
      }
    }
  }
#endif
}

// One range: its four parts follow each other inside every kilobyte.
int64_t ReadOneStream(const std::byte* data, int64_t bytes) {
  constexpr int64_t kPage = 4096;
  const int64_t pages = bytes / kPage;
  for (int64_t i = 0; i < pages; ++i) {
    for (int64_t part = 0; part < kPage; part += kStreams * kBlockBytes) {
      const std::byte* const p = data + i * kPage + part;
      ReadBlocks(p, p + kBlockBytes, p + 2 * kBlockBytes, p + 3 * kBlockBytes, 1);
    }
  }
  return pages * kPage;
}

int64_t ReadFarStreams(const std::byte* data, int64_t bytes) {
  const int64_t distance = bytes / kStreams / 4096 * 4096;
  const int64_t steps = (distance - kStreams * kStagger) / kBlockBytes;
  ReadBlocks(data, data + distance + kStagger / 64 * 64, data + 2 * distance + 2 * kStagger / 64 * 64,
             data + 3 * distance + 3 * kStagger / 64 * 64, steps);
  return kStreams * steps * kBlockBytes;
}

class Buffer {
 public:
  Buffer(ThreadPool& pool, int64_t bytes) : bytes_(bytes) {
    void* const memory = ::mmap(nullptr, Size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK_MSG(memory != MAP_FAILED, "no memory to measure the machine's limits");
    data_ = static_cast<std::byte*>(memory);
    ::madvise(memory, Size(), MADV_HUGEPAGE);  // faults faster; where it is refused, nothing is lost
    pool.Run([&](int worker) { std::memset(Share(worker, pool.threads()), 1, ShareBytes(pool.threads())); });
  }
  ~Buffer() { ::munmap(data_, Size()); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::byte* Share(int worker, int workers) const { return data_ + worker * ShareBytes(workers); }
  int64_t ShareBytes(int workers) const { return bytes_ / workers / 4096 * 4096; }

 private:
  size_t Size() const { return static_cast<size_t>(bytes_); }

  const int64_t bytes_;
  std::byte* data_;
};

// ---- Timing ------------------------------------------------------------------------------------------

// Best rate of several calls of `body`, which returns the amount of work that it did.
template <typename Body>
double BestRate(int repeats, Body body) {
  double best = 0;
  for (int i = 0; i < repeats; ++i) {
    const Instant start = Clock::now();
    const auto amount = static_cast<double>(body());
    best = std::max(best, amount / ToSeconds(Clock::now() - start));
  }
  return best;
}

ReadRate MeasureRead(ThreadPool& pool, const Buffer& buffer, int workers, int repeats) {
  const auto rate = [&](int64_t (*read)(const std::byte*, int64_t)) {
    return BestRate(repeats, [&] {
      const int64_t bytes = buffer.ShareBytes(workers);
      if (workers == 1) {
        return read(buffer.Share(0, 1), bytes);
      }
      int64_t amount = 0;
      pool.Run([&](int worker) {
        const int64_t mine = read(buffer.Share(worker, workers), bytes);
        if (worker == 0) {
          amount = mine;  // all read the same amount
        }
      });
      return amount * workers;
    });
  };
  return {.one_stream = rate(ReadOneStream), .far_streams = rate(ReadFarStreams)};
}

void MeasureUnit(ThreadPool& pool, const MultiplyAdd& unit, int64_t rounds, double& one_thread, double& all_threads) {
  const int64_t operations = unit.flops_per_round * rounds;
  one_thread = BestRate(kRepeats, [&] {
    unit.run(rounds);
    return operations;
  });
  all_threads = BestRate(kRepeats, [&] {
    pool.Run([&](int) { unit.run(rounds); });
    return operations * pool.threads();
  });
}

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Median of many.
double MeasureForkJoin(ThreadPool& pool, int calls, Duration pause) {
  std::vector<double> seconds;
  for (int i = 0; i < calls; ++i) {
    std::this_thread::sleep_for(pause);
    const Instant start = Clock::now();
    pool.Run([](int) {});
    seconds.push_back(ToSeconds(Clock::now() - start));
  }
  return Median(std::move(seconds));
}

}  // namespace

MachineLimits MeasureLimits(ThreadPool& pool, const Ops& ops) {
  CHECK(CanRun(ops));
  MachineLimits limits;
  limits.threads = pool.threads();
  {
    const Buffer buffer(pool, kBufferBytes);
    limits.read_one_thread = MeasureRead(pool, buffer, 1, kRepeats);
    limits.read_all_threads =
        pool.threads() == 1 ? limits.read_one_thread : MeasureRead(pool, buffer, pool.threads(), kRepeats);
  }
  const MultiplyAdd& unit = RowOf(kMultiplyAdds, ops);
  limits.instruction = unit.name;
  MeasureUnit(pool, unit, kMultiplyAddRounds, limits.flops_one_thread, limits.flops_all_threads);
  const MultiplyAdd& float_unit = RowOf(kFloatMultiplyAdds, ops);
  limits.float_instruction = float_unit.name;
  MeasureUnit(pool, float_unit, kMultiplyAddRounds, limits.float_flops_one_thread, limits.float_flops_all_threads);
  const MultiplyAdd& int8_unit = RowOf(kInt8MultiplyAdds, ops);
  limits.int8_instruction = int8_unit.name;
  MeasureUnit(pool, int8_unit, kMultiplyAddRounds, limits.int8_ops_one_thread, limits.int8_ops_all_threads);
  limits.fork_join_seconds = MeasureForkJoin(pool, 10001, Duration::zero());
  limits.fork_join_asleep_seconds = MeasureForkJoin(pool, 51, std::chrono::milliseconds(1));
  return limits;
}

struct ReadProbe::Impl {
  Impl(ThreadPool& threads, bool one) : pool(threads), buffer(threads, kBufferBytes), one_stream(one) {}

  ThreadPool& pool;
  Buffer buffer;
  bool one_stream;
  int64_t next = 0;  // where the next stretch of a worker's share begins
};

ReadProbe::ReadProbe(ThreadPool& pool, const MachineLimits& limits)
    : impl_(std::make_unique<Impl>(pool, limits.read_all_threads.one_stream > limits.read_all_threads.far_streams)) {}
ReadProbe::~ReadProbe() = default;

double ReadProbe::Measure() {
  const int workers = impl_->pool.threads();
  const int64_t share = impl_->buffer.ShareBytes(workers);
  const int64_t stretch = kProbeBytes / workers;
  if (impl_->next + stretch > share) {
    impl_->next = 0;
  }
  return BestRate(1, [&] {
    int64_t amount = 0;
    impl_->pool.Run([&](int worker) {
      const std::byte* const data = impl_->buffer.Share(worker, workers) + impl_->next;
      const int64_t mine = impl_->one_stream ? ReadOneStream(data, stretch) : ReadFarStreams(data, stretch);
      if (worker == 0) {
        amount = mine;  // all read the same amount
      }
    });
    impl_->next += stretch;
    return amount * workers;
  });
}

void ReadBeside::Add(double seconds) {
  const double before = std::exchange(last_, probe_.Measure());
  rates_.push_back(std::max(before, last_));
  readable_.push_back(seconds * rates_.back());
}
double ReadBeside::ShareOf(double bytes) const { return bytes / Median(readable_); }
double ReadBeside::BytesPerSecond() const { return Median(rates_); }

namespace {

// Out of all caches: a last-level cache of hundreds of megabytes would answer instead of memory.
void Flush(const std::byte* data, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) {
#if defined(__x86_64__)
    asm volatile("clflush (%0)" : : "r"(data + i) : "memory");
#elif defined(__aarch64__)
    asm volatile("dc civac, %0" : : "r"(data + i) : "memory");
#endif
  }
#if defined(__x86_64__)
  asm volatile("mfence" : : : "memory");
#elif defined(__aarch64__)
  asm volatile("dsb sy" : : : "memory");
#endif
}

// One row of x times what the buffer holds, any bytes, as weights in panels: the rate with requests over that without.
// The lower quartile: what three of four comparisons say is no noise.
double MeasureAsking(ThreadPool& pool, const Ops& ops, const Buffer& buffer) {
  constexpr FormatId kFormat = FormatId::kQ4_0;
  constexpr int64_t kColumns = 2048;
  const int64_t panel_bytes = PackedBytes(PackingOf(kFormat), kPanelRows, kColumns);
  const int64_t panels = kFlushedBytes / panel_bytes;
  const std::byte* const data = buffer.Share(0, 1);
  const std::vector<float> x(kColumns, 0.0F);
  std::vector<float> y(static_cast<size_t>(panels * kPanelRows));
  WeightView weight{.data = data, .format = kFormat, .rows = panels * kPanelRows, .columns = kColumns};
  weight.layout = WeightLayout::kPanels;
  const LinearTarget target{weight, nullptr, y.data(), weight.rows};
  Scratch scratch(pool.threads());
  const auto rate = [&](bool asks) {
    const int64_t share = kFlushedBytes / pool.threads() / 64 * 64;
    pool.Run([&](int worker) { Flush(data + worker * share, share); });
    Stream stream{pool, scratch, {.asks_for_one_row = asks}};
    return BestRate(1, [&] {
      ops.linear(stream, {.x = x.data(), .x_stride = kColumns, .m = 1, .targets = {&target, 1}});
      return panels * panel_bytes;
    });
  };
  // Side by side, for memory that is shared with others has its moods.
  std::vector<double> ratios;
  for (int i = 0; i < kOneRowRepeats; ++i) {
    const double asked = rate(true);
    ratios.push_back(asked / rate(false));
  }
  std::sort(ratios.begin(), ratios.end());
  return ratios[ratios.size() / 4];
}

}  // namespace

MachineShape MeasureShape(ThreadPool& pool, const Ops& ops) {
  CHECK(CanRun(ops));
  MachineShape shape;
  const auto told = static_cast<int64_t>(::sysconf(_SC_LEVEL2_CACHE_SIZE));
  shape.level2_bytes = told > 0 ? told : shape.level2_bytes;
  const Buffer buffer(pool, kShortBufferBytes);
  const ReadRate read = MeasureRead(pool, buffer, pool.threads(), kShortRepeats);
  shape.read_bytes_per_s = std::max(read.one_stream, read.far_streams);
  double one_thread = 0;
  const MultiplyAdd& unit = RowOf(kInt8MultiplyAdds, ops);
  MeasureUnit(pool, unit, kShortRounds, one_thread, shape.int8_ops_per_s);
  if (unit.table == ops.name && &unit != std::end(kInt8MultiplyAdds) - 1) {  // others ask for nothing, and are slow
    shape.asked_over_followed = MeasureAsking(pool, ops, buffer);
  }
  return shape;
}

}  // namespace causeway::kernels
