#include "memory/tier/index_log.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <unordered_map>

#include <fcntl.h>

#include "base/check.h"
#include "base/log.h"

namespace causeway::memory {
namespace {

constexpr uint64_t kMagic = 0x73726569742d7763;  // the file begins with "cw-tiers"
constexpr uint32_t kVersion = 1;
constexpr uint32_t kPut = 1;
constexpr uint32_t kDrop = 2;
constexpr size_t kChunk = size_t{1} << 20;  // bytes of the log that are in memory at a time

struct Header {
  uint64_t magic = kMagic;
  uint32_t version = kVersion;
  uint32_t tokens_per_page = 0;
  int64_t page_bytes = 0;
  Digest fingerprint{};
  Digest prefix_key{};
  uint64_t salt = 0;  // other for each file: what is left of an older one is never taken for a record
  uint64_t checksum = 0;
};

struct RecordHead {
  uint32_t kind = 0;
  int32_t extent = 0;
  uint64_t sequence = 0;
};

struct PutHead {
  RecordHead head;
  Digest key{};
  Digest parent{};
  int64_t place = 0;
  uint64_t last_use = 0;
  Checksum checksum;
  uint64_t tenant = 0;
};

static_assert(std::has_unique_object_representations_v<Header> && std::has_unique_object_representations_v<PutHead>,
              "padding would be written");

template <typename T>
std::span<const std::byte> Bytes(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

uint64_t HeaderChecksum(const Header& header) {
  return RecordChecksum(Bytes(header).first(offsetof(Header, checksum)), header.version);
}

// Hands out the log's bytes in order, a chunk in memory at a time.
class LogReader {
 public:
  LogReader(FileOps& ops, int file, int64_t offset, int64_t size)
      : ops_(ops), file_(file), offset_(offset), left_(size - offset) {}

  // The next `count` bytes, not yet consumed; fewer at the end of the file.
  Result<std::span<const std::byte>> Peek(size_t count) {
    if (buffer_.size() - at_ < count && left_ > 0) {
      buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<ptrdiff_t>(at_));
      at_ = 0;
      const size_t had = buffer_.size();
      const auto more = static_cast<size_t>(std::min(left_, static_cast<int64_t>(kChunk + count)));
      buffer_.resize(had + more);
      if (const int error = ReadAll(ops_, file_, std::span(buffer_).subspan(had), offset_); error != 0) {
        return MakeError(ErrorCode::kFailedPrecondition, fmt::format("cannot be read: {}", ErrorText(error)));
      }
      offset_ += static_cast<int64_t>(more);
      left_ -= static_cast<int64_t>(more);
    }
    return std::span<const std::byte>(buffer_).subspan(at_, std::min(count, buffer_.size() - at_));
  }
  void Consume(size_t count) { at_ += count; }

 private:
  FileOps& ops_;
  const int file_;
  int64_t offset_;
  int64_t left_;
  std::vector<std::byte> buffer_;
  size_t at_ = 0;
};

// The pages that the records so far leave on disk.
class ReplayedPages {
 public:
  void Put(PageRecord page) {
    Drop(page.extent);
    if (const auto known = by_key_.find(page.key); known != by_key_.end()) {
      Drop(known->second);
    }
    by_key_[page.key] = page.extent;
    by_extent_[page.extent] = {order_++, std::move(page)};
  }
  void Drop(int32_t extent) {
    if (const auto it = by_extent_.find(extent); it != by_extent_.end()) {
      by_key_.erase(it->second.page.key);
      by_extent_.erase(it);
    }
  }
  void MoveTo(std::vector<PageRecord>& pages) {
    std::vector<Placed*> placed;
    for (auto& [extent, page] : by_extent_) {
      placed.push_back(&page);
    }
    std::sort(placed.begin(), placed.end(), [](const Placed* a, const Placed* b) { return a->order < b->order; });
    for (Placed* const page : placed) {
      pages.push_back(std::move(page->page));
    }
  }

