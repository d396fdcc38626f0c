#include "kernels/op_cost.h"

#include <algorithm>
#include <map>

#include "kernels/attention_plan.h"
#include "kernels/low_rank.h"
#include "kernels/packed.h"
#include "kernels/rows_op.h"

namespace causeway::kernels {
namespace {

constexpr double kFloatBytes = sizeof(float);

int64_t WeightBytes(const WeightView& weight) {
  return weight.layout == WeightLayout::kPanels ? PackedBytes(PackingOf(weight.format), weight.rows, weight.columns)
                                                : weight.rows * weight.row_bytes;
}

MultiplyUnit UnitOf(const Ops& ops, const WeightView& weight) {
  if (weight.layout == WeightLayout::kPanels) {
    return MultiplyUnit::kInt8;
  }
  const bool rounds_x = weight.format == FormatId::kBF16 && weight.columns > ops.rounds_x_beyond;
  return rounds_x ? MultiplyUnit::kSixteenBit : MultiplyUnit::kFloat;
}

// Of an op that goes over `values` elements, `passes` of them read or written.
OpCost Elementwise(int64_t values, double passes, double operations) {
  OpCost cost{.activation_bytes = passes * kFloatBytes * static_cast<double>(values)};
  cost.OperationsOf(MultiplyUnit::kFloat) = operations * static_cast<double>(values);
  return cost;
}

double RowBytes(const KvLayerView& layer) {  // K and V of one position
  return 2.0 * static_cast<double>(layer.kv_heads * layer.head_dim * KvFormatBytes(layer.format));
}

// Positions that the rows of a sequence read, and (row, position) pairs.
struct Visible {
  int64_t first;
  int64_t positions;
  double pairs;
};

Visible VisibleTo(const AttentionArgs& args, const KvSequence& sequence) {
  const int64_t end = sequence.first_position + sequence.rows;
  Visible visible{FirstKey(args, sequence.first_position), 0, 0};
  visible.positions = end - visible.first;
  for (int64_t position = sequence.first_position; position < end; ++position) {
    visible.pairs += static_cast<double>(position + 1 - FirstKey(args, position));
  }
  return visible;
}

}  // namespace

OpCost& OpCost::operator+=(const OpCost& other) {
  streamed_bytes += other.streamed_bytes;
  activation_bytes += other.activation_bytes;
  for (size_t i = 0; i < operations.size(); ++i) {
    operations[i] += other.operations[i];
  }
  return *this;
}

OpCost CostOf(const Ops&, const EmbedArgs& args) {
  const auto rows = static_cast<int64_t>(args.tokens.size());
  OpCost cost = Elementwise(rows * args.table.columns, 1, 1);
  cost.streamed_bytes = static_cast<double>(rows * args.table.row_bytes);
  return cost;
}

OpCost CostOf(const Ops& ops, const LinearArgs& args) {
  OpCost cost;
  for (const LinearTarget& target : args.targets) {
    const auto outputs = static_cast<double>(args.m * target.weight.rows);
    cost.streamed_bytes += static_cast<double>(WeightBytes(target.weight));
    cost.activation_bytes += kFloatBytes * outputs;
    cost.OperationsOf(UnitOf(ops, target.weight)) += 2 * outputs * static_cast<double>(target.weight.columns);
  }
  const double x_bytes = kFloatBytes * static_cast<double>(args.m * args.targets[0].weight.columns);
  cost.activation_bytes += x_bytes;
  if (args.made_by != nullptr) {  // x is neither written nor read
    cost += std::visit([&](const auto& made_by) { return CostOf(ops, made_by); }, args.made_by->args);
    cost.activation_bytes -= 2 * x_bytes;
  }
  return cost;
}

OpCost CostOf(const Ops&, const LowRankArgs& args) {
  OpCost cost;
  for (const LowRankSegment& segment : args.segments) {
    const auto rows = static_cast<double>(segment.rows.size());
    cost.activation_bytes += kFloatBytes * rows * static_cast<double>(args.k);
    const std::byte* last = nullptr;
    for (const LowRankTerm& term : segment.terms) {
      // Neighbouring terms with the same A share A x.
      const int64_t values = term.rank * (term.n + (term.a == last ? 0 : args.k));
      last = term.a;
      cost.streamed_bytes += static_cast<double>(BytesOf(term.format, values));
      cost.OperationsOf(MultiplyUnit::kFloat) += 2 * rows * static_cast<double>(values);
      cost.activation_bytes += 2 * kFloatBytes * rows * static_cast<double>(term.n);
    }
  }
  return cost;
}

OpCost CostOf(const Ops&, const SparseArgs& args) {
  const auto entries = static_cast<double>(args.weight.offsets[args.rows] - args.weight.offsets[0]);
  OpCost cost = Elementwise(args.m * args.rows, 2, 1);
  cost.activation_bytes += kFloatBytes * static_cast<double>(args.m * args.columns);
  cost.streamed_bytes = entries * static_cast<double>(sizeof(SparseEntry));
  cost.OperationsOf(MultiplyUnit::kFloat) += 2 * entries * static_cast<double>(args.m);
  return cost;
}

OpCost CostOf(const Ops&, const RmsNormArgs& args) { return Elementwise(args.m * args.groups * args.dim, 2, 4); }
OpCost CostOf(const Ops&, const LayerNormArgs& args) { return Elementwise(args.m * args.dim, 2, 7); }
OpCost CostOf(const Ops&, const RopeArgs& args) { return Elementwise(args.m * args.heads * args.rotary_dim, 2, 3); }
OpCost CostOf(const Ops&, const ActivationArgs& args) {
  return Elementwise(args.m * args.dim, args.up == nullptr ? 2 : 3, 10);
}
OpCost CostOf(const Ops&, const AddScaledArgs& args) { return Elementwise(args.m * args.dim, 3, 2); }
OpCost CostOf(const Ops&, const ScaleCapArgs& args) { return Elementwise(args.m * args.dim, 2, 1); }

OpCost CostOf(const Ops&, const KvStoreArgs& args) {
  int64_t rows = 0;
  for (const KvSequence& sequence : args.sequences) {
    rows += sequence.rows;
  }
  OpCost cost = Elementwise(2 * rows * args.layer.kv_heads * args.layer.head_dim, 1, 0);
  cost.activation_bytes += static_cast<double>(rows) * RowBytes(args.layer);
  return cost;
}

OpCost CostOf(const Ops&, const AttentionArgs& args) {
  OpCost cost;
  double positions = 0;
  std::map<int32_t, int64_t> shared_first;  // a group's prefix is read once, from the first that any member sees
  std::map<int32_t, int64_t> shared_end;
  for (const KvSequence& sequence : args.sequences) {
    const Visible visible = VisibleTo(args, sequence);
    cost.OperationsOf(MultiplyUnit::kFloat) +=
        4 * visible.pairs * static_cast<double>(args.heads * args.layer.head_dim);
    cost.activation_bytes += 2 * kFloatBytes * static_cast<double>(sequence.rows * args.heads * args.layer.head_dim);
    int64_t own = visible.positions;
    if (sequence.share_group >= 0 && visible.first < sequence.shared_positions) {
      own -= sequence.shared_positions - visible.first;
      const auto [first, fresh] = shared_first.try_emplace(sequence.share_group, visible.first);
      first->second = std::min(first->second, visible.first);
      int64_t& end = shared_end.try_emplace(sequence.share_group, sequence.shared_positions).first->second;
      end = std::max(end, sequence.shared_positions);
    }
    positions += static_cast<double>(own);
  }
  for (const auto& [group, first] : shared_first) {
    positions += static_cast<double>(shared_end[group] - first);
  }
  cost.streamed_bytes = positions * RowBytes(args.layer);
  return cost;
}

OpCost CostOf(const Ops&, const SampleArgs& args) {
  return Elementwise(static_cast<int64_t>(args.rows.size()) * args.vocab, 1, 1);
}
OpCost CostOf(const Ops&, const ScoreArgs& args) {
  return Elementwise(static_cast<int64_t>(args.rows.size()) * args.vocab, 1, 1);
}

}  // namespace causeway::kernels
