// compressed-tensors. What a module holds tells how it is compressed; config_groups tell bits, groups and blocks of
// the modules that their targets name.
//
//   weight_packed I32   integers packed along each row, plus 2^(bits - 1); weight_shape; weight_zero_point packed along
//                       the outputs; weight_g_idx in act-order. Two packings of 3 bits, told by the number of words
//   weight_packed U8    e2m1, low half first: nvfp4 with weight_global_scale, by which scales are divided; else mxfp4
//   weight I8, F8_E4M3  one code a value
//   compressed          2:4 sparse: the kept values and a bit mask, of any of the above that are not packed
//
// Source: compressed-tensors' compressors and its quantization arguments (versions 0.10 and 0.20). Inputs
// that the configuration wants in 8 bits are rounded to them; others, and the KV cache, are used as they are.
#include <cstring>
#include <optional>
#include <utility>

#include "fmt/format.h"
#include "model/quant/packed_ints.h"
#include "model/quant/packed_lines.h"
#include "model/quant/reader.h"
#include "model/quant/schemes.h"

namespace causeway::model::quant {
namespace {

using kernels::GroupCode;

// Rows and columns of the blocks that share a scale, as far as a scheme and the number of scales tell.
Result<void> SetSchemeScales(const std::string& name, const Tensor& scales, const Scheme& scheme, CodedMatrix& matrix) {
  if (scales.elements() == 1 && scheme.strategy != Strategy::kBlock) {
    return SetScales(name, scales, matrix.rows, matrix.columns, matrix);
  }
  switch (scheme.strategy) {
    case Strategy::kTensor: return SetScales(name, scales, matrix.rows, matrix.columns, matrix);
    case Strategy::kChannel: return SetScales(name, scales, 1, matrix.columns, matrix);
    case Strategy::kGroup: return SetScales(name, scales, 1, scheme.group, matrix);
    case Strategy::kBlock: return SetScales(name, scales, scheme.block_rows, scheme.group, matrix);
  }
  CHECK(false);
}

// ---- Packed integers -----------------------------------------------------------------------------------

Result<void> ReadPackedZeros(const std::string& name, TensorSource& source, CodedMatrix& matrix) {
  const int64_t runs = matrix.RunsInRow();
  ASSIGN_OR_RETURN(const Tensor zeros, source.Take(name, {"I32"}, {-1, runs}));
  const auto packing = IntPacking::For(matrix.bits, matrix.RowRuns(), zeros.shape[0]);
  if (!packing) {
    return Wrong(name, fmt::format("{} words do not hold {} zero points of {} bits", zeros.shape[0], matrix.RowRuns(),
                                   matrix.bits));
  }
  matrix.zeros.resize(matrix.Runs());
  const QuadReader read = [data = zeros.data.data(), runs, packing = *packing](
                              int64_t run, int64_t count, std::span<const int32_t> rows, uint32_t* quads) {
    UnpackQuads(data, runs, run, count, packing, rows, quads);
  };
  std::vector<uint8_t> by_run(matrix.Runs());
  UnpackRows(read, 0, runs, ColumnsInOrder(matrix.RowRuns()), by_run.data());
  for (int64_t run = 0; run < runs; ++run) {
    for (int64_t row = 0; row < matrix.RowRuns(); ++row) {
      matrix.zeros[static_cast<size_t>(row * runs + run)] = by_run[static_cast<size_t>(run * matrix.RowRuns() + row)];
    }
  }
  return {};
}

Result<void> ReadPacked(const Scheme& scheme, const std::string& module, TensorSource& source) {
  ASSIGN_OR_RETURN(const Tensor codes, source.Take(module + ".weight_packed", {"I32"}, {-1, -1}));
  ASSIGN_OR_RETURN(const Tensor shape, source.Take(module + ".weight_shape", {"I64", "I32"}, {2}));
  CodedMatrix matrix;
  matrix.bits = scheme.bits;
  matrix.zero = static_cast<uint8_t>(1 << (scheme.bits - 1));
  matrix.about_middle = scheme.symmetric;
  ASSIGN_OR_RETURN(std::tie(matrix.rows, matrix.columns), ShapeIn(module + ".weight_shape", shape));
  const int64_t words = codes.shape[1];
  const auto packing = IntPacking::For(scheme.bits, matrix.columns, words);
  if (codes.shape[0] != matrix.rows || !packing) {
    return Wrong(module + ".weight_packed",
                 fmt::format("its shape is {}, and {} x {} codes of {} bits are to be in it", ShapeText(codes.shape),
                             matrix.rows, matrix.columns, scheme.bits));
  }
  const std::string scale_name = module + ".weight_scale";
  ASSIGN_OR_RETURN(const Tensor scales, source.Take(scale_name, kFloats));
  TRY(SetSchemeScales(scale_name, scales, scheme, matrix));
  if (!scheme.symmetric) {
    TRY(ReadPackedZeros(module + ".weight_zero_point", source, matrix));
  }
  if (const std::string name = module + ".weight_g_idx"; source.Has(name)) {
    ASSIGN_OR_RETURN(const Tensor order, source.Take(name, {"I32"}));
    TRY(SetOrder(name, IntsOf(order), matrix));
  }
  matrix.source = codes.data;
  matrix.read = [data = codes.data.data(), words, columns = matrix.columns, packing = *packing](
                    int64_t begin, int64_t end, uint8_t* target) {
    for (int64_t row = begin; row < end; ++row, target += columns) {
      UnpackLine(data + row * words * static_cast<int64_t>(sizeof(uint32_t)), words, packing, columns, target);
    }
  };
  return source.Put(module, std::move(matrix));
}

// ---- Four-bit floats -----------------------------------------------------------------------------------

Result<void> ReadFloat4(const std::string& module, TensorSource& source) {
  const std::string global_name = module + ".weight_global_scale";
  const bool nvfp4 = source.Has(global_name);
  ASSIGN_OR_RETURN(CodedMatrix matrix, TakeE2M1(nvfp4 ? GroupCode::kNVFP4 : GroupCode::kMXFP4,
                                                module + ".weight_packed", module + ".weight_scale", source));
  if (nvfp4) {
    ASSIGN_OR_RETURN(const Tensor global, source.Take(global_name, kFloats));
    TRY(SetScales(global_name, global, matrix.rows, matrix.columns, matrix));
  }
  return source.Put(module, std::move(matrix));
}

// ---- One code a value ----------------------------------------------------------------------------------

Result<CodedMatrix> TakeInt8(const std::string& module, TensorSource& source) {
  ASSIGN_OR_RETURN(const Tensor weight, source.Take(module + ".weight", {"I8"}, {-1, -1}));
  CodedMatrix matrix;
  matrix.rows = weight.shape[0];
  matrix.columns = weight.shape[1];
  matrix.zero = 128;
  matrix.source = weight.data;
  matrix.read = [data = weight.data, columns = matrix.columns](int64_t begin, int64_t end, uint8_t* codes) {
    ReadSigned(data, begin * columns, end * columns, codes);
  };
  return matrix;
}

Result<void> ReadPlain(const Scheme& scheme, const std::string& module, TensorSource& source) {
  ASSIGN_OR_RETURN(CodedMatrix matrix, scheme.is_float ? TakeE4M3(module, source) : TakeInt8(module, source));
  matrix.about_middle = scheme.symmetric;
  const std::string name = module + ".weight_scale";
  ASSIGN_OR_RETURN(const Tensor scales, source.Take(name, {"F32", "F16", "BF16", "U8", "F8_E8M0"}));
  TRY(SetSchemeScales(name, scales, scheme, matrix));
  if (!scheme.symmetric) {
    const std::string zero_name = module + ".weight_zero_point";
    ASSIGN_OR_RETURN(const Tensor zeros, source.Take(zero_name, {"I8"}));
    if (scheme.is_float || zeros.data.size() != matrix.Runs()) {
      return Wrong(zero_name, fmt::format("{} zero points for {} scales of {}", zeros.data.size(), matrix.Runs(),
                                          scheme.is_float ? "floats" : "integers"));
    }
    matrix.zeros.resize(matrix.Runs());
    ReadSigned(zeros.data, 0, static_cast<int64_t>(zeros.data.size()), matrix.zeros.data());
  }
  return source.Put(module, std::move(matrix));
}

// Static inputs have their scale beside the weight.
Result<void> ReadInputs(const Scheme& scheme, const std::string& module, TensorSource& source) {
  if (!scheme.inputs) {
    return {};
  }
  kernels::InputRounding rounding = *scheme.inputs;
  if (scheme.inputs_static) {
    const std::string name = module + ".input_scale";
    ASSIGN_OR_RETURN(const Tensor scale, source.Take(name, kFloats));
    rounding.scale = FloatsOf(scale)[0];
    if (scale.elements() != 1 || !(rounding.scale > 0.0F)) {
      return Wrong(name, fmt::format("its shape is {}; one positive number is wanted", ShapeText(scale.shape)));
    }
    if (!rounding.symmetric) {
      ASSIGN_OR_RETURN(const Tensor zero, source.Take(module + ".input_zero_point", {"I8"}));
      rounding.zero = static_cast<float>(static_cast<int8_t>(zero.data[0]));
    }
  }
  source.RoundInputs(module, rounding);
  return {};
}

// ---- 2:4 sparse ----------------------------------------------------------------------------------------

// Puts the dense matrix into the place of the kept values: twice their bytes.
Result<void> Expand(const std::string& module, TensorSource& source) {
  ASSIGN_OR_RETURN(const Tensor kept, source.Take(module + ".compressed", {"F32", "F16", "BF16", "F8_E4M3", "I8"}));
  ASSIGN_OR_RETURN(const Tensor shape, source.Take(module + ".shape", {"I64", "I32"}));
  int64_t rows = 0;
  int64_t columns = 0;
  ASSIGN_OR_RETURN(std::tie(rows, columns), ShapeIn(module + ".shape", shape));
  const int64_t mask_bytes = (columns + 7) / 8;
  ASSIGN_OR_RETURN(const Tensor mask, source.Take(module + ".bitmask", {"U8"}, {rows, mask_bytes}));
  if (columns % 2 != 0 || kept.elements() != rows * columns / 2) {
    return Wrong(module + ".compressed", fmt::format("its shape is {}, and half of {} x {} values are to be in it",
                                                     ShapeText(kept.shape), rows, columns));
  }
  const auto value_bytes = kept.data.size() / static_cast<size_t>(kept.elements());
  std::vector<std::byte> dense(static_cast<size_t>(rows * columns) * value_bytes);
  size_t next = 0;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      const auto byte = static_cast<uint8_t>(mask.data[static_cast<size_t>(row * mask_bytes + column / 8)]);
      if (((byte >> (column % 8)) & 1) == 0) {
        continue;
      }
      if (next == kept.data.size()) {
        return Wrong(module + ".bitmask", "it keeps more than half of the values");
      }
      std::memcpy(dense.data() + static_cast<size_t>(row * columns + column) * value_bytes, kept.data.data() + next,
                  value_bytes);
      next += value_bytes;
    }
  }
  if (next != kept.data.size()) {
    return Wrong(module + ".bitmask", "it keeps less than half of the values");
  }
  return source.PutBytes(module + ".weight", kept.dtype, {rows, columns}, std::move(dense));
}

}  // namespace

