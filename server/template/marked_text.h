// Text that remembers where each byte came from. Bytes written by the template or the server are
// trusted; bytes from a client are not, and no operation turns one into the other.
//   invariant: 0 < flips_[0] < flips_[1] < ... < size(); trust toggles at each flip, starting from first_.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace causeway::server {

class MarkedText {
 public:
  MarkedText() = default;
  MarkedText(std::string bytes, bool trusted) : bytes_(std::move(bytes)), first_(trusted) {}

  const std::string& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  bool uniform() const { return flips_.empty(); }  // one mark covers the whole text
  bool AllTrusted() const { return empty() || (uniform() && first_); }
  bool TrustedAt(size_t position) const;

  void Append(std::string_view bytes, bool trusted);
  void Append(const MarkedText& other) { Append(other, 0, other.size()); }
  void Append(const MarkedText& other, size_t begin, size_t end);  // other[begin, end), in bytes
  MarkedText Slice(size_t begin, size_t end) const;                // in bytes, on character boundaries

  // Calls fn(std::string_view run, bool trusted) for each maximal run of [begin, end), in order.
  template <typename Fn>
  void ForEachRun(size_t begin, size_t end, Fn&& fn) const {
    size_t flip = FirstFlipAfter(begin);
    bool trusted = first_ != (flip % 2 == 1);
    while (begin < end) {
      const size_t stop = flip < flips_.size() && flips_[flip] < end ? flips_[flip] : end;
      fn(std::string_view(bytes_).substr(begin, stop - begin), trusted);
      begin = stop;
      trusted = !trusted;
      ++flip;
    }
  }
  template <typename Fn>
  void ForEachRun(Fn&& fn) const {
    ForEachRun(0, size(), fn);
  }

  // All text with one mark; used where a result cannot be attributed byte by byte.
  static MarkedText Derived(std::string bytes, const MarkedText& source) {
    return MarkedText(std::move(bytes), source.AllTrusted());
  }

  void CheckInvariants() const;

 private:
  size_t FirstFlipAfter(size_t position) const;  // index of the first flip > position

  std::string bytes_;
  std::vector<size_t> flips_;
  bool first_ = true;
};

}  // namespace causeway::server
