#include <cerrno>

#include <liburing.h>

#include "base/check.h"
#include "memory/tier/file_ops.h"

namespace causeway::memory {
namespace {

class UringQueue final : public IoQueue {
 public:
  UringQueue(FileOps& ops, int file, const io_uring& ring) : ops_(ops), file_(file), ring_(ring) {}
  ~UringQueue() override {
    CHECK(under_way_ == 0);
    io_uring_queue_exit(&ring_);
  }
  UringQueue(const UringQueue&) = delete;
  UringQueue& operator=(const UringQueue&) = delete;

  std::string_view name() const override { return "io_uring"; }

  void Submit(IoRequest& request) override {
    request.done = false;
    if (broken_) {
      return FinishWaiting(request, 0);
    }
    io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
    CHECK_MSG(entry != nullptr, "more transfers at once than the queue is deep");
    const auto bytes = static_cast<unsigned>(request.bytes.size());
    const auto offset = static_cast<uint64_t>(request.offset);
    if (request.kind == IoRequest::Kind::kRead) {
      io_uring_prep_read(entry, file_, request.bytes.data(), bytes, offset);
    } else {
      io_uring_prep_write(entry, file_, request.bytes.data(), bytes, offset);
    }
    io_uring_sqe_set_data(entry, &request);
    int submitted = 0;
    for (int tries = 0; tries < kTries && submitted < 1; ++tries) {
      submitted = io_uring_submit(&ring_);
    }
    if (submitted == 1) {
      ++under_way_;
    } else {
      broken_ = true;  // the entry lies in the ring and must never be taken from it: no more submissions
      FinishWaiting(request, 0);
    }
  }

  void Wait(IoRequest& request) override {
    while (!request.done) {
      io_uring_cqe* completion = nullptr;
      const int error = io_uring_wait_cqe(&ring_, &completion);
      if (error == -EINTR || error == -EAGAIN) {
        continue;
      }
      // The kernel may still write to the buffer, and there is no way to learn when it ceases to.
      CHECK_MSG(error == 0, "io_uring does not tell of transfers under way: {}", ErrorText(error));
      auto* const done = static_cast<IoRequest*>(io_uring_cqe_get_data(completion));
      const int result = completion->res;
      io_uring_cqe_seen(&ring_, completion);
      --under_way_;
      Complete(*done, result);
    }
  }

 private:
  static constexpr int kTries = 16;  // of a submission that the kernel is too busy for

  void Complete(IoRequest& request, int result) {
    if (result == -EINTR || result == -EAGAIN) {
      result = 0;
    }
    if (result < 0) {
      request.error = -result;
      request.done = true;
    } else {
      FinishWaiting(request, static_cast<size_t>(result));
    }
  }

  // The bytes from `from` on, by calls that wait: the rare rest of a transfer that was cut short.
  void FinishWaiting(IoRequest& request, size_t from) {
    const std::span<std::byte> rest = request.bytes.subspan(from);
    const int64_t offset = request.offset + static_cast<int64_t>(from);
    request.error = request.kind == IoRequest::Kind::kRead ? -ReadAll(ops_, file_, rest, offset)
                                                           : -WriteAll(ops_, file_, rest, offset);
    request.done = true;
  }

  FileOps& ops_;
  const int file_;
  io_uring ring_;
  int under_way_ = 0;
  bool broken_ = false;
};

}  // namespace

std::unique_ptr<IoQueue> MakeUringQueue(FileOps& ops, int file, int depth) {
  io_uring ring{};
  if (io_uring_queue_init(static_cast<unsigned>(depth), &ring, 0) != 0) {
    return nullptr;
  }
  return std::make_unique<UringQueue>(ops, file, ring);
}

}  // namespace causeway::memory
