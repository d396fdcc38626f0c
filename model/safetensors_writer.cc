#include "model/safetensors_writer.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "base/check.h"
#include "base/json.h"

namespace causeway::model {

std::string SafetensorsHeader(std::span<const TensorToWrite> tensors) {
  OrderedJson header = {{"__metadata__", {{"format", "pt"}}}};  // older readers of the hub's files insist on it
  int64_t at = 0;
  for (const TensorToWrite& tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {at, at + tensor.bytes}}};
    at += tensor.bytes;
  }
  std::string text = DumpJson(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t bytes = text.size();
  return std::string(reinterpret_cast<const char*>(&bytes), sizeof(bytes)) + text;
}

Result<void> WriteSafetensors(const std::string& path, std::span<const TensorToWrite> tensors,
                              const TensorSource& source) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << SafetensorsHeader(tensors);
  for (size_t i = 0; i < tensors.size() && file.good(); ++i) {
    int64_t written = 0;
    source(i, [&](std::span<const std::byte> bytes) {
      file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
      written += static_cast<int64_t>(bytes.size());
    });
    CHECK(written == tensors[i].bytes);
  }
  file.flush();
  if (!file.good()) {
    return MakeError(ErrorCode::kFailedPrecondition, "cannot write " + path + ": " + std::strerror(errno));
  }
  return {};
}

}  // namespace causeway::model
