// CHECK: always on, for our own bugs. A failed CHECK prints where and why, then aborts; the supervisor
// restarts. DCHECK is on in debug builds only, for checks that cost more than a compare.
#pragma once

#include <fmt/format.h>

#include <string>

namespace causeway::internal {

[[noreturn]] void CheckFailed(const char* file, int line, const char* condition, const std::string& message);

}  // namespace causeway::internal

#define CHECK(condition)                                                     \
  do {                                                                       \
    if (!(condition)) [[unlikely]] {                                         \
      ::causeway::internal::CheckFailed(__FILE__, __LINE__, #condition, {}); \
    }                                                                        \
  } while (false)

#define CHECK_MSG(condition, ...)                                                                    \
  do {                                                                                               \
    if (!(condition)) [[unlikely]] {                                                                 \
      ::causeway::internal::CheckFailed(__FILE__, __LINE__, #condition, ::fmt::format(__VA_ARGS__)); \
    }                                                                                                \
  } while (false)

#ifdef NDEBUG
#define DCHECK(condition) \
  do {                    \
    if (false) {          \
      (void)(condition);  \
    }                     \
  } while (false)
#else
#define DCHECK(condition) CHECK(condition)
#endif
