// Stop strings in streamed text: nothing that may become one is let out.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace causeway::server {

// Used by one thread at a time. Holds back less than the longest stop string.
class StopMatcher {
 public:
  StopMatcher(std::vector<std::string> stops, bool include_stop);

  // Takes more text; returns what may go out. Once matched(), nothing more is let out.
  std::string Append(std::string_view text);
  // The rest, when no more text comes.
  std::string Flush();
  // The stop string that was found first in the text.
  const std::optional<std::string>& matched() const { return matched_; }

 private:
  size_t HeldBack() const;

  const std::vector<std::string> stops_;
  const bool include_stop_;
  std::string held_;
  std::optional<std::string> matched_;
};

}  // namespace causeway::server
