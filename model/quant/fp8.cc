// Weights in e4m3 with a float for each block (weight_scale_inv, DeepSeek's layout: blocks at the edges are cut), for
// the tensor, or for each row (weight_scale; where weight_block_size is null, weight_scale_inv too). Inputs are used as
// they are: the scales by which GPUs round them are dropped.
//
// Source: DeepSeek-V3's weight files; transformers' finegrained_fp8 and fbgemm_fp8.
#include <cstring>

#include "fmt/format.h"
#include "model/quant/reader.h"

namespace causeway::model::quant {
namespace {

// [rows, columns] of a block; {0, 0}: none. Without a word about it blocks are as transformers makes them.
Result<std::vector<int64_t>> ReadBlock(const Config& config) {
  ASSIGN_OR_RETURN(const std::string format, config.Text("fmt", "e4m3"));
  if (format != "e4m3") {
    return MakeError(ErrorCode::kUnsupported, fmt::format("fmt '{}' is not served; known: e4m3", format));
  }
  ASSIGN_OR_RETURN(std::vector<int64_t> block, config.IntList("weight_block_size"));
  if (block.empty()) {
    return config.Mentions("weight_block_size") ? std::vector<int64_t>{0, 0} : std::vector<int64_t>{128, 128};
  }
  if (block.size() != 2 || block[0] < 1 || block[1] < 1) {
    return MakeError(ErrorCode::kInvalidArgument, "weight_block_size must be two positive numbers");
  }
  return block;
}

Result<void> PutBlocks(const std::string& module, const std::string& name, const Tensor& scales,
                       const std::vector<int64_t>& block, TensorSource& source) {
  ASSIGN_OR_RETURN(CodedMatrix matrix, TakeE4M3(module, source));
  TRY(SetScales(name, scales, block[0], block[1], matrix));
  return source.Put(module, std::move(matrix));
}

// One scale for the tensor or for each row.
Result<void> PutWhole(const std::string& module, const std::string& name, const Tensor& scales, TensorSource& source) {
  ASSIGN_OR_RETURN(CodedMatrix matrix, TakeE4M3(module, source));
  TRY(SetScales(name, scales, scales.elements() == 1 ? matrix.rows : 1, matrix.columns, matrix));
  return source.Put(module, std::move(matrix));
}

}  // namespace

Result<CodedMatrix> TakeE4M3(const std::string& module, TensorSource& source) {
  ASSIGN_OR_RETURN(const Tensor weight, source.Take(module + ".weight", {"F8_E4M3"}, {-1, -1}));
  CodedMatrix matrix;
  matrix.rows = weight.shape[0];
  matrix.columns = weight.shape[1];
  matrix.code = kernels::GroupCode::kE4M3;
  matrix.source = weight.data;
  matrix.read = [data = weight.data, columns = matrix.columns](int64_t begin, int64_t end, uint8_t* codes) {
    std::memcpy(codes, data.data() + begin * columns, static_cast<size_t>((end - begin) * columns));
  };
  return matrix;
}

Result<void> PutWholes(TensorSource& source) {
  for (const std::string& module : source.Modules(".weight_scale")) {
    const std::string name = module + ".weight_scale";
    ASSIGN_OR_RETURN(const Tensor scales, source.Take(name, kFloats));
    TRY(PutWhole(module, name, scales, source));
  }
  return {};
}

Result<void> ReadFp8(const Config& config, TensorSource& source) {
  ASSIGN_OR_RETURN(const std::vector<int64_t> block, ReadBlock(config));
  source.Drop({".input_scale", ".input_scale_ub", ".activation_scale", ".output_scale"});
  source.Drop({".k_scale", ".v_scale", ".kv_scale", ".q_scale", ".prob_scale"});  // of a cache and products in fp8
  for (const std::string& module : source.Modules(".weight_scale_inv")) {
    const std::string name = module + ".weight_scale_inv";
    ASSIGN_OR_RETURN(const Tensor scales, source.Take(name, {"F32", "F16", "BF16", "F8_E8M0"}));
    TRY(block[0] == 0 ? PutWhole(module, name, scales, source) : PutBlocks(module, name, scales, block, source));
  }
  return PutWholes(source);
}

}  // namespace causeway::model::quant