 private:
  struct Placed {
    int64_t order = 0;
    PageRecord page;
  };
  std::unordered_map<int32_t, Placed> by_extent_;
  std::unordered_map<Digest, int32_t, DigestHash> by_key_;
  int64_t order_ = 0;
};

PageRecord ToPage(const PutHead& put, std::span<const std::byte> tokens) {
  PageRecord page{.key = put.key,
                  .parent = put.parent,
                  .place = put.place,
                  .tenant = static_cast<TenantId>(put.tenant),
                  .extent = put.head.extent,
                  .last_use = put.last_use,
                  .checksum = put.checksum,
                  .tokens = std::vector<Token>(tokens.size() / sizeof(Token))};
  std::memcpy(page.tokens.data(), tokens.data(), tokens.size());
  return page;
}

std::string LogPath(const std::string& folder) { return folder + "/index.log"; }

}  // namespace

// ---- Opening ---------------------------------------------------------------------------------------

Result<std::unique_ptr<IndexLog>> IndexLog::Open(FileOps& ops, const std::string& folder, const LogFormat& format,
                                                 std::vector<PageRecord>& pages) {
  std::unique_ptr<IndexLog> log(new IndexLog(ops, folder, format));
  const std::string path = LogPath(folder);
  log->file_.file = ops.Open(path, O_RDWR);
  if (log->file_.file < 0 && log->file_.file != -ENOENT) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     fmt::format("cannot open {}: {}", path, ErrorText(log->file_.file)));
  }
  if (log->file_.file >= 0 && log->ReadHeader()) {
    if (Result<void> replayed = log->Replay(pages); !replayed.ok()) {
      return replayed.error().WithContext(path);
    }
    return log;
  }
  if (log->file_.file >= 0) {
    LOG_WARNING("{} is of another model, layout or version, or damaged: the disk tier begins empty", path);
  }
  log->prefix_key_ = RandomKey();
  if (const int error = log->Rewrite([](std::vector<PageRecord>&) { return false; }); error != 0) {
    return MakeError(ErrorCode::kFailedPrecondition, fmt::format("cannot write {}: {}", path, ErrorText(error)));
  }
  return log;
}

IndexLog::~IndexLog() {
  if (file_.file >= 0) {
    ops_.Close(file_.file);
  }
}

bool IndexLog::ReadHeader() {
  Header header;
  if (ReadAll(ops_, file_.file, std::as_writable_bytes(std::span(&header, 1)), 0) != 0) {
    return false;
  }
  if (header.magic != kMagic || header.version != kVersion || header.checksum != HeaderChecksum(header) ||
      header.tokens_per_page != format_.tokens_per_page || header.page_bytes != format_.page_bytes ||
      header.fingerprint != format_.fingerprint) {
    return false;
  }
  prefix_key_ = header.prefix_key;
  file_.salt = header.salt;
  file_.end = sizeof header;
  return true;
}

Result<void> IndexLog::Replay(std::vector<PageRecord>& pages) {
  const int64_t size = ops_.Size(file_.file);
  if (size < 0) {
    return MakeError(ErrorCode::kFailedPrecondition, ErrorText(static_cast<int>(size)));
  }
  const size_t put_bytes = sizeof(PutHead) + static_cast<size_t>(format_.tokens_per_page) * sizeof(Token);
  LogReader reader(ops_, file_.file, file_.end, size);
  ReplayedPages known;
  for (;;) {
    ASSIGN_OR_RETURN(const std::span<const std::byte> head_bytes, reader.Peek(sizeof(RecordHead)));
    RecordHead head;
    if (head_bytes.size() < sizeof head) {
      break;
    }
    std::memcpy(&head, head_bytes.data(), sizeof head);
    if (head.sequence != file_.sequence || (head.kind != kPut && head.kind != kDrop) || head.extent < 0) {
      break;
    }
    const size_t bytes = head.kind == kPut ? put_bytes : sizeof head;
    ASSIGN_OR_RETURN(const std::span<const std::byte> record, reader.Peek(bytes + sizeof(uint64_t)));
    uint64_t checksum = 0;
    if (record.size() < bytes + sizeof checksum) {
      break;
    }
    std::memcpy(&checksum, record.data() + bytes, sizeof checksum);
    if (checksum != RecordChecksum(record.first(bytes), file_.salt)) {
      break;
    }
    if (head.kind == kPut) {
      PutHead put;
      std::memcpy(&put, record.data(), sizeof put);
      known.Put(ToPage(put, record.subspan(sizeof put, bytes - sizeof put)));
    } else {
      known.Drop(head.extent);
    }
    reader.Consume(record.size());
    file_.end += static_cast<int64_t>(record.size());
    ++file_.sequence;
  }
  if (file_.end < size) {
    LOG_WARNING("{}: {} bytes at its end are torn and were cut off", LogPath(folder_), size - file_.end);
    if (const int error = ops_.Truncate(file_.file, file_.end); error != 0) {
      return MakeError(ErrorCode::kFailedPrecondition, fmt::format("cannot be cut: {}", ErrorText(error)));
    }
  }
  known.MoveTo(pages);
  return {};
}

