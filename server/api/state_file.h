// States in files. Files lie in a folder of the tenant's own below the server's folder for them; nothing outside is
// ever opened: names are plain, and links are not followed.
//
// A file: "CWSTATE1"; the length of the header and of the file, 8 bytes each, little-endian; the header, JSON; the
// tokens, 4 bytes each; the pages; a digest (BLAKE2b) of each page; a digest of all but the pages. The salt is not in
// it, only a digest under a key of the file's own: who loads the state has to know the salt, as for sharing prefixes.
// It is written under another name, synced and renamed, so that a file is whole or not there.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/keyed_hash.h"
#include "base/result.h"
#include "memory/page_tier.h"
#include "server/api/states.h"

namespace causeway::server {

// What a page's bytes depend on beside tokens, in words for errors and as a digest that decides.
struct KvIdentity {
  std::string model;   // name and size
  std::string layout;  // of a page
  std::string build;   // version, kernels, KV format
  Digest fingerprint{};
  int64_t page_tokens = 0;
  int64_t page_bytes = 0;
};

class FileHandle {
 public:
  explicit FileHandle(int fd) : fd_(fd) {}
  ~FileHandle();
  FileHandle(FileHandle&& other) noexcept;
  FileHandle(const FileHandle&) = delete;
  FileHandle& operator=(const FileHandle&) = delete;
  FileHandle& operator=(FileHandle&&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

// A file that was checked from end to end. Its pages are checked again when they are read.
struct OpenedState {
  std::vector<Token> tokens;
  bool switched = false;
  std::optional<ChatPrompt> chat;
  StateAdapter adapter;
  size_t pages = 0;  // whose KV is there
  std::unique_ptr<memory::PageSource> source;
};

// Calls wait for the disk: not for I/O threads. Any number of threads; one writer of a name at a time wins.
class StateFolder {
 public:
  // `root` is empty where states are not saved: then every call fails with kFailedPrecondition.
  StateFolder(std::string root, int64_t max_bytes, KvIdentity identity)
      : root_(std::move(root)), max_bytes_(max_bytes), identity_(std::move(identity)) {}

  // Bytes written. kFailedPrecondition if the file is there and may not be replaced; kResourceExhausted where the
  // folder or the disk is full.
  Result<int64_t> Save(const std::string& tenant, const std::string& file, const StateContent& content,
                       bool overwrite) const;
  // kNotFound; kFailedPrecondition, and which it is, for a file that is cut, corrupt, of another model, layout or
  // build, or saved under another salt.
  Result<OpenedState> Open(const std::string& tenant, const std::string& file, const std::string& cache_salt) const;

 private:
  Result<FileHandle> OpenFolder(const std::string& tenant, bool make) const;
  Result<void> CheckSpace(int64_t more) const;

  const std::string root_;
  const int64_t max_bytes_;
  const KvIdentity identity_;
};

}  // namespace causeway::server
