// A backend under which a step runs beside the host, as on a device: from StepSubmitted() on a thread reads every page
// that was mapped then, again and again, until somebody waits for the step. Over the Linux backend, so that a page
// taken away before the end is a trap.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <thread>
#include <vector>

#include "memory/vm/vm_backend.h"

namespace causeway::memory {

class StepReaderBackend final : public VmBackend {
 public:
  // kNever is the mistake to be caught: pages are unmapped at once.
  enum class Waits : uint8_t { kAlways, kNever };

  StepReaderBackend(const VmOptions& options, Waits waits)
      : page_bytes_(options.page_bytes), waits_(waits), linux_(MakeLinuxBackend(options).value()) {}
  ~StepReaderBackend() override { EndStep(); }

  void EndStep() {
    ended_ = true;
    if (step_.joinable()) {
      step_.join();
    }
  }
  // Reads of a page by steps so far.
  int64_t reads() const { return reads_; }
  bool running() const { return !ended_; }

  void StepSubmitted() override {
    EndStep();  // one after the other
    ended_ = false;
    const std::vector<const std::byte*> pages = Mapped();
    const int64_t before = reads_;
    step_ = std::thread([this, pages] { Read(pages); });
    while (!pages.empty() && reads_ == before) {
      std::this_thread::yield();
    }
  }

  std::string_view name() const override { return "step_reader"; }
  int64_t granularity() const override { return linux_->granularity(); }
  int64_t MaxMappings() const override { return linux_->MaxMappings(); }
  Result<std::byte*> ReserveArena(int64_t bytes) override { return linux_->ReserveArena(bytes); }
  Result<void> Create(PageId page) override { return linux_->Create(page); }
  Result<void> Release(PageId page) override { return Wait().linux_->Release(page); }
  Result<void> Map(std::byte* address, std::span<const PageId> pages, bool writable) override {
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < pages.size(); ++i) {
      mapped_.insert(address + static_cast<int64_t>(i) * page_bytes_);
    }
    return linux_->Map(address, pages, writable);
  }
  Result<void> Replace(std::byte* address, PageId page, bool writable) override {
    return Wait().linux_->Replace(address, page, writable);
  }
  Result<void> Protect(std::byte* address, int64_t count, bool writable) override {
    return Wait().linux_->Protect(address, count, writable);
  }
  Result<void> Unmap(std::byte* address, int64_t count) override {
    const std::lock_guard lock(mutex_);
    for (int64_t i = 0; i < count; ++i) {
      mapped_.erase(address + i * page_bytes_);
    }
    return Wait().linux_->Unmap(address, count);
  }
  Result<void> Copy(std::byte* to, const std::byte* from) override { return linux_->Copy(to, from); }
  Result<void> ReadPage(PageId page, std::span<std::byte> to) override { return linux_->ReadPage(page, to); }
  Result<void> WritePage(PageId page, std::span<const std::byte> from) override {
    return linux_->WritePage(page, from);
  }
  int64_t PhysicalBytes() const override { return linux_->PhysicalBytes(); }

 private:
  std::vector<const std::byte*> Mapped() {
    const std::lock_guard lock(mutex_);
    return {mapped_.begin(), mapped_.end()};
  }
  StepReaderBackend& Wait() {
    if (waits_ == Waits::kAlways) {
      EndStep();
    }
    return *this;
  }
  void Read(const std::vector<const std::byte*>& pages) {
    while (!ended_ && !pages.empty()) {
      for (const std::byte* const page : pages) {
        (void)*static_cast<const volatile std::byte*>(page);
        ++reads_;
      }
    }
  }

  const int64_t page_bytes_;
  const Waits waits_;
  const std::unique_ptr<VmBackend> linux_;
  std::mutex mutex_;
  std::set<const std::byte*> mapped_;  // guarded
  std::atomic<bool> ended_{true};
  std::atomic<int64_t> reads_{0};
  std::thread step_;  // last: it reads the others
};

}  // namespace causeway::memory
