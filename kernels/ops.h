// The op contract: plain functions over views, one table per backend and instruction set, looked up once
// at start. Entries are stateless. CPU entries fork-join on the stream's pool and have returned when done.
//
// Solitary equality. For one table, every output element is a function of its own inputs and absolute
// positions alone: the reduction order never depends on how many rows are computed together, on chunks
// of the prompt, on threads, or on where pages lie.
//
// All activations are float32, row-major; `stride` counts elements between rows. Nothing here allocates
// in steady state: scratch comes from the stream and grows to a high-water mark.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "base/token.h"
#include "kernels/kv.h"
#include "kernels/quant/format.h"
#include "kernels/tuning.h"
#include "kernels/weight_view.h"

namespace causeway::kernels {

class Scratch;       // kernels/scratch.h
struct LowRankArgs;  // kernels/low_rank.h

struct Stream {
  ThreadPool& pool;
  Scratch& scratch;
  LinearTuning tuning = {};
};

struct EmbedArgs {
  WeightView table;               // [vocab, hidden]
  std::span<const Token> tokens;  // [m], each in [0, vocab)
  float scale = 1.0F;             // multiplies every element
  float* y;                       // [m, hidden]
  int64_t y_stride;
  bool accumulate = false;  // y += row (learned positions); else y = row
};

// One output of a linear call: y = x W^T + bias.
struct LinearTarget {
  WeightView weight;            // [n, k]
  const float* bias = nullptr;  // [n] or null
  float* y = nullptr;           // [m, n]
  int64_t y_stride = 0;
};

// Several targets that read the same x (Q, K and V; gate and up) cost one pass over x and one fork-join.
struct LinearArgs {
  const float* x;  // [m, k]
  int64_t x_stride;
  int64_t m;
  std::span<const LinearTarget> targets;
  // A hint: what the next call will multiply. Of weights in panels, threads that wait bring the beginning near.
  std::span<const WeightView* const> next = {};
  const struct RowsOp* made_by = nullptr;  // that writes x, if it is yet to be run (kernels/rows_op.h)
};

// y = x / sqrt(mean(x^2) + eps) * weight, each row on its own. In place if y == x.
// For per-head norms rows = tokens * heads with `groups`: a row of x holds `groups` runs of `dim`.
struct RmsNormArgs {
  const float* x;  // [m, groups * dim]
  int64_t x_stride;
  const float* weight;  // [dim]; one-plus-weight models add the one when they load
  float eps;
  float* y;
  int64_t y_stride;
  int64_t m;
  int64_t groups = 1;
  int64_t dim;
};

// y = (x - mean) / sqrt(var + eps) * weight + bias
struct LayerNormArgs {
  const float* x;  // [m, dim]
  int64_t x_stride;
  const float* weight;  // [dim]
  const float* bias;    // [dim] or null
  float eps;
  float* y;
  int64_t y_stride;
  int64_t m;
  int64_t dim;
};

// Rotates each head's first rotary_dim values in place, half-split layout (Hugging Face): pairs are
// (i, i + rotary_dim / 2).
struct RopeArgs {
  float* x;  // [m, heads * head_dim]
  int64_t x_stride;
  int64_t m;
  int64_t heads;
  int64_t head_dim;
  int64_t rotary_dim;
  const float* cosine;  // [m, rotary_dim / 2], already times the attention factor if there is one
  const float* sine;    // [m, rotary_dim / 2]
};

enum class Activation : uint8_t { kSilu, kGelu, kGeluTanh, kRelu };

// y = act(gate) * up, or y = act(gate) when up is null. In place if y == gate.
struct ActivationArgs {
  Activation activation;
  const float* gate;  // [m, dim]
  int64_t gate_stride;
  const float* up;  // [m, dim] or null
  int64_t up_stride;
  float* y;
  int64_t y_stride;
  int64_t m;
  int64_t dim;
};

// x += scale * y
struct AddScaledArgs {
  float* x;  // [m, dim]
  int64_t x_stride;
  const float* y;  // [m, dim]
  int64_t y_stride;
  float scale;
  int64_t m;
  int64_t dim;
};

// x = scale * x, then cap * tanh(x / cap) if cap > 0. For logits.
struct ScaleCapArgs {
  float* x;  // [m, dim]
  int64_t x_stride;
  float scale;
  float cap;
  int64_t m;
  int64_t dim;
};

// ---- KV cache (kernels/kv.h) ------------------------------------------------------------------------

// Stores the step's K and V rows, rounding to the cache's format (finite values beyond the format's
// range saturate).
struct KvStoreArgs {
  const float* k;  // [m, kv_heads * head_dim]
  int64_t k_stride;
  const float* v;
  int64_t v_stride;
  KvLayerView layer;
  std::span<const KvSequence> sequences;
};

// Causal attention with online softmax: row at position p attends to t in [max(0, p - window + 1), p].
// The order over t is fixed by absolute position (blocks of kAttentionBlock positions, partitions of
// kAttentionPartition), so decode, any chunking of the prompt and any thread count agree to the bit.
struct AttentionArgs {
  const float* q;  // [m, heads * head_dim]
  int64_t q_stride;
  float* y;  // [m, heads * head_dim]
  int64_t y_stride;
  int64_t heads;  // a multiple of layer.kv_heads
  KvLayerView layer;
  std::span<const KvSequence> sequences;
  float scale;           // > 0: kernels take the largest product for the largest score
  int64_t window = 0;    // 0: all earlier positions
  float softcap = 0.0F;  // > 0: scores become cap * tanh(score / cap)
};

inline constexpr int64_t kAttentionBlock = 64;       // positions that one step of the softmax takes
inline constexpr int64_t kAttentionPartition = 512;  // merged in ascending order

// ---- Sampling -------------------------------------------------------------------------------------

struct TokenBias {
  Token token;
  float bias;
};
struct TokenLogprob {
  Token token;
  float logprob;
};

// One row of logits to one token. Order of processing: penalties (over prompt and output: repetition;
// over output only: presence, frequency), bias, banned tokens, temperature, min_p, top_k, top_p, draw.
struct SampleRow {
  const float* logits;            // [vocab], not changed
  std::span<const Token> prompt;  // for the repetition penalty
  std::span<const Token> output;  // for all three penalties
  std::span<const TokenBias> bias;
  std::span<const Token> banned;  // never drawn (end tokens before min_tokens)
  float temperature = 1.0F;       // 0: greedy, the lowest id among equals
  int top_k = 0;                  // 0: off
  float top_p = 1.0F;
  float min_p = 0.0F;
  float repetition_penalty = 1.0F;
  float presence_penalty = 0.0F;
  float frequency_penalty = 0.0F;
  uint64_t seed = 0;  // with `stream` and `counter`, the draw (base/rng.h)
  uint64_t stream = 0;
  uint64_t counter = 0;
  int logprobs = -1;  // alternatives wanted; -1: none, and no logprob either
};

// Log probabilities are of the model's own distribution: before penalties, bias and temperature.
struct SampleResult {
  Token token = 0;
  float logprob = 0.0F;
  std::vector<TokenLogprob> top;  // descending, ties by id; reused between calls
};

struct SampleArgs {
  std::span<const SampleRow> rows;
  std::span<SampleResult> results;  // [rows]
  int64_t vocab;
};

// Log probability of a given next token per row, with alternatives (prompt logprobs, scoring).
struct ScoreRow {
  const float* logits;  // [vocab]
  Token token;
  int logprobs = 0;  // alternatives wanted
};
struct ScoreArgs {
  std::span<const ScoreRow> rows;
  std::span<SampleResult> results;
  int64_t vocab;
};

struct Ops {
  std::string_view name;                // "ref", "scalar", "avx2", ...: kernels/select.cc
  std::string_view description;         // what it needs, for `causeway inspect`
  std::string_view extends = {};        // the table that it differs from in linear of panels alone; else empty
  int64_t rounds_x_beyond = INT64_MAX;  // columns of a BF16 weight above which linear rounds x to BF16 (to 2^-8)
  void (*embed)(Stream&, const EmbedArgs&);
  void (*linear)(Stream&, const LinearArgs&);
  void (*low_rank)(Stream&, const LowRankArgs&);
  void (*sparse)(Stream&, const SparseArgs&);
  void (*rms_norm)(Stream&, const RmsNormArgs&);
  void (*layer_norm)(Stream&, const LayerNormArgs&);
  void (*rope)(Stream&, const RopeArgs&);
  void (*activation)(Stream&, const ActivationArgs&);
  void (*add_scaled)(Stream&, const AddScaledArgs&);
  void (*scale_cap)(Stream&, const ScaleCapArgs&);
  void (*kv_store)(Stream&, const KvStoreArgs&);
  void (*attention)(Stream&, const AttentionArgs&);
  void (*sample)(Stream&, const SampleArgs&);
  void (*score)(Stream&, const ScoreArgs&);
};

// All tables of this build, in priority order (best first), whether or not this machine can run them.
std::span<const Ops* const> AllOps();
// Whether this machine can run a table.
bool CanRun(const Ops& ops);
// The best table that this machine can run, or the one named by `force` (empty: no force). An unknown
// name lists the names known; a known one that this machine cannot run says what is missing.
Result<const Ops*> SelectOps(std::string_view force);

}  // namespace causeway::kernels
