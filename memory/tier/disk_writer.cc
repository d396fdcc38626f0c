#include "memory/tier/disk_writer.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/log.h"

namespace causeway::memory {
namespace {

constexpr int kMaxErrorsInARow = 16;      // then the disk is left alone for a while
constexpr int64_t kExtentsPerLook = 256;  // that a rewrite of the log copies under the table's lock at a time
constexpr int64_t kSpareRecords = 1024;   // that a small log may have too many

}  // namespace

DiskWriter::DiskWriter(PageTable& table, const PageSlots& slots, const ExtentFile& extents,
                       std::unique_ptr<IndexLog> log, const LogFormat& format, std::span<const int32_t> logged,
                       Duration pause)
    : table_(table),
      slots_(slots),
      extents_(extents),
      format_(format),
      pause_(pause),
      log_(std::move(log)),
      queue_(extents.NewQueue(kBatch)),
      logged_(static_cast<size_t>(extents.extents())) {
  for (const int32_t extent : logged) {
    logged_[static_cast<size_t>(extent)] = true;
  }
  thread_ = std::thread([this] { Loop(); });
}

DiskWriter::~DiskWriter() {
  table_.Stop();
  thread_.join();
}

void DiskWriter::Loop() {
  for (;;) {
    PageTable::Work work = table_.WaitForWork(kBatch, paused_until_);
    if (paused_until_ != kNever && Clock::now() >= paused_until_) {
      EndPause();
    }
    if (work.stop) {
      RewriteLog();  // with the latest order of uses
      return;
    }
    if (work.flush != 0) {
      SyncLog();
      table_.FinishFlush(work.flush);
      continue;
    }
    if (work.jobs.empty()) {
      continue;
    }
    WriteBatch(work.jobs);
    table_.FinishWrites(work.jobs);
    if (log_->records() > 2 * table_.OnDisk() + kSpareRecords) {
      RewriteLog();
    }
  }
}

void DiskWriter::WriteBatch(std::span<Job> jobs) {
  if (paused_until_ != kNever || (!log_good_ && !RewriteLog()) || !DropFormerPages(jobs)) {
    return;
  }
  const Instant start = Clock::now();
  if (!WriteExtents(jobs)) {
    return;
  }
  meter_.Add(static_cast<int64_t>(jobs.size()) * SlotBytes(format_.page_bytes), Clock::now() - start);
  RecordPages(jobs);
}

bool DiskWriter::DropFormerPages(std::span<const Job> jobs) {
  for (const Job& job : jobs) {
    if (logged_[static_cast<size_t>(job.extent)]) {
      log_->Drop(job.extent);
      logged_[static_cast<size_t>(job.extent)] = false;
    }
  }
  if (const int error = log_->Write(); error != 0) {
    log_good_ = false;
    Failed("its index", error);
    return paused_until_ == kNever && RewriteLog();
  }
  return true;
}

// Marks the jobs whose bytes are on disk; false if there are none.
bool DiskWriter::WriteExtents(std::span<Job> jobs) {
  std::array<IoRequest, kBatch> requests;
  CHECK(jobs.size() <= requests.size());
  for (size_t i = 0; i < jobs.size(); ++i) {
    Job& job = jobs[i];
    const std::span<std::byte> bytes = slots_[job.slot];
    requests[i].kind = IoRequest::Kind::kWrite;
    requests[i].offset = extents_.Offset(job.extent);
    requests[i].bytes = bytes;
    queue_->Submit(requests[i]);
    job.checksum =
        PageChecksum(format_.fingerprint, job.entry->Identity(), bytes.first(static_cast<size_t>(format_.page_bytes)));
  }
  bool any = false;
  for (size_t i = 0; i < jobs.size(); ++i) {
    queue_->Wait(requests[i]);
    jobs[i].failed = requests[i].error != 0;
    any = any || !jobs[i].failed;
    if (jobs[i].failed) {
      Failed("a page", requests[i].error);
    }
  }
  if (!any) {
    return false;
  }
  if (const int error = extents_.Sync(); error != 0) {  // whose bytes are there is unknown now
    Failed("pages", error);
    std::for_each(jobs.begin(), jobs.end(), [](Job& job) { job.failed = true; });
    return false;
  }
  errors_in_a_row_ = 0;
  return true;
}

void DiskWriter::RecordPages(std::span<const Job> jobs) {
  for (const Job& job : jobs) {
    if (!job.failed) {
      const PageEntry& entry = *job.entry;
      log_->Put(
          {entry.key, entry.parent, entry.place, entry.tenant, job.extent, job.last_use, job.checksum, entry.tokens});
      logged_[static_cast<size_t>(job.extent)] = true;
    }
  }
  // The pages are on disk all the same; the rewrite that comes next records them.
  if (const int error = log_->Write(); error != 0) {
    Failed("its index", error);
    log_good_ = false;
  }
}

bool DiskWriter::RewriteLog() {
  std::vector<bool> logged(logged_.size());
  int64_t next = 0;
  const int error = log_->Rewrite([&](std::vector<PageRecord>& pages) {
    table_.CopyRecords(next, kExtentsPerLook, pages);
    next += kExtentsPerLook;
    for (const PageRecord& page : pages) {
      logged[static_cast<size_t>(page.extent)] = true;
    }
    return next < extents_.extents();
  });
  if (error != 0) {
    Failed("its index", error);
    return false;
  }
  logged_ = std::move(logged);
  log_good_ = true;
  return true;
}

void DiskWriter::SyncLog() {
  if (paused_until_ != kNever || (!log_good_ && !RewriteLog())) {
    return;
  }
  if (const int error = log_->Sync(); error != 0) {
    Failed("its index", error);
    log_good_ = false;
  }
}

void DiskWriter::Failed(std::string_view what, int error) {
  table_.ReportWriteError();
  if (gate_.Pass(Clock::now())) {
    LOG_WARNING("the disk tier cannot write {}: {}; prompts are computed again instead", what, ErrorText(error));
  }
  if (++errors_in_a_row_ == kMaxErrorsInARow) {
    paused_until_ = Clock::now() + pause_;
    table_.SetWritable(false);
    LOG_WARNING("the disk tier writes nothing for {:.0f} s after {} errors in a row; what is there is still read",
                ToSeconds(pause_), kMaxErrorsInARow);
  }
}

// A log that can be written anew shows that the disk takes writes again.
void DiskWriter::EndPause() {
  paused_until_ = kNever;
  errors_in_a_row_ = kMaxErrorsInARow - 1;  // one more, and it pauses again
  if (RewriteLog()) {
    errors_in_a_row_ = 0;
    table_.SetWritable(true);
    LOG_INFO("the disk tier writes again");
  }
}

}  // namespace causeway::memory