Result<CodedMatrix> TakeE2M1(GroupCode code, const std::string& codes_name, const std::string& scales_name,
                             TensorSource& source) {
  const int64_t run = kernels::FineRun(code);
  ASSIGN_OR_RETURN(const Tensor codes, source.Take(codes_name, {"U8"}, {-1, -1}));
  CodedMatrix matrix;
  matrix.code = code;
  matrix.rows = codes.shape[0];
  matrix.columns = codes.shape[1] * 2;
  if (matrix.columns % run != 0) {
    return Wrong(codes_name, fmt::format("{} columns are no multiple of {}", matrix.columns, run));
  }
  const std::vector<int64_t> wanted = {matrix.rows, matrix.columns / run};
  ASSIGN_OR_RETURN(const Tensor fine, code == GroupCode::kNVFP4 ? source.Take(scales_name, {"F8_E4M3"}, wanted)
                                                                : source.Take(scales_name, {"U8", "F8_E8M0"}, wanted));
  matrix.fine = {reinterpret_cast<const uint8_t*>(fine.data.data()), fine.data.size()};
  matrix.row_run = matrix.rows;
  matrix.run = matrix.columns;
  matrix.scales = {1.0F};
  matrix.source = codes.data;
  matrix.read = [data = codes.data.data(), columns = matrix.columns](int64_t begin, int64_t end, uint8_t* target) {
    UnpackHalves(data + begin * columns / 2, (end - begin) * columns / 2, true, target);
  };
  return matrix;
}

