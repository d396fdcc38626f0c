// The KV cache driven at random beside a naive model (kv_walk.h), on every backend that needs no device; with calls of
// the backend that fail, one after the other; and with threads.
#include <algorithm>
#include <string>

#include <gtest/gtest.h>

#include "base/check.h"
#include "tests/property/kv_shrink.h"
#include "tests/support/kv_fixtures.h"
#include "tests/support/run_scale.h"

namespace causeway::memory {
namespace {

constexpr int64_t kSteps = kQuickBuild ? 2500 : 250;

constexpr PrefixSpelling kSpellings[] = {PrefixSpelling::kAlias, PrefixSpelling::kSegments};

std::string NameOf(PrefixSpelling spelling) { return spelling == PrefixSpelling::kAlias ? "alias" : "segments"; }

struct KvCacheProperty : testing::TestWithParam<std::tuple<std::string, PrefixSpelling>> {
  static KvWorld World(uint64_t seed) {
    return {.backend = std::get<0>(GetParam()), .seed = seed, .spelling = std::get<1>(GetParam())};
  }
};

TEST_P(KvCacheProperty, AgreesWithANaiveModel) {
  for (uint64_t seed = 1; seed <= 16; ++seed) {
    const auto failure = WalkFailure(World(seed), KvWalk::RandomSteps(seed, kSteps, false));
    ASSERT_FALSE(failure) << *failure;
  }
}

// A million steps in all, with other seeds than those above: `ctest -C soak -L soak`.
TEST_P(KvCacheProperty, DISABLED_Soak) {
  const auto worlds = std::ssize(TestBackends()) * std::ssize(kSpellings);
  for (uint64_t seed = 1001; seed <= 1040; ++seed) {
    const KvSteps steps = KvWalk::RandomSteps(seed, 1'000'000 / 40 / worlds + 1, false);
    const auto failure = WalkFailure(World(seed), steps);
    ASSERT_FALSE(failure) << *failure;
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, KvCacheProperty,
                         testing::Combine(testing::ValuesIn(TestBackends()), testing::ValuesIn(kSpellings)),
                         [](const auto& info) {
                           return std::get<0>(info.param) + "_" + NameOf(std::get<1>(info.param));
                         });

// The walk is worth something only if it gets everywhere.
class KvCacheWalk : public testing::TestWithParam<PrefixSpelling> {};

TEST_P(KvCacheWalk, DoesEverythingOften) {
  std::array<int64_t, kKvOps> done{};
  int64_t refusals = 0;
  int64_t shared_trunks = 0;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    KvWalk walk({.seed = seed, .spelling = GetParam()});
    walk.Run(KvWalk::RandomSteps(seed, 2500, false));
    for (size_t op = 0; op < kKvOps; ++op) {
      done[op] += walk.done(static_cast<KvOp>(op));
    }
    refusals += walk.refusals();
    shared_trunks += walk.shared_trunks();
    walk.Finish();
  }
  for (size_t op = 0; op < kKvOps; ++op) {
    EXPECT_GE(done[op], 20) << "operation " << op;
  }
  EXPECT_GE(refusals, 20);
  EXPECT_EQ(shared_trunks > 20, GetParam() == PrefixSpelling::kSegments);
}

INSTANTIATE_TEST_SUITE_P(Spellings, KvCacheWalk, testing::ValuesIn(kSpellings),
                         [](const auto& info) { return NameOf(info.param); });

TEST(KvCacheShrink, FailuresShrink) {
  const KvSteps steps = KvWalk::RandomSteps(1, 200, false);
  const auto two_pins = [](const KvSteps& some) { return std::ranges::count(some, KvOp::kPin, &KvStep::op) >= 2; };
  ASSERT_TRUE(two_pins(steps));
  EXPECT_EQ(Shrink(steps, two_pins).size(), 2U);
  EXPECT_FALSE(FailureOf([] {}));
  EXPECT_NE(FailureOf([] { CHECK_MSG(false, "a failure of {}", 3); }).value_or("").find("a failure of 3"),
            std::string::npos);
}

class KvCacheFailures : public testing::TestWithParam<PrefixSpelling> {};

INSTANTIATE_TEST_SUITE_P(Spellings, KvCacheFailures, testing::ValuesIn(kSpellings),
                         [](const auto& info) { return NameOf(info.param); });

TEST_P(KvCacheFailures, AFailedCallChangesNothing) {
  for (uint64_t seed = 1; seed <= 16; ++seed) {
    const auto failure = WalkFailure({.seed = seed, .spelling = GetParam()}, KvWalk::RandomSteps(seed, kSteps, true));
    ASSERT_FALSE(failure) << *failure;
  }
}

struct Script {
  KvSteps steps;
  std::array<uint64_t, kVmCalls> calls{};  // that it makes, by kind
};

// The first of some random ones that does everything and makes every kind of call.
Script ScriptOfEverything(const KvWorld& world) {
  for (uint64_t seed = 1; seed <= 1000; ++seed) {
    Script script{.steps = KvWalk::RandomSteps(seed, 200, false)};
    KvWalk walk(world);
    walk.Run(script.steps);
    bool all = true;
    for (size_t op = 0; op < kKvOps; ++op) {
      all = all && walk.done(static_cast<KvOp>(op)) > 0;
    }
    walk.Finish();
    for (size_t call = 0; call < kVmCalls; ++call) {
      script.calls[call] = walk.mock()->calls(static_cast<VmCall>(call));
      all = all && script.calls[call] > 0;
    }
    if (all) {
      return script;
    }
  }
  return {};
}

// Of each kind of call each one fails in turn; what an operation that failed was to change is as before, and the script
// goes on.
TEST_P(KvCacheFailures, EveryCallMayFailOnce) {
  KvWorld world{.spelling = GetParam(), .plain = true};
  const Script script = ScriptOfEverything(world);
  ASSERT_FALSE(script.steps.empty());
  for (size_t call = 0; call < kVmCalls; ++call) {
    world.call = static_cast<VmCall>(call);
    for (world.nth = 1; world.nth <= static_cast<int>(script.calls[call]); world.nth += kQuickBuild ? 1 : 5) {
      const auto failure = WalkFailure(world, script.steps);
      ASSERT_FALSE(failure) << "call " << call << ", the " << world.nth << "th: " << *failure;
    }
  }
}

// Pages are mapped, made and read into by threads of their own while another one reads what sequences hold.
TEST(KvCacheThreads, MapsRunBesideReaders) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    KvWalk walk({.backend = "linux", .seed = seed, .threads = true, .spelling = kSpellings[seed % 2]});
    walk.Run(KvWalk::RandomSteps(seed, kSteps / 2, false));
    walk.Finish();
  }
}

// The same walk over the memory of a device: what every row holds is read back after every step. Not in processes of
// their own, which a driver does not survive.
TEST(KvCacheDevice, AgreesWithANaiveModel) {
  if (const auto driver = LoadCudaDriver(0); !driver.ok()) {
    GTEST_SKIP() << driver.error().message;
  }
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    KvWalk walk({.backend = "device", .seed = seed, .threads = seed > 8, .spelling = kSpellings[seed % 2]});
    walk.Run(KvWalk::RandomSteps(seed, 250, false));
    walk.Finish();
  }
}

}  // namespace
}  // namespace causeway::memory
