// A CUDA driver over a fake device: kernels that "run" until an event is waited for, and failures on demand.
#pragma once

#include <algorithm>
#include <array>
#include <mutex>
#include <string>

#include "tests/support/fake_device_memory.h"

namespace causeway::memory {

enum class CudaCall : uint8_t {
  kReserve,
  kCreate,
  kRelease,
  kExport,
  kMap,
  kSetAccess,
  kUnmap,
  kEvent,
  kRecord,
  kSynchronize,
  kCopy,
  kFill
};
inline constexpr size_t kCudaCalls = 12;

struct FakeCudaOptions {
  size_t granularity = 4096;
  bool read_only = true;  // knows access for reading only
  bool exports_handles = true;
};

class FakeCudaDriver final : public CudaDriver {
 public:
  explicit FakeCudaDriver(const FakeCudaOptions& options = {}) : options_(options), memory_(options.granularity) {}
  ~FakeCudaDriver() override { CHECK(events_ == 0); }

  // The `nth` call of this kind, or of any kind, from now on fails (1 is the next one; 0: none).
  void FailNth(CudaCall call, int nth) { fail_in_[static_cast<size_t>(call)] = nth; }
  void FailNthOfAny(int nth) { fail_any_in_ = nth; }
  int64_t failures() const { return failures_; }
  uint64_t calls(CudaCall call) const { return calls_[static_cast<size_t>(call)]; }
  // A kernel starts, and runs until an event recorded after it is waited for. It may use whatever is accessible now.
  void Launch() { ++launched_; }
  bool Running() const { return completed_ < launched_; }
  const FakeDeviceMemory& memory() const { return memory_; }

  std::string DeviceName() const override { return "fake device"; }
  std::string StatusName(CudaStatus status) const override {
    return status == kCudaOutOfMemory ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_NOT_SUPPORTED";
  }
  bool ExportsHandles() const override { return options_.exports_handles; }
  CudaStatus Granularity(size_t* bytes) override {
    *bytes = options_.granularity;
    return kCudaSuccess;
  }

  CudaStatus ReserveAddress(CudaAddress* address, size_t bytes, size_t alignment) override {
    const std::lock_guard lock(mutex_);
    CHECK(alignment % options_.granularity == 0);
    *address = Fails(CudaCall::kReserve) ? 0 : memory_.Reserve(bytes);
    return *address == 0 ? kCudaOutOfMemory : kCudaSuccess;
  }
  CudaStatus FreeAddress(CudaAddress address, size_t bytes) override {
    const std::lock_guard lock(mutex_);
    memory_.Free(address, bytes);
    return kCudaSuccess;
  }
  CudaStatus CreateHandle(CudaHandle* handle, size_t bytes, bool exportable) override {
    return Call(CudaCall::kCreate, kCudaOutOfMemory, [&] { *handle = memory_.Create(bytes, exportable); });
  }
  CudaStatus ReleaseHandle(CudaHandle handle) override {
    return Call(CudaCall::kRelease, kCudaNotSupported, [&] { memory_.Release(handle); });
  }
  CudaStatus ExportHandle(int* file, CudaHandle handle) override {
    return Call(CudaCall::kExport, kCudaNotSupported, [&] { *file = memory_.Export(handle); });
  }
  CudaStatus Map(CudaAddress address, size_t bytes, CudaHandle handle) override {
    const std::lock_guard lock(mutex_);
    memory_.CheckMap(address, bytes, handle);
    if (Fails(CudaCall::kMap)) {
      return kCudaOutOfMemory;
    }
    memory_.Map(address, bytes, handle);
    return kCudaSuccess;
  }
  CudaStatus SetAccess(CudaAddress address, size_t bytes, CudaAccess access) override {
    const std::lock_guard lock(mutex_);
    (void)memory_.Covered(address, bytes);
    if (Fails(CudaCall::kSetAccess) || (access == CudaAccess::kRead && !options_.read_only)) {
      return kCudaNotSupported;
    }
    memory_.SetAccess(address, bytes, access, launched_, completed_);
    return kCudaSuccess;
  }
  CudaStatus Unmap(CudaAddress address, size_t bytes) override {
    return Call(CudaCall::kUnmap, kCudaNotSupported, [&] { memory_.Unmap(address, bytes, launched_, completed_); });
  }

  CudaStatus CreateEvent(CudaEvent* event) override {
    return Call(CudaCall::kEvent, kCudaOutOfMemory, [&] {
      ++events_;
      *event = &recorded_;
    });
  }
  CudaStatus DestroyEvent(CudaEvent /*event*/) override {
    --events_;
    return kCudaSuccess;
  }
  CudaStatus RecordEvent(CudaEvent /*event*/, CudaStream /*stream*/) override {
    return Call(CudaCall::kRecord, kCudaNotSupported, [&] { recorded_ = launched_; });
  }
  CudaStatus SynchronizeEvent(CudaEvent /*event*/) override {
    return Call(CudaCall::kSynchronize, kCudaNotSupported, [&] { completed_ = recorded_; });
  }
  CudaStatus Copy(CudaAddress to, CudaAddress from, size_t bytes) override {
    return Call(CudaCall::kCopy, kCudaNotSupported, [&] {
      memory_.CheckAccess(from, bytes, false);
      memory_.CheckAccess(to, bytes, true);
      std::copy_n(reinterpret_cast<const char*>(from), bytes, reinterpret_cast<char*>(to));
    });
  }
  CudaStatus Fill(CudaAddress to, unsigned char value, size_t bytes) override {
    return Call(CudaCall::kFill, kCudaNotSupported, [&] {
      memory_.CheckAccess(to, bytes, true);
      std::fill_n(reinterpret_cast<unsigned char*>(to), bytes, value);
    });
  }

 private:
  bool Fails(CudaCall call) {
    const auto index = static_cast<size_t>(call);
    ++calls_[index];
    const bool any = fail_any_in_ > 0 && --fail_any_in_ == 0;
    const bool fails = (fail_in_[index] > 0 && --fail_in_[index] == 0) || any;
    failures_ += fails ? 1 : 0;
    return fails;
  }
  template <typename Action>
  CudaStatus Call(CudaCall call, CudaStatus failure, const Action& action) {
    const std::lock_guard lock(mutex_);
    if (Fails(call)) {
      return failure;
    }
    action();
    return kCudaSuccess;
  }

  const FakeCudaOptions options_;
  std::mutex mutex_;
  FakeDeviceMemory memory_;
  int events_ = 0;
  uint64_t launched_ = 0;  // kernels, by number
  uint64_t recorded_ = 0;  // those that the event stands behind
  uint64_t completed_ = 0;
  std::array<int, kCudaCalls> fail_in_{};  // 0: never
  int fail_any_in_ = 0;
  int64_t failures_ = 0;
  std::array<uint64_t, kCudaCalls> calls_{};
};

}  // namespace causeway::memory
