// causeway quantize: a model in, the same model in fewer bits out.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "kernels/ops.h"
#include "model/quantize/calibration.h"
#include "model/quantize/gptq.h"
#include "model/quantize/plan.h"

namespace causeway::model::quantize {

enum class Method : uint8_t { kNearest, kGptq };

struct QuantizeOptions {
  LoadOptions source;       // what to read
  std::string destination;  // NAME.gguf, or a folder for compressed-tensors
  PlanOptions plan;
  Method method = Method::kNearest;
  // Text that tells which columns count: needed by kGptq, and weighs the errors of kNearest if it is given.
  std::string calibration_text;
  CalibrationOptions calibration;
  GptqOptions gptq;
  bool replace = false;           // a destination that is there
  bool allow_requantize = false;  // a source that is quantized already
  std::function<void(double fraction, std::string_view what)> progress;
};

struct QuantizeReport {
  struct Format {
    std::string name;
    int64_t tensors = 0;
    int64_t weights = 0;
    int64_t bytes = 0;
    double worst_error = 0;  // of a tensor, root of the squares against its own
    std::string worst_tensor;
  };
  std::vector<Format> formats;  // by falling bytes
  int64_t weights = 0;
  int64_t bytes_before = 0;  // of tensors
  int64_t bytes_after = 0;
  int64_t matrix_weights = 0;  // of the tensors that were quantized
  int64_t matrix_bytes = 0;
  std::vector<std::string> notes;
};

// Reads the source, writes the destination beside its place, reads it back, compares what a network is made of, and
// moves it into its place: it is there whole or not at all. Memory: about a tensor, with calibration a layer and the
// residual streams of the calibration text. Errors name the option, file or tensor.
Result<QuantizeReport> Quantize(const QuantizeOptions& options, const kernels::Ops& ops, ThreadPool& pool);

}  // namespace causeway::model::quantize
