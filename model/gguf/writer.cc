#include "model/gguf/writer.h"

#include <limits>

#include "base/check.h"
#include "model/gguf/reader.h"

namespace causeway::model::gguf {
namespace {

template <typename T>
void Put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}
void PutText(std::string& bytes, std::string_view text) {
  Put(bytes, static_cast<uint64_t>(text.size()));
  bytes += text;
}

}  // namespace

void HeaderWriter::Begin(std::string_view key, ValueType type) {
  PutText(metadata_, key);
  Put(metadata_, type);
  ++keys_;
}
void HeaderWriter::BeginList(std::string_view key, ValueType type, size_t count) {
  Begin(key, ValueType::kArray);
  Put(metadata_, type);
  Put(metadata_, static_cast<uint64_t>(count));
}

void HeaderWriter::Text(std::string_view key, std::string_view value) {
  Begin(key, ValueType::kString);
  PutText(metadata_, value);
}
void HeaderWriter::Size(std::string_view key, int64_t value) {
  CHECK(value >= 0 && value <= std::numeric_limits<uint32_t>::max());
  Begin(key, ValueType::kUint32);
  Put(metadata_, static_cast<uint32_t>(value));
}
void HeaderWriter::Int(std::string_view key, int32_t value) {
  Begin(key, ValueType::kInt32);
  Put(metadata_, value);
}
void HeaderWriter::Number(std::string_view key, double value) {
  Begin(key, ValueType::kFloat32);
  Put(metadata_, static_cast<float>(value));
}
void HeaderWriter::Flag(std::string_view key, bool value) {
  Begin(key, ValueType::kBool);
  Put(metadata_, static_cast<uint8_t>(value ? 1 : 0));
}
void HeaderWriter::Texts(std::string_view key, std::span<const std::string> values) {
  BeginList(key, ValueType::kString, values.size());
  for (const std::string& value : values) {
    PutText(metadata_, value);
  }
}
void HeaderWriter::Ints(std::string_view key, std::span<const int32_t> values) {
  BeginList(key, ValueType::kInt32, values.size());
  metadata_.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}
void HeaderWriter::Numbers(std::string_view key, std::span<const float> values) {
  BeginList(key, ValueType::kFloat32, values.size());
  metadata_.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}
void HeaderWriter::Flags(std::string_view key, const std::vector<bool>& values) {
  BeginList(key, ValueType::kBool, values.size());
  for (const bool value : values) {
    Put(metadata_, static_cast<uint8_t>(value ? 1 : 0));
  }
}

bool HeaderWriter::Copy(std::string_view key, const Value& value) {
  if (value.type == ValueType::kArray) {
    return false;
  }
  if (value.is_array) {
    BeginList(key, value.type, value.count);
  } else {
    Begin(key, value.type);
  }
  for (const std::string_view text : value.strings) {
    PutText(metadata_, text);
  }
  metadata_.append(reinterpret_cast<const char*>(value.numbers.data()), value.numbers.size());
  return true;
}

void HeaderWriter::Tensor(std::string_view name, std::span<const int64_t> shape, std::string_view type, int64_t bytes) {
  PutText(tensors_, name);
  Put(tensors_, static_cast<uint32_t>(shape.size()));
  for (size_t i = shape.size(); i > 0; --i) {  // the file has the length of a row first
    Put(tensors_, static_cast<uint64_t>(shape[i - 1]));
  }
  Put(tensors_, NumberOfType(type).value());
  Put(tensors_, static_cast<uint64_t>(offset_));
  offset_ += AlignedBytes(bytes);
  ++tensor_count_;
}

std::string HeaderWriter::Finish() const {
  constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
  constexpr uint32_t kVersion = 3;
  std::string header;
  Put(header, kMagic);
  Put(header, kVersion);
  Put(header, tensor_count_);
  Put(header, keys_);
  header += metadata_;
  header += tensors_;
  header.resize(static_cast<size_t>(AlignedBytes(static_cast<int64_t>(header.size()))));
  return header;
}

}  // namespace causeway::model::gguf
