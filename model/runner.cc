#include "model/runner.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/free_memory.h"
#include "kernels/attention_plan.h"
#include "kernels/rows_op.h"
#include "kernels/scratch.h"
#include "memory/kv_view.h"
#include "model/adapter/batch.h"
#include "model/linear_calls.h"
#include "model/linear_inputs.h"
#include "model/network.h"
#include "model/rope.h"

namespace causeway::model {
namespace {

using kernels::KvSequence;

// Widths of the activation buffers, in floats a row.
struct Widths {
  int64_t hidden, q, kv, inner;
};

Widths WidthsOf(const Network& network) {
  Widths widths{network.hidden, 0, network.kv_heads * network.head_dim, 0};
  for (const Layer& layer : network.layers) {
    widths.q = std::max(widths.q, layer.attention.heads * network.head_dim);
    widths.inner = std::max(widths.inner, layer.mlp.up.weight.rows);
  }
  return widths;
}

// A position whose logits are wanted.
struct HeadRow {
  int64_t activation_row;  // row of the step's activations
  size_t plan_row;
  int64_t position;  // absolute
  bool sample;       // draw the next token here
  bool score;        // score the prompt token that follows here
};

const float* DataOrNull(const std::vector<float>& values) { return values.empty() ? nullptr : values.data(); }

}  // namespace

struct Runner::Impl {
  Impl(const Model& model, const kernels::Ops& ops_table, ThreadPool& pool, const RunnerOptions& opts)
      : network(*model.network),
        ops(ops_table),
        options(opts),
        widths(WidthsOf(*model.network)),
        scratch(pool.threads()),
        stream{pool, scratch, opts.tuning},
        linear(ops_table) {
    AllocateBuffers();
  }

  // ---- Memory --------------------------------------------------------------------------------------

  void AllocateBuffers() {
    const int64_t rows = options.max_batched_tokens;
    const auto allocate = [&](std::vector<float>& buffer, int64_t width) {
      buffer.resize(static_cast<size_t>(rows * width));
    };
    allocate(x, widths.hidden);
    allocate(normed, widths.hidden);
    allocate(block_out, widths.hidden);
    allocate(q, widths.q);
    allocate(attended, widths.q);
    allocate(k, widths.kv);
    allocate(v, widths.kv);
    allocate(gate, widths.inner);
    allocate(up, widths.inner);
    rotations.resize(network.ropes.size());
    for (size_t i = 0; i < rotations.size(); ++i) {
      allocate(rotations[i].cosine, network.ropes[i].rotary_dim / 2);
      allocate(rotations[i].sine, network.ropes[i].rotary_dim / 2);
    }
    head_in.resize(static_cast<size_t>(options.max_num_seqs * widths.hidden));
    logits.resize(static_cast<size_t>(options.max_num_seqs * network.vocab));
  }

  void FreeBuffers() {
    for (std::vector<float>* const buffer :
         {&x, &normed, &block_out, &q, &attended, &k, &v, &gate, &up, &head_in, &logits}) {
      FreeMemory(*buffer);
    }
    rotations.clear();
    linear.Free();
    network.files->Evict();
  }

  // ---- One step ------------------------------------------------------------------------------------

  const scheduler::StepResult* Run(const scheduler::Plan& plan) {
    Gather(plan);
    Embed();
    Observe(0);
    for (size_t i = 0; i < network.layers.size(); ++i) {
      RunLayer(static_cast<int64_t>(i), network.layers[i]);
      if (i + 1 < network.layers.size()) {
        Observe(static_cast<int>(i + 1));
      }
    }
    ObserveLast();
    result.rows.resize(plan.rows.size());
    for (size_t i = 0; i < plan.rows.size(); ++i) {
      scheduler::RowResult& row = result.rows[i];
      row.sequence = plan.rows[i].sequence;
      row.sampled = false;
      row.top.clear();
      row.prompt_scores.clear();
    }
    RunHead(plan);
    return &result;
  }

