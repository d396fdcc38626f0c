// Takes pages from host memory to the disk, behind the engine's back.
//
// Order of writes, for any moment at which the process may end: the record that drops an extent's former page, the
// extent's bytes and a sync of them, then the record that puts the new page. So the log never names bytes that are not
// there; what a disk loses in a power cut all the same, checksums find.
#pragma once

#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "memory/tier/extent_file.h"
#include "memory/tier/index_log.h"
#include "memory/tier/page_slots.h"
#include "memory/tier/page_table.h"
#include "memory/tier/rate_meter.h"

namespace causeway::memory {

// Owns the I/O thread, which owns the log from then on.
class DiskWriter {
 public:
  static constexpr int kBatch = 8;  // pages that share a sync, and transfers under way at once

  // `logged`: extents in which the log says that a page is. `pause`: for which a disk that fails is left alone. All
  // references outlive the writer.
  DiskWriter(PageTable& table, const PageSlots& slots, const ExtentFile& extents, std::unique_ptr<IndexLog> log,
             const LogFormat& format, std::span<const int32_t> logged, Duration pause);
  ~DiskWriter();  // writes what is queued
  DiskWriter(const DiskWriter&) = delete;
  DiskWriter& operator=(const DiskWriter&) = delete;

  double bytes_per_s() const { return meter_.rate(); }  // any thread
  std::string_view queue_name() const { return queue_->name(); }

 private:
  using Job = PageTable::WriteJob;

  void Loop();
  void WriteBatch(std::span<Job> jobs);
  bool DropFormerPages(std::span<const Job> jobs);
  bool WriteExtents(std::span<Job> jobs);
  void RecordPages(std::span<const Job> jobs);
  bool RewriteLog();
  void SyncLog();
  void Failed(std::string_view what, int error);
  void EndPause();

  // Constant, or with locks of their own.
  PageTable& table_;
  const PageSlots& slots_;
  const ExtentFile& extents_;
  const LogFormat format_;
  const Duration pause_;
  RateMeter meter_;

  // The I/O thread's.
  std::unique_ptr<IndexLog> log_;
  std::unique_ptr<IoQueue> queue_;
  std::vector<bool> logged_;  // [extents]: the log says that a page is there
  bool log_good_ = true;      // false: its end is unknown, and it must be written anew
  int errors_in_a_row_ = 0;
  Instant paused_until_ = kNever;  // kNever: not paused
  WarningGate gate_;

  std::thread thread_;
};

}  // namespace causeway::memory
