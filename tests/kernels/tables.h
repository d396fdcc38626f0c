// What kernel tests share: the tables to test and a stream with data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "kernels/cpu/ops.h"
#include "kernels/ops.h"
#include "kernels/ref/ref.h"
#include "kernels/scratch.h"

namespace causeway::kernels {

// Every table that this machine can run, and the emulated ones. Says which it leaves out.
inline std::vector<const Ops*> TestedTables() {
  std::vector<const Ops*> tables;
  for (const Ops* ops : AllOps()) {
    if (CanRun(*ops)) {
      tables.push_back(ops);
    } else {
      GTEST_LOG_(INFO) << "this machine cannot run " << ops->name;
    }
  }
#if defined(CAUSEWAY_HAVE_EMULATED_AVX512)
  if (CanRun(avx2::kOps)) {
    tables.push_back(&avx512_emulated::kOps);
    tables.push_back(&avx512_bf16_emulated::kOps);
  }
#endif
#if defined(CAUSEWAY_HAVE_EMULATED_NEON)
  if (CanRun(avx2::kOps)) {
    tables.push_back(&neon_emulated::kOps);
    tables.push_back(&neon_dotprod_emulated::kOps);
  }
#endif
#if defined(CAUSEWAY_HAVE_EMULATED_VNNI)
  if (CanRun(avx2::kOps)) {
    tables.push_back(&avx2_vnni_emulated::kOps);
  }
#endif
  return tables;
}

class KernelTest : public testing::TestWithParam<const Ops*> {
 protected:
  static constexpr uint64_t kSeed = 20241;

  // `count` values in [-scale, scale), a function of the stream and the place.
  static std::vector<float> Random(int64_t count, uint64_t stream, float scale = 1.0F) {
    std::vector<float> values(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = (2.0F * static_cast<float>(RandomUniform(kSeed, stream, i)) - 1.0F) * scale;
    }
    return values;
  }

  static std::vector<std::byte> Encode(const std::vector<float>& values, FormatId format) {
    std::vector<std::byte> bytes(static_cast<size_t>(BytesOf(format, static_cast<int64_t>(values.size()))));
    FormatOf(format).encode(values.data(), bytes.data(), static_cast<int64_t>(values.size()));
    return bytes;
  }

  // `count` rounded up to whole blocks.
  static int64_t WholeBlocks(int64_t count, FormatId format) {
    const int64_t block = FormatOf(format).block_elements;
    return (count + block - 1) / block * block;
  }

  const Ops& ops() const { return *GetParam(); }
  Stream& stream() { return stream_; }
  Stream& threads3() { return stream3_; }

 private:
  ThreadPool pool_{{.threads = 1, .pin = false}};
  Scratch scratch_{1};
  Stream stream_{pool_, scratch_};
  ThreadPool pool3_{{.threads = 3, .pin = false}};
  Scratch scratch3_{3};
  Stream stream3_{pool3_, scratch3_};
};

inline std::string TableName(const testing::TestParamInfo<const Ops*>& info) { return std::string(info.param->name); }

#define CAUSEWAY_FOR_EACH_TABLE(suite) \
  INSTANTIATE_TEST_SUITE_P(Tables, suite, testing::ValuesIn(TestedTables()), TableName)

}  // namespace causeway::kernels