  void RunLayers(const scheduler::Plan& plan, int64_t begin, int64_t end, std::span<float> hidden) {
    Gather(plan);
    CHECK(static_cast<int64_t>(hidden.size()) == m * widths.hidden);
    if (begin == 0) {
      Embed();
    } else {
      std::copy(hidden.begin(), hidden.end(), x.begin());
    }
    for (int64_t i = begin; i < end; ++i) {
      RunLayer(i, network.layers[static_cast<size_t>(i)]);
    }
    std::copy_n(x.begin(), hidden.size(), hidden.begin());
  }

  // Lays the plan's rows out as one batch.
  void Gather(const scheduler::Plan& plan) {
    tokens.clear();
    sequences.clear();
    segments.clear();
    head_rows.clear();
    adapters.Clear();
    m = 0;
    size_t segment_count = 0;
    for (const scheduler::PlanRow& row : plan.rows) {
      segment_count += row.segments.size();
    }
    segments.reserve(segment_count);  // the spans below point into it
    for (size_t i = 0; i < plan.rows.size(); ++i) {
      AddRow(plan.rows[i], i);
    }
    int32_t next_group = 0;
    for (const KvSequence& sequence : sequences) {
      next_group = std::max(next_group, sequence.share_group + 1);
    }
    kernels::GroupBySegments(sequences, next_group);
    CHECK(m == plan.total_tokens && m <= options.max_batched_tokens);
  }

  void AddRow(const scheduler::PlanRow& row, size_t index) {
    const auto count = static_cast<int64_t>(row.tokens.size());
    tokens.insert(tokens.end(), row.tokens.begin(), row.tokens.end());
    const size_t first_segment = segments.size();
    for (const scheduler::PlanSegment& segment : row.segments) {
      segments.push_back({segment.base, segment.first_position, segment.positions});
    }
    sequences.push_back({.segments = {segments.data() + first_segment, row.segments.size()},
                         .first_row = m,
                         .rows = count,
                         .first_position = row.first_position,
                         .shared_positions = row.shared_positions,
                         .share_group = row.share_group});
    adapters.Add(AdapterOf(row), m, count);
    const auto prompt = static_cast<int64_t>(row.prompt.size());
    for (int64_t i = 0; i < count; ++i) {
      const int64_t position = row.first_position + i;
      for (size_t r = 0; r < rotations.size(); ++r) {
        const int64_t half = network.ropes[r].rotary_dim / 2;
        const auto at = static_cast<size_t>((m + i) * half);
        FillRotation(network.ropes[r], position, row.length_limit,
                     std::span(rotations[r].cosine).subspan(at, static_cast<size_t>(half)),
                     std::span(rotations[r].sine).subspan(at, static_cast<size_t>(half)));
      }
      const bool sample = row.sample && i + 1 == count;
      const bool score = row.prompt_logprobs >= 0 && position + 1 < prompt;
      if (sample || score || logits_observer) {
        head_rows.push_back({m + i, index, position, sample, score});
      }
    }
    m += count;
  }

  void Embed() {
    ops.embed(stream, {.table = network.embedding,
                       .tokens = tokens,
                       .scale = network.embedding_scale,
                       .y = x.data(),
                       .y_stride = widths.hidden});
    if (network.positions) {
      position_ids.clear();
      for (const KvSequence& sequence : sequences) {
        for (int64_t i = 0; i < sequence.rows; ++i) {
          position_ids.push_back(static_cast<Token>(sequence.first_position + i));
        }
      }
      ops.embed(stream, {.table = *network.positions,
                         .tokens = position_ids,
                         .y = x.data(),
                         .y_stride = widths.hidden,
                         .accumulate = true});
    }
  }

  void RunLayer(int64_t index, const Layer& layer) {
    RunAttention(index, layer, Normed(layer.attention_norm));
    AddBlock(layer.attention_post_norm);
    RunMlp(index, layer, Normed(layer.mlp_norm));
    AddBlock(layer.mlp_post_norm);
  }

