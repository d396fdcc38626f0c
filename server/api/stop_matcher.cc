#include "server/api/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace causeway::server {

StopMatcher::StopMatcher(std::vector<std::string> stops, bool include_stop)
    : stops_(std::move(stops)), include_stop_(include_stop) {}

std::string StopMatcher::Append(std::string_view text) {
  if (matched_) {
    return {};
  }
  held_ += text;
  size_t first = std::string::npos;
  const std::string* found = nullptr;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at < first || (at == first && found != nullptr && stop.size() > found->size())) {
      first = at;
      found = &stop;
    }
  }
  if (found != nullptr) {
    matched_ = *found;
    std::string out = held_.substr(0, first + (include_stop_ ? found->size() : 0));
    held_.clear();
    return out;
  }
  const size_t keep = HeldBack();
  std::string out = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return out;
}

// Length of the longest end of the held text that begins a stop string.
size_t StopMatcher::HeldBack() const {
  size_t longest = 0;
  for (const std::string& stop : stops_) {
    for (size_t length = std::min(stop.size() - 1, held_.size()); length > longest; --length) {
      if (held_.compare(held_.size() - length, length, stop, 0, length) == 0) {
        longest = length;
        break;
      }
    }
  }
  return longest;
}

std::string StopMatcher::Flush() { return std::exchange(held_, {}); }

}  // namespace causeway::server
