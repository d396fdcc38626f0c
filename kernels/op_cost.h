// What a call of an op costs at least: the yardstick that a trace holds its time against.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/ops.h"

namespace causeway::kernels {

// The units that multiply; each has a peak of its own (kernels/cpu/peak.h).
enum class MultiplyUnit : uint8_t { kFloat, kSixteenBit, kInt8, kCount };

struct OpCost {
  double streamed_bytes = 0;    // weights and cached rows: more than a cache holds, so each comes from memory once
  double activation_bytes = 0;  // read and written; a cache may hold them
  // A multiply and an add count as two.
  std::array<double, static_cast<size_t>(MultiplyUnit::kCount)> operations{};

  double Bytes() const { return streamed_bytes + activation_bytes; }
  double Operations() const { return operations[0] + operations[1] + operations[2]; }
  double& OperationsOf(MultiplyUnit unit) { return operations[static_cast<size_t>(unit)]; }
  OpCost& operator+=(const OpCost& other);
};

// `ops` is the table that is called: which unit multiplies depends on it.
OpCost CostOf(const Ops& ops, const EmbedArgs& args);
OpCost CostOf(const Ops& ops, const LinearArgs& args);
OpCost CostOf(const Ops& ops, const LowRankArgs& args);
OpCost CostOf(const Ops& ops, const SparseArgs& args);
OpCost CostOf(const Ops& ops, const RmsNormArgs& args);
OpCost CostOf(const Ops& ops, const LayerNormArgs& args);
OpCost CostOf(const Ops& ops, const RopeArgs& args);
OpCost CostOf(const Ops& ops, const ActivationArgs& args);
OpCost CostOf(const Ops& ops, const AddScaledArgs& args);
OpCost CostOf(const Ops& ops, const ScaleCapArgs& args);
OpCost CostOf(const Ops& ops, const KvStoreArgs& args);
OpCost CostOf(const Ops& ops, const AttentionArgs& args);
OpCost CostOf(const Ops& ops, const SampleArgs& args);
OpCost CostOf(const Ops& ops, const ScoreArgs& args);

}  // namespace causeway::kernels
