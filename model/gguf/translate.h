// A GGUF file's hyper-parameters and tensors in the words of config.json and Hugging Face's checkpoints.
#pragma once

#include <string>

#include "base/result.h"
#include "model/checkpoint.h"
#include "model/gguf/architectures.h"
#include "model/gguf/reader.h"

namespace causeway::model::gguf {

// The row of Architectures() that general.architecture names; kUnsupported if none is, or where the file holds no
// model.
Result<const Architecture*> FindArchitecture(const File& file);

// The configuration and the tensors of a model. kUnsupported for architectures and features that are not served, by the
// key's name. Rows of Q and K that llama.cpp's converter has reordered are put back into the order of halves.
Result<Checkpoint> Translate(const File& file, RowsWritten when = RowsWritten::kNow);

// Without tensors, for a file that holds a vocabulary alone: sizes that only tensors tell are left out.
Result<Json> TranslateConfig(const File& file);

// "llama, qwen2, ...": the architectures of general.architecture that are served.
std::string KnownArchitectures();

}  // namespace causeway::model::gguf
