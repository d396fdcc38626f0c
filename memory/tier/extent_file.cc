#include "memory/tier/extent_file.h"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>

#include "base/log.h"
#include "memory/tier/page_slots.h"

namespace causeway::memory {

Result<std::unique_ptr<ExtentFile>> ExtentFile::Open(FileOps& ops, const std::string& path, int64_t bytes,
                                                     int64_t slot_bytes) {
  const int opened = ops.Open(path, O_RDWR | O_CREAT);
  if (opened < 0) {
    return MakeError(ErrorCode::kFailedPrecondition, fmt::format("cannot open {}: {}", path, ErrorText(opened)));
  }
  std::unique_ptr<ExtentFile> file(new ExtentFile(ops, opened, slot_bytes));
  const int64_t wanted = bytes / slot_bytes;
  const int64_t had = ops.Size(opened) / slot_bytes;
  int error = 0;
  // What is there already is tried as well, so that nothing is lost for a limit that was set too high.
  const auto fewer = [&](int64_t extents) { return extents / 2 < had && had < extents ? had : extents / 2; };
  for (int64_t extents = wanted; extents > 0; extents = fewer(extents)) {
    error = file->Resize(extents * slot_bytes);
    if (error == 0) {
      file->extents_ = extents;
      break;
    }
    if (error != -ENOSPC && error != -EDQUOT && error != -EFBIG) {
      break;
    }
  }
  if (file->extents_ == 0) {
    return MakeError(ErrorCode::kResourceExhausted,
                     fmt::format("cannot allocate {} bytes for {}: {}", wanted * slot_bytes, path, ErrorText(error)));
  }
  if (file->extents_ < wanted) {
    LOG_WARNING("{}: no room for {} bytes; the disk tier has {}", path, wanted * slot_bytes,
                file->extents_ * slot_bytes);
  }
  file->GoDirect(path);
  return file;
}

// Allocates, so that no later write runs out of room. What a failed try allocated goes back before the next, smaller
// one: the file is never longer than it must be, nor is it shorter for a try that failed at once.
int ExtentFile::Resize(int64_t bytes) {
  const int64_t size = ops_.Size(file_);
  if (size < 0) {
    return static_cast<int>(size);
  }
  if (const int error = ops_.Allocate(file_, bytes); error != 0) {
    ops_.Truncate(file_, std::min(size, bytes));
    return error;
  }
  return ops_.Truncate(file_, bytes);
}

// A file system that takes the flag may refuse the transfer, so one is tried.
void ExtentFile::GoDirect(const std::string& path) {
  const int direct = ops_.Open(path, O_RDWR | O_DIRECT);
  if (direct < 0) {
    return;
  }
  auto probe = PageSlots::Create(1, 4096);
  if (probe.ok() && probe->Prefault(0) && ops_.Read(direct, (*probe)[0], 0) == 4096) {
    ops_.Close(file_);
    file_ = direct;
    direct_ = true;
  } else {
    ops_.Close(direct);
  }
}

}  // namespace causeway::memory
