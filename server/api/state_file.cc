#include "server/api/state_file.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fmt/format.h"
#include "server/api/state_format.h"

namespace causeway::server {
namespace {

Error SystemError(const std::string& what, int number) {
  const bool full = number == ENOSPC || number == EDQUOT;
  return MakeError(full ? ErrorCode::kResourceExhausted : ErrorCode::kFailedPrecondition,
                   fmt::format("{}: {}", what, std::generic_category().message(number)), "file");
}

Error Broken(const std::string& what) {
  return MakeError(ErrorCode::kFailedPrecondition, "the file is no whole state: " + what, "file");
}

Result<void> WriteAll(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written <= 0) {
      return SystemError("cannot write the file", written < 0 ? errno : EIO);
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Result<void> ReadAt(int fd, int64_t offset, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t got = ::pread(fd, bytes.data(), bytes.size(), offset);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return SystemError("cannot read the file", errno);
    }
    if (got == 0) {
      return Broken("it is cut");
    }
    offset += got;
    bytes = bytes.subspan(static_cast<size_t>(got));
  }
  return {};
}

// A file that was being written when its server was killed, long ago.
bool IsLeftOver(const std::filesystem::directory_entry& entry) {
  std::error_code error;
  const auto written = entry.last_write_time(error);
  return !error && entry.path().filename().native().starts_with('.') &&
         std::filesystem::file_time_type::clock::now() - written > std::chrono::hours(1);
}

// Removes what was not finished.
class TemporaryFile {
 public:
  TemporaryFile(int folder, std::string name) : folder_(folder), name_(std::move(name)) {}
  ~TemporaryFile() {
    if (!name_.empty()) {
      ::unlinkat(folder_, name_.c_str(), 0);
    }
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& name() const { return name_; }
  void Keep() { name_.clear(); }

 private:
  const int folder_;
  std::string name_;
};

class FilePages final : public memory::PageSource {
 public:
  FilePages(FileHandle file, StateLayout layout, std::vector<Digest> digests)
      : file_(std::move(file)), layout_(layout), digests_(std::move(digests)) {}

  int64_t Read(const Sink& sink) override {
    std::vector<std::byte> page(static_cast<size_t>(layout_.page_bytes));
    for (int64_t index = 0; index < layout_.pages; ++index) {
      if (!Check(index, page).ok() || !sink(index, page)) {
        return index;
      }
    }
    return layout_.pages;
  }

  Result<void> CheckAll() {
    std::vector<std::byte> page(static_cast<size_t>(layout_.page_bytes));
    for (int64_t index = 0; index < layout_.pages; ++index) {
      TRY(Check(index, page));
    }
    return {};
  }

 private:
  Result<void> Check(int64_t index, std::span<std::byte> page) {
    TRY(ReadAt(file_.fd(), layout_.PageOffset(index), page));
    return hasher_.OfPage(index, page) == digests_[static_cast<size_t>(index)]
               ? Result<void>()
               : Broken(fmt::format("page {} is corrupt", index));
  }

