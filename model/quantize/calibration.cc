#include "model/quantize/calibration.h"

#include <algorithm>

#include "base/check.h"
#include "fmt/format.h"
#include "model/network.h"
#include "model/tokenizer/tokenizer.h"

namespace causeway::model::quantize {
namespace {

// In the order of Role::parts.
std::array<const Projection*, 7> ProjectionsOf(const Layer& layer) {
  return {&layer.attention.q, &layer.attention.k, &layer.attention.v, &layer.attention.o,
          &layer.mlp.gate,    &layer.mlp.up,      &layer.mlp.down};
}

}  // namespace

Result<std::vector<std::vector<Token>>> CutText(const Model& model, std::string_view text,
                                                const CalibrationOptions& options) {
  if (model.tokenizer == nullptr) {
    return MakeError(ErrorCode::kFailedPrecondition, "this model has no tokenizer, which calibration needs");
  }
  if (options.sequence_length < 2 || options.sequence_length > model.info.context_length || options.samples < 1) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("sequences of {} tokens: 2 to the model's context of {}", options.sequence_length,
                                 model.info.context_length),
                     "sequence_length");
  }
  ASSIGN_OR_RETURN(const auto tokens,
                   model.tokenizer->Encode(text, {.add_special_tokens = false, .parse_special = false}));
  const auto begin = model.tokenizer->TokenId(model.chat.bos_token);
  const int64_t own = options.sequence_length - (begin ? 1 : 0);
  const auto count = static_cast<int64_t>(tokens.size());
  const int64_t samples = std::min(options.samples, count / own);
  if (samples < 1) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("the calibration text has {} tokens; {} at least", count, own), "calibration");
  }
  std::vector<std::vector<Token>> sequences;
  for (int64_t i = 0; i < samples; ++i) {
    const int64_t start = samples == 1 ? 0 : i * (count - own) / (samples - 1);
    std::vector<Token>& sequence = sequences.emplace_back();
    if (begin) {
      sequence.push_back(*begin);
    }
    sequence.insert(sequence.end(), tokens.begin() + start, tokens.begin() + start + own);
  }
  return sequences;
}

Calibration::Calibration(const Model& model, const kernels::Ops& ops, ThreadPool& pool,
                         std::vector<std::vector<Token>> sequences)
    : model_(model), ops_(ops), scratch_(pool.threads()), stream_{pool, scratch_}, sequences_(std::move(sequences)) {}

Result<std::unique_ptr<Calibration>> Calibration::Create(const Model& model, const kernels::Ops& ops, ThreadPool& pool,
                                                         std::vector<std::vector<Token>> sequences) {
  auto self = std::unique_ptr<Calibration>(new Calibration(model, ops, pool, std::move(sequences)));  // NOLINT: private
  int64_t longest = 0;
  for (const std::vector<Token>& sequence : self->sequences_) {
    longest = std::max(longest, static_cast<int64_t>(sequence.size()));
    self->hidden_.emplace_back(sequence.size() * static_cast<size_t>(model.network->hidden));
  }
  ASSIGN_OR_RETURN(
      self->runner_,
      SequenceRunner::Create(model, ops, pool, {.max_positions = longest, .chunk = longest, .logits_rows = 1}));
  return self;
}

Result<const Hessian*> Calibration::InputsOf(const Role& role) {
  CHECK(role.layer >= layer_);
  while (layer_ < role.layer) {
    if (layer_ >= 0) {
      TRY(RunLayer(layer_, true));
    }
    replaced_.clear();
    sums_ = {};
    ++layer_;
    if (layer_ == role.layer) {
      TRY(RunLayer(layer_, false));
    }
  }
  return &sums_[static_cast<size_t>(role.input)];
}