  // What linear layers multiply: rows that are there, or that an op will have written.
  struct Input {
    const float* x;
    int64_t stride;
    std::optional<kernels::RowsOp> made_by = std::nullopt;
  };

  // The residual stream, normalized if there is a norm.
  Input Normed(const Norm& norm) {
    if (!norm) {
      return {x.data(), widths.hidden};
    }
    return {normed.data(), widths.hidden, NormOp(norm, x.data(), normed.data(), m, widths.hidden, 1)};
  }

  // block_out, normalized if the family does so, joins the residual stream.
  void AddBlock(const Norm& post_norm) {
    if (post_norm) {
      Apply(post_norm, block_out.data(), block_out.data(), m, widths.hidden, 1);
    }
    ops.add_scaled(stream, {.x = x.data(),
                            .x_stride = widths.hidden,
                            .y = block_out.data(),
                            .y_stride = widths.hidden,
                            .scale = network.residual_multiplier,
                            .m = m,
                            .dim = widths.hidden});
  }

  static kernels::RowsOp NormOp(const Norm& norm, const float* in, float* out, int64_t rows, int64_t dim,
                                int64_t groups) {
    const int64_t stride = dim * groups;
    const float* const weight = norm.weight.data();
    if (norm.kind == Norm::Kind::kLayer) {
      return {kernels::LayerNormArgs{in, stride, weight, DataOrNull(norm.bias), norm.eps, out, stride, rows, dim}};
    }
    return {kernels::RmsNormArgs{in, stride, weight, norm.eps, out, stride, rows, groups, dim}};
  }

  void Apply(const Norm& norm, const float* in, float* out, int64_t rows, int64_t dim, int64_t groups) {
    kernels::MakeRows(ops, stream, NormOp(norm, in, out, rows, dim, groups));
  }

  // The scheduler knows adapters as scheduler::Adapter; those of this executor are all of our kind.
  static const Adapter* AdapterOf(const scheduler::PlanRow& row) { return static_cast<const Adapter*>(row.adapter); }

  struct Output {
    Slot slot;
    const Projection& projection;
    std::vector<float>& y;
  };

  // All outputs of one x, [m, stride], with what the rows' adapters add; `next` is multiplied after them.
  void Linear(int64_t layer, const Input& in, std::initializer_list<Output> outputs, const LinearCall& next) {
    const kernels::RowsOp* const made_by = in.made_by ? &*in.made_by : nullptr;
    Linear(layer, {in.x, in.stride, m, {}, next.all(), made_by}, adapters, outputs);
  }

  void Linear(int64_t layer, kernels::LinearArgs args, AdapterBatch& batch, std::initializer_list<Output> outputs) {
    kernels::LinearTarget targets[3];
    AdapterBatch::Output adapted[3];
    size_t count = 0;
    for (const Output& output : outputs) {
      const int64_t width = output.projection.weight.rows;
      adapted[count] = {output.slot, output.y.data(), width};
      targets[count++] = {output.projection.weight, DataOrNull(output.projection.bias), output.y.data(), width};
    }
    if (args.made_by != nullptr && (linear_hook || !batch.empty())) {  // others read x too
      kernels::MakeRows(ops, stream, *args.made_by);
      args.made_by = nullptr;
    }
    if (linear_hook) {
      linear_hook(std::span(targets).first(count), args.x, args.x_stride, args.m);
    }
    args.targets = std::span(targets).first(count);
    linear.Run(stream, args);
    if (!batch.empty()) {
      batch.Apply(ops, stream, layer, args.x, args.x_stride, targets[0].weight.columns,
                  std::span(adapted).first(count));
    }
  }

