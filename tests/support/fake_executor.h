// An executor without a model: the next token is a function of the request's seed, the sequence and the position,
// so what a request must give is known beforehand (ExpectedOutput). Checks every row that it is handed: positions are
// computed once and in order, and a sequence that begins behind position 0 has a beginning that somebody computed.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/rng.h"
#include "scheduler/executor.h"

namespace causeway::scheduler {

inline constexpr Token kFakeVocab = 200;

inline Token FakeToken(uint64_t seed, uint64_t stream, uint64_t counter, std::span<const Token> banned) {
  auto token = static_cast<Token>(RandomBits(seed, stream, counter) % kFakeVocab);
  while (std::find(banned.begin(), banned.end(), token) != banned.end()) {
    token = (token + 1) % kFakeVocab;
  }
  return token;
}

// What sequence `index` of a request gives when nothing ends it early.
inline std::vector<Token> ExpectedOutput(const GenerateRequest& request, int index) {
  const StopParams& stop = request.stop;
  std::vector<Token> ends = stop.stop_token_ids;
  if (!stop.ignore_eos) {
    ends.insert(ends.end(), stop.eos_ids.begin(), stop.eos_ids.end());
  }
  std::vector<Token> output;
  for (int64_t i = 0; i < stop.max_tokens; ++i) {
    const bool may_end = i >= stop.min_tokens;
    output.push_back(FakeToken(request.sampling.seed, static_cast<uint64_t>(index),
                               request.prompt.size() + output.size(), may_end ? std::span<const Token>() : ends));
    if (may_end && std::find(ends.begin(), ends.end(), output.back()) != ends.end()) {
      break;
    }
  }
  return output;
}

class FakeExecutor final : public Executor {
 public:
  void Launch(const Plan& plan) override { plan_ = &plan; }
  Result<const StepResult*> Await() override {
    const Plan& plan = *std::exchange(plan_, nullptr);
    if (failure) {
      return *std::exchange(failure, std::nullopt);
    }
    int64_t total = 0;
    result_.rows.resize(plan.rows.size());
    for (size_t i = 0; i < plan.rows.size(); ++i) {
      total += static_cast<int64_t>(plan.rows[i].tokens.size());
      Run(plan.rows[i], result_.rows[i]);
    }
    CHECK(total == plan.total_tokens);
    return &result_;
  }

  std::optional<Error> failure;  // of the next step

 private:
  struct Stored {  // what a range holds, whoever it belongs to now
    SequenceId sequence = 0;
    int64_t positions = 0;
    uint64_t hash = 0;  // of the tokens at these positions
  };

  static Token TokenAt(const PlanRow& row, int64_t position) {
    const auto at = static_cast<size_t>(position);
    return at < row.prompt.size() ? row.prompt[at] : row.output[at - row.prompt.size()];
  }
  // Goes on from what is stored up to `end`.
  void Compute(const PlanRow& row, int64_t end, Stored& stored) const {
    for (; stored.positions < end; ++stored.positions) {
      stored.hash = Mix64(stored.hash + static_cast<uint64_t>(TokenAt(row, stored.positions)) + 1);
    }
  }
  void Remember(const PlanRow& row, int64_t end, Stored& stored) {
    while (stored.positions < end) {
      Compute(row, stored.positions + 1, stored);
      // Pages hold a multiple of 16 positions; a sibling begins at the last token of the prompt.
      if (stored.positions % 16 == 0 || stored.positions + 1 == static_cast<int64_t>(row.prompt.size())) {
        computed_.insert(stored.hash);
      }
    }
  }

  void Run(const PlanRow& row, RowResult& result) {
    const int64_t end = row.first_position + static_cast<int64_t>(row.tokens.size());
    int64_t covered = 0;
    for (const PlanSegment& segment : row.segments) {
      CHECK(segment.first_position == covered && segment.positions > 0);
      covered += segment.positions;
    }
    CHECK(end <= covered && row.first_position >= row.segments.back().first_position);  // what it writes is its own
    Stored& stored = stored_[row.segments.back().base];
    if (stored.sequence != row.sequence || row.first_position != stored.positions) {
      stored = {.sequence = row.sequence};
      Compute(row, row.first_position, stored);
      CHECK_MSG(row.first_position == 0 || computed_.contains(stored.hash),
                "the first {} positions are read and were never computed", row.first_position);
    }
    Remember(row, end, stored);
    result = RowResult{};
    result.sequence = row.sequence;
    result.sampled = row.sample;
    if (row.sample) {
      CHECK(end == static_cast<int64_t>(row.prompt.size() + row.output.size()));
      result.token = FakeToken(row.sampling->seed, row.stream, row.counter, row.banned);
      result.logprob = static_cast<float>(result.token);
    }
    for (int64_t p = row.first_position + 1; row.prompt_logprobs >= 0 && p <= end; ++p) {
      if (p < static_cast<int64_t>(row.prompt.size())) {
        result.prompt_scores.push_back({p, static_cast<float>(p), {}});
      }
    }
  }

  const Plan* plan_ = nullptr;
  StepResult result_;
  std::map<std::byte*, Stored> stored_;
  std::set<uint64_t> computed_;  // beginnings that a page may end with
};

}  // namespace causeway::scheduler