// With `keep` the layer's output takes the place of its input; else its inputs are summed up.
Result<void> Calibration::RunLayer(int64_t layer, bool keep) {
  runner_->runner().SetLinearHook(
      [&](std::span<kernels::LinearTarget> targets, const float* x, int64_t stride, int64_t m) {
        if (keep) {
          Substitute(targets);
        } else {
          Collect(targets, x, stride, m);
        }
      });
  std::vector<float> scratch;
  for (size_t i = 0; i < sequences_.size(); ++i) {
    if (!keep) {
      scratch = hidden_[i];
    }
    TRY(runner_->RunLayers(sequences_[i], layer, layer + 1, keep ? std::span(hidden_[i]) : std::span(scratch)));
  }
  runner_->runner().SetLinearHook({});
  return {};
}

void Calibration::Substitute(std::span<kernels::LinearTarget> targets) const {
  for (kernels::LinearTarget& target : targets) {
    const auto it = replaced_.find(target.weight.data);
    if (it != replaced_.end()) {
      target.weight = {.data = reinterpret_cast<const std::byte*>(it->second.data()),
                       .format = kernels::FormatId::kF32,
                       .rows = target.weight.rows,
                       .columns = target.weight.columns,
                       .row_bytes = target.weight.columns * static_cast<int64_t>(sizeof(float))};
    }
  }
}

void Calibration::Collect(std::span<const kernels::LinearTarget> targets, const float* x, int64_t stride, int64_t m) {
  const Layer& layer = model_.network->layers[static_cast<size_t>(layer_)];
  const std::byte* const data = targets[0].weight.data;
  const Input input = data == layer.attention.q.weight.data   ? Input::kAttention
                      : data == layer.attention.o.weight.data ? Input::kAttended
                      : data == layer.mlp.down.weight.data    ? Input::kInner
                                                              : Input::kMlp;
  SumUp(input, x, stride, m, targets[0].weight.columns);
}

// sums += xT x
void Calibration::SumUp(Input input, const float* x, int64_t stride, int64_t m, int64_t columns) {
  Hessian& hessian = sums_[static_cast<size_t>(input)];
  const auto size = static_cast<size_t>(columns);
  hessian.size = columns;
  hessian.rows += m;
  hessian.sums.resize(size * size);
  transposed_.resize(size * static_cast<size_t>(m));
  product_.resize(size * size);
  stream_.pool.ParallelFor(columns, [&](int64_t column, int) {
    for (int64_t row = 0; row < m; ++row) {
      transposed_[static_cast<size_t>(column * m + row)] = x[row * stride + column];
    }
  });
  const kernels::LinearTarget target[] = {{.weight = {.data = reinterpret_cast<const std::byte*>(transposed_.data()),
                                                      .format = kernels::FormatId::kF32,
                                                      .rows = columns,
                                                      .columns = m,
                                                      .row_bytes = m * static_cast<int64_t>(sizeof(float))},
                                           .y = product_.data(),
                                           .y_stride = columns}};
  ops_.linear(stream_, {.x = transposed_.data(), .x_stride = m, .m = columns, .targets = target});
  stream_.pool.ParallelFor(columns, [&](int64_t row, int) {
    for (size_t i = static_cast<size_t>(row) * size; i < (static_cast<size_t>(row) + 1) * size; ++i) {
      hessian.sums[i] += product_[i];
    }
  });
}

void Calibration::Replace(const Role& role, int64_t columns, std::vector<float> values) {
  const auto projections = ProjectionsOf(model_.network->layers[static_cast<size_t>(role.layer)]);
  auto from = values.begin();
  for (size_t i = 0; i < projections.size(); ++i) {
    if (((role.parts >> i) & 1) == 0) {
      continue;
    }
    const kernels::WeightView& weight = projections[i]->weight;
    CHECK(weight.columns == columns && values.end() - from >= weight.rows * columns);
    replaced_[weight.data].assign(from, from + weight.rows * columns);
    from += weight.rows * columns;
  }
  CHECK(from == values.end());
}

}  // namespace causeway::model::quantize
