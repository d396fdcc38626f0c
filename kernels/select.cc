// The tables of this build and what each needs of the machine.
#include <array>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "kernels/cpu/ops.h"
#include "kernels/ref/ref.h"

namespace causeway::kernels {
namespace {

struct TableRow {
  const Ops* ops;
  bool (*can_run)();
};

#if defined(__x86_64__)
bool HasF16c() {  // a name that clang 14 does not know; AVX2 tells that its registers are saved
  unsigned int a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
// __builtin_cpu_supports also asks whether the operating system saves the registers.
bool HasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && HasF16c(); }
bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
bool HasAvx512Vnni() { return HasAvx512() && __builtin_cpu_supports("avx512vnni"); }
// VNNI came before BF16: no processor has the latter alone.
bool HasAvx512BF16() { return HasAvx512Vnni() && __builtin_cpu_supports("avx512bf16"); }
// VNNI of 256 bits in the encoding of AVX2; compilers name it differently.
bool HasAvx2Vnni() {
  constexpr unsigned int kAvxVnni = 1U << 4;
  unsigned int a = 0, b = 0, c = 0, d = 0;
  return HasAvx2() && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && a >= 1 &&
         __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & kAvxVnni) != 0;
}
#elif defined(__aarch64__)
bool HasDotProduct() { return (::getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
#endif
bool Always() { return true; }

// In priority order.
constexpr TableRow kTables[] = {
#if defined(__x86_64__)
    {&avx512_bf16::kOps, HasAvx512BF16},
    {&avx512_vnni::kOps, HasAvx512Vnni},
    {&avx512::kOps, HasAvx512},
    {&avx2_vnni::kOps, HasAvx2Vnni},
    {&avx2::kOps, HasAvx2},
#elif defined(__aarch64__)
    {&neon_dotprod::kOps, HasDotProduct},
    {&neon::kOps, Always},
#endif
    {&scalar::kOps, Always},
    {&ref::kOps, Always},
};
constexpr size_t kTableCount = sizeof(kTables) / sizeof(kTables[0]);

std::string KnownNames() {
  std::string names;
  for (const TableRow& row : kTables) {
    names += (names.empty() ? "" : ", ") + std::string(row.ops->name);
  }
  return names;
}

}  // namespace

std::span<const Ops* const> AllOps() {
  static const auto kAll = [] {
    std::array<const Ops*, kTableCount> all{};
    for (size_t i = 0; i < kTableCount; ++i) {
      all[i] = kTables[i].ops;
    }
    return all;
  }();
  return kAll;
}

bool CanRun(const Ops& ops) {
  for (const TableRow& row : kTables) {
    if (row.ops == &ops) {
      return row.can_run();
    }
  }
  return false;
}

Result<const Ops*> SelectOps(std::string_view force) {
  for (const TableRow& row : kTables) {
    if (force.empty() ? row.can_run() : row.ops->name == force) {
      if (!row.can_run()) {
        return MakeError(ErrorCode::kFailedPrecondition,
                         "this machine cannot run the " + std::string(force) + " kernels: they need " +
                             std::string(row.ops->description),
                         "force-kernels");
      }
      return row.ops;
    }
  }
  return MakeError(ErrorCode::kInvalidArgument, "unknown kernels '" + std::string(force) + "'; known: " + KnownNames(),
                   "force-kernels");
}

}  // namespace causeway::kernels
