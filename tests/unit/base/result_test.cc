#include "base/result.h"

#include <memory>

#include <gtest/gtest.h>

namespace causeway {
namespace {

Result<int> Half(int value) {
  if (value % 2 != 0) {
    return MakeError(ErrorCode::kInvalidArgument, "odd", "value");
  }
  return value / 2;
}

Result<int> Quarter(int value) {
  ASSIGN_OR_RETURN(const int half, Half(value));
  return Half(half);
}

Result<void> CheckEven(int value) {
  TRY(Half(value));
  return {};
}

TEST(ResultTest, CarriesTheValueOrTheError) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(6).error().param, "value");
  EXPECT_TRUE(CheckEven(2).ok());
  EXPECT_EQ(CheckEven(3).error().code, ErrorCode::kInvalidArgument);
}

TEST(ResultTest, ContextStandsInFront) { EXPECT_EQ(Half(1).error().WithContext("file").message, "file: odd"); }

TEST(ResultTest, MovesOutMoveOnlyValues) {
  Result<std::unique_ptr<int>> result(std::make_unique<int>(7));
  const std::unique_ptr<int> value = std::move(result).value();
  EXPECT_EQ(*value, 7);
}

TEST(ResultDeathTest, ReadingTheOtherOneIsABug) { EXPECT_DEATH((void)Half(1).value(), "CHECK failed.*odd"); }

}  // namespace
}  // namespace causeway
