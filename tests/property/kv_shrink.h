// Runs walks in processes of their own, where a failed CHECK ends no more than that, and makes a failing list of steps
// shorter.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/property/kv_walk.h"

namespace causeway::memory {

using KvSteps = std::vector<KvStep>;

// What the process of `body` said on its standard error if it failed, or nothing. No thread may be running.
std::optional<std::string> FailureOf(const std::function<void()>& body);

// Removes ever smaller parts as long as `fails` says so of the rest (Zeller and Hildebrandt, "Simplifying and isolating
// failure-inducing input", 2002), at most `attempts` times.
KvSteps Shrink(KvSteps steps, const std::function<bool(const KvSteps&)>& fails, int attempts = 2000);

// As C++, to be pasted into a test.
std::string Spell(const KvSteps& steps);

// Runs steps in a world; on a failure, the message has a short list that fails, too.
std::optional<std::string> WalkFailure(const KvWorld& world, const KvSteps& steps);

}  // namespace causeway::memory
