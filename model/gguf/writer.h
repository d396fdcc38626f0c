// Writes the header of a GGUF file, version 3: metadata and the places of tensors. The data follow it, each tensor's
// padded to the alignment, in the order in which they were added.
// Format: ggml's docs/gguf.md.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/gguf/metadata.h"

namespace causeway::model::gguf {

inline constexpr int64_t kWriterAlignment = 32;
// Bytes that a tensor takes in the file.
constexpr int64_t AlignedBytes(int64_t bytes) {
  return (bytes + kWriterAlignment - 1) / kWriterAlignment * kWriterAlignment;
}

class HeaderWriter {
 public:
  void Text(std::string_view key, std::string_view value);
  void Size(std::string_view key, int64_t value);  // as uint32; a CHECK holds it to that
  void Int(std::string_view key, int32_t value);
  void Number(std::string_view key, double value);  // as float32
  void Flag(std::string_view key, bool value);
  void Texts(std::string_view key, std::span<const std::string> values);
  void Ints(std::string_view key, std::span<const int32_t> values);
  void Numbers(std::string_view key, std::span<const float> values);
  void Flags(std::string_view key, const std::vector<bool>& values);
  // Another file's value as it is. Lists in lists, which readers of ours do not keep, are left out: false.
  bool Copy(std::string_view key, const Value& value);

  // `shape` as matrices are written, [rows, columns]; `type` as NumberOfType knows it.
  void Tensor(std::string_view name, std::span<const int64_t> shape, std::string_view type, int64_t bytes);

  // The header, padded to where the data begin.
  std::string Finish() const;

 private:
  void Begin(std::string_view key, ValueType type);
  void BeginList(std::string_view key, ValueType type, size_t count);

  std::string metadata_;
  uint64_t keys_ = 0;
  std::string tensors_;
  uint64_t tensor_count_ = 0;
  int64_t offset_ = 0;
};

}  // namespace causeway::model::gguf
