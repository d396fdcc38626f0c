#include "model/repack_cache.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <sys/stat.h>

#include "fmt/format.h"
#include "kernels/packed.h"
#include "memory/tier/checksum.h"

namespace causeway::model {
namespace {

namespace fs = std::filesystem;
using memory::RecordChecksum;

constexpr uint32_t kFileVersion = 1;
constexpr int64_t kPage = 4096;
constexpr char kMagic[16] = {'c', 'a', 'u', 's', 'e', 'w', 'a', 'y', ' ', 'p', 'a', 'c', 'k', 'e', 'd', '\n'};

struct Header {
  char magic[16];
  uint32_t version;
  uint32_t packed_version;
  uint64_t identity;
  uint64_t file_bytes;
  uint64_t parts;
  uint64_t checksum;  // of the header, this being 0, and the rows
};

struct Row {
  uint64_t offset;
  uint64_t bytes;
  uint32_t format;
  uint32_t kind;
  uint64_t rows;
  uint64_t columns;
  uint64_t sample;    // of the source
  uint64_t checksum;  // of the bytes
};

// Header and rows as they lie in the file.
struct Table {
  Header header;
  std::vector<Row> rows;

  int64_t bytes() const { return static_cast<int64_t>(sizeof(Header) + rows.size() * sizeof(Row)); }
  std::vector<std::byte> Bytes() const {
    std::vector<std::byte> all(static_cast<size_t>(bytes()));
    std::memcpy(all.data(), &header, sizeof(header));
    std::memcpy(all.data() + sizeof(header), rows.data(), rows.size() * sizeof(Row));
    return all;
  }
  void Seal() {
    header.checksum = 0;
    header.checksum = RecordChecksum(Bytes(), header.identity);
  }
};

int64_t WholePages(int64_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

// All but the checksums of the parts.
Table TableOf(std::span<const RepackPart> parts, uint64_t identity) {
  Table table{};
  std::memcpy(table.header.magic, kMagic, sizeof(kMagic));
  table.header.version = kFileVersion;
  table.header.packed_version = kernels::kPackedVersion;
  table.header.identity = identity;
  table.header.parts = parts.size();
  const std::vector<int64_t> offsets = RepackCache::OffsetsOf(parts);
  table.header.file_bytes = static_cast<uint64_t>(offsets.back());
  for (size_t i = 0; i < parts.size(); ++i) {
    const RepackPart& part = parts[i];
    table.rows.push_back({.offset = static_cast<uint64_t>(offsets[i]),
                          .bytes = static_cast<uint64_t>(part.bytes),
                          .format = static_cast<uint32_t>(part.format),
                          .kind = static_cast<uint32_t>(kernels::PackingOf(part.format).kind),
                          .rows = static_cast<uint64_t>(part.rows),
                          .columns = static_cast<uint64_t>(part.columns),
                          .sample = part.sample,
                          .checksum = 0});
  }
  return table;
}

// Closes at the end of the object.
class OpenFile {
 public:
  OpenFile(memory::FileOps& ops, const std::string& path, int flags) : ops_(ops), file_(ops.Open(path, flags)) {}
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile() {
    if (file_ >= 0) {
      ops_.Close(file_);
    }
  }
  int get() const { return file_; }  // negative: the errno of opening it

 private:
  memory::FileOps& ops_;
  const int file_;
};

Error FileError(const std::string& file, int error) {
  return MakeError(
      error == -ENOSPC || error == -EDQUOT ? ErrorCode::kResourceExhausted : ErrorCode::kFailedPrecondition,
      fmt::format("repack cache {}: {}", file, memory::ErrorText(error)));
}

Error Refused(const std::string& file, std::string_view why) {
  return MakeError(ErrorCode::kFailedPrecondition, fmt::format("repack cache {}: {}", file, why));
}

}  // namespace

RepackCache::RepackCache(memory::FileOps& ops, std::string folder, const std::string& model, std::string_view identity)
    : ops_(ops), folder_(std::move(folder)), identity_(RecordChecksum(std::as_bytes(std::span(identity)), 0)) {
  std::error_code ignored;
  const fs::path place = fs::weakly_canonical(model, ignored);
  const std::string text = place.empty() ? model : place.string();
  const uint64_t hash = RecordChecksum(std::as_bytes(std::span(text)), 0);
  file_ = (fs::path(folder_) / fmt::format("{}-{:016x}.packed", place.filename().string(), hash)).string();
}

RepackPart RepackCache::Describe(const kernels::WeightView& weight, std::span<const std::byte> made_of) {
  const int64_t bytes = weight.rows * weight.row_bytes;
  const std::span<const std::byte> from =
      made_of.empty() ? std::span<const std::byte>(weight.data, static_cast<size_t>(bytes)) : made_of;
  const size_t length = std::min(static_cast<size_t>(kPage), from.size());
  uint64_t sample = 0;
  for (const size_t at : {size_t{0}, (from.size() - length) / 2, from.size() - length}) {
    sample = RecordChecksum(from.subspan(at, length), sample);
  }
  return {.format = weight.format,
          .rows = weight.rows,
          .columns = weight.columns,
          .source_bytes = bytes,
          .bytes = kernels::PackedBytes(kernels::PackingOf(weight.format), weight.rows, weight.columns),
          .sample = sample};
}

std::vector<int64_t> RepackCache::OffsetsOf(std::span<const RepackPart> parts) {
  int64_t at = WholePages(static_cast<int64_t>(sizeof(Header) + parts.size() * sizeof(Row)));
  std::vector<int64_t> offsets;
  for (const RepackPart& part : parts) {
    offsets.push_back(at);
    at += WholePages(part.bytes);
  }
  offsets.push_back(at);
  return offsets;
}

Result<PackedMemory> RepackCache::Map(std::span<const RepackPart> parts, ThreadPool& pool) const {
  const OpenFile file(ops_, file_, O_RDONLY | O_NONBLOCK);  // whatever has taken its name
  if (file.get() == -ENOENT) {
    return MakeError(ErrorCode::kNotFound, "no repack cache " + file_);
  }
  if (file.get() < 0) {
    return FileError(file_, file.get());
  }
  Table wanted = TableOf(parts, identity_);
  const int64_t bytes = ops_.Size(file.get());
  if (bytes < wanted.bytes()) {
    return bytes < 0 ? FileError(file_, static_cast<int>(bytes)) : Refused(file_, "it is too short");
  }
  Table found{{}, std::vector<Row>(parts.size())};
  std::vector<std::byte> head(static_cast<size_t>(wanted.bytes()));
  if (const int error = memory::ReadAll(ops_, file.get(), head, 0); error < 0) {
    return FileError(file_, error);
  }
  std::memcpy(&found.header, head.data(), sizeof(Header));
  std::memcpy(found.rows.data(), head.data() + sizeof(Header), head.size() - sizeof(Header));
  for (size_t i = 0; i < parts.size(); ++i) {
    wanted.rows[i].checksum = found.rows[i].checksum;
  }
  wanted.Seal();
  if (found.header.identity != wanted.header.identity || found.header.packed_version != kernels::kPackedVersion) {
    return Refused(file_, "it was made of other files, or by another version");
  }
  if (wanted.Bytes() != head || bytes != static_cast<int64_t>(wanted.header.file_bytes)) {
    return Refused(file_, "it is damaged, or does not hold these weights");
  }
  ASSIGN_OR_RETURN(PackedMemory memory, PackedMemory::Map(file.get(), bytes));
  std::atomic<bool> whole = true;
  pool.ParallelFor(std::ssize(found.rows), [&](int64_t i, int) {
    const Row& row = found.rows[static_cast<size_t>(i)];
    if (RecordChecksum({memory.data() + row.offset, row.bytes}, identity_) != row.checksum) {
      whole = false;
    }
  });
  if (!whole) {
    return Refused(file_, "it is damaged");
  }
  return memory;
}

// ---- Writing --------------------------------------------------------------------------------------------

struct RepackCache::Writer::State {
  State(memory::FileOps& file_ops, const RepackCache& cache)
      : ops(file_ops),
        folder(cache.folder_),
        target(cache.file_),
        temporary(cache.file_ + ".tmp"),
        file(file_ops, temporary, O_RDWR | O_CREAT) {}
  ~State() {
    if (ours) {
      ops.Remove(temporary);
    }
  }

