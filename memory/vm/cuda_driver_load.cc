// The real driver: libcuda.so.1 opened at run time. Compiled where the CUDA Toolkit is; its header is all that is used.
#include <array>
#include <type_traits>
#include <utility>

#include <cuda.h>
#include <dlfcn.h>

#include <fmt/format.h>

#include "memory/vm/cuda_driver.h"

namespace causeway::memory {
namespace {

static_assert(std::is_same_v<CudaAddress, CUdeviceptr> && std::is_same_v<CudaHandle, CUmemGenericAllocationHandle>);
static_assert(kCudaSuccess == CUDA_SUCCESS && kCudaOutOfMemory == CUDA_ERROR_OUT_OF_MEMORY &&
              kCudaNotSupported == CUDA_ERROR_NOT_SUPPORTED);
static_assert(static_cast<int>(CudaAccess::kRead) == CU_MEM_ACCESS_FLAGS_PROT_READ &&
              static_cast<int>(CudaAccess::kReadWrite) == CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
static_assert(std::is_pointer_v<CUevent> && std::is_pointer_v<CUstream>);

// The driver's functions that are used. The header renames some to a version of theirs (cuEventDestroy_v2), and the
// symbol looked up is the renamed one.
#define CAUSEWAY_CUDA_FUNCTIONS(X)  \
  X(cuInit);                        \
  X(cuGetErrorName);                \
  X(cuDeviceGet);                   \
  X(cuDeviceGetName);               \
  X(cuDeviceGetAttribute);          \
  X(cuDevicePrimaryCtxRetain);      \
  X(cuDevicePrimaryCtxRelease);     \
  X(cuCtxSetCurrent);               \
  X(cuMemGetAllocationGranularity); \
  X(cuMemAddressReserve);           \
  X(cuMemAddressFree);              \
  X(cuMemCreate);                   \
  X(cuMemRelease);                  \
  X(cuMemExportToShareableHandle);  \
  X(cuMemMap);                      \
  X(cuMemSetAccess);                \
  X(cuMemUnmap);                    \
  X(cuEventCreate);                 \
  X(cuEventDestroy);                \
  X(cuEventRecord);                 \
  X(cuEventSynchronize);            \
  X(cuStreamCreate);                \
  X(cuStreamDestroy);               \
  X(cuStreamSynchronize);           \
  X(cuMemcpyAsync);                 \
  X(cuMemsetD8Async);

struct Functions {
#define CAUSEWAY_DECLARE(function) decltype(&::function) function = nullptr
  CAUSEWAY_CUDA_FUNCTIONS(CAUSEWAY_DECLARE)
#undef CAUSEWAY_DECLARE
};

// Never closed: the driver's threads outlive whoever used it.
Result<Functions> OpenDriver() {
  void* const library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return MakeError(ErrorCode::kFailedPrecondition, fmt::format("no CUDA driver: {}", ::dlerror()));
  }
  Functions functions;
  const char* missing = nullptr;
#define CAUSEWAY_NAME(function) #function
#define CAUSEWAY_FIND(function)                                                                            \
  functions.function = reinterpret_cast<decltype(&::function)>(::dlsym(library, CAUSEWAY_NAME(function))); \
  missing = functions.function == nullptr ? CAUSEWAY_NAME(function) : missing
  CAUSEWAY_CUDA_FUNCTIONS(CAUSEWAY_FIND)
#undef CAUSEWAY_FIND
#undef CAUSEWAY_NAME
  if (missing != nullptr) {
    return MakeError(ErrorCode::kFailedPrecondition, fmt::format("the CUDA driver is too old: it has no {}", missing));
  }
  return functions;
}

class RealCudaDriver final : public CudaDriver {
 public:
  RealCudaDriver(const Functions& cuda, CUdevice device) : cuda_(cuda), device_(device) {}
  RealCudaDriver(const RealCudaDriver&) = delete;
  RealCudaDriver& operator=(const RealCudaDriver&) = delete;
  ~RealCudaDriver() override {
    if (copies_ != nullptr && MakeCurrent() == CUDA_SUCCESS) {
      cuda_.cuStreamDestroy(copies_);
    }
    if (context_ != nullptr) {
      cuda_.cuDevicePrimaryCtxRelease(device_);
    }
  }

