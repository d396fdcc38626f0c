// GGUF: rows of blocks, in one tensor.
#include "kernels/quant/format.h"
#include "model/quantize/codec.h"

namespace causeway::model::quantize {
namespace {

class BlockCodec final : public Codec {
 public:
  BlockCodec(const kernels::WeightFormat& format, const kernels::GridFormat& grid) : format_(format), grid_(grid) {}

  std::string name() const override { return std::string(format_.name); }
  int64_t Block(int64_t /*columns*/) const override { return format_.block_elements; }
  void Fit(std::span<const float> x, std::span<const float> importance, kernels::BlockGrid& grid) const override {
    grid_.fit(x.data(), importance.data(), grid);
  }
  std::vector<Part> Parts(int64_t rows, int64_t columns) const override {
    return {{"", std::string(format_.dtype), {rows, columns}, kernels::BytesOf(format_.id, rows * columns)}};
  }
  void Store(int64_t row, std::span<const kernels::BlockGrid> grids, std::span<const int32_t> codes,
             std::span<std::vector<std::byte>> parts) const override {
    const auto blocks = static_cast<int64_t>(grids.size());
    std::byte* target = parts[0].data() + row * blocks * format_.block_bytes;
    for (int64_t i = 0; i < blocks; ++i, target += format_.block_bytes) {
      grid_.pack(grids[static_cast<size_t>(i)], codes.data() + i * format_.block_elements, target);
    }
  }

 private:
  const kernels::WeightFormat& format_;
  const kernels::GridFormat& grid_;
};

}  // namespace

std::unique_ptr<Codec> MakeBlockCodec(kernels::FormatId format) {
  const kernels::GridFormat* const grid = kernels::FindGrid(format);
  return grid == nullptr ? nullptr : std::make_unique<BlockCodec>(kernels::FormatOf(format), *grid);
}

}  // namespace causeway::model::quantize
