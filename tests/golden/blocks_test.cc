// The block formats against values that an independent implementation decoded, bit for bit.
#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "kernels/quant/format.h"
#include "model/files.h"
#include "model/safetensors.h"
#include "tests/support/shared_data.h"

namespace causeway::model {
namespace {

struct Blocks {
  std::vector<std::byte> raw;
  std::vector<float> expected;
  std::vector<float> decoded;
};

Blocks ReadAndDecode(const std::string& folder, const kernels::WeightFormat& format, const std::string& ending) {
  const auto files = *OpenFolder(folder);
  const TensorMap tensors = *ParseSafetensors(*files->Open(std::string(format.dtype) + ending));
  const auto& raw = tensors.at("raw").data;
  Blocks blocks{{raw.begin(), raw.end()}, {}, {}};
  EXPECT_EQ(tensors.at("raw").shape.back(), format.block_bytes) << format.name;
  blocks.expected.resize(static_cast<size_t>(tensors.at("values").elements()));
  std::memcpy(blocks.expected.data(), tensors.at("values").data.data(), blocks.expected.size() * sizeof(float));
  blocks.decoded.resize(blocks.expected.size());
  format.decode(blocks.raw.data(), blocks.decoded.data(), static_cast<int64_t>(blocks.decoded.size()));
  return blocks;
}

void ExpectBlocks(const std::string& folder) {
  for (const kernels::WeightFormat& format : kernels::WeightFormats()) {
    if (format.id == kernels::FormatId::kF32 || format.id > kernels::FormatId::kIQ4_XS) {
      continue;  // nothing to decode, or no format of GGUF
    }
    const Blocks plain = ReadAndDecode(folder, format, ".safetensors");
    EXPECT_EQ(0, std::memcmp(plain.decoded.data(), plain.expected.data(), plain.decoded.size() * sizeof(float)))
        << format.name;
    const Blocks hostile = ReadAndDecode(folder, format, ".hostile.safetensors");
    for (size_t i = 0; i < hostile.expected.size(); ++i) {
      ASSERT_EQ(std::isfinite(hostile.decoded[i]), std::isfinite(hostile.expected[i])) << format.name << " at " << i;
    }
  }
}

TEST(BlocksTest, DecodeBitForBit) {
  CAUSEWAY_SKIP_WITHOUT_SHARED();
  ExpectBlocks(SharedFolder() + "/goldens/quant/blocks");
}

}  // namespace
}  // namespace causeway::model
