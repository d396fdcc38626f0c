#include "model/tokenizer/sourced_text.h"

#include <algorithm>

namespace causeway::model::tokenizer {

bool SourcedText::AnyUntrusted(size_t begin, size_t end) const {
  return tracked &&
         std::any_of(source.begin() + static_cast<ptrdiff_t>(begin), source.begin() + static_cast<ptrdiff_t>(end),
                     [](uint32_t s) { return (s & kUntrusted) != 0; });
}

SourcedText SourcedText::Slice(size_t begin, size_t end) const {
  SourcedText slice;
  slice.text = text.substr(begin, end - begin);
  slice.tracked = tracked;
  if (tracked) {
    slice.source.assign(source.begin() + static_cast<ptrdiff_t>(begin), source.begin() + static_cast<ptrdiff_t>(end));
  }
  return slice;
}

void Rewriter::Keep(size_t begin, size_t end) {
  out_.text.append(in_.text, begin, end - begin);
  if (in_.tracked) {
    out_.source.insert(out_.source.end(), in_.source.begin() + static_cast<ptrdiff_t>(begin),
                       in_.source.begin() + static_cast<ptrdiff_t>(end));
  }
}

void Rewriter::Put(std::string_view text, size_t anchor, size_t begin, size_t end) {
  out_.text.append(text);
  if (in_.tracked) {
    uint32_t source = in_.source.empty() ? 0 : in_.source[anchor];
    if (in_.AnyUntrusted(begin, end)) {
      source |= SourcedText::kUntrusted;
    }
    out_.source.insert(out_.source.end(), text.size(), source);
  }
}

}  // namespace causeway::model::tokenizer
