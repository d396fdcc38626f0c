// What is tuned follows the machine's shape alone, and stays within the caches and within bounds.
#include "kernels/tuning.h"

#include <gtest/gtest.h>

#include "kernels/ops.h"

namespace causeway::kernels {
namespace {

constexpr MachineShape kShape = {.level2_bytes = 1 << 20, .read_bytes_per_s = 50e9, .int8_ops_per_s = 2000e9};

TEST(TuningTest, BlocksOfXTakeHalfOfTheSecondLevel) {
  EXPECT_EQ(TuneLinear(kShape).x_block_bytes, 1 << 19);
  MachineShape small = kShape;
  small.level2_bytes = 256 << 10;
  EXPECT_EQ(TuneLinear(small).x_block_bytes, 128 << 10);
}

// A row of x takes 2 operations a weight of a byte: 2000 GOP/s and 50 GB/s are even at 20 rows.
TEST(TuningTest, PanelsAreReadInAnEighthOfTheTimeOfMultiplying) {
  EXPECT_EQ(TuneLinear(kShape).least_block_rows, 160);
  MachineShape slow = kShape;
  slow.int8_ops_per_s = 1e9;
  EXPECT_EQ(TuneLinear(slow).least_block_rows, 16);
  slow.read_bytes_per_s = 1;
  EXPECT_EQ(TuneLinear(slow).least_block_rows, 4096);
}

TEST(TuningTest, OneRowAsksWhereThatIsFaster) {
  MachineShape shape = kShape;
  shape.asked_over_followed = 1.3;
  EXPECT_TRUE(TuneLinear(shape).asks_for_one_row);
  shape.asked_over_followed = 1.01;
  EXPECT_FALSE(TuneLinear(shape).asks_for_one_row);
}

TEST(TuningTest, BlockRowsAreWithinBounds) {
  const LinearTuning tuning = {.x_block_bytes = 1 << 20, .least_block_rows = 64};
  EXPECT_EQ(tuning.BlockRows(4096), 256);
  EXPECT_EQ(tuning.BlockRows(1 << 20), 64);
  EXPECT_EQ(tuning.BlockRows(1), 4096);
}

TEST(TuningTest, TheMachineHasAShape) {
  ThreadPool pool({.threads = 2, .pin = false});
  const auto ops = SelectOps("");
  ASSERT_TRUE(ops.ok());
  const MachineShape shape = MeasureShape(pool, **ops);
  EXPECT_GT(shape.level2_bytes, 0);
  EXPECT_GT(shape.read_bytes_per_s, 1e6);
  EXPECT_GT(shape.int8_ops_per_s, 1e6);
  EXPECT_GT(shape.asked_over_followed, 1e-3);
}

}  // namespace
}  // namespace causeway::kernels
