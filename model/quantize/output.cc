#include "model/quantize/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "fmt/format.h"

namespace causeway::model::quantize {
namespace {

namespace fs = std::filesystem;

Error Refuse(std::string what) { return MakeError(ErrorCode::kFailedPrecondition, std::move(what)); }

Result<void> CheckReplaceable(const std::string& destination, bool is_folder, bool replace) {
  std::error_code ignored;
  if (!fs::exists(fs::symlink_status(destination, ignored))) {
    return {};
  }
  if (!replace) {
    return Refuse(fmt::format("{} is there already; --force replaces it", destination));
  }
  const bool empty = fs::is_directory(destination, ignored) && fs::is_empty(destination, ignored);
  const bool model = fs::is_regular_file(destination + "/config.json", ignored);
  if (is_folder ? !(fs::is_directory(destination, ignored) && (empty || model))
                : !fs::is_regular_file(destination, ignored)) {
    return MakeError(
        ErrorCode::kInvalidArgument,
        fmt::format("{} is no {} and is not replaced", destination, is_folder ? "folder of a model" : "file"), "DST");
  }
  return {};
}

}  // namespace

Output::Output(std::string destination, std::string path, bool is_folder)
    : destination_(std::move(destination)), path_(std::move(path)), is_folder_(is_folder) {}
Output::Output(Output&& other) noexcept
    : destination_(std::move(other.destination_)),
      path_(std::move(other.path_)),
      is_folder_(other.is_folder_),
      finished_(std::exchange(other.finished_, true)) {}

Result<Output> Output::Create(const std::string& destination, bool is_folder, bool replace) {
  std::string place = fs::path(destination).lexically_normal().string();
  while (place.size() > 1 && place.back() == '/') {
    place.pop_back();
  }
  TRY(CheckReplaceable(place, is_folder, replace));
  const fs::path parent = fs::path(place).has_parent_path() ? fs::path(place).parent_path() : fs::path(".");
  std::error_code error;
  if (!fs::is_directory(parent, error)) {
    return Refuse(fmt::format("there is no folder {} to write into", parent.string()));
  }
  std::string path = fmt::format("{}.unfinished-{}", place, ::getpid());
  // A GGUF file keeps its ending, so that it can be read back before it is in its place.
  path += is_folder ? "" : ".gguf";
  if (is_folder) {
    fs::remove_all(path, error);
    fs::create_directory(path, error);
    if (error) {
      return Refuse(fmt::format("cannot write {}: {}", place, error.message()));
    }
  } else {
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0) {
      return Refuse(fmt::format("cannot write {}: {}", place, std::strerror(errno)));
    }
    ::close(file);
  }
  return Output(std::move(place), std::move(path), is_folder);
}

Output::~Output() {
  if (!finished_) {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
}

Result<void> Output::Finish() {
  std::error_code error;
  const std::string old = path_ + ".old";
  const bool replaces = is_folder_ && fs::exists(destination_, error);
  if (replaces) {  // a folder cannot take the place of one that holds files
    fs::rename(destination_, old, error);
  }
  fs::rename(path_, destination_, error);
  if (error) {
    std::error_code ignored;
    if (replaces) {
      fs::rename(old, destination_, ignored);
    }
    return Refuse(fmt::format("cannot put {} in its place: {}", destination_, error.message()));
  }
  finished_ = true;
  if (replaces) {
    fs::remove_all(old, error);
  }
  return {};
}

Result<FileWriter> FileWriter::Open(const std::string& path) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) {
    return Refuse(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
  }
  return FileWriter(path, file);
}

FileWriter::FileWriter(FileWriter&& other) noexcept
    : path_(std::move(other.path_)), file_(std::exchange(other.file_, -1)), written_(other.written_) {}
FileWriter::~FileWriter() {
  if (file_ >= 0) {
    ::close(file_);
  }
}

Error FileWriter::Failed() const {
  const int reason = errno;
  return MakeError(
      reason == ENOSPC || reason == EDQUOT ? ErrorCode::kResourceExhausted : ErrorCode::kFailedPrecondition,
      fmt::format("cannot write {} beyond {} bytes: {}", path_, written_, std::strerror(reason)));
}

Result<void> FileWriter::Write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(file_, bytes.data(), std::min<size_t>(bytes.size(), size_t{1} << 30));
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count <= 0) {
      return Failed();
    }
    written_ += count;
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
  return {};
}

Result<void> FileWriter::Close() {
  const bool flushed = ::fsync(file_) == 0 || errno == EINVAL;  // what has no disk below cannot be flushed
  const bool closed = ::close(std::exchange(file_, -1)) == 0;
  return flushed && closed ? Result<void>() : Failed();
}

}  // namespace causeway::model::quantize
