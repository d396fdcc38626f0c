// The one file that holds the bytes of the disk tier: extents of a page each, all of them allocated at the start.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "memory/tier/file_ops.h"

namespace causeway::memory {

// Extent i is the bytes [i * slot_bytes, (i + 1) * slot_bytes) of the file. Opened past the page cache (O_DIRECT) where
// the file system can. Any thread; who uses an extent is PageTable's.
class ExtentFile {
 public:
  // Makes the file exactly as many extents long as `bytes` hold. Where the disk has less room, half as many, and so
  // on, with a warning; none at all: kResourceExhausted.
  static Result<std::unique_ptr<ExtentFile>> Open(FileOps& ops, const std::string& path, int64_t bytes,
                                                  int64_t slot_bytes);
  ~ExtentFile() { ops_.Close(file_); }
  ExtentFile(const ExtentFile&) = delete;
  ExtentFile& operator=(const ExtentFile&) = delete;

  int64_t extents() const { return extents_; }
  bool direct() const { return direct_; }
  int64_t Offset(int32_t extent) const { return extent * slot_bytes_; }
  std::unique_ptr<IoQueue> NewQueue(int depth) const { return ops_.NewQueue(file_, depth); }
  int Sync() const { return ops_.Sync(file_); }

 private:
  ExtentFile(FileOps& ops, int file, int64_t slot_bytes) : ops_(ops), slot_bytes_(slot_bytes), file_(file) {}
  int Resize(int64_t bytes);
  void GoDirect(const std::string& path);

  FileOps& ops_;
  const int64_t slot_bytes_;
  int file_;
  int64_t extents_ = 0;
  bool direct_ = false;
};

}  // namespace causeway::memory
