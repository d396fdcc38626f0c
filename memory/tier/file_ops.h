// The seam to files: what the tiers ask of the system, so that tests can let any of it fail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace causeway::memory {

// One transfer. The bytes are the queue's until Wait has returned.
struct IoRequest {
  enum class Kind : uint8_t { kRead, kWrite };
  Kind kind = Kind::kRead;
  int64_t offset = 0;
  std::span<std::byte> bytes;
  int error = 0;  // an errno; 0: all bytes are there
  bool done = false;
};

// Transfers of one file, several at a time where the system can. Used by one thread at a time.
class IoQueue {
 public:
  virtual ~IoQueue() = default;
  virtual std::string_view name() const = 0;
  // At most `depth` requests may be under way.
  virtual void Submit(IoRequest& request) = 0;
  virtual void Wait(IoRequest& request) = 0;
};

// The system itself; tests derive from it. Any thread. Failures are negative errno values.
class FileOps {
 public:
  virtual ~FileOps() = default;

  virtual int MakeFolder(const std::string& path);       // mode 0700; there already is fine
  virtual int Open(const std::string& path, int flags);  // a descriptor; new files have mode 0600
  virtual void Close(int file);
  virtual int LockFile(int file);  // for this process alone; -EWOULDBLOCK: another has it
  virtual int64_t Size(int file);
  virtual int64_t Read(int file, std::span<std::byte> to, int64_t offset);  // bytes; fewer at the end of the file
  virtual int64_t Write(int file, std::span<const std::byte> from, int64_t offset);  // bytes
  virtual int Sync(int file);
  virtual int Allocate(int file, int64_t bytes);  // the first `bytes` of the file have room on the disk
  virtual int Truncate(int file, int64_t bytes);
  virtual int Rename(const std::string& from, const std::string& to);
  virtual int Remove(const std::string& path);
  // io_uring where the system permits it, else calls that wait.
  virtual std::unique_ptr<IoQueue> NewQueue(int file, int depth);
};

// Until all bytes are there: 0, or a negative errno (-EIO: the file ends before).
int ReadAll(FileOps& ops, int file, std::span<std::byte> to, int64_t offset);
int WriteAll(FileOps& ops, int file, std::span<const std::byte> from, int64_t offset);

// A queue that does each transfer in Submit, with Read and Write of `ops`.
std::unique_ptr<IoQueue> MakeBlockingQueue(FileOps& ops, int file);
// Null where the system forbids io_uring, as containers often do.
std::unique_ptr<IoQueue> MakeUringQueue(FileOps& ops, int file, int depth);

// "No space left on device", for messages. `error` may be negative.
std::string ErrorText(int error);

}  // namespace causeway::memory
