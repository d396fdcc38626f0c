// Runs a model over calibration text layer by layer, and sums up what its linear layers read. Layers whose weights were
// replaced compute with the replacements, so that each layer is fitted to what the ones before it make of the text.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "kernels/ops.h"
#include "kernels/scratch.h"
#include "model/model.h"
#include "model/quantize/gptq.h"
#include "model/quantize/role.h"
#include "model/sequence_runner.h"

namespace causeway::model::quantize {

struct CalibrationOptions {
  int64_t samples = 128;          // sequences
  int64_t sequence_length = 512;  // tokens of each
};

// Cuts `text` into that many sequences, evenly from all over it; fewer if it is too short. kInvalidArgument for a text
// shorter than one, or a length beyond the model's context.
Result<std::vector<std::vector<Token>>> CutText(const Model& model, std::string_view text,
                                                const CalibrationOptions& options);

// Owner: one thread. The model, ops and pool outlive it. Holds the residual streams of all sequences, and of one layer
// at a time the sums and replaced weights.
class Calibration {
 public:
  static Result<std::unique_ptr<Calibration>> Create(const Model& model, const kernels::Ops& ops, ThreadPool& pool,
                                                     std::vector<std::vector<Token>> sequences);

  // Of the inputs of this layer; layers are asked for in ascending order.
  Result<const Hessian*> InputsOf(const Role& role);
  // The weight that role.parts name, [rows, columns] in the network's order, for when later layers are computed.
  void Replace(const Role& role, int64_t columns, std::vector<float> values);

 private:
  Calibration(const Model& model, const kernels::Ops& ops, ThreadPool& pool, std::vector<std::vector<Token>> sequences);
  Result<void> RunLayer(int64_t layer, bool keep);
  void SumUp(Input input, const float* x, int64_t stride, int64_t m, int64_t columns);
  void Collect(std::span<const kernels::LinearTarget> targets, const float* x, int64_t stride, int64_t m);
  void Substitute(std::span<kernels::LinearTarget> targets) const;

  const Model& model_;
  const kernels::Ops& ops_;
  kernels::Scratch scratch_;
  kernels::Stream stream_;
  const std::vector<std::vector<Token>> sequences_;
  std::unique_ptr<SequenceRunner> runner_;
  std::vector<std::vector<float>> hidden_;  // of each sequence, [tokens, hidden]
  int64_t layer_ = -1;                      // the one that sums_ are of
  std::array<Hessian, kInputs> sums_;
  std::map<const std::byte*, std::vector<float>> replaced_;  // by the data of the network's weight
  std::vector<float> transposed_, product_;
};

}  // namespace causeway::model::quantize
