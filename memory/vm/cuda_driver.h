// What the CUDA backend needs of a driver, in plain types: the real one (LoadCudaDriver) or a fake one in tests. Each
// call is one of the CUDA driver's, named in its comment (CUDA Driver API, sections "Virtual Memory Management" and
// "Event Management").
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "base/result.h"

namespace causeway::memory {

using CudaStatus = int;                  // CUresult
using CudaAddress = unsigned long long;  // CUdeviceptr
using CudaHandle = unsigned long long;   // CUmemGenericAllocationHandle: one piece of physical memory
using CudaEvent = void*;                 // CUevent
using CudaStream = void*;                // CUstream; null is the default stream

inline constexpr CudaStatus kCudaSuccess = 0;
inline constexpr CudaStatus kCudaOutOfMemory = 2;
inline constexpr CudaStatus kCudaNotSupported = 801;

enum class CudaAccess : unsigned char { kRead = 1, kReadWrite = 3 };  // CUmemAccess_flags

// One device. Any thread. The calls return when they are done, and know nothing of work in flight: to unmap what a
// kernel still reads is a fault of that kernel, after which the device is of no use.
class CudaDriver {
 public:
  virtual ~CudaDriver() = default;

  virtual std::string DeviceName() const = 0;
  // CUDA_ERROR_OUT_OF_MEMORY and the like.
  virtual std::string StatusName(CudaStatus status) const = 0;
  // Whether handles can leave the process as file descriptors.
  virtual bool ExportsHandles() const = 0;
  // cuMemGetAllocationGranularity: what sizes, addresses and offsets are multiples of.
  virtual CudaStatus Granularity(size_t* bytes) = 0;

  // cuMemAddressReserve, cuMemAddressFree (nothing is mapped there any more).
  virtual CudaStatus ReserveAddress(CudaAddress* address, size_t bytes, size_t alignment) = 0;
  virtual CudaStatus FreeAddress(CudaAddress address, size_t bytes) = 0;
  // cuMemCreate of memory of the device; cuMemRelease: the memory goes when it is mapped nowhere.
  virtual CudaStatus CreateHandle(CudaHandle* handle, size_t bytes, bool exportable) = 0;
  virtual CudaStatus ReleaseHandle(CudaHandle handle) = 0;
  // cuMemExportToShareableHandle to a file descriptor, which is the caller's to close.
  virtual CudaStatus ExportHandle(int* file, CudaHandle handle) = 0;
  // cuMemMap of a whole handle, without access; cuMemSetAccess of mapped handles; cuMemUnmap of whole mappings.
  virtual CudaStatus Map(CudaAddress address, size_t bytes, CudaHandle handle) = 0;
  virtual CudaStatus SetAccess(CudaAddress address, size_t bytes, CudaAccess access) = 0;
  virtual CudaStatus Unmap(CudaAddress address, size_t bytes) = 0;

  // cuEventCreate (no timing), cuEventDestroy, cuEventRecord, cuEventSynchronize.
  virtual CudaStatus CreateEvent(CudaEvent* event) = 0;
  virtual CudaStatus DestroyEvent(CudaEvent event) = 0;
  virtual CudaStatus RecordEvent(CudaEvent event, CudaStream stream) = 0;
  virtual CudaStatus SynchronizeEvent(CudaEvent event) = 0;

  // cuMemcpyAsync and cuMemsetD8Async on a stream of the driver's own, waited for. Either side may be the host's.
  virtual CudaStatus Copy(CudaAddress to, CudaAddress from, size_t bytes) = 0;
  virtual CudaStatus Fill(CudaAddress to, unsigned char value, size_t bytes) = 0;
};

// The driver of this machine (libcuda.so.1, opened here, so that a build with CUDA starts without one) and its device
// `ordinal`. kUnsupported: built without the CUDA Toolkit; kFailedPrecondition: no driver, no such device, or one that
// has no virtual memory management. The message says which.
Result<std::unique_ptr<CudaDriver>> LoadCudaDriver(int ordinal);

}  // namespace causeway::memory