  const FileHandle file_;
  const StateLayout layout_;
  const std::vector<Digest> digests_;
  StateHasher hasher_;
};

Result<void> WriteState(int fd, const StateContent& content, const StateImage& image) {
  TRY(WriteAll(fd, image.head));
  TRY(WriteAll(fd, std::as_bytes(std::span(content.tokens))));
  StateHasher hasher;
  std::vector<Digest> digests;
  std::vector<std::byte> page(static_cast<size_t>(image.layout.page_bytes));
  for (int64_t i = 0; i < image.layout.pages; ++i) {
    TRY(content.pinned->ReadPage(i, page));
    TRY(WriteAll(fd, page));
    digests.push_back(hasher.OfPage(i, page));
  }
  TRY(WriteAll(fd, std::as_bytes(std::span(digests))));
  const Digest root = hasher.OfRest(image.head, content.tokens, digests);
  TRY(WriteAll(fd, root));
  return ::fsync(fd) == 0 ? Result<void>() : SystemError("cannot sync the file", errno);
}

}  // namespace

FileHandle::~FileHandle() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}
FileHandle::FileHandle(FileHandle&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

Result<FileHandle> StateFolder::OpenFolder(const std::string& tenant, bool make) const {
  if (root_.empty()) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     "states have no files here: the server was started without --state-dir", "file");
  }
  const FileHandle root(::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (root.fd() < 0) {
    return SystemError("cannot open the folder of states", errno);
  }
  if (make && ::mkdirat(root.fd(), tenant.c_str(), 0700) != 0 && errno != EEXIST) {
    return SystemError("cannot make the tenant's folder of states", errno);
  }
  FileHandle folder(::openat(root.fd(), tenant.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (folder.fd() < 0) {
    return errno == ENOENT ? MakeError(ErrorCode::kNotFound, "there is no such file", "file")
                           : SystemError("cannot open the tenant's folder of states", errno);
  }
  return folder;
}

Result<void> StateFolder::CheckSpace(int64_t more) const {
  namespace fs = std::filesystem;
  std::error_code error;
  int64_t used = 0;
  for (fs::recursive_directory_iterator it(root_, error), end; !error && it != end; it.increment(error)) {
    std::error_code gone;
    if (it->is_regular_file(gone) && !it->is_symlink(gone)) {
      if (IsLeftOver(*it)) {
        fs::remove(it->path(), gone);
        continue;
      }
      const auto size = it->file_size(gone);
      used += gone ? 0 : static_cast<int64_t>(size);
    }
  }
  if (error) {
    return SystemError("cannot read the folder of states", error.value());
  }
  if (used + more > max_bytes_) {
    return MakeError(
        ErrorCode::kResourceExhausted,
        fmt::format("saved states take {} bytes; {} more are over the limit of {}", used, more, max_bytes_), "file");
  }
  return {};
}

Result<int64_t> StateFolder::Save(const std::string& tenant, const std::string& file, const StateContent& content,
                                  bool overwrite) const {
  const StateImage image = MakeStateImage(content, identity_);
  ASSIGN_OR_RETURN(const FileHandle folder, OpenFolder(tenant, true));
  struct stat status {};
  if (!overwrite && ::fstatat(folder.fd(), file.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
    return MakeError(ErrorCode::kFailedPrecondition, fmt::format("there is a file '{}' already", file), "file");
  }
  TRY(CheckSpace(image.layout.file_bytes));
  TemporaryFile temporary(folder.fd(), fmt::format(".{}.{}", file, HexOf(RandomKey()).substr(0, 16)));
  const FileHandle out(
      ::openat(folder.fd(), temporary.name().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (out.fd() < 0) {
    return SystemError("cannot make the file", errno);
  }
  TRY(WriteState(out.fd(), content, image));
  if (::renameat(folder.fd(), temporary.name().c_str(), folder.fd(), file.c_str()) != 0) {
    return SystemError("cannot rename the file", errno);
  }
  temporary.Keep();
  if (::fsync(folder.fd()) != 0) {
    return SystemError("cannot sync the folder", errno);
  }
  return image.layout.file_bytes;
}

Result<OpenedState> StateFolder::Open(const std::string& tenant, const std::string& file,
                                      const std::string& cache_salt) const {
  ASSIGN_OR_RETURN(const FileHandle folder, OpenFolder(tenant, false));
  FileHandle in(::openat(folder.fd(), file.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (in.fd() < 0) {
    return errno == ENOENT ? MakeError(ErrorCode::kNotFound, fmt::format("there is no file '{}'", file), "file")
                           : SystemError(fmt::format("cannot open '{}'", file), errno);
  }
  struct stat status {};
  if (::fstat(in.fd(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return Broken("it is no regular file");
  }
  std::vector<std::byte> head(kStatePrologueBytes);
  TRY(ReadAt(in.fd(), 0, head));
  ASSIGN_OR_RETURN(const int64_t head_bytes, CheckPrologue(head, status.st_size));
  head.resize(static_cast<size_t>(head_bytes));
  TRY(ReadAt(in.fd(), 0, head));
  ASSIGN_OR_RETURN(StateHeader header, ParseStateHeader(head, status.st_size));
  std::vector<Token> tokens(static_cast<size_t>(header.layout.tokens));
  TRY(ReadAt(in.fd(), head_bytes, std::as_writable_bytes(std::span(tokens))));
  std::vector<Digest> digests(static_cast<size_t>(header.layout.pages) + 1);  // the last one is that of the rest
  TRY(ReadAt(in.fd(), header.layout.PageOffset(header.layout.pages), std::as_writable_bytes(std::span(digests))));
  const Digest root = digests.back();
  digests.pop_back();
  if (StateHasher().OfRest(head, tokens, digests) != root) {
    return Broken("its header, tokens or checksums are corrupt");
  }
  TRY(CheckIdentity(header, identity_, cache_salt));
  auto pages = std::make_unique<FilePages>(std::move(in), header.layout, std::move(digests));
  TRY(pages->CheckAll());
  return OpenedState{std::move(tokens),
                     header.switched,
                     std::move(header.chat),
                     std::move(header.adapter),
                     static_cast<size_t>(header.layout.pages),
                     std::move(pages)};
}

}  // namespace causeway::server