  void RunAttention(int64_t index, const Layer& layer, const Input& in) {
    const AttentionBlock& block = layer.attention;
    const int64_t q_width = block.heads * network.head_dim;
    Linear(index, in, {{Slot::kQ, block.q, q}, {Slot::kK, block.k, k}, {Slot::kV, block.v, v}}, OutputCall(layer));
    NormQk(block.q_norm, block.norm_per_head, q, block.heads);
    NormQk(block.k_norm, block.norm_per_head, k, network.kv_heads);
    if (block.rope >= 0) {
      Rotate(static_cast<size_t>(block.rope), q, block.heads);
      Rotate(static_cast<size_t>(block.rope), k, network.kv_heads);
    }
    const kernels::KvLayerView kv = memory::LayerView(options.geometry, options.kv_format, index);
    ops.kv_store(stream, {.k = k.data(),
                          .k_stride = widths.kv,
                          .v = v.data(),
                          .v_stride = widths.kv,
                          .layer = kv,
                          .sequences = sequences});
    ops.attention(stream, {.q = q.data(),
                           .q_stride = q_width,
                           .y = attended.data(),
                           .y_stride = q_width,
                           .heads = block.heads,
                           .layer = kv,
                           .sequences = sequences,
                           .scale = block.scale,
                           .window = block.window,
                           .softcap = block.softcap});
    Linear(index, {attended.data(), q_width}, {{Slot::kO, block.o, block_out}}, UpCall(layer));
  }

  void NormQk(const Norm& norm, bool per_head, std::vector<float>& values, int64_t heads) {
    if (norm) {
      Apply(norm, values.data(), values.data(), m, per_head ? network.head_dim : heads * network.head_dim,
            per_head ? heads : 1);
    }
  }

  void Rotate(size_t rope, std::vector<float>& values, int64_t heads) {
    ops.rope(stream, {.x = values.data(),
                      .x_stride = heads * network.head_dim,
                      .m = m,
                      .heads = heads,
                      .head_dim = network.head_dim,
                      .rotary_dim = network.ropes[rope].rotary_dim,
                      .cosine = rotations[rope].cosine.data(),
                      .sine = rotations[rope].sine.data()});
  }

  void RunMlp(int64_t index, const Layer& layer, const Input& in) {
    const MlpBlock& block = layer.mlp;
    const int64_t inner = block.up.weight.rows;
    if (block.gated) {
      Linear(index, in, {{Slot::kGate, block.gate, gate}, {Slot::kUp, block.up, up}}, DownCall(layer));
    } else {
      Linear(index, in, {{Slot::kUp, block.up, gate}}, DownCall(layer));
    }
    const kernels::RowsOp activation{kernels::ActivationArgs{
        block.activation, gate.data(), inner, block.gated ? up.data() : nullptr, inner, gate.data(), inner, m, inner}};
    Linear(index, {gate.data(), inner, activation}, {{Slot::kDown, block.down, block_out}},
           CallAfterLayer(network, index));
  }

  // ---- Logits, sampling, scores --------------------------------------------------------------------

  void RunHead(const scheduler::Plan& plan) {
    const auto limit = static_cast<size_t>(options.max_num_seqs);
    for (size_t begin = 0; begin < head_rows.size(); begin += limit) {
      const auto rows = std::span(head_rows).subspan(begin, std::min(limit, head_rows.size() - begin));
      ComputeLogits(plan, rows);
      if (logits_observer) {
        for (size_t i = 0; i < rows.size(); ++i) {
          logits_observer(plan.rows[rows[i].plan_row], rows[i].position, LogitsOf(i));
        }
      }
      SampleRows(plan, rows);
      ScoreRows(plan, rows);
    }
  }

  std::span<const float> LogitsOf(size_t row) const {
    const auto vocab = static_cast<size_t>(network.vocab);
    return std::span(logits).subspan(row * vocab, vocab);
  }

  void ComputeLogits(const scheduler::Plan& plan, std::span<const HeadRow> rows) {
    const auto count = static_cast<int64_t>(rows.size());
    head_adapters.Clear();
    for (size_t i = 0; i < rows.size(); ++i) {
      head_adapters.Add(AdapterOf(plan.rows[rows[i].plan_row]), static_cast<int64_t>(i), 1);
      std::memcpy(head_in.data() + static_cast<int64_t>(i) * widths.hidden,
                  x.data() + rows[i].activation_row * widths.hidden,
                  static_cast<size_t>(widths.hidden) * sizeof(float));
    }
    Apply(network.final_norm, head_in.data(), head_in.data(), count, widths.hidden, 1);
    const LinearCall next = QkvCall(network.layers[0]);  // of the next step
    Linear(0, {.x = head_in.data(), .x_stride = widths.hidden, .m = count, .targets = {}, .next = next.all()},
           head_adapters, {{Slot::kHead, network.head, logits}});
    ops.scale_cap(stream, {.x = logits.data(),
                           .x_stride = network.vocab,
                           .scale = network.logits_scale,
                           .cap = network.logits_softcap,
                           .m = count,
                           .dim = network.vocab});
  }

