#include "model/fingerprint.h"

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "model/network.h"

namespace causeway::model {
namespace {

constexpr size_t kChunkBytes = size_t{16} << 20;  // hashed by one thread

}  // namespace

// A tree of two levels: the digest of the chunks' digests, each file's name and size before its own.
Digest Fingerprint(const Model& model, ThreadPool& pool) {
  CHECK(model.network != nullptr && model.network->files != nullptr);
  const auto files = model.network->files->Opened();
  std::vector<std::span<const std::byte>> chunks;
  std::vector<std::byte> names;
  for (const auto& file : files) {
    const auto name = std::as_bytes(std::span(file.name.c_str(), file.name.size() + 1));
    const uint64_t size = file.bytes.size();
    names.insert(names.end(), name.begin(), name.end());
    const auto size_bytes = std::as_bytes(std::span(&size, 1));
    names.insert(names.end(), size_bytes.begin(), size_bytes.end());
    for (size_t at = 0; at < file.bytes.size(); at += kChunkBytes) {
      chunks.push_back(file.bytes.subspan(at, std::min(kChunkBytes, file.bytes.size() - at)));
    }
  }
  std::vector<Digest> digests(chunks.size());
  pool.ParallelFor(std::ssize(chunks), [&](int64_t i, int /*worker*/) {
    KeyedHash hash(Digest{}, "causeway.chunk");
    digests[static_cast<size_t>(i)] = hash.Hash({chunks[static_cast<size_t>(i)]});
  });
  KeyedHash hash(Digest{}, "causeway.model");
  return hash.Hash({names, std::as_bytes(std::span(digests))});
}

}  // namespace causeway::model
