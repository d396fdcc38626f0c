#include "tests/property/kv_shrink.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>

#include "base/check.h"
#include "fmt/format.h"

namespace causeway::memory {

std::optional<std::string> FailureOf(const std::function<void()>& body) {
  std::array<int, 2> ends{};
  CHECK(::pipe(ends.data()) == 0);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  CHECK(child >= 0);
  if (child == 0) {
    ::close(ends[0]);
    ::dup2(ends[1], STDERR_FILENO);
    body();
    std::exit(0);  // with the sanitizers' last words
  }
  ::close(ends[1]);
  std::string said;
  std::array<char, 4096> part{};
  for (ssize_t got = 0; (got = ::read(ends[0], part.data(), part.size())) > 0;) {
    said.append(part.data(), static_cast<size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  CHECK(::waitpid(child, &status, 0) == child);
  return status == 0 ? std::nullopt : std::optional(fmt::format("wait status {}: {}", status, said));
}

KvSteps Shrink(KvSteps steps, const std::function<bool(const KvSteps&)>& fails, int attempts) {
  for (size_t part = std::max<size_t>(1, steps.size() / 2);;) {
    bool removed = false;
    for (size_t at = 0; at < steps.size() && attempts > 0;) {
      KvSteps rest = steps;
      rest.erase(rest.begin() + static_cast<int64_t>(at),
                 rest.begin() + static_cast<int64_t>(std::min(at + part, rest.size())));
      --attempts;
      if (fails(rest)) {
        steps = std::move(rest);
        removed = true;
      } else {
        at += part;
      }
    }
    if (attempts <= 0 || (part == 1 && !removed)) {
      return steps;
    }
    part = std::max<size_t>(1, part / 2);
  }
}

std::string Spell(const KvSteps& steps) {
  std::string text = fmt::format("{} steps:\n", steps.size());
  for (const KvStep& step : steps) {
    text += fmt::format("  {{KvOp({}), {{{}u, {}u, {}u}}, {}, {}}},\n", static_cast<int>(step.op), step.draw[0],
                        step.draw[1], step.draw[2], step.fail_call, step.fail_after);
  }
  return text;
}

std::optional<std::string> WalkFailure(const KvWorld& world, const KvSteps& steps) {
  const auto failure = [&](const KvSteps& some) {
    return FailureOf([&] {
      KvWalk walk(world);
      walk.Run(some);
      walk.Finish();
    });
  };
  if (!failure(steps)) {
    return std::nullopt;
  }
  const KvSteps shorter = Shrink(steps, [&](const KvSteps& some) { return failure(some).has_value(); });
  return fmt::format("backend {}, seed {}: {}\n{}", world.backend, world.seed,
                     failure(shorter).value_or("it does not always fail"), Spell(shorter));
}

}  // namespace causeway::memory
