#include "tests/kernels/tables.h"

namespace causeway::kernels {
namespace {

TEST(SelectTest, TheBestTableThatRuns) {
  const auto chosen = SelectOps("");
  ASSERT_TRUE(chosen.ok());
  for (const Ops* ops : AllOps()) {
    if (CanRun(*ops)) {
      EXPECT_EQ(*chosen, ops);
      break;
    }
  }
}

TEST(SelectTest, ForceByNameAndNamesKnownOnError) {
  EXPECT_EQ((*SelectOps("ref"))->name, "ref");
  const auto unknown = SelectOps("mmx");
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.error().message.find("scalar"), std::string::npos);
}

TEST(SelectTest, EveryEntryIsFilled) {
  for (const Ops* ops : AllOps()) {
    EXPECT_TRUE(ops->embed && ops->linear && ops->rms_norm && ops->layer_norm && ops->rope && ops->activation &&
                ops->add_scaled && ops->scale_cap && ops->kv_store && ops->attention && ops->sample && ops->score)
        << ops->name;
  }
}

}  // namespace
}  // namespace causeway::kernels
