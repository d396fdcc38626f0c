// A device's memory without a device: handles, reserved addresses and mappings, every rule of the CUDA driver checked.
// The memory is a memory file and a device address is an address of this process, so that aliases alias and what is not
// accessible traps. Kernels are numbered in the order of their launch.
#pragma once

#include <algorithm>
#include <iterator>
#include <map>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "memory/vm/cuda_driver.h"

namespace causeway::memory {

class FakeDeviceMemory {
 public:
  explicit FakeDeviceMemory(size_t granularity)
      : granularity_(granularity), file_(::memfd_create("fake-cuda", MFD_CLOEXEC)) {
    CHECK(file_ >= 0);
  }
  ~FakeDeviceMemory() {
    CHECK_MSG(mappings_.empty() && handles_.empty() && ranges_.empty(), "left behind on the device");
    ::close(file_);
  }

  size_t granularity() const { return granularity_; }
  int64_t handles() const { return std::ssize(handles_); }
  // Mappings with this access.
  int64_t mappings(bool writable) const {
    return std::count_if(mappings_.begin(), mappings_.end(), [&](const auto& entry) {
      return entry.second.accessible && entry.second.writable == writable;
    });
  }

  // 0 where the system has no such range.
  CudaAddress Reserve(size_t bytes) {
    CHECK(bytes > 0 && bytes % granularity_ == 0);
    void* const base = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
      return 0;
    }
    ranges_[reinterpret_cast<CudaAddress>(base)] = bytes;
    return reinterpret_cast<CudaAddress>(base);
  }
  void Free(CudaAddress address, size_t bytes) {
    const auto next = mappings_.lower_bound(address);
    CHECK_MSG(next == mappings_.end() || next->first >= address + bytes, "addresses freed with memory mapped there");
    CHECK(ranges_.at(address) == bytes && ranges_.erase(address) == 1);
    CHECK(::munmap(reinterpret_cast<void*>(address), bytes) == 0);
  }

  CudaHandle Create(size_t bytes, bool exportable) {
    CHECK(bytes > 0 && bytes % granularity_ == 0);
    const std::vector<char> garbage(bytes, '\x5a');  // nobody promises zeros
    CHECK(::pwrite(file_, garbage.data(), bytes, static_cast<off_t>(file_bytes_)) == static_cast<ssize_t>(bytes));
    handles_[++last_handle_] = {.offset = file_bytes_, .bytes = bytes, .exportable = exportable};
    file_bytes_ += bytes;
    return last_handle_;
  }
  void Release(CudaHandle handle) {
    CHECK_MSG(!Live(handle).released, "handle {} released twice", handle);
    Live(handle).released = true;
    DropIfUnused(handle);
  }
  // The whole file; the handle's bytes lie where they lie.
  int Export(CudaHandle handle) {
    CHECK_MSG(Live(handle).exportable, "handle {} was not created to be exported", handle);
    return ::fcntl(file_, F_DUPFD_CLOEXEC, 0);
  }

