#include "server/config/nearest.h"

#include <gtest/gtest.h>

namespace causeway::server {
namespace {

constexpr std::string_view kKnown[] = {"port", "grpc-port", "max-model-len", "model"};

TEST(NearestNameTest, FindsTyposAndNothingFarAway) {
  EXPECT_EQ(NearestName("prot", kKnown), "port");
  EXPECT_EQ(NearestName("max-model-lenght", kKnown), "max-model-len");
  EXPECT_EQ(NearestName("grpcport", kKnown), "grpc-port");
  EXPECT_EQ(NearestName("temperature", kKnown), "");
  EXPECT_EQ(NearestName(std::string(100, 'p'), kKnown), "");
  EXPECT_EQ(NearestName("port", {}), "");
  EXPECT_EQ(NearestName("prot", kKnown, 1), "");
}

}  // namespace
}  // namespace causeway::server
