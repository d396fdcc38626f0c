// Which extent holds which page, as it survives the process: an append-only file of checksummed records.
//
//   header   magic, version, sizes, fingerprint, the prefix index's key, salt, checksum
//   record   kind, extent, sequence number, body, checksum (seeded with the salt)
//
// A record counts if its checksum is right and its number is the one that comes next; the first that does not ends the
// log, and what follows is cut off. Owner: one thread at a time (the store's I/O thread once it runs).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "memory/tier/checksum.h"
#include "memory/tier/file_ops.h"

namespace causeway::memory {

// A page on disk.
struct PageRecord {
  Digest key{};
  Digest parent{};
  int64_t place = 0;
  TenantId tenant = 0;
  int32_t extent = 0;
  uint64_t last_use = 0;  // orders pages by their last use
  Checksum checksum;
  std::vector<Token> tokens;  // [tokens_per_page]

  PageIdentity Identity() const { return {key, parent, place, tenant, tokens}; }
};

// What the pages of a folder have in common. A log that says otherwise is another store's, and begins afresh.
struct LogFormat {
  int64_t page_bytes = 0;
  int64_t tokens_per_page = 0;
  Digest fingerprint{};
};

class IndexLog {
 public:
  // Replays the log of `path`, or begins an empty one where there is none, or one of another format (with a warning).
  // Appends to `pages` what it knows, in the order of their records; of two on one extent, the later.
  static Result<std::unique_ptr<IndexLog>> Open(FileOps& ops, const std::string& folder, const LogFormat& format,
                                                std::vector<PageRecord>& pages);
  ~IndexLog();
  IndexLog(const IndexLog&) = delete;
  IndexLog& operator=(const IndexLog&) = delete;

  const Digest& prefix_key() const { return prefix_key_; }
  int64_t records() const { return static_cast<int64_t>(file_.sequence); }

  // Records are gathered until Write, which is one write to the file. 0, or a negative errno: the file's end is then
  // unknown, and nothing may be written before a Rewrite that succeeds.
  void Put(const PageRecord& page) { Append(file_, page); }
  void Drop(int32_t extent);
  int Write() { return WriteOut(file_); }
  int Sync() { return ops_.Sync(file_.file); }

  // Puts a new file in the place of the log, whole or not at all. `next` appends some pages and returns false once
  // there are no more.
  using NextPages = std::function<bool(std::vector<PageRecord>&)>;
  int Rewrite(const NextPages& next);

 private:
  struct File {
    int file = -1;
    int64_t end = 0;
    uint64_t sequence = 0;  // of the next record
    uint64_t salt = 0;
    std::vector<std::byte> gathered;
  };

  IndexLog(FileOps& ops, std::string folder, const LogFormat& format)
      : ops_(ops), folder_(std::move(folder)), format_(format) {}

  bool ReadHeader();
  Result<void> Replay(std::vector<PageRecord>& pages);
  void AppendHeader(File& to) const;
  static void AppendRecord(File& to, std::span<const std::byte> head, std::span<const std::byte> tokens);
  static void Append(File& to, const PageRecord& page);
  int WriteOut(File& to);
  int WriteAfresh(File& to, const NextPages& next);

  FileOps& ops_;
  const std::string folder_;
  const LogFormat format_;
  Digest prefix_key_{};
  File file_;
};

}  // namespace causeway::memory
