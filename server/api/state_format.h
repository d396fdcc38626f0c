// The bytes of a saved state. Pure. Internal to state_file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/keyed_hash.h"
#include "base/result.h"
#include "base/token.h"
#include "server/api/generation.h"
#include "server/api/state_file.h"

namespace causeway::server {

inline constexpr size_t kStatePrologueBytes = 24;  // magic, bytes of prologue and header, bytes of the file

// Where things lie: head (prologue and header), tokens, pages, a digest a page, one of the rest.
struct StateLayout {
  int64_t head_bytes = 0;
  int64_t tokens = 0;
  int64_t pages = 0;
  int64_t page_bytes = 0;
  int64_t file_bytes = 0;

  int64_t PageOffset(int64_t page) const {
    return head_bytes + tokens * static_cast<int64_t>(sizeof(Token)) + page * page_bytes;
  }
  int64_t EndOffset() const { return PageOffset(pages) + (pages + 1) * static_cast<int64_t>(sizeof(Digest)); }
};

// Checksums, not signatures: their key is known.
class StateHasher {
 public:
  StateHasher();
  Digest OfPage(int64_t index, std::span<const std::byte> bytes);
  Digest OfRest(std::span<const std::byte> head, std::span<const Token> tokens, std::span<const Digest> digests);

 private:
  KeyedHash page_;
  KeyedHash rest_;
};

struct StateImage {
  std::vector<std::byte> head;
  StateLayout layout;
};
StateImage MakeStateImage(const StateContent& content, const KvIdentity& identity);

struct StateHeader {
  StateLayout layout;
  std::string model;
  std::string page_layout;
  std::string build;
  std::string fingerprint;  // hexadecimal, as are these
  std::string salt_key;
  std::string salt;
  bool switched = false;
  std::optional<ChatPrompt> chat;
  StateAdapter adapter;
};

// Bytes of prologue and header together. kFailedPrecondition, as all below, if this is no state or `file_bytes` is not
// what it says.
Result<int64_t> CheckPrologue(std::span<const std::byte> prologue, int64_t file_bytes);
Result<StateHeader> ParseStateHeader(std::span<const std::byte> head, int64_t file_bytes);
// Whether the pages can be used here, by a client that gives this salt.
Result<void> CheckIdentity(const StateHeader& header, const KvIdentity& identity, const std::string& cache_salt);

std::string HexOf(std::span<const std::byte> bytes);

}  // namespace causeway::server
