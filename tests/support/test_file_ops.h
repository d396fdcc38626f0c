// The tiers' files, failing to order.
#pragma once

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include <fcntl.h>

#include "memory/tier/file_ops.h"

namespace causeway::memory {

// The system's files, but: no sync (a process that ends loses nothing that was written), transfers one by one, and what
// a test orders.
class TestOps : public FileOps {
 public:
  // The calls from here on, counted from 1: the n-th fails, or it and all after it (the process was killed in it: a
  // write is done in part).
  void FailAt(int64_t n) { Arm(n, false); }
  void DieAt(int64_t n) { Arm(n, true); }
  void Mend() { Arm(0, false); }
  int64_t calls() const { return calls_; }
  bool failed() const { return failed_; }

  std::atomic<int64_t> room = int64_t{1} << 60;  // bytes that Allocate can give a file
  std::atomic<bool> direct = true;               // whether O_DIRECT is known
  std::atomic<bool> bad_reads = false;

  // Writes wait until it is opened again.
  void ShutGate(bool shut) {
    const std::lock_guard lock(mutex_);
    shut_ = shut;
    opened_.notify_all();
  }

  int MakeFolder(const std::string& path) override { return Fails() ? -EIO : FileOps::MakeFolder(path); }
  int Open(const std::string& path, int flags) override {
    if ((flags & O_DIRECT) != 0 && !direct) {
      return -EINVAL;
    }
    return Fails() ? -EIO : FileOps::Open(path, flags & ~O_DIRECT);
  }
  int LockFile(int file) override { return Fails() ? -EIO : FileOps::LockFile(file); }
  int64_t Size(int file) override { return Fails() ? -EIO : FileOps::Size(file); }
  int64_t Read(int file, std::span<std::byte> to, int64_t offset) override {
    return bad_reads || Fails() ? -EIO : FileOps::Read(file, to, offset);
  }
  int64_t Write(int file, std::span<const std::byte> from, int64_t offset) override {
    {
      std::unique_lock lock(mutex_);
      opened_.wait(lock, [&] { return !shut_; });
    }
    if (Fails()) {
      if (calls_ == fail_at_) {
        FileOps::Write(file, from.first(from.size() / 2), offset);
      }
      return -EIO;
    }
    return FileOps::Write(file, from, offset);
  }
  int Sync(int /*file*/) override { return Fails() ? -EIO : 0; }
  int Allocate(int file, int64_t bytes) override {
    if (bytes > room) {
      return -ENOSPC;
    }
    return Fails() ? -EIO : FileOps::Allocate(file, bytes);
  }
  int Truncate(int file, int64_t bytes) override { return Fails() ? -EIO : FileOps::Truncate(file, bytes); }
  int Rename(const std::string& from, const std::string& to) override {
    return Fails() ? -EIO : FileOps::Rename(from, to);
  }
  int Remove(const std::string& path) override { return Fails() ? -EIO : FileOps::Remove(path); }
  std::unique_ptr<IoQueue> NewQueue(int file, int /*depth*/) override { return MakeBlockingQueue(*this, file); }

 private:
  void Arm(int64_t n, bool stay_dead) {
    calls_ = 0;
    failed_ = false;
    stay_dead_ = stay_dead;
    fail_at_ = n;
  }
  bool Fails() {
    const int64_t call = ++calls_;
    const int64_t at = fail_at_;
    const bool fails = at > 0 && (call == at || (stay_dead_ && call > at));
    failed_ = failed_ || fails;
    return fails;
  }

  std::atomic<int64_t> calls_ = 0;
  std::atomic<int64_t> fail_at_ = 0;
  std::atomic<bool> stay_dead_ = false;
  std::atomic<bool> failed_ = false;
  std::mutex mutex_;
  std::condition_variable opened_;
  bool shut_ = false;
};

}  // namespace causeway::memory
