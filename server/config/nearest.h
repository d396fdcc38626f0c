// The name that a mistyped one probably meant: for flags, file keys and commands.
#pragma once

#include <span>
#include <string_view>

namespace causeway::server {

// The nearest of `known` by edit distance; empty if none is near (more than a third of the name differs).
std::string_view NearestName(std::string_view name, std::span<const std::string_view> known);

}  // namespace causeway::server
