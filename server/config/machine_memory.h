// How much memory this process may still take.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace causeway::server {

struct MachineMemory {
  int64_t available_bytes = 0;  // what can be taken now without swapping
  std::string limited_by;       // "the machine" or "the control group /x/y"
};

// The smaller of the kernel's MemAvailable and what the control groups above this process leave
// (version 2 and version 1 of the interface). `root` is put in front of /proc and /sys paths, for
// tests.
Result<MachineMemory> ReadMachineMemory(const std::string& root = "");

// The most memory that this process has had, the pages of mapped files that it read among them; 0 if the system does
// not say.
int64_t PeakMemoryBytes(const std::string& root = "");

}  // namespace causeway::server
