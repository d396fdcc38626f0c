// Bounds on one template and one rendering. A template is code from a model's publisher and its context
// is text from a client: neither may cost more than this. Exceeding a limit is kInvalidArgument and the
// message names the member.
#pragma once

#include <cstddef>

namespace causeway::server {

struct TemplateLimits {
  size_t max_source_bytes = size_t{1} << 20;   // template text
  size_t max_nesting = 200;                    // depth of the syntax tree, blocks and expressions together
  size_t max_steps = 8'000'000;                // nodes evaluated, values compared, and 64-byte units copied
  size_t max_loop_iterations = 1'000'000;      // over all loops of one rendering
  size_t max_depth = 1000;                     // nodes under evaluation at once (macro recursion ends here)
  size_t max_output_bytes = size_t{64} << 20;  // the rendered text
};

// Bounds on one value, the same for every template.
inline constexpr size_t kMaxValueDepth = 200;                // nesting of lists, tuples and dicts
inline constexpr size_t kMaxStringBytes = size_t{32} << 20;  // one string
inline constexpr size_t kMaxItems = 1'000'000;               // one list, tuple, dict or iterator
inline constexpr size_t kMaxRange = 100'000;                 // range(), as in Jinja's sandbox

}  // namespace causeway::server
