#include "server/config/nearest.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace causeway::server {
namespace {

constexpr size_t kLongestName = 64;

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) {
    row[j] = j;
  }
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, changed});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string_view NearestName(std::string_view name, std::span<const std::string_view> known,
                             std::optional<size_t> farthest) {
  if (name.size() > kLongestName) {
    return {};
  }
  std::string_view best;
  size_t best_distance = farthest.value_or(std::max<size_t>(2, name.size() / 3)) + 1;
  for (const std::string_view one : known) {
    const size_t distance = EditDistance(name, one);
    if (distance < best_distance) {
      best_distance = distance;
      best = one;
    }
  }
  return best;
}

}  // namespace causeway::server