  kernels::SampleRow MakeSampleRow(const scheduler::PlanRow& row, const float* row_logits,
                                   std::vector<kernels::TokenBias>& bias) const {
    const scheduler::SamplingParams& params = *row.sampling;
    bias.clear();
    for (const scheduler::TokenBias& entry : params.logit_bias) {
      bias.push_back({entry.token, entry.bias});
    }
    return {.logits = row_logits,
            .prompt = row.prompt,
            .output = row.output,
            .bias = bias,
            .banned = row.banned,
            .temperature = params.temperature,
            .top_k = params.top_k,
            .top_p = params.top_p,
            .min_p = params.min_p,
            .repetition_penalty = params.repetition_penalty,
            .presence_penalty = params.presence_penalty,
            .frequency_penalty = params.frequency_penalty,
            .seed = params.seed,
            .stream = row.stream,
            .counter = row.counter,
            .logprobs = params.logprobs};
  }

  static void CopyTop(const std::vector<kernels::TokenLogprob>& from, std::vector<scheduler::TokenLogprob>& to) {
    to.clear();
    for (const kernels::TokenLogprob& entry : from) {
      to.push_back({entry.token, entry.logprob});
    }
  }

  void SampleRows(const scheduler::Plan& plan, std::span<const HeadRow> rows) {
    sample_rows.clear();
    sampled.clear();
    biases.resize(std::max(biases.size(), rows.size()));
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i].sample) {
        sample_rows.push_back(MakeSampleRow(plan.rows[rows[i].plan_row], LogitsOf(i).data(), biases[i]));
        sampled.push_back(i);
      }
    }
    results.resize(std::max(results.size(), sample_rows.size()));
    const std::span drawn(results.data(), sample_rows.size());
    ops.sample(stream, {.rows = sample_rows, .results = drawn, .vocab = network.vocab});
    for (size_t i = 0; i < drawn.size(); ++i) {
      scheduler::RowResult& row = result.rows[rows[sampled[i]].plan_row];
      row.sampled = true;
      row.token = drawn[i].token;
      row.logprob = drawn[i].logprob;
      CopyTop(drawn[i].top, row.top);
    }
  }

  void ScoreRows(const scheduler::Plan& plan, std::span<const HeadRow> rows) {
    score_rows.clear();
    sampled.clear();
    for (size_t i = 0; i < rows.size(); ++i) {
      const scheduler::PlanRow& row = plan.rows[rows[i].plan_row];
      if (rows[i].score) {
        score_rows.push_back({.logits = LogitsOf(i).data(),
                              .token = row.prompt[static_cast<size_t>(rows[i].position + 1)],
                              .logprobs = row.prompt_logprobs});
        sampled.push_back(i);
      }
    }
    results.resize(std::max(results.size(), score_rows.size()));
    const std::span scored(results.data(), score_rows.size());
    ops.score(stream, {.rows = score_rows, .results = scored, .vocab = network.vocab});
    for (size_t i = 0; i < scored.size(); ++i) {
      const HeadRow& row = rows[sampled[i]];
      auto& score = result.rows[row.plan_row].prompt_scores.emplace_back();
      score.position = row.position + 1;
      score.logprob = scored[i].logprob;
      CopyTop(scored[i].top, score.top);
    }
  }

  // ---- Observers -----------------------------------------------------------------------------------

  void Observe(int index) {
    if (hidden_observer) {
      hidden_observer(index, std::span(x).first(static_cast<size_t>(m * widths.hidden)), m);
    }
  }

  // The last hidden state has the final norm applied, as transformers reports it.
  void ObserveLast() {
    if (hidden_observer) {
      Apply(network.final_norm, x.data(), normed.data(), m, widths.hidden, 1);
      hidden_observer(static_cast<int>(network.layers.size()),
                      std::span(normed).first(static_cast<size_t>(m * widths.hidden)), m);
    }
  }

  struct Rotation {
    std::vector<float> cosine, sine;  // [max_batched_tokens, rotary_dim / 2]
  };

  // Constant after construction.
  const Network& network;
  const kernels::Ops& ops;
  const RunnerOptions options;
  const Widths widths;

  kernels::Scratch scratch;
  kernels::Stream stream;
  LinearInputs linear;
  LinearHook linear_hook;
  HiddenObserver hidden_observer;
  LogitsObserver logits_observer;
  const scheduler::Plan* launched = nullptr;

  // Activations of a step, [max_batched_tokens, width].
  std::vector<float> x, normed, block_out, q, k, v, attended, gate, up;
  std::vector<Rotation> rotations;
  std::vector<float> head_in;  // [max_num_seqs, hidden]
  std::vector<float> logits;   // [max_num_seqs, vocab]

  // The batch of the step.
  int64_t m = 0;
  std::vector<Token> tokens, position_ids;
  std::vector<kernels::KvSegment> segments;
  std::vector<KvSequence> sequences;
  std::vector<HeadRow> head_rows;
  AdapterBatch adapters;       // by rows of activations
  AdapterBatch head_adapters;  // by rows of logits
  std::vector<kernels::SampleRow> sample_rows;
  std::vector<kernels::ScoreRow> score_rows;
  std::vector<std::vector<kernels::TokenBias>> biases;
  std::vector<size_t> sampled;
  std::vector<kernels::SampleResult> results;
  scheduler::StepResult result;
};