  void CheckMap(CudaAddress address, size_t bytes, CudaHandle handle) {
    CHECK_MSG(bytes == Live(handle).bytes && !Live(handle).released, "a part of handle {}, or it was released", handle);
    CHECK_MSG(Reserved(address, bytes), "mapped outside the reserved addresses");
    CHECK_MSG(!mappings_.contains(address), "mapped over a mapping");
  }
  void Map(CudaAddress address, size_t bytes, CudaHandle handle) {
    Place(address, bytes, file_, Live(handle).offset);
    mappings_[address] = {.handle = handle, .bytes = bytes};
    ++Live(handle).mappings;
  }
  // Kernels up to `launched` were launched and those up to `completed` have ended.
  void SetAccess(CudaAddress address, size_t bytes, CudaAccess access, uint64_t launched, uint64_t completed) {
    for (const CudaAddress at : Covered(address, bytes)) {
      Mapping& mapping = mappings_.at(at);
      CheckIdle(mapping, completed, launched, "access changed");
      mapping.accessible_since = mapping.accessible ? mapping.accessible_since : launched;
      mapping.accessible = true;
      mapping.writable = access == CudaAccess::kReadWrite;
      CHECK(::mprotect(reinterpret_cast<void*>(at), mapping.bytes,
                       mapping.writable ? PROT_READ | PROT_WRITE : PROT_READ) == 0);
    }
  }
  void Unmap(CudaAddress address, size_t bytes, uint64_t launched, uint64_t completed) {
    for (const CudaAddress at : Covered(address, bytes)) {
      const Mapping mapping = mappings_.at(at);
      CheckIdle(mapping, completed, launched, "unmapped");
      Place(at, mapping.bytes, -1, 0);
      mappings_.erase(at);
      --Live(mapping.handle).mappings;
      DropIfUnused(mapping.handle);
    }
  }
  // Host memory is whatever lies in no reserved range.
  void CheckAccess(CudaAddress address, size_t bytes, bool write) const {
    if (!Reserved(address, 1)) {
      return;
    }
    for (const CudaAddress at : Covered(address, bytes)) {
      CHECK_MSG(mappings_.at(at).accessible && (mappings_.at(at).writable || !write), "touched without access");
    }
  }
  // The mappings that make up the range, whole and without a hole.
  std::vector<CudaAddress> Covered(CudaAddress address, size_t bytes) const {
    std::vector<CudaAddress> covered;
    CudaAddress at = address;
    while (at < address + bytes) {
      const auto mapping = mappings_.find(at);
      CHECK_MSG(mapping != mappings_.end(), "nothing is mapped there");
      covered.push_back(at);
      at += mapping->second.bytes;
    }
    CHECK_MSG(at == address + bytes, "a part of a mapping");
    return covered;
  }

 private:
  struct Memory {
    size_t offset = 0;
    size_t bytes = 0;
    bool exportable = false;
    bool released = false;  // it lives until it is mapped nowhere
    int mappings = 0;
  };
  struct Mapping {
    CudaHandle handle = 0;
    size_t bytes = 0;
    bool accessible = false;
    bool writable = false;
    uint64_t accessible_since = 0;  // kernels launched by then know nothing of it
  };

  Memory& Live(CudaHandle handle) {
    const auto it = handles_.find(handle);
    CHECK_MSG(it != handles_.end(), "handle {} does not exist", handle);
    return it->second;
  }
  bool Reserved(CudaAddress address, size_t bytes) const {
    const auto next = ranges_.upper_bound(address);
    return next != ranges_.begin() && address + bytes <= std::prev(next)->first + std::prev(next)->second;
  }
  static void CheckIdle(const Mapping& mapping, uint64_t completed, uint64_t launched, const char* what) {
    const uint64_t oldest_that_knows = mapping.accessible_since + 1;
    CHECK_MSG(!mapping.accessible || std::max(completed + 1, oldest_that_knows) > launched,
              "{} while a kernel that may use it runs", what);
  }
  void DropIfUnused(CudaHandle handle) {
    const Memory& memory = Live(handle);
    if (memory.released && memory.mappings == 0) {
      CHECK(::fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(memory.offset),
                        static_cast<off_t>(memory.bytes)) == 0);
      handles_.erase(handle);
    }
  }
  // Of the file, or of nothing (-1); inaccessible.
  static void Place(CudaAddress address, size_t bytes, int file, size_t offset) {
    const int flags = MAP_FIXED | (file >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
    CHECK(::mmap(reinterpret_cast<void*>(address), bytes, PROT_NONE, flags, file, static_cast<off_t>(offset)) !=
          MAP_FAILED);
  }

  const size_t granularity_;
  const int file_;
  size_t file_bytes_ = 0;
  CudaHandle last_handle_ = 0;
  std::map<CudaHandle, Memory> handles_;
  std::map<CudaAddress, size_t> ranges_;
  std::map<CudaAddress, Mapping> mappings_;
};

}  // namespace causeway::memory
