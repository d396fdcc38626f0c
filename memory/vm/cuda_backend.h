// Pages in the memory of a CUDA device: cuMemCreate, cuMemMap. Compiled in every build; it needs a driver to run.
#pragma once

#include <memory>

#include "memory/vm/cuda_driver.h"
#include "memory/vm/vm_backend.h"

namespace causeway::memory {

struct CudaVmOptions {
  CudaStream step_stream = nullptr;  // where steps are submitted, before StepSubmitted() is called
  // Pages mapped for reading only are so to the device, so that a kernel that writes one faults. What it costs is twice
  // a mapping, and a wait for the last step, for every page that is sealed (README.md): for tests and for looking for
  // such a kernel. Without, nothing stops it.
  bool protect_sealed = false;
};

// Addresses are the device's; the host must not touch them. A call that must wait for the last step returns that step's
// error if it failed (kInternal: the device is of no use any more).
class CudaVmBackend : public VmBackend {
 public:
  // A file descriptor by which another process can map this page; the caller closes it. kUnsupported: the device
  // exports none.
  virtual Result<int> ExportPage(PageId page) = 0;
  // Whether pages mapped for reading only are so to the device: it was asked to, and can.
  virtual bool EnforcesReadOnly() const = 0;
};

// kInvalidArgument: sizes. kResourceExhausted: not even one page of memory. kInternal: any other error of the driver,
// by its name.
Result<std::unique_ptr<CudaVmBackend>> MakeCudaBackend(const VmOptions& options, std::unique_ptr<CudaDriver> driver,
                                                       const CudaVmOptions& cuda_options = {});

}  // namespace causeway::memory
