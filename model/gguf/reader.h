// The GGUF container, versions 2 and 3: metadata, tensors, and models cut into several files. Files are untrusted:
// every length, count, offset and depth is checked before use, and nothing is copied.
// Format: ggml's docs/gguf.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/files.h"
#include "model/gguf/metadata.h"
#include "model/safetensors.h"

namespace causeway::model::gguf {

struct File {
  uint32_t version = 0;
  Metadata metadata;
  // Shapes as matrices are written, [rows, columns], the reverse of the file's order; dtype is the type's name
  // ("Q4_K").
  TensorMap tensors;
};

// Parses one file. Errors say what is wrong and where: another container, version 1, the other byte order, a file that
// was cut, types that are not served (kUnsupported), lengths beyond the file, names that stand twice, tensors that
// overlap or lie off their alignment.
Result<File> Parse(std::span<const std::byte> bytes);

// A whole model: `name`, or all the files of a set of which it is one (NAME-00001-of-00003.gguf). Metadata are the
// first file's. The set must be complete and agree about itself.
Result<File> Load(ModelFiles& files, std::string_view name);

// NAME-00001-of-00003.gguf for any file of a set; other names as they are.
std::string FirstOfSet(std::string_view name);

bool IsGgufName(std::string_view name);

// ggml's number of a tensor type: "Q4_0" is 2. None: it knows no such type.
std::optional<uint32_t> NumberOfType(std::string_view name);

}  // namespace causeway::model::gguf