// ---- Writing ---------------------------------------------------------------------------------------

void IndexLog::AppendHeader(File& to) const {
  Header header{.tokens_per_page = static_cast<uint32_t>(format_.tokens_per_page),
                .page_bytes = format_.page_bytes,
                .fingerprint = format_.fingerprint,
                .prefix_key = prefix_key_,
                .salt = to.salt};
  header.checksum = HeaderChecksum(header);
  const auto bytes = Bytes(header);
  to.gathered.insert(to.gathered.end(), bytes.begin(), bytes.end());
}

void IndexLog::AppendRecord(File& to, std::span<const std::byte> head, std::span<const std::byte> tokens) {
  const size_t begin = to.gathered.size();
  to.gathered.insert(to.gathered.end(), head.begin(), head.end());
  to.gathered.insert(to.gathered.end(), tokens.begin(), tokens.end());
  const uint64_t checksum = RecordChecksum(std::span(to.gathered).subspan(begin), to.salt);
  const auto bytes = Bytes(checksum);
  to.gathered.insert(to.gathered.end(), bytes.begin(), bytes.end());
  ++to.sequence;
}

void IndexLog::Append(File& to, const PageRecord& page) {
  const PutHead put{.head = {.kind = kPut, .extent = page.extent, .sequence = to.sequence},
                    .key = page.key,
                    .parent = page.parent,
                    .place = page.place,
                    .last_use = page.last_use,
                    .checksum = page.checksum,
                    .tenant = page.tenant};
  AppendRecord(to, Bytes(put), std::as_bytes(std::span(page.tokens)));
}

void IndexLog::Drop(int32_t extent) {
  AppendRecord(file_, Bytes(RecordHead{.kind = kDrop, .extent = extent, .sequence = file_.sequence}), {});
}

int IndexLog::WriteOut(File& to) {
  const int error = WriteAll(ops_, to.file, to.gathered, to.end);
  to.end += static_cast<int64_t>(to.gathered.size());
  to.gathered.clear();
  return error;
}

int IndexLog::Rewrite(const NextPages& next) {
  const std::string path = LogPath(folder_);
  const std::string fresh_path = path + ".new";
  File fresh;
  fresh.file = ops_.Open(fresh_path, O_RDWR | O_CREAT | O_TRUNC);
  if (fresh.file < 0) {
    return fresh.file;
  }
  int error = WriteAfresh(fresh, next);
  if (error == 0) {
    error = ops_.Rename(fresh_path, path);
  }
  if (error != 0) {
    ops_.Close(fresh.file);
    ops_.Remove(fresh_path);
    return error;
  }
  if (file_.file >= 0) {
    ops_.Close(file_.file);
  }
  file_ = std::move(fresh);
  // The new name lasts once the folder is on disk; until then a power cut may bring the old log back, whose extents
  // may have been written since. Their checksums tell.
  if (const int folder = ops_.Open(folder_, O_RDONLY | O_DIRECTORY); folder >= 0) {
    ops_.Sync(folder);
    ops_.Close(folder);
  }
  return 0;
}

int IndexLog::WriteAfresh(File& to, const NextPages& next) {
  const Digest salt = RandomKey();
  std::memcpy(&to.salt, salt.data(), sizeof to.salt);
  AppendHeader(to);
  std::vector<PageRecord> pages;
  for (bool more = true; more;) {
    pages.clear();
    more = next(pages);
    for (const PageRecord& page : pages) {
      Append(to, page);
    }
    if (const int error = WriteOut(to); error != 0) {
      return error;
    }
  }
  return ops_.Sync(to.file);
}

}  // namespace causeway::memory
