// The name that a mistyped one probably meant: for flags, file keys and commands.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace causeway::server {

// The nearest of `known` by edit distance; empty if none is at most `farthest` edits away (by default a third of the
// name's length, and at least 2).
std::string_view NearestName(std::string_view name, std::span<const std::string_view> known,
                             std::optional<size_t> farthest = {});

}  // namespace causeway::server
