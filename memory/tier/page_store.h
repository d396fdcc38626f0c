// Where KV pages go when device memory is short, and what survives a restart: host memory and a folder on a local disk.
//
// A cache: whatever goes wrong with it, a page is not known any more, and its tokens are computed again. Owner: the
// engine thread, where a call says nothing else. The disk is written by a thread of the store's own.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "memory/tier/checksum.h"
#include "memory/tier/disk_writer.h"
#include "memory/tier/file_ops.h"
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
  std::unordered_map<TenantId, TenantShares> tenants;
  TenantShares other_tenants;  // without floors
};

// The tier that a server has. BeginRead's sources keep their pages as they are, in memory or on disk; they end before
// the store, on any thread, and are read by any, one at a time.
class PageStore final : public PageTier {
 public:
  // Reads the index of the folder, if there is one, and logs what it found. kInvalidArgument: sizes and shares that do
  // not fit each other. kFailedPrecondition: the folder cannot be made or written, or is another process's. A disk
  // without room, or one that fails, is a warning: the store then is without it. `ops` (null: the system) outlives it.
  static Result<std::unique_ptr<PageStore>> Open(const PageStoreOptions& options, FileOps* ops = nullptr);
  ~PageStore() override;  // writes what is queued
  PageStore(const PageStore&) = delete;
  PageStore& operator=(const PageStore&) = delete;

  // The key for the prefix index. Kept in the folder, so that page keys mean the same after a restart.
  const Digest& prefix_key() const { return prefix_key_; }

  // Never waits for the disk. The page that was used longest ago goes first, of a chain its end. A page that is known
  // is touched, and gets a copy in host memory if it has none; who put it first pays for it.
  bool Put(const PageIdentity& page, const Fill& fill) override;
  int64_t Known(std::span<const Digest> keys, int64_t first, std::span<const Token> tokens, int64_t most) override {
    return table_->Known(keys, first, tokens, most);
  }
  // Of as many pages in a row as are there still, at most `count`.
  std::unique_ptr<PageSource> BeginRead(std::span<const Digest> keys, int64_t first, int64_t count) override;
  double ReadRate() const override { return reader_->bytes_per_s(); }  // any thread
  bool persistent() const override { return writer_ != nullptr; }
  void Flush() override;  // any thread; waits until every page that was put is on disk, or given up

  PageStoreStats Stats() const;  // any thread; waits for no I/O

  // Engine thread.
  void CheckInvariants() const { table_->CheckInvariants(); }

 private:
  class Source;
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
