// --tenant: names, keys and limits; errors that never show a key.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "server/config/tenants.h"

namespace causeway::server {
namespace {

using Texts = std::vector<std::string>;

TEST(TenantsTest, NamesKeysAndLimits) {
  const auto tenants =
      ParseTenants(Texts{"a=k1,floor=1MiB,quota=2GiB", "b=k2", "a=k3", "default=k4,quota=1KiB"}, Texts{"own"});
  ASSERT_TRUE(tenants.ok()) << tenants.error().message;
  ASSERT_EQ(tenants->size(), 3U);
  EXPECT_EQ((*tenants)[0].name, "default");
  EXPECT_EQ((*tenants)[0].keys, (Texts{"k4", "own"}));
  EXPECT_EQ((*tenants)[0].quota_bytes, 1024);
  EXPECT_EQ((*tenants)[1].keys, (Texts{"k1", "k3"}));
  EXPECT_EQ((*tenants)[1].floor_bytes, 1 << 20);
  EXPECT_EQ((*tenants)[1].quota_bytes, int64_t{2} << 30);
  EXPECT_FALSE((*tenants)[2].floor_bytes.has_value());
  EXPECT_EQ(ParseTenants({}, {})->size(), 1U);
}

TEST(TenantsTest, AListThatWasSplitAtItsCommasIsTheSame) {
  const auto tenants = ParseTenants(Texts{"a=k1", "floor=1MiB", "quota=2MiB", "b=k2", "floor=4KiB"}, {});
  ASSERT_TRUE(tenants.ok()) << tenants.error().message;
  EXPECT_EQ((*tenants)[1].quota_bytes, 2 << 20);
  EXPECT_EQ((*tenants)[2].floor_bytes, 4096);
}

TEST(TenantsTest, MistakesAreNamedWithoutKeys) {
  for (const Texts& texts : std::vector<Texts>{{"secret"},
                                               {"=secret"},
                                               {"a="},
                                               {".a=secret"},
                                               {"a/b=secret"},
                                               {"floor=1MiB"},
                                               {"a=secret,floor=x"},
                                               {"a=secret,floor=2MiB,quota=1MiB"},
                                               {"a=secret,floor=1MiB", "a=other,floor=1MiB"},
                                               {"a=secret", "b=secret"},
                                               {"a=own"},
                                               {std::string(65, 'a') + "=secret"}}) {
    const auto tenants = ParseTenants(texts, Texts{"own"});
    ASSERT_FALSE(tenants.ok()) << texts[0];
    EXPECT_EQ(tenants.error().message.find("secret"), std::string::npos) << tenants.error().message;
    EXPECT_EQ(tenants.error().param, "tenant");
  }
}

}  // namespace
}  // namespace causeway::server
