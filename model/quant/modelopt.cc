// NVIDIA ModelOpt's checkpoints. What a weight holds tells its kind: e4m3 with a scale for the tensor or for each row
// (weight_scale), or e2m1 codes, the low half of a byte first, with an e4m3 scale for each 16 columns (weight_scale)
// times a float (weight_scale_2). Inputs and the KV cache are used as they are: their scales are dropped.
//
// Source: ModelOpt's unified Hugging Face export and its nvfp4_tensor.py.
#include <algorithm>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "model/quant/reader.h"

namespace causeway::model::quant {
namespace {

constexpr std::string_view kAlgorithms[] = {"FP8", "FP8_PER_CHANNEL_PER_TOKEN", "NVFP4", "W4A16_NVFP4",
                                            "MIXED_PRECISION"};

// config.json says it flatly, hf_quant_config.json in an object of its own.
Result<void> CheckAlgorithm(const Config& config) {
  const Json* const inner = config.Find("quantization");
  ASSIGN_OR_RETURN(const std::string name, inner != nullptr && inner->is_object()
                                               ? Config(*inner).Text("quant_algo")
                                               : config.Text("quant_algo", "MIXED_PRECISION"));
  if (std::find(std::begin(kAlgorithms), std::end(kAlgorithms), name) == std::end(kAlgorithms)) {
    return MakeError(ErrorCode::kUnsupported,
                     fmt::format("quant_algo '{}' is not served; known: {}", name, fmt::join(kAlgorithms, ", ")));
  }
  return {};
}

// The two scales are a product here and a quotient in the format: its divisor is rounded once more.
Result<void> ReadNvfp4(const std::string& module, TensorSource& source) {
  ASSIGN_OR_RETURN(CodedMatrix matrix,
                   TakeE2M1(kernels::GroupCode::kNVFP4, module + ".weight", module + ".weight_scale", source));
  const std::string name = module + ".weight_scale_2";
  ASSIGN_OR_RETURN(const Tensor factor, source.Take(name, {"F32"}));
  if (factor.elements() != 1) {
    return Wrong(name, fmt::format("its shape is {}; one number is wanted", ShapeText(factor.shape)));
  }
  matrix.scales = {1.0F / FloatsOf(factor)[0]};
  return source.Put(module, std::move(matrix));
}

}  // namespace

Result<void> ReadModelOpt(const Config& config, TensorSource& source) {
  TRY(CheckAlgorithm(config));
  source.Drop({".input_scale", ".k_scale", ".v_scale", ".k_proj.output_scale", ".v_proj.output_scale"});
  for (const std::string& module : source.Modules(".weight_scale_2")) {
    TRY(ReadNvfp4(module, source));
  }
  return PutWholes(source);
}

}  // namespace causeway::model::quant
