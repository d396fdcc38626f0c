// model/safetensors.h on arbitrary bytes, as one file and as the files of an index: what is accepted lies
// inside the file and is as long as its shape says.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/check.h"
#include "model/safetensors.h"
#include "tests/support/memory_files.h"

namespace {

using causeway::model::Tensor;
using causeway::model::TensorMap;

void CheckInside(const TensorMap& tensors, std::span<const std::byte> file) {
  uint64_t total = 0;
  for (const auto& [name, tensor] : tensors) {
    CHECK_MSG(tensor.data.empty() || (tensor.data.data() >= file.data() &&
                                      tensor.data.data() + tensor.data.size() <= file.data() + file.size()),
              "tensor {} leaves the file", name);
    CHECK(tensor.elements() >= 0);
    CHECK(static_cast<uint64_t>(tensor.elements()) <= tensor.data.size());
    total += tensor.data.size();
  }
  CHECK(total <= file.size());
}

}  // namespace

// The bytes up to the first "|" pair up as the index where there is one, the rest is the shard it names.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const std::span<const std::byte> file = std::as_bytes(std::span(text));
  const auto whole = causeway::model::ParseSafetensors(file);
  if (whole.ok()) {
    CheckInside(*whole, file);
  }
  const size_t bar = text.find('|');
  if (bar != std::string::npos) {
    causeway::model::MemoryFiles files(
        {{"model.safetensors.index.json", text.substr(0, bar)}, {"a.safetensors", text.substr(bar + 1)}});
    const auto sharded = causeway::model::LoadTensors(files);
    if (sharded.ok()) {
      CheckInside(*sharded, *files.Open("a.safetensors"));
    }
  }
  return 0;
}