  // The context that the runtime of the same device uses, and a stream for copies beside the kernels' ones.
  Result<void> Open() {
    std::array<char, 256> name{};
    TRY(Check(cuda_.cuDeviceGetName(name.data(), static_cast<int>(name.size()), device_), "cuDeviceGetName"));
    name_ = name.data();
    int has_virtual_memory = 0;
    int exports = 0;
    TRY(Check(cuda_.cuDeviceGetAttribute(&has_virtual_memory, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
                                         device_),
              "cuDeviceGetAttribute"));
    if (has_virtual_memory == 0) {
      return MakeError(ErrorCode::kFailedPrecondition, name_ + " has no virtual memory management");
    }
    TRY(Check(
        cuda_.cuDeviceGetAttribute(&exports, CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED, device_),
        "cuDeviceGetAttribute"));
    exports_ = exports != 0;
    TRY(Check(cuda_.cuDevicePrimaryCtxRetain(&context_, device_), "cuDevicePrimaryCtxRetain"));
    TRY(Check(MakeCurrent(), "cuCtxSetCurrent"));
    return Check(cuda_.cuStreamCreate(&copies_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
  }

  std::string DeviceName() const override { return name_; }
  std::string StatusName(CudaStatus status) const override {
    const char* name = nullptr;
    const bool known = cuda_.cuGetErrorName(static_cast<CUresult>(status), &name) == CUDA_SUCCESS && name != nullptr;
    return known ? name : fmt::format("CUDA error {}", status);
  }
  bool ExportsHandles() const override { return exports_; }
  CudaStatus Granularity(size_t* bytes) override {
    const CUmemAllocationProp properties = Properties(exports_);
    return cuda_.cuMemGetAllocationGranularity(bytes, &properties, CU_MEM_ALLOC_GRANULARITY_MINIMUM);
  }

  CudaStatus ReserveAddress(CudaAddress* address, size_t bytes, size_t alignment) override {
    return cuda_.cuMemAddressReserve(address, bytes, alignment, 0, 0);
  }
  CudaStatus FreeAddress(CudaAddress address, size_t bytes) override { return cuda_.cuMemAddressFree(address, bytes); }
  CudaStatus CreateHandle(CudaHandle* handle, size_t bytes, bool exportable) override {
    const CUmemAllocationProp properties = Properties(exportable);
    return cuda_.cuMemCreate(handle, bytes, &properties, 0);
  }
  CudaStatus ReleaseHandle(CudaHandle handle) override { return cuda_.cuMemRelease(handle); }
  CudaStatus ExportHandle(int* file, CudaHandle handle) override {
    return cuda_.cuMemExportToShareableHandle(file, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
  }
  CudaStatus Map(CudaAddress address, size_t bytes, CudaHandle handle) override {
    return cuda_.cuMemMap(address, bytes, 0, handle, 0);
  }
  CudaStatus SetAccess(CudaAddress address, size_t bytes, CudaAccess access) override {
    CUmemAccessDesc descriptor{};
    descriptor.location = Location();
    descriptor.flags = static_cast<CUmemAccess_flags>(access);
    return cuda_.cuMemSetAccess(address, bytes, &descriptor, 1);
  }
  CudaStatus Unmap(CudaAddress address, size_t bytes) override { return cuda_.cuMemUnmap(address, bytes); }

  CudaStatus CreateEvent(CudaEvent* event) override {
    return InContext([&] { return cuda_.cuEventCreate(reinterpret_cast<CUevent*>(event), CU_EVENT_DISABLE_TIMING); });
  }
  CudaStatus DestroyEvent(CudaEvent event) override {
    return InContext([&] { return cuda_.cuEventDestroy(static_cast<CUevent>(event)); });
  }
  CudaStatus RecordEvent(CudaEvent event, CudaStream stream) override {
    return InContext([&] { return cuda_.cuEventRecord(static_cast<CUevent>(event), static_cast<CUstream>(stream)); });
  }
  CudaStatus SynchronizeEvent(CudaEvent event) override {
    return InContext([&] { return cuda_.cuEventSynchronize(static_cast<CUevent>(event)); });
  }

  CudaStatus Copy(CudaAddress to, CudaAddress from, size_t bytes) override {
    return AndWait([&] { return cuda_.cuMemcpyAsync(to, from, bytes, copies_); });
  }
  CudaStatus Fill(CudaAddress to, unsigned char value, size_t bytes) override {
    return AndWait([&] { return cuda_.cuMemsetD8Async(to, value, bytes, copies_); });
  }

 private:
  // A thread has a current context or none; ours may come from anywhere.
  CUresult MakeCurrent() const { return cuda_.cuCtxSetCurrent(context_); }
  template <typename Call>
  CUresult InContext(const Call& call) const {
    const CUresult status = MakeCurrent();
    return status == CUDA_SUCCESS ? call() : status;
  }
  // What `submit` puts on the stream of copies has happened.
  template <typename Call>
  CUresult AndWait(const Call& submit) const {
    const CUresult status = InContext(submit);
    return status == CUDA_SUCCESS ? cuda_.cuStreamSynchronize(copies_) : status;
  }
  CUmemLocation Location() const {
    CUmemLocation location{};
    location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    location.id = device_;
    return location;
  }
  CUmemAllocationProp Properties(bool exportable) const {
    CUmemAllocationProp properties{};
    properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location = Location();
    properties.requestedHandleTypes = exportable ? CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR : CU_MEM_HANDLE_TYPE_NONE;
    return properties;
  }
  Result<void> Check(CUresult status, const char* call) const {
    if (status == CUDA_SUCCESS) {
      return {};
    }
    return MakeError(ErrorCode::kFailedPrecondition, fmt::format("{}: {}", call, StatusName(status)));
  }

  const Functions cuda_;
  const CUdevice device_;
  std::string name_;
  bool exports_ = false;
  CUcontext context_ = nullptr;
  CUstream copies_ = nullptr;
};

}  // namespace

Result<std::unique_ptr<CudaDriver>> LoadCudaDriver(int ordinal) {
  ASSIGN_OR_RETURN(const Functions cuda, OpenDriver());
  CUdevice device = 0;
  CUresult status = cuda.cuInit(0);
  if (status == CUDA_SUCCESS) {
    status = cuda.cuDeviceGet(&device, ordinal);
  }
  auto driver = std::make_unique<RealCudaDriver>(cuda, device);
  if (status != CUDA_SUCCESS) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     fmt::format("no CUDA device {}: {}", ordinal, driver->StatusName(status)));
  }
  TRY(driver->Open());
  return std::unique_ptr<CudaDriver>(std::move(driver));
}

}  // namespace causeway::memory
