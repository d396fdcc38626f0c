// The system calls of the Linux backend as a table, so that a test can make each of them fail or answer as another
// kernel would.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>

#include "memory/vm/vm_backend.h"

namespace causeway::memory {

struct LinuxCalls {
  int (*memfd_create)(const char* name, unsigned flags) = ::memfd_create;
  int (*fallocate)(int file, int mode, off_t offset, off_t bytes) = ::fallocate;
  void* (*mmap)(void* at, size_t bytes, int protection, int flags, int file, off_t offset) = ::mmap;
  int (*mprotect)(void* at, size_t bytes, int protection) = ::mprotect;
  int (*madvise)(void* at, size_t bytes, int advice) = ::madvise;
  ssize_t (*pread)(int file, void* to, size_t bytes, off_t offset) = ::pread;
  ssize_t (*pwrite)(int file, const void* from, size_t bytes, off_t offset) = ::pwrite;
};

Result<std::unique_ptr<VmBackend>> MakeLinuxBackend(const VmOptions& options, const LinuxCalls& calls);

}  // namespace causeway::memory
