// What a step will do. Plain data: built by Scheduler::Next, run by an Executor, applied by Apply.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/token.h"
#include "memory/span.h"
#include "scheduler/request.h"

namespace causeway::scheduler {

class Adapter;  // scheduler/adapter.h

using SequenceId = uint64_t;

using PlanSegment = memory::SpanSegment;

// One sequence's share of a step: run tokens at [first_position, first_position + tokens.size()), store
// their KV, and, if `sample`, draw the next token after the last one.
//
// Views point into the sequence; they stay valid until Apply.
struct PlanRow {
  SequenceId sequence = 0;
  std::span<const Token> tokens;  // inputs of this step
  int64_t first_position = 0;
  std::span<const PlanSegment> segments;  // covers every position up to and including this step
  // Rows of a plan with the same share_group have the same KV at positions [0, shared_positions), wherever it is
  // mapped, and behind them what they run; attention may read it once. Rows whose first segments are the same memory
  // need no group.
  int64_t shared_positions = 0;
  int32_t share_group = -1;  // negative: none
  bool sample = false;
  const SamplingParams* sampling = nullptr;
  const Adapter* adapter = nullptr;  // null: the model as it is
  std::span<const Token> prompt;     // whole prompt, for penalties
  std::span<const Token> output;     // tokens drawn so far, for penalties
  std::span<const Token> banned;     // may not be drawn now (end tokens before min_tokens)
  uint64_t stream = 0;               // index of the sequence in its request
  uint64_t counter = 0;              // absolute position of the token to draw: replay is exact
  int64_t length_limit = 0;          // prompt + max_tokens: fixes longrope's factors for the sequence's life
  // Score these prompt positions: the log probability of prompt[p] for p in
  // (first_position, first_position + tokens.size()] that lie inside the prompt. -1: not wanted.
  int prompt_logprobs = -1;
};

struct Plan {
  uint64_t step = 0;
  std::vector<PlanRow> rows;  // decodes first, then prefill chunks
  int64_t total_tokens = 0;

  bool empty() const { return rows.empty(); }
};

struct RowResult {
  SequenceId sequence = 0;
  bool sampled = false;
  Token token = 0;
  float logprob = 0.0F;
  std::vector<TokenLogprob> top;
  struct PromptScore {
    int64_t position = 0;  // of the scored prompt token, >= 1
    float logprob = 0.0F;
    std::vector<TokenLogprob> top;
  };
  std::vector<PromptScore> prompt_scores;
};

struct StepResult {
  std::vector<RowResult> rows;  // same order as the plan's rows
};

}  // namespace causeway::scheduler
