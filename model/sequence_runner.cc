#include "model/sequence_runner.h"

#include <algorithm>
#include <cstring>

namespace causeway::model {

Result<std::unique_ptr<SequenceRunner>> SequenceRunner::Create(const Model& model, const kernels::Ops& ops,
                                                               ThreadPool& pool, const SequenceRunnerOptions& options) {
  auto self = std::unique_ptr<SequenceRunner>(new SequenceRunner());  // NOLINT: private constructor
  self->options_ = options;
  self->greedy_.temperature = 0;
  constexpr int64_t kGranularity = 4096;
  ASSIGN_OR_RETURN(const memory::KvGeometry geometry,
                   memory::ChooseGeometry(model.KvShape(kernels::KvFormatBytes(options.kv_format)), kGranularity));
  const int64_t pages = geometry.PagesFor(options.max_positions) * options.max_sequences;
  ASSIGN_OR_RETURN(auto backend, memory::MakeLinuxBackend({geometry.page_bytes, pages}));
  ASSIGN_OR_RETURN(self->cache_, memory::KvCache::Create({.geometry = geometry,
                                                          .max_pages = pages,
                                                          .max_spans = options.max_sequences,
                                                          .positions_per_span = options.max_positions},
                                                         std::move(backend)));
  RunnerOptions runner{.geometry = geometry,
                       .kv_format = options.kv_format,
                       .max_batched_tokens = std::max(options.chunk, options.max_sequences),
                       .max_num_seqs = std::max(options.max_sequences, options.logits_rows),
                       .tuning = options.tuning};
  self->runner_ = std::make_unique<Runner>(model, ops, pool, runner);
  self->slots_.resize(static_cast<size_t>(options.max_sequences));
  self->adapters_.resize(self->slots_.size());
  return self;
}

Result<void> SequenceRunner::Extend(Slot& slot) {
  TRY(cache_->Reserve(slot.span, static_cast<int64_t>(slot.tokens.size())));
  slot.segment = {slot.span.base(), 0, slot.span.capacity_positions()};
  return {};
}

void SequenceRunner::AddRow(Slot& slot, size_t index, int64_t count, bool sample) {
  scheduler::PlanRow row;
  row.sequence = index;
  row.tokens =
      std::span<const Token>(slot.tokens).subspan(static_cast<size_t>(slot.computed), static_cast<size_t>(count));
  row.first_position = slot.computed;
  row.segments = {&slot.segment, 1};
  row.sample = sample;
  row.sampling = &greedy_;
  row.adapter = adapters_[index];
  row.prompt = slot.tokens;
  row.length_limit = slot.length_limit;
  plan_.rows.push_back(row);
  plan_.total_tokens += count;
  slot.computed += count;
}

Result<const scheduler::StepResult*> SequenceRunner::RunPlan() {
  runner_->Launch(plan_);
  auto result = runner_->Await();
  plan_.rows.clear();
  plan_.total_tokens = 0;
  return result;
}

Result<Token> SequenceRunner::Prefill(int64_t index, std::span<const Token> tokens, bool sample, int64_t length_limit) {
  Slot& slot = slots_[static_cast<size_t>(index)];
  slot = Slot{};
  ASSIGN_OR_RETURN(slot.span, cache_->CreateSpan(options_.max_positions));
  slot.tokens.reserve(static_cast<size_t>(options_.max_positions));
  slot.tokens.assign(tokens.begin(), tokens.end());
  slot.length_limit = length_limit > 0 ? length_limit : static_cast<int64_t>(tokens.size());
  TRY(Extend(slot));
  const auto size = static_cast<int64_t>(tokens.size());
  Token next = -1;
  while (slot.computed < size) {
    const int64_t count = std::min(options_.chunk, size - slot.computed);
    const bool last = slot.computed + count == size;
    AddRow(slot, static_cast<size_t>(index), count, sample && last);
    ASSIGN_OR_RETURN(const scheduler::StepResult* const result, RunPlan());
    next = result->rows[0].sampled ? result->rows[0].token : -1;
  }
  return next;
}

Result<void> SequenceRunner::RunLayers(std::span<const Token> tokens, int64_t begin, int64_t end,
                                       std::span<float> hidden) {
  CHECK(static_cast<int64_t>(tokens.size()) <= options_.chunk);
  Slot& slot = slots_[0];
  slot = Slot{};
  ASSIGN_OR_RETURN(slot.span, cache_->CreateSpan(options_.max_positions));
  slot.tokens.assign(tokens.begin(), tokens.end());
  slot.length_limit = static_cast<int64_t>(tokens.size());
  TRY(Extend(slot));
  AddRow(slot, 0, static_cast<int64_t>(tokens.size()), false);
  runner_->RunLayers(plan_, begin, end, hidden);
  plan_.rows.clear();
  plan_.total_tokens = 0;
  return {};
}

Result<void> SequenceRunner::Assume(int64_t index, int64_t positions) {
  constexpr int kSmallPositive = 0x2c;  // as every byte of a number, in each of the formats
  Slot& slot = slots_[static_cast<size_t>(index)];
  slot = Slot{};
  ASSIGN_OR_RETURN(slot.span, cache_->CreateSpan(options_.max_positions));
  slot.tokens.reserve(static_cast<size_t>(options_.max_positions));
  slot.tokens.assign(static_cast<size_t>(positions), 0);
  slot.length_limit = positions;
  TRY(Extend(slot));
  const memory::KvGeometry& geometry = cache_->geometry();
  std::memset(slot.span.base(), kSmallPositive,
              static_cast<size_t>(geometry.PagesFor(positions) * geometry.page_bytes));
  slot.computed = positions;
  return {};
}

Result<std::vector<Token>> SequenceRunner::Decode(std::span<const Token> tokens) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    slots_[i].tokens.push_back(tokens[i]);
    TRY(Extend(slots_[i]));
    AddRow(slots_[i], i, 1, true);
  }
  ASSIGN_OR_RETURN(const scheduler::StepResult* const result, RunPlan());
  std::vector<Token> next;
  for (const scheduler::RowResult& row : result->rows) {
    next.push_back(row.token);
  }
  return next;
}

}  // namespace causeway::model
