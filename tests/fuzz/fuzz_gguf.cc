// model/gguf on arbitrary bytes: what the reader accepts lies inside the file and is as long as its shape says; the
// tokenizer and the configuration made of it, here and for a Hugging Face folder, fail with an error or work.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/check.h"
#include "kernels/quant/format.h"
#include "model/gguf/reader.h"
#include "model/gguf/to_hub.h"
#include "model/gguf/translate.h"
#include "model/gguf/vocabulary.h"
#include "model/model.h"
#include "model/tokenizer/tokenizer.h"

namespace {

// What is translated has the bytes that its shape says.
void CheckSizes(const causeway::model::TensorMap& tensors) {
  for (const auto& [name, tensor] : tensors) {
    const auto* const format = causeway::kernels::FindFormat(tensor.dtype);
    CHECK(format != nullptr);
    CHECK_MSG(causeway::kernels::BytesOf(format->id, tensor.elements()) == static_cast<int64_t>(tensor.data.size()),
              "tensor {} is not as long as its shape says", name);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
  const auto file = causeway::model::gguf::Parse(bytes);
  if (!file.ok()) {
    return 0;
  }
  for (const auto& [name, tensor] : file->tensors) {
    CHECK_MSG(tensor.data.empty() || (tensor.data.data() >= bytes.data() &&
                                      tensor.data.data() + tensor.data.size() <= bytes.data() + size),
              "tensor {} leaves the file", name);
  }
  CheckSizes(file->tensors);
  const auto tokenizer = causeway::model::gguf::ReadTokenizer(*file);
  if (tokenizer.ok() && *tokenizer != nullptr) {
    const auto ids = (*tokenizer)->Encode("Hello  world </s> 123 \n\xC3\xA9", {});
    if (ids.ok()) {
      (*tokenizer)->Decode(*ids, false);
    }
    const auto written = causeway::model::gguf::HubTokenizer(*file);
    if (written.ok()) {
      static_cast<void>(causeway::model::Tokenizer::FromJson(causeway::DumpJson(*written)).ok());
    }
  }
  static_cast<void>(causeway::model::gguf::ReadChatFormat(*file).ok());
  static_cast<void>(causeway::model::gguf::ReadGeneration(*file).ok());
  const auto checkpoint = causeway::model::gguf::Translate(*file);
  if (checkpoint.ok()) {
    CheckSizes(checkpoint->tensors);
    static_cast<void>(causeway::model::gguf::HubConfig(*file, *checkpoint, causeway::model::Model()).ok());
  }
  return 0;
}
