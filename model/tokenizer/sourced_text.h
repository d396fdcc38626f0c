// A text on its way through normalizers and pre-tokenizers that can still say, per byte, where in the
// request it came from. Two rules need it: Metaspace prepends only at the very start of the request
// ("first"), and no byte of an untrusted piece may become part of a special token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"

namespace causeway::model::tokenizer {

struct SourcedText {
  // In `source`: the byte came (also) from an untrusted piece.
  static constexpr uint32_t kUntrusted = uint32_t{1} << 31;

  std::string text;
  bool tracked = false;
  std::vector<uint32_t> source;  // tracked: one a byte, offset in the request | kUntrusted; else empty

  // True if the byte at `offset` is known to come from the first byte of the request.
  bool FromStart(size_t offset) const { return tracked && (source[offset] & ~kUntrusted) == 0; }
  bool AnyUntrusted(size_t begin, size_t end) const;
  SourcedText Slice(size_t begin, size_t end) const;
  void CheckInvariants() const { CHECK(source.size() == (tracked ? text.size() : 0)); }
};

// Writes an edited copy of a SourcedText, front to back.
class Rewriter {
 public:
  explicit Rewriter(const SourcedText& in) : in_(in) {
    out_.tracked = in.tracked;
    out_.text.reserve(in.text.size() + in.text.size() / 8);
  }

  // Copies in[begin, end).
  void Keep(size_t begin, size_t end);

  // Writes `text`, made from in[begin, end); its place in the request is that of in[anchor].
  void Put(std::string_view text, size_t anchor, size_t begin, size_t end);

  size_t size() const { return out_.text.size(); }
  SourcedText Take() { return std::move(out_); }

 private:
  const SourcedText& in_;
  SourcedText out_;
};

}  // namespace causeway::model::tokenizer
