// Whether this build is one that runs slowly: tests that repeat something many times then repeat it less.
#pragma once

namespace causeway {

#if defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
inline constexpr bool kQuickBuild = true;
#else
inline constexpr bool kQuickBuild = false;
#endif

}  // namespace causeway
