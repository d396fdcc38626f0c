// The seam to slower memory: where pages go when they leave the pool, and come back from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/keyed_hash.h"
#include "base/result.h"
#include "base/token.h"
#include "memory/tenant.h"

namespace causeway::memory {

// What a page's content is: its place in the prefix index's chain of keys.
struct PageIdentity {
  Digest key{};
  Digest parent{};    // zeros for the first page of a chain
  int64_t place = 0;  // in its chain
  TenantId tenant = kDefaultTenant;
  std::span<const Token> tokens;  // of this page
};

// Pages to be read, kept until this is gone. Begun by the engine thread, read by one other.
class PageSource {
 public:
  virtual ~PageSource() = default;
  // Hands the pages' bytes [page_bytes] to `sink`, in order, as far as they are there and sound and `sink` takes them.
  // Returns how many it took.
  using Sink = std::function<bool(int64_t index, std::span<const std::byte> bytes)>;
  virtual int64_t Read(const Sink& sink) = 0;
};

// Engine thread, where nothing else is said.
class PageTier {
 public:
  virtual ~PageTier() = default;

  // Keeps a copy of a page; `fill` writes its bytes. False: it was not taken, and counted with the reason. What is
  // there already is only touched.
  using Fill = std::function<Result<void>(std::span<std::byte>)>;
  virtual bool Put(const PageIdentity& page, const Fill& fill) = 0;
  // How many pages from keys[first] on are there in a row, tokens compared (those of the whole sequence), at most
  // `most`.
  virtual int64_t Known(std::span<const Digest> keys, int64_t first, std::span<const Token> tokens, int64_t most) = 0;
  // To read pages that Known has just named.
  virtual std::unique_ptr<PageSource> BeginRead(std::span<const Digest> keys, int64_t first, int64_t count) = 0;
  // Bytes a second that reading has reached; 0: not known yet.
  virtual double ReadRate() const = 0;
  // Survives the process: then pages are offered soon after they were computed.
  virtual bool persistent() const = 0;
  // Waits until all that was taken is where it survives.
  virtual void Flush() = 0;
};

// Whether a page is read back sooner than it is computed again. Rates that are not known yet do not speak against it.
inline bool WorthMoving(int64_t page_bytes, int64_t tokens_per_page, double read_bytes_per_second,
                        double computed_tokens_per_second) {
  if (read_bytes_per_second <= 0 || computed_tokens_per_second <= 0) {
    return true;
  }
  return static_cast<double>(page_bytes) / read_bytes_per_second <
         static_cast<double>(tokens_per_page) / computed_tokens_per_second;
}

}  // namespace causeway::memory
