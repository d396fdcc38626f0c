// Where KV pages go when device memory is short, and what survives a restart: host memory and a folder on a local disk.
//
// A cache: whatever goes wrong with it, a page is not known any more, and its tokens are computed again. Threads: calls
// say which may make them. The disk is written by a thread of the store's own; the engine thread never waits for it.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/function_ref.h"
#include "base/result.h"
#include "memory/tier/disk_writer.h"
#include "memory/tier/file_ops.h"
#include "memory/tier/page_identity.h"
#include "memory/tier/page_reader.h"
#include "memory/tier/page_slots.h"
#include "memory/tier/page_store_stats.h"
#include "memory/tier/page_table.h"

namespace causeway::memory {

// Of one tenant in one tier. A page counts as its bytes rounded up to 4 KiB.
struct TierShare {
  int64_t max_bytes = std::numeric_limits<int64_t>::max();
  int64_t floor_bytes = 0;  // pages of other tenants do not push out the last of these
};
struct TenantShares {
  TierShare host;
  TierShare disk;
};

struct PageStoreOptions {
  int64_t page_bytes = 0;
  int64_t tokens_per_page = 0;
  int64_t host_bytes = 0;  // 0: no host tier
  std::string folder;      // empty: no disk tier; made if it is missing
  int64_t disk_bytes = 0;  // never more; allocated at the start
  Digest fingerprint{};    // of all that a page's bytes depend on beside its key: model, layout, kernels, build
  Duration disk_pause = std::chrono::minutes(1);  // for which a disk that fails to write is left alone
  std::unordered_map<uint32_t, TenantShares> tenants;
  TenantShares other_tenants;  // without floors
};

// Keeps pages as they are, in memory or on disk, until it is destroyed; before the store. Any thread may destroy it.
class ReadTicket {
 public:
  ReadTicket() = default;
  ReadTicket(ReadTicket&& other) noexcept;
  ReadTicket& operator=(ReadTicket&& other) noexcept;
  ~ReadTicket() { Reset(); }

  int64_t pages() const { return static_cast<int64_t>(pages_.size()); }
  void Reset();

 private:
  friend class PageStore;
  ReadTicket(PageTable* table, std::vector<PageTable::Pinned> pages) : table_(table), pages_(std::move(pages)) {}

  PageTable* table_ = nullptr;
  std::vector<PageTable::Pinned> pages_;
};

class PageStore {
 public:
  // Reads the index of the folder, if there is one, and logs what it found. kInvalidArgument: sizes and shares that do
  // not fit each other. kFailedPrecondition: the folder cannot be made or written, or is another process's. A disk
  // without room, or one that fails, is a warning: the store then is without it. `ops` (null: the system) outlives it.
  static Result<std::unique_ptr<PageStore>> Open(const PageStoreOptions& options, FileOps* ops = nullptr);
  ~PageStore();  // writes what is queued; all tickets must be gone
  PageStore(const PageStore&) = delete;
  PageStore& operator=(const PageStore&) = delete;

  // The key for the prefix index. Kept in the folder, so that page keys mean the same after a restart.
  const Digest& prefix_key() const { return prefix_key_; }

  // Keeps a copy of a page: `fill` writes its bytes [page_bytes], before the call returns. Of a chain, put the end
  // before the beginning: what was put last is evicted last. A page that is known is touched, and gets a copy in host
  // memory if it has none. False, and counted by reason: the store does not know the page now. Engine thread.
  bool Put(const PageIdentity& page, FunctionRef<Result<void>(std::span<std::byte>)> fill);

  // How many pages of the chain keys[0], keys[1], ... are known in a row from keys[first] on, at most `most`; `tokens`
  // are those of the whole chain, from its first page on, and compared. Does no I/O. Engine thread.
  int64_t Known(std::span<const Digest> keys, int64_t first, std::span<const Token> tokens, int64_t most) const {
    return table_->Known(keys, first, tokens, most);
  }

  // Holds up to `count` pages from keys[first] on, for Read: as many in a row as Known says. Engine thread.
  ReadTicket BeginRead(std::span<const Digest> keys, int64_t first, int64_t count);

  // Reads the ticket's pages and hands them to sink(i, bytes [page_bytes]), in order; the bytes are the sink's until it
  // returns, and it returns false to end the read. How many pages from the front are good and were taken: one that
  // cannot be read, or is not what was written, ends the read and is not known any more. Any thread; one at a time.
  int64_t Read(const ReadTicket& ticket, FunctionRef<bool(int64_t, std::span<const std::byte>)> sink);

  PageStoreStats Stats() const;  // any thread; waits for no I/O

  // Waits until every page that was put is on disk, or given up. Any thread but the engine's, or at its end.
  void Flush();

  void CheckInvariants() const { table_->CheckInvariants(); }

 private:
  explicit PageStore(const PageStoreOptions& options) : options_(options) {}
  Result<std::unique_ptr<IndexLog>> OpenDisk(const LogFormat& format, std::vector<PageRecord>& pages);
  Result<void> MakeTable();
  void StartDisk(std::vector<PageRecord> pages, std::unique_ptr<IndexLog> log, const LogFormat& format);

  const PageStoreOptions options_;
  FileOps system_ops_;
  FileOps* ops_ = nullptr;
  int lock_file_ = -1;
  Digest prefix_key_{};
  std::unique_ptr<ExtentFile> extents_;
  PageSlots slots_;
  std::unique_ptr<PageTable> table_;
  std::mutex read_mutex_;
  std::unique_ptr<PageReader> reader_;  // guarded by read_mutex_
  std::unique_ptr<DiskWriter> writer_;  // null: no disk tier. Ends first: it uses the others
};

}  // namespace causeway::memory
