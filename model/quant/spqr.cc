// SpQR as spqr_quant stores it: 3 bits in tiles of 16 x 16 with scales that are quantized too, and outliers in half
// precision on top. Published for GPUs only; its dense part becomes rows of SPQR3, its outliers a sparse term.
//
// dense_weights: 64-bit words, one for each row of a tile; tiles row by row of the matrix, their sixteen rows together.
//   bits 0-2, 3-5   the row's scale and zero point, of 3 bits
//   bits 6-53       sixteen codes of 3 bits
//   bits 54-61      one byte of the tile's four halves, rows 2i and 2i + 1 both byte i: scale of scales, scale of zero
//                   points, zero point of scales, zero point of zero points
// row_offsets, col_vals: compressed rows, the column in the low half of a word and a half-precision value in the high
//   one; or (one offset for sixteen rows) the rows of a tile interleaved, filled up with zeros to the longest.
// in_perm: two 16-bit columns in a word; stored column i is input in_perm[i].
//
// Sources: spqr_quant 0.2.0 (inference.py, inference_kernels/common.cuh, spqr_cuda.cpp), transformers' SpQRConfig.
#include <algorithm>
#include <atomic>
#include <numeric>

#include "fmt/format.h"
#include "kernels/quant/float16.h"
#include "model/quant/reader.h"