  memory::FileOps& ops;
  const std::string folder, target, temporary;
  const OpenFile file;
  bool ours = false;  // locked, and to be removed
  Table table;
};

RepackCache::Writer::Writer(std::unique_ptr<State> state) : state_(std::move(state)) {}
RepackCache::Writer::Writer(Writer&&) noexcept = default;
RepackCache::Writer::~Writer() = default;

Result<RepackCache::Writer> RepackCache::Begin(std::span<const RepackPart> parts) const {
  std::error_code failed;
  fs::create_directories(folder_, failed);
  auto state = std::make_unique<Writer::State>(ops_, *this);
  const int file = state->file.get();
  if (file < 0) {
    return FileError(file_, failed ? -failed.value() : file);
  }
  // Who holds the lock owns the temporary file, unless another has finished and renamed it since it was opened.
  struct stat opened {};
  struct stat named {};
  const bool locked = ops_.LockFile(file) == 0 && ::fstat(file, &opened) == 0 &&
                      ::stat(state->temporary.c_str(), &named) == 0 && opened.st_ino == named.st_ino;
  if (!locked) {
    return MakeError(ErrorCode::kResourceExhausted,
                     fmt::format("repack cache {}: another process is writing it", file_));
  }
  state->ours = true;
  state->table = TableOf(parts, identity_);
  const auto bytes = static_cast<int64_t>(state->table.header.file_bytes);
  int error = ops_.Truncate(file, 0);
  if (error == 0) {
    error = ops_.Allocate(file, bytes);
    error = error == -EOPNOTSUPP ? ops_.Truncate(file, bytes) : error;
  }
  if (error < 0) {
    return FileError(file_, error);
  }
  return Writer(std::move(state));
}

Result<void> RepackCache::Writer::Write(size_t index, std::span<const std::byte> bytes) {
  Row& row = state_->table.rows[index];
  CHECK(bytes.size() == row.bytes);
  row.checksum = RecordChecksum(bytes, state_->table.header.identity);
  if (const int error = memory::WriteAll(state_->ops, state_->file.get(), bytes, static_cast<int64_t>(row.offset));
      error < 0) {
    return FileError(state_->target, error);
  }
  return {};
}

Result<void> RepackCache::Writer::Finish() {
  State& state = *state_;
  state.table.Seal();
  int error = memory::WriteAll(state.ops, state.file.get(), state.table.Bytes(), 0);
  if (error == 0) {
    error = state.ops.Sync(state.file.get());
  }
  if (error == 0) {
    error = state.ops.Rename(state.temporary, state.target);
  }
  if (error < 0) {
    return FileError(state.target, error);
  }
  state.ours = false;
  const OpenFile folder(state.ops, state.folder, O_RDONLY | O_DIRECTORY);
  if (folder.get() >= 0) {
    state.ops.Sync(folder.get());  // else a power cut may lose the name: the next start packs again
  }
  return {};
}

}  // namespace causeway::model
