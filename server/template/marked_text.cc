#include "server/template/marked_text.h"

#include <algorithm>

#include "base/check.h"

namespace causeway::server {

size_t MarkedText::FirstFlipAfter(size_t position) const {
  return static_cast<size_t>(std::upper_bound(flips_.begin(), flips_.end(), position) - flips_.begin());
}

bool MarkedText::TrustedAt(size_t position) const { return first_ != (FirstFlipAfter(position) % 2 == 1); }

void MarkedText::Append(std::string_view bytes, bool trusted) {
  if (bytes.empty()) {
    return;
  }
  const bool last = first_ != (flips_.size() % 2 == 1);
  if (bytes_.empty()) {
    first_ = trusted;
    flips_.clear();
  } else if (last != trusted) {
    flips_.push_back(bytes_.size());
  }
  bytes_.append(bytes);
}

void MarkedText::Append(const MarkedText& other, size_t begin, size_t end) {
  other.ForEachRun(begin, end, [this](std::string_view run, bool trusted) { Append(run, trusted); });
}

MarkedText MarkedText::Slice(size_t begin, size_t end) const {
  if (uniform()) {
    return MarkedText(bytes_.substr(begin, end - begin), first_);
  }
  MarkedText out;
  out.Append(*this, begin, end);
  return out;
}

void MarkedText::CheckInvariants() const {
  size_t previous = 0;
  for (const size_t flip : flips_) {
    CHECK(flip > previous && flip < bytes_.size());
    previous = flip;
  }
}

}  // namespace causeway::server