Runner::Runner(const Model& model, const kernels::Ops& ops, ThreadPool& pool, const RunnerOptions& options)
    : impl_(std::make_unique<Impl>(model, ops, pool, options)) {}
Runner::~Runner() = default;

void Runner::Launch(const scheduler::Plan& plan) {
  CHECK(impl_->launched == nullptr);
  impl_->launched = &plan;
  impl_->stream.pool.BindCaller();  // the thread that runs steps, not the one that loaded the model
}

Result<const scheduler::StepResult*> Runner::Await() {
  CHECK(impl_->launched != nullptr);
  return impl_->Run(*std::exchange(impl_->launched, nullptr));
}

Result<void> Runner::Sleep() {
  CHECK(impl_->launched == nullptr);
  impl_->FreeBuffers();
  return {};
}

Result<void> Runner::Wake() {
  try {
    impl_->AllocateBuffers();
  } catch (const std::bad_alloc&) {
    impl_->FreeBuffers();
    return MakeError(ErrorCode::kResourceExhausted, "there is no memory for activations");
  }
  return {};
}

void Runner::RunLayers(const scheduler::Plan& plan, int64_t begin, int64_t end, std::span<float> hidden) {
  impl_->RunLayers(plan, begin, end, hidden);
}
void Runner::SetLinearHook(LinearHook hook) { impl_->linear_hook = std::move(hook); }
void Runner::SetHiddenObserver(HiddenObserver observer) { impl_->hidden_observer = std::move(observer); }
void Runner::SetLogitsObserver(LogitsObserver observer) { impl_->logits_observer = std::move(observer); }

int64_t RunnerBytes(const Model& model, const RunnerOptions& options) {
  const Widths widths = WidthsOf(*model.network);
  const int64_t floats =
      options.max_batched_tokens * (3 * widths.hidden + 2 * widths.q + 2 * widths.kv + 2 * widths.inner) +
      options.max_num_seqs * (widths.hidden + model.network->vocab);
  return floats * static_cast<int64_t>(sizeof(float));
}

}  // namespace causeway::model
