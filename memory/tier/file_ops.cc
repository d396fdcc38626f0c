#include "memory/tier/file_ops.h"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace causeway::memory {
namespace {

// Calls until no signal interrupts; the result, or the negative errno.
template <typename Call>
auto Retried(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) {
    result = call();
  }
  return result < 0 ? static_cast<decltype(result)>(-errno) : result;
}

class BlockingQueue final : public IoQueue {
 public:
  BlockingQueue(FileOps& ops, int file) : ops_(ops), file_(file) {}
  std::string_view name() const override { return "pread and pwrite"; }
  void Submit(IoRequest& request) override {
    request.error = request.kind == IoRequest::Kind::kRead ? -ReadAll(ops_, file_, request.bytes, request.offset)
                                                           : -WriteAll(ops_, file_, request.bytes, request.offset);
    request.done = true;
  }
  void Wait(IoRequest& /*request*/) override {}

 private:
  FileOps& ops_;
  const int file_;
};

}  // namespace

int FileOps::MakeFolder(const std::string& path) {
  const int made = Retried([&] { return ::mkdir(path.c_str(), S_IRWXU); });
  return made == -EEXIST ? 0 : made;
}

int FileOps::Open(const std::string& path, int flags) {
  return Retried([&] { return ::open(path.c_str(), flags | O_CLOEXEC, S_IRUSR | S_IWUSR); });
}

void FileOps::Close(int file) { ::close(file); }

int FileOps::LockFile(int file) {
  return Retried([&] { return ::flock(file, LOCK_EX | LOCK_NB); });
}

int64_t FileOps::Size(int file) {
  struct stat status {};
  const int result = Retried([&] { return ::fstat(file, &status); });
  return result < 0 ? result : static_cast<int64_t>(status.st_size);
}

int64_t FileOps::Read(int file, std::span<std::byte> to, int64_t offset) {
  return Retried([&] { return ::pread(file, to.data(), to.size(), offset); });
}

int64_t FileOps::Write(int file, std::span<const std::byte> from, int64_t offset) {
  return Retried([&] { return ::pwrite(file, from.data(), from.size(), offset); });
}

int FileOps::Sync(int file) {
  return Retried([&] { return ::fdatasync(file); });
}

int FileOps::Allocate(int file, int64_t bytes) {
  return Retried([&] { return ::fallocate(file, 0, 0, bytes); });
}

int FileOps::Truncate(int file, int64_t bytes) {
  return Retried([&] { return ::ftruncate(file, bytes); });
}

int FileOps::Rename(const std::string& from, const std::string& to) {
  return Retried([&] { return ::rename(from.c_str(), to.c_str()); });
}

int FileOps::Remove(const std::string& path) {
  return Retried([&] { return ::unlink(path.c_str()); });
}

std::unique_ptr<IoQueue> FileOps::NewQueue(int file, int depth) {
  auto queue = MakeUringQueue(*this, file, depth);
  return queue != nullptr ? std::move(queue) : MakeBlockingQueue(*this, file);
}

int ReadAll(FileOps& ops, int file, std::span<std::byte> to, int64_t offset) {
  while (!to.empty()) {
    const int64_t got = ops.Read(file, to, offset);
    if (got <= 0) {
      return got < 0 ? static_cast<int>(got) : -EIO;
    }
    to = to.subspan(static_cast<size_t>(got));
    offset += got;
  }
  return 0;
}

int WriteAll(FileOps& ops, int file, std::span<const std::byte> from, int64_t offset) {
  while (!from.empty()) {
    const int64_t put = ops.Write(file, from, offset);
    if (put <= 0) {
      return put < 0 ? static_cast<int>(put) : -EIO;
    }
    from = from.subspan(static_cast<size_t>(put));
    offset += put;
  }
  return 0;
}

std::unique_ptr<IoQueue> MakeBlockingQueue(FileOps& ops, int file) {
  return std::make_unique<BlockingQueue>(ops, file);
}

std::string ErrorText(int error) { return std::generic_category().message(error < 0 ? -error : error); }

}  // namespace causeway::memory
