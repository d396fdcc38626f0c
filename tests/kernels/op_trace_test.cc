#include "kernels/op_trace.h"

#include "kernels/packed.h"
#include "kernels/rows_op.h"
#include "tests/kernels/tables.h"

namespace causeway::kernels {
namespace {

class OpTraceTest : public KernelTest {};

TEST_P(OpTraceTest, CallsPassThroughAndAreCounted) {
  constexpr int64_t kRows = 8, kColumns = 64, kTokens = 3;
  const std::vector<float> x = Random(kTokens * kColumns, 1);
  const std::vector<float> weights = Random(kRows * kColumns, 2);
  const auto* const bytes = reinterpret_cast<const std::byte*>(weights.data());
  const auto run = [&](const Ops& table) {
    std::vector<float> y(kTokens * kRows);
    const LinearTarget target{{bytes, FormatId::kF32, kRows, kColumns, kColumns * 4}, nullptr, y.data(), kRows};
    table.linear(stream(), {x.data(), kColumns, kTokens, {&target, 1}});
    return y;
  };
  const std::vector<float> plain = run(ops());
  OpTrace trace(ops());
  EXPECT_EQ(trace.ops().name, ops().name);
  EXPECT_EQ(run(trace.ops()), plain);
  trace.NameWeight(bytes, "head");
  EXPECT_EQ(run(trace.ops()), plain);
  EXPECT_EQ(run(trace.ops()), plain);
  const std::vector<TracedOp> called = trace.Take();
  ASSERT_EQ(called.size(), 2);
  EXPECT_EQ(called[0].name, "linear");
  EXPECT_EQ(called[0].calls, 1);
  EXPECT_EQ(called[1].name, "linear head");
  EXPECT_EQ(called[1].calls, 2);
  EXPECT_GT(called[1].seconds, 0);
  EXPECT_EQ(called[1].cost.streamed_bytes, 2 * kRows * kColumns * 4);
  EXPECT_EQ(called[1].cost.Operations(), 2 * 2 * kTokens * kRows * kColumns);
  EXPECT_TRUE(trace.Take().empty());
}

INSTANTIATE_TEST_SUITE_P(Tables, OpTraceTest, testing::ValuesIn(TestedTables()), TableName);

TEST(OpCostTest, AttentionReadsWhatItsRowsSee) {
  const KvLayerView layer{.format = KvFormat::kF16, .kv_heads = 2, .head_dim = 8};
  constexpr double kPosition = 2 * 2 * 8 * 2;  // bytes of K and V
  constexpr double kPair = 4 * 4 * 8;          // operations of 4 query heads
  KvSequence sequences[2] = {{.segments = {}, .rows = 1, .first_position = 99},
                             {.segments = {}, .first_row = 1, .rows = 3, .first_position = 10}};
  AttentionArgs args{.q = nullptr,
                     .q_stride = 0,
                     .y = nullptr,
                     .y_stride = 0,
                     .heads = 4,
                     .layer = layer,
                     .sequences = sequences,
                     .scale = 1.0F};
  const Ops& ops = *AllOps().back();
  EXPECT_EQ(CostOf(ops, args).streamed_bytes, (100 + 13) * kPosition);
  EXPECT_EQ(CostOf(ops, args).Operations(), (100 + 11 + 12 + 13) * kPair);
  args.window = 12;
  EXPECT_EQ(CostOf(ops, args).streamed_bytes, (12 + 13) * kPosition);
  EXPECT_EQ(CostOf(ops, args).Operations(), (12 + 11 + 12 + 12) * kPair);
  args.window = 0;
  for (KvSequence& sequence : sequences) {
    sequence.share_group = 0;
    sequence.shared_positions = 10;
  }
  EXPECT_EQ(CostOf(ops, args).streamed_bytes, (100 + 13 - 10) * kPosition) << "what is shared is read once";
}

TEST(OpCostTest, LinearCountsTheBytesAsTheyLie) {
  WeightView weight{nullptr, FormatId::kQ4_0, 16, 64, 36};
  const LinearTarget rows{weight};
  EXPECT_EQ(CostOf(*AllOps().back(), LinearArgs{nullptr, 64, 1, {&rows, 1}}).streamed_bytes, 16 * 36);
  weight.layout = WeightLayout::kPanels;
  const LinearTarget panels{weight};
  OpCost cost = CostOf(*AllOps().back(), LinearArgs{nullptr, 64, 1, {&panels, 1}});
  EXPECT_EQ(cost.streamed_bytes, PackedBytes(PackingOf(FormatId::kQ4_0), 16, 64));
  EXPECT_EQ(cost.OperationsOf(MultiplyUnit::kInt8), 2 * 16 * 64);
  const RowsOp norm{RmsNormArgs{nullptr, 64, nullptr, 0.0F, nullptr, 64, 1, 1, 64}};
  const OpCost with_norm = CostOf(*AllOps().back(), LinearArgs{nullptr, 64, 1, {&panels, 1}, {}, &norm});
  EXPECT_EQ(with_norm.streamed_bytes, cost.streamed_bytes);
  EXPECT_EQ(with_norm.activation_bytes, cost.activation_bytes) << "x is read by the norm, and not by linear again";
  EXPECT_GT(with_norm.Operations(), cost.Operations());
}

}  // namespace
}  // namespace causeway::kernels
