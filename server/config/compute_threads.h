// How many threads compute, and where.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/thread_pool.h"

namespace causeway::server {

// What --threads and --cpu-affinity say. Errors, with the option as `param`: a list that is none, that has another
// length than `threads` unless that is 0, or with CPUs that this process may not use.
Result<ThreadPoolOptions> ToThreadPoolOptions(int64_t threads, const std::string& cpu_affinity);

}  // namespace causeway::server
