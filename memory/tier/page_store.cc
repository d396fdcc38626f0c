#include "memory/tier/page_store.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include <fcntl.h>

#include "base/check.h"
#include "base/log.h"

namespace causeway::memory {
namespace {

constexpr int64_t kMaxPlaces = std::numeric_limits<int32_t>::max();
constexpr int64_t kStagingSlots = 32;  // between the engine and the disk where there is no host tier
constexpr int64_t kMaxQueued = 64;     // writes, where there is one

Error BadOption(std::string message) { return MakeError(ErrorCode::kInvalidArgument, std::move(message)); }

// In whole pages: no more than max_bytes, no less than floor_bytes.
PageShare ToPages(const TierShare& share, int64_t slot_bytes) {
  return {.max = share.max_bytes / slot_bytes,
          .floor = share.floor_bytes / slot_bytes + (share.floor_bytes % slot_bytes != 0 ? 1 : 0)};
}

Result<void> CheckShares(const PageStoreOptions& options, std::string_view tier, TierShare TenantShares::*which,
                         int64_t capacity) {
  const int64_t slot_bytes = SlotBytes(options.page_bytes);
  if ((options.other_tenants.*which).floor_bytes != 0 || (options.other_tenants.*which).max_bytes < 0) {
    return BadOption(fmt::format("{} tier: tenants that are not named have no floor, and a quota from 0", tier));
  }
  int64_t floors = 0;
  for (const auto& [tenant, shares] : options.tenants) {
    const TierShare& share = shares.*which;
    const PageShare pages = ToPages(share, slot_bytes);
    if (share.floor_bytes < 0 || share.max_bytes < 0 || pages.floor > pages.max) {
      return BadOption(fmt::format("{} tier: tenant {} has a floor of {} bytes and a quota of {}", tier, tenant,
                                   share.floor_bytes, share.max_bytes));
    }
    floors += pages.floor;
    if (floors > capacity) {
      return BadOption(fmt::format("{} tier: the floors of all tenants are over its {} pages", tier, capacity));
    }
  }
  return {};
}

Result<void> CheckOptions(const PageStoreOptions& options) {
  if (options.page_bytes < 1 || options.page_bytes > int64_t{1} << 30 || options.tokens_per_page < 1 ||
      options.tokens_per_page > 1 << 20) {
    return BadOption(fmt::format("a page of {} bytes for {} tokens", options.page_bytes, options.tokens_per_page));
  }
  const int64_t slot_bytes = SlotBytes(options.page_bytes);
  const auto check_tier = [&](std::string_view tier, int64_t bytes, TierShare TenantShares::*which) -> Result<void> {
    if (bytes < slot_bytes || bytes / slot_bytes > kMaxPlaces) {
      return BadOption(
          fmt::format("a {} tier of {} bytes cannot be: pages of {} bytes need from one to {} times as many", tier,
                      bytes, slot_bytes, kMaxPlaces));
    }
    return CheckShares(options, tier, which, bytes / slot_bytes);
  };
  if (options.host_bytes == 0 && options.folder.empty()) {
    return BadOption("a page store needs a host tier, a folder, or both");
  }
  if (options.host_bytes != 0) {
    TRY(check_tier("host", options.host_bytes, &TenantShares::host));
  }
  if (!options.folder.empty()) {
    TRY(check_tier("disk", options.disk_bytes, &TenantShares::disk));
  }
  return {};
}

// The folder's lock file, locked; or the error for who started us.
Result<int> LockFolder(FileOps& ops, const std::string& folder) {
  std::error_code ignored;  // what matters is whether the folder itself can be made
  std::filesystem::create_directories(std::filesystem::path(folder).parent_path(), ignored);
  const auto failed = [&](std::string_view what, int error) {
    return MakeError(ErrorCode::kFailedPrecondition, fmt::format("{} {}: {}", what, folder, ErrorText(error)));
  };
  if (const int error = ops.MakeFolder(folder); error != 0) {
    return failed("cannot make the folder", error);
  }
  const int file = ops.Open(folder + "/lock", O_RDWR | O_CREAT);
  if (file < 0) {
    return failed("cannot write to the folder", file);
  }
  if (const int error = ops.LockFile(file); error != 0) {
    ops.Close(file);
    if (error == -EWOULDBLOCK) {
      return MakeError(ErrorCode::kFailedPrecondition,
                       fmt::format("another process uses the folder {}: give each its own", folder));
    }
    return failed("cannot lock the folder", error);
  }
  return file;
}

}  // namespace

// ---- Source ----------------------------------------------------------------------------------------

class PageStore::Source final : public PageSource {
 public:
  Source(PageStore& store, std::vector<PageTable::Pinned> pages) : store_(store), pages_(std::move(pages)) {}
  ~Source() override { store_.table_->Unpin(pages_); }
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  int64_t Read(const Sink& sink) override {
    const std::lock_guard lock(store_.read_mutex_);
    return store_.reader_->Read(pages_, sink);
  }

