#include "kernels/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/rng.h"

namespace causeway::kernels {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

struct Candidate {
  float value;
  Token token;
};

// The one order of candidates: larger first, equal ones by id.
bool Before(const Candidate& a, const Candidate& b) {
  return a.value != b.value ? a.value > b.value : a.token < b.token;
}

float OrMinusInfinity(float logit) { return std::isnan(logit) ? kMinusInfinity : logit; }

float LargestOf(const float* logits, int64_t vocab) {
  float largest = kMinusInfinity;
  for (int64_t i = 0; i < vocab; ++i) {
    largest = logits[i] > largest ? logits[i] : largest;  // a NaN never is
  }
  return largest;
}

// log(sum(exp(logits))), NaN as minus infinity. Four partial sums by index modulo 4: the order is fixed.
double LogSumExp(const float* logits, int64_t vocab, float largest) {
  double sums[4] = {0, 0, 0, 0};
  for (int64_t i = 0; i < vocab; ++i) {
    sums[i & 3] += static_cast<double>(std::exp(OrMinusInfinity(logits[i]) - largest));
  }
  return static_cast<double>(largest) + std::log((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// The `count` best of the row, in order.
void TopOf(const float* logits, int64_t vocab, int count, double log_total, std::vector<Candidate>& scratch,
           std::vector<TokenLogprob>& top) {
  top.clear();
  if (count <= 0) {
    return;
  }
  scratch.resize(static_cast<size_t>(vocab));
  for (int64_t i = 0; i < vocab; ++i) {
    scratch[static_cast<size_t>(i)] = {OrMinusInfinity(logits[i]), static_cast<Token>(i)};
  }
  const auto end = scratch.begin() + std::min<int64_t>(count, vocab);
  std::partial_sort(scratch.begin(), end, scratch.end(), Before);
  for (auto it = scratch.begin(); it != end; ++it) {
    top.push_back({it->token, static_cast<float>(static_cast<double>(it->value) - log_total)});
  }
}

// Scratch of one worker; lives in the thread that samples, so steady state allocates nothing.
struct Workspace {
  std::vector<float> logits;
  std::vector<Candidate> candidates;
  std::vector<Token> tokens;
};

void FillResult(const float* logits, int64_t vocab, Token token, int logprobs, Workspace& work, SampleResult& result) {
  result.token = token;
  result.top.clear();
  if (logprobs < 0) {
    return;
  }
  const double log_total = LogSumExp(logits, vocab, LargestOf(logits, vocab));
  result.logprob = static_cast<float>(static_cast<double>(OrMinusInfinity(logits[token])) - log_total);
  TopOf(logits, vocab, logprobs, log_total, work.candidates, result.top);
}

// Calls visit(token, count) once for each distinct token.
template <typename Visit>
void ForEachDistinct(std::vector<Token>& tokens, Visit visit) {
  std::sort(tokens.begin(), tokens.end());
  for (size_t i = 0; i < tokens.size();) {
    size_t end = i;
    while (end < tokens.size() && tokens[end] == tokens[i]) {
      ++end;
    }
    visit(static_cast<size_t>(tokens[i]), static_cast<float>(end - i));
    i = end;
  }
}

void ApplyPenalties(const SampleRow& row, Workspace& work) {
  if (row.repetition_penalty != 1.0F) {
    work.tokens.assign(row.prompt.begin(), row.prompt.end());
    work.tokens.insert(work.tokens.end(), row.output.begin(), row.output.end());
    ForEachDistinct(work.tokens, [&](size_t token, float) {
      float& logit = work.logits[token];
      logit = logit > 0 ? logit / row.repetition_penalty : logit * row.repetition_penalty;
    });
  }
  if (row.presence_penalty != 0.0F || row.frequency_penalty != 0.0F) {
    work.tokens.assign(row.output.begin(), row.output.end());
    ForEachDistinct(work.tokens, [&](size_t token, float count) {
      work.logits[token] -= row.presence_penalty + count * row.frequency_penalty;
    });
  }
}

// Copies the logits with penalties, bias and bans applied.
void Process(const SampleRow& row, int64_t vocab, Workspace& work) {
  work.logits.resize(static_cast<size_t>(vocab));
  for (int64_t i = 0; i < vocab; ++i) {
    work.logits[static_cast<size_t>(i)] = OrMinusInfinity(row.logits[i]);
  }
  ApplyPenalties(row, work);
  for (const TokenBias& bias : row.bias) {
    work.logits[static_cast<size_t>(bias.token)] += bias.bias;
  }
  for (const Token token : row.banned) {
    work.logits[static_cast<size_t>(token)] = kMinusInfinity;
  }
}

Token Argmax(const float* logits, int64_t vocab) {
  Token best = 0;
  for (int64_t i = 1; i < vocab; ++i) {
    if (logits[i] > logits[best] || std::isnan(logits[best])) {
      best = static_cast<Token>(i);
    }
  }
  return best;
}

// Candidates of at least the min_p threshold, unordered, as values relative to the largest.
void Gather(const SampleRow& row, const std::vector<float>& logits, float largest, Workspace& work) {
  const float threshold = row.min_p > 0 ? std::log(row.min_p) : kMinusInfinity;
  work.candidates.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    const float value = (logits[i] - largest) / row.temperature;
    if (value >= threshold && value > kMinusInfinity) {
      work.candidates.push_back({value, static_cast<Token>(i)});
    }
  }
}

double WeightOf(const Candidate& candidate) { return static_cast<double>(std::exp(candidate.value)); }

double WeightOf(std::span<const Candidate> candidates) {
  double total = 0;
  for (const Candidate& candidate : candidates) {
    total += WeightOf(candidate);
  }
  return total;
}

// Keeps the smallest ordered set whose probability reaches top_p, in linear time: halves the range in which
// the cut lies by the weight before its middle, and sorts only the last few.
void KeepTopP(float top_p, std::vector<Candidate>& candidates) {
  constexpr size_t kFew = 32;
  const double wanted = static_cast<double>(top_p) * WeightOf(candidates);
  double sum = 0;  // of candidates [0, low), which are all kept; those from `high` on are all dropped
  size_t low = 0;
  size_t high = candidates.size();
  const auto at = [&](size_t i) { return candidates.begin() + static_cast<ptrdiff_t>(i); };
  while (high - low > kFew) {
    const size_t half = low + (high - low) / 2;
    std::nth_element(at(low), at(half), at(high), Before);
    const double weight = WeightOf(std::span(candidates).subspan(low, half - low));
    if (sum + weight >= wanted) {
      high = half;
    } else {
      sum += weight;
      low = half;
    }
  }
  std::sort(at(low), at(high), Before);
  while (low < high && sum < wanted) {
    sum += WeightOf(candidates[low++]);
  }
  candidates.resize(std::max<size_t>(low, 1));
}

Token Draw(const std::vector<Candidate>& candidates, double uniform) {
  double left = uniform * WeightOf(candidates);
  for (const Candidate& candidate : candidates) {
    left -= WeightOf(candidate);
    if (left < 0) {
      return candidate.token;
    }
  }
  return candidates.back().token;  // rounding at the far end
}

Token SampleToken(const SampleRow& row, int64_t vocab, Workspace& work) {
  Process(row, vocab, work);
  const Token best = Argmax(work.logits.data(), vocab);
  const float largest = work.logits[static_cast<size_t>(best)];
  if (row.temperature == 0.0F || !(largest > kMinusInfinity)) {
    return best;
  }
  if (std::isinf(largest)) {
    return best;  // plus infinity: certain
  }
  Gather(row, work.logits, largest, work);
  std::vector<Candidate>& candidates = work.candidates;
  if (row.top_k > 0 && static_cast<size_t>(row.top_k) < candidates.size()) {
    std::nth_element(candidates.begin(), candidates.begin() + (row.top_k - 1), candidates.end(), Before);
    candidates.resize(static_cast<size_t>(row.top_k));
    std::sort(candidates.begin(), candidates.end(), Before);
  }
  if (row.top_p < 1.0F) {
    KeepTopP(row.top_p, candidates);
  }
  return Draw(candidates, RandomUniform(row.seed, row.stream, row.counter));
}

Workspace& ThreadWorkspace() {
  thread_local Workspace work;
  return work;
}

}  // namespace

void SampleRows(Stream& stream, const SampleArgs& args) {
  stream.pool.ParallelFor(static_cast<int64_t>(args.rows.size()), [&](int64_t task, int) {
    const SampleRow& row = args.rows[static_cast<size_t>(task)];
    Workspace& work = ThreadWorkspace();
    const Token token = SampleToken(row, args.vocab, work);
    FillResult(row.logits, args.vocab, token, row.logprobs, work, args.results[static_cast<size_t>(task)]);
  });
}

void ScoreRows(Stream& stream, const ScoreArgs& args) {
  stream.pool.ParallelFor(static_cast<int64_t>(args.rows.size()), [&](int64_t task, int) {
    const ScoreRow& row = args.rows[static_cast<size_t>(task)];
    FillResult(row.logits, args.vocab, row.token, row.logprobs, ThreadWorkspace(),
               args.results[static_cast<size_t>(task)]);
  });
}

}  // namespace causeway::kernels
