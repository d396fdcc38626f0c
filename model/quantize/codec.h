// How a matrix is stored in a format of a destination: what its values may become (a BlockGrid for each run of
// neighbours), and the tensors that hold codes and scales.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "kernels/quant/grid.h"

namespace causeway::model::quantize {

// A tensor of the destination.
struct Part {
  std::string suffix;  // behind the module's name (".weight"); in a plan the whole name
  std::string dtype;   // as its container names it
  std::vector<int64_t> shape;
  int64_t bytes = 0;
};

// Const after Prepare. Store may be called from several threads, for rows that lie in different strips.
class Codec {
 public:
  static constexpr int64_t kStripRows = 32;  // zero points of so many rows fill whole words, whatever their bits

  virtual ~Codec() = default;
  virtual std::string name() const = 0;
  // Values of a row that share a grid; it divides `columns` if Fits.
  virtual int64_t Block(int64_t columns) const = 0;
  virtual bool Fits(int64_t columns) const { return columns % Block(columns) == 0; }
  // Where it is wanted, before the first Fit of a tensor: its largest magnitude.
  virtual bool WantsLargest() const { return false; }
  virtual void Prepare(float /*largest*/) {}
  virtual void Fit(std::span<const float> x, std::span<const float> importance, kernels::BlockGrid& grid) const = 0;

  virtual std::vector<Part> Parts(int64_t rows, int64_t columns) const = 0;
  // One row, a grid for each block, into buffers of the sizes that Parts gives, zero at first.
  virtual void Store(int64_t row, std::span<const kernels::BlockGrid> grids, std::span<const int32_t> codes,
                     std::span<std::vector<std::byte>> parts) const = 0;
};

// Blocks of a GGUF type; null for one without a grid.
std::unique_ptr<Codec> MakeBlockCodec(kernels::FormatId format);

}  // namespace causeway::model::quantize