namespace causeway::model::quant {
namespace {

using kernels::FloatToHalf;
using kernels::HalfToFloat;
using kernels::SparseEntry;

constexpr int64_t kTile = 16;
constexpr int64_t kBlockBytes = 10;  // of SPQR3
constexpr int kBits = 3;

Result<void> CheckSettings(const Config& settings) {
  constexpr std::pair<const char*, int64_t> kServed[] = {{"bits", kBits}, {"beta1", kTile}, {"beta2", kTile}};
  for (const auto& [name, served] : kServed) {
    ASSIGN_OR_RETURN(const int64_t value, settings.Int(name, 1, int64_t{1} << 24, served));
    if (value != served) {
      return MakeError(ErrorCode::kUnsupported, fmt::format("{} {} is not served; known: {}", name, value, served));
    }
  }
  if (const Json* const shapes = settings.Find("shapes"); shapes != nullptr && !shapes->is_object()) {
    return MakeError(ErrorCode::kInvalidArgument, "shapes is no object");
  }
  return {};
}

// The configuration gives the size of each tensor once more.
Result<void> CheckSize(const Config& settings, const std::string& name, const Tensor* tensor) {
  const Json* const shapes = settings.Find("shapes");
  if (shapes == nullptr || !shapes->contains(name + ".shape")) {
    return {};
  }
  const Json& said = shapes->at(name + ".shape");
  const int64_t size = tensor == nullptr ? 0 : tensor->elements();
  if (!said.is_number_integer() || said.get<int64_t>() != size) {
    return Wrong(name, fmt::format("it has {} values, not as many as shapes in the configuration says", size));
  }
  return {};
}

// The tensors of a module; absent ones and those without values are empty.
struct Parts {
  Tensor dense;
  std::vector<int32_t> offsets;
  std::vector<int32_t> entries;
  std::vector<int32_t> order;
};

Result<std::vector<int32_t>> TakeInts(const Config& settings, const std::string& name, TensorSource& source) {
  if (!source.HasValues(name)) {  // no outliers, no order: left out, or of no values and any type
    source.Remove(name);
    TRY(CheckSize(settings, name, nullptr));
    return std::vector<int32_t>();
  }
  ASSIGN_OR_RETURN(const Tensor tensor, source.Take(name, {"I32", "U32"}, {-1}));
  TRY(CheckSize(settings, name, &tensor));
  return IntsOf(tensor);
}

Result<Parts> TakeParts(const Config& settings, const std::string& module, TensorSource& source) {
  Parts parts;
  ASSIGN_OR_RETURN(parts.dense, source.Take(module + ".dense_weights", {"I64", "U64"}, {-1}));
  TRY(CheckSize(settings, module + ".dense_weights", &parts.dense));
  ASSIGN_OR_RETURN(parts.offsets, TakeInts(settings, module + ".row_offsets", source));
  ASSIGN_OR_RETURN(parts.entries, TakeInts(settings, module + ".col_vals", source));
  ASSIGN_OR_RETURN(parts.order, TakeInts(settings, module + ".in_perm", source));
  return parts;
}

struct Shape {
  int64_t rows = 0;
  int64_t columns = 0;
  bool interleaved = false;
};

// No tensor says how many rows there are: offsets do, but those of interleaved rows are a sixteenth as many. Either has
// as many columns as it has an order for or, as each layer of these families does, the hidden size on one of its sides.
Result<Shape> ShapeOf(const std::string& module, const Parts& parts, const Json& config) {
  const auto words = parts.dense.elements();
  const auto lines = static_cast<int64_t>(parts.offsets.size()) - 1;
  const auto hidden = config.is_object() ? config.find("hidden_size") : config.end();
  const int64_t width = hidden != config.end() && hidden->is_number_integer() ? hidden->get<int64_t>() : 0;
  for (const bool interleaved : {false, true}) {
    const int64_t rows = interleaved ? lines * kTile : lines;
    if (rows <= 0 || rows % kTile != 0 || words % rows != 0) {
      continue;
    }
    const int64_t columns = words / rows * kTile;
    const bool fits = parts.order.empty() ? width == 0 || rows == width || columns == width
                                          : columns == 2 * static_cast<int64_t>(parts.order.size());
    if (fits && columns <= kernels::kMaxSparseColumns) {
      return Shape{rows, columns, interleaved};
    }
  }
  return Wrong(module + ".dense_weights",
               fmt::format("{} words are no whole tiles of 16 x 16 that fit {} row offsets, {} words of in_perm and "
                           "the configuration",
                           words, parts.offsets.size(), parts.order.size()));
}

uint16_t HalfProduct(uint16_t scale, uint64_t code, uint16_t zero) {
  const uint16_t difference = FloatToHalf(static_cast<float>(code) - HalfToFloat(zero));
  return FloatToHalf(HalfToFloat(scale) * HalfToFloat(difference));
}

// Sixteen words into a block of each of sixteen rows. False if the tile's halves are not the same in both copies, or
// bits are set that mean nothing.
bool WriteTile(const std::byte* source, std::byte* target, int64_t row_bytes) {
  uint64_t words[kTile];
  std::memcpy(words, source, sizeof(words));
  uint64_t halves = 0;
  for (int64_t row = 0; row < kTile; row += 2) {
    const uint64_t byte = words[row] >> 54;
    if (byte > 0xff || byte != words[row + 1] >> 54) {
      return false;
    }
    halves |= byte << (4 * row);
  }
  const auto half = [&](int i) { return static_cast<uint16_t>(halves >> (16 * i)); };
  for (int64_t row = 0; row < kTile; ++row, target += row_bytes) {
    const uint16_t scale = HalfProduct(half(0), words[row] & 7, half(2));
    const uint16_t zero = HalfProduct(half(1), (words[row] >> kBits) & 7, half(3));
    const uint64_t codes = words[row] >> (2 * kBits);
    std::memcpy(target, &scale, sizeof(scale));
    std::memcpy(target + 2, &zero, sizeof(zero));
    std::memcpy(target + 4, &codes, 6);
  }
  return true;
}

Result<std::vector<std::byte>> DenseRows(const std::string& module, const Parts& parts, const Shape& shape,
                                         ThreadPool& pool) {
  const int64_t tiles = shape.columns / kTile;
  const int64_t row_bytes = tiles * kBlockBytes;
  constexpr int64_t kTileBytes = kTile * static_cast<int64_t>(sizeof(uint64_t));
  std::vector<std::byte> rows(static_cast<size_t>(shape.rows * row_bytes));
  std::atomic<bool> whole = true;
  pool.ParallelFor(shape.rows / kTile, [&](int64_t strip, int) {
    for (int64_t tile = 0; tile < tiles; ++tile) {
      if (!WriteTile(parts.dense.data.data() + (strip * tiles + tile) * kTileBytes,
                     rows.data() + strip * kTile * row_bytes + tile * kBlockBytes, row_bytes)) {
        whole = false;
      }
    }
  });
  if (!whole) {
    return Wrong(module + ".dense_weights", "the scales of a tile differ between their two copies");
  }
  return rows;
}

// What the offsets must be before they are followed.
Result<void> CheckOffsets(const std::string& module, const Parts& parts, bool interleaved) {
  const std::vector<int32_t>& offsets = parts.offsets;
  const bool whole =
      !interleaved || std::all_of(offsets.begin(), offsets.end(), [](int32_t offset) { return offset % kTile == 0; });
  if (offsets.front() != 0 || !whole || !std::is_sorted(offsets.begin(), offsets.end()) ||
      static_cast<size_t>(offsets.back()) != parts.entries.size()) {
    return Wrong(module + ".row_offsets", fmt::format("they do not ascend from 0 to the {} values of col_vals{}",
                                                      parts.entries.size(), interleaved ? " in whole tiles" : ""));
  }
  return {};
}

// Ascending columns, whatever the file's order; zeros, which fill up interleaved rows, are left out.
Result<SparseMatrix> Outliers(const std::string& module, const Parts& parts, const Shape& shape) {
  TRY(CheckOffsets(module, parts, shape.interleaved));
  SparseMatrix matrix;
  matrix.offsets.push_back(0);
  for (int64_t row = 0; row < shape.rows; ++row) {
    const auto line = static_cast<size_t>(shape.interleaved ? row / kTile : row);
    const int64_t step = shape.interleaved ? kTile : 1;
    const auto first = static_cast<std::ptrdiff_t>(matrix.entries.size());
    for (int64_t i = parts.offsets[line] + (shape.interleaved ? row % kTile : 0); i < parts.offsets[line + 1];
         i += step) {
      const auto word = static_cast<uint32_t>(parts.entries[static_cast<size_t>(i)]);
      const SparseEntry entry{static_cast<uint16_t>(word), static_cast<uint16_t>(word >> 16)};
      if (entry.column >= shape.columns) {
        return Wrong(module + ".col_vals", fmt::format("column {} of {} in row {}", entry.column, shape.columns, row));
      }
      if ((entry.half & 0x7fff) != 0) {
        matrix.entries.push_back(entry);
      }
    }
    std::stable_sort(matrix.entries.begin() + first, matrix.entries.end(),
                     [](const SparseEntry& a, const SparseEntry& b) { return a.column < b.column; });
    matrix.offsets.push_back(static_cast<uint32_t>(matrix.entries.size()));
  }
  return matrix;
}

// Stored column -> input; empty if each is its own.
Result<std::vector<int32_t>> OrderOf(const std::string& module, const Parts& parts, int64_t columns) {
  std::vector<int32_t> order;
  std::vector<bool> seen(static_cast<size_t>(columns), false);
  for (const int32_t word : parts.order) {
    for (const int shift : {0, 16}) {
      const int32_t column = (word >> shift) & 0xffff;
      if (column >= columns || seen[static_cast<size_t>(column)]) {
        return Wrong(module + ".in_perm", fmt::format("column {} is out of range or there twice", column));
      }
      seen[static_cast<size_t>(column)] = true;
      order.push_back(column);
    }
  }
  return std::is_sorted(order.begin(), order.end()) ? std::vector<int32_t>() : order;
}

Result<void> ReadModule(const Config& settings, const std::string& module, TensorSource& source) {
  ASSIGN_OR_RETURN(const Parts parts, TakeParts(settings, module, source));
  ASSIGN_OR_RETURN(const Shape shape, ShapeOf(module, parts, source.config()));
  ASSIGN_OR_RETURN(SparseMatrix outliers, Outliers(module, parts, shape));
  ASSIGN_OR_RETURN(std::vector<int32_t> order, OrderOf(module, parts, shape.columns));
  ASSIGN_OR_RETURN(std::vector<std::byte> rows, DenseRows(module, parts, shape, source.pool()));
  TRY(source.PutBytes(module + ".weight", "SPQR3", {shape.rows, shape.columns}, std::move(rows)));
  if (!order.empty()) {
    source.PutOrder(module, std::move(order));
  }
  if (!outliers.entries.empty()) {
    source.PutTerm(module, std::move(outliers));
  }
  return {};
}

}  // namespace

Result<void> ReadSpqr(const Config& settings, TensorSource& source) {
  TRY(CheckSettings(settings));
  for (const std::string& module : source.Modules(".dense_weights")) {
    TRY(ReadModule(settings, module, source));
  }
  return {};
}

}  // namespace causeway::model::quant