 private:
  PageStore& store_;
  const std::vector<PageTable::Pinned> pages_;
};

std::unique_ptr<PageSource> PageStore::BeginRead(std::span<const Digest> keys, int64_t first, int64_t count) {
  return std::make_unique<Source>(*this, table_->Pin(keys, first, count));
}

// ---- Opening ---------------------------------------------------------------------------------------

Result<std::unique_ptr<PageStore>> PageStore::Open(const PageStoreOptions& options, FileOps* ops) {
  TRY(CheckOptions(options));
  std::unique_ptr<PageStore> store(new PageStore(options));
  store->ops_ = ops != nullptr ? ops : &store->system_ops_;
  const LogFormat format{options.page_bytes, options.tokens_per_page, options.fingerprint};
  std::unique_ptr<IndexLog> log;
  std::vector<PageRecord> pages;
  if (!options.folder.empty()) {
    ASSIGN_OR_RETURN(store->lock_file_, LockFolder(*store->ops_, options.folder));
    if (auto opened = store->OpenDisk(format, pages); opened.ok()) {
      log = std::move(opened).value();
    } else {
      LOG_WARNING("no disk tier: {}", opened.error().message);
      pages.clear();
    }
  }
  store->prefix_key_ = log != nullptr ? log->prefix_key() : RandomKey();
  TRY(store->MakeTable());
  store->reader_ = std::make_unique<PageReader>(*store->table_, store->slots_, store->extents_.get(), format);
  if (log != nullptr) {
    store->StartDisk(std::move(pages), std::move(log), format);
  }
  return store;
}

Result<std::unique_ptr<IndexLog>> PageStore::OpenDisk(const LogFormat& format, std::vector<PageRecord>& pages) {
  const int64_t slot_bytes = SlotBytes(options_.page_bytes);
  ASSIGN_OR_RETURN(auto extents,
                   ExtentFile::Open(*ops_, options_.folder + "/pages.data", options_.disk_bytes, slot_bytes));
  ASSIGN_OR_RETURN(auto log, IndexLog::Open(*ops_, options_.folder, format, pages));
  extents_ = std::move(extents);
  return log;
}

Result<void> PageStore::MakeTable() {
  const int64_t slot_bytes = SlotBytes(options_.page_bytes);
  const int64_t extents = extents_ != nullptr ? extents_->extents() : 0;
  PageTableOptions table;
  table.tokens_per_page = options_.tokens_per_page;
  table.slot_bytes = slot_bytes;
  table.extents = extents;
  table.host_tier = options_.host_bytes > 0;
  table.slots =
      table.host_tier ? options_.host_bytes / slot_bytes : std::min(kStagingSlots, std::max<int64_t>(extents, 1));
  table.max_queued = table.host_tier ? std::min(kMaxQueued, std::max<int64_t>(table.slots / 2, 1)) : table.slots;
  table.disk_others = ToPages(options_.other_tenants.disk, slot_bytes);
  // Slots that only carry pages to the disk are nobody's.
  table.host_others = table.host_tier ? ToPages(options_.other_tenants.host, slot_bytes) : PageShare{kMaxPlaces, 0};
  for (const auto& [tenant, shares] : options_.tenants) {
    table.disk_shares[tenant] = ToPages(shares.disk, slot_bytes);
    if (table.host_tier) {
      table.host_shares[tenant] = ToPages(shares.host, slot_bytes);
    }
  }
  ASSIGN_OR_RETURN(slots_, PageSlots::Create(table.slots, slot_bytes));
  table_ = std::make_unique<PageTable>(table);
  return {};
}

void PageStore::StartDisk(std::vector<PageRecord> pages, std::unique_ptr<IndexLog> log, const LogFormat& format) {
  const size_t found = pages.size();
  // What does not fit any more is still in the log; a drop comes before its extent is used again.
  std::vector<int32_t> logged;
  for (const PageRecord& page : pages) {
    if (page.extent < extents_->extents()) {
      logged.push_back(page.extent);
    }
  }
  table_->Restore(pages);
  writer_ =
      std::make_unique<DiskWriter>(*table_, slots_, *extents_, std::move(log), format, logged, options_.disk_pause);
  LOG_INFO("disk tier {}: {} pages ({} bytes) of {} found, {} dropped; {} by {}", options_.folder, pages.size(),
           static_cast<int64_t>(pages.size()) * SlotBytes(options_.page_bytes), extents_->extents(),
           found - pages.size(), extents_->direct() ? "direct I/O" : "buffered I/O", writer_->queue_name());
}

PageStore::~PageStore() {
  writer_ = nullptr;
  reader_ = nullptr;
  extents_ = nullptr;
  if (lock_file_ >= 0) {
    ops_->Close(lock_file_);
  }
}

// ---- Use -------------------------------------------------------------------------------------------

bool PageStore::Put(const PageIdentity& page, const Fill& fill) {
  CHECK(static_cast<int64_t>(page.tokens.size()) == options_.tokens_per_page);
  const PageTable::Claim claim = table_->BeginPut(page);
  if (claim.action != PageTable::Claim::Do::kFill) {
    return claim.known;
  }
  if (!slots_.Prefault(claim.slot)) {
    table_->AbortPut(claim, PageLoss::kNoMemory);
    return claim.known;
  }
  if (const Result<void> filled = fill(slots_[claim.slot].first(static_cast<size_t>(options_.page_bytes)));
      !filled.ok()) {
    table_->AbortPut(claim, PageLoss::kFillFailed);
    return claim.known;
  }
  table_->CommitPut(page, claim);
  return true;
}

PageStoreStats PageStore::Stats() const {
  PageStoreStats stats = table_->Stats();
  for (const Tier tier : {Tier::kHost, Tier::kDisk}) {
    stats.tiers[static_cast<size_t>(tier)].read_bytes_per_s = reader_->bytes_per_s(tier);
  }
  if (writer_ != nullptr) {
    stats.tiers[static_cast<size_t>(Tier::kDisk)].write_bytes_per_s = writer_->bytes_per_s();
  }
  return stats;
}

void PageStore::Flush() {
  if (writer_ != nullptr) {
    table_->Flush();
  }
}

}  // namespace causeway::memory