Result<std::pair<int64_t, int64_t>> ShapeIn(const std::string& name, const Tensor& tensor) {
  constexpr int64_t kMaxSize = int64_t{1} << 31;
  if (tensor.elements() != 2) {
    return Wrong(name, fmt::format("its shape is {}, not two numbers", ShapeText(tensor.shape)));
  }
  int64_t sizes[2];
  for (size_t i = 0; i < 2; ++i) {
    if (tensor.dtype == "I64") {
      std::memcpy(&sizes[i], tensor.data.data() + i * sizeof(int64_t), sizeof(int64_t));
    } else {
      sizes[i] = IntsOf(tensor)[i];
    }
    if (sizes[i] < 1 || sizes[i] > kMaxSize) {
      return Wrong(name, fmt::format("a size of {}", sizes[i]));
    }
  }
  return std::pair(sizes[0], sizes[1]);
}

Result<void> ReadCompressedTensors(const Config& config, TensorSource& source) {
  ASSIGN_OR_RETURN(const Schemes schemes, Schemes::Read(config));
  source.Drop({".input_global_scale", ".output_scale", ".output_zero_point", ".k_scale", ".v_scale", ".q_scale",
               ".k_zero_point", ".v_zero_point"});
  for (const std::string& module : source.Modules(".compressed")) {
    TRY(Expand(module, source));
  }
  for (const std::string& module : source.Modules(".weight_scale")) {
    ASSIGN_OR_RETURN(const Scheme* const scheme, schemes.Of(module));
    if (scheme->symmetric && source.Has(module + ".weight_zero_point")) {
      TRY(source.Take(module + ".weight_zero_point", {}));  // zeros, written by old versions
    }
    TRY(ReadInputs(*scheme, module, source));
    const bool packed = source.Has(module + ".weight_packed");
    TRY(packed && scheme->is_float ? ReadFloat4(module, source)
        : packed                   ? ReadPacked(*scheme, module, source)
                                   : ReadPlain(*scheme, module, source));
  }
  source.Drop({".input_scale", ".input_zero_point"});  // of inputs that are used as they are
  return {};
}

}  // namespace causeway::model::quant
