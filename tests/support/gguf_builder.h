// GGUF files built by hand, right ones and wrong ones.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "model/gguf/metadata.h"

namespace causeway::model {

class GgufBuilder {
 public:
  using Type = gguf::ValueType;

  uint32_t version = 3;
  uint64_t alignment = 32;  // of the data; written only if Number("general.alignment") is called

  GgufBuilder& Text(std::string_view key, std::string_view value) {
    Key(key, Type::kString);
    Put(keys_, value);
    return *this;
  }
  template <typename T>
  GgufBuilder& Number(std::string_view key, Type type, T value) {
    Key(key, type);
    Put(keys_, value);
    return *this;
  }
  GgufBuilder& Uint(std::string_view key, uint32_t value) { return Number(key, Type::kUint32, value); }
  GgufBuilder& Float(std::string_view key, float value) { return Number(key, Type::kFloat32, value); }
  GgufBuilder& Flag(std::string_view key, bool value) { return Number(key, Type::kBool, static_cast<uint8_t>(value)); }
  GgufBuilder& Texts(std::string_view key, const std::vector<std::string>& values) {
    List(key, Type::kString, values.size());
    for (const std::string& value : values) {
      Put(keys_, std::string_view(value));
    }
    return *this;
  }
  template <typename T>
  GgufBuilder& Numbers(std::string_view key, Type type, const std::vector<T>& values) {
    List(key, type, values.size());
    for (const T value : values) {
      Put(keys_, value);
    }
    return *this;
  }
  // Only the beginning of a list: its elements are the caller's to write with Raw.
  GgufBuilder& List(std::string_view key, Type type, uint64_t count) {
    Key(key, Type::kArray);
    Put(keys_, type);
    Put(keys_, count);
    return *this;
  }
  template <typename T>
  GgufBuilder& Raw(T value) {
    Put(keys_, value);
    return *this;
  }

  // Sizes in the file's order: row length first. `type` is ggml's number. Data are appended, aligned.
  GgufBuilder& Tensor(std::string_view name, const std::vector<uint64_t>& sizes, uint32_t type, std::string_view data) {
    const uint64_t offset = (data_.size() + alignment - 1) / alignment * alignment;
    data_.resize(offset);
    data_ += data;
    return TensorAt(name, sizes, type, offset);
  }
  GgufBuilder& TensorAt(std::string_view name, const std::vector<uint64_t>& sizes, uint32_t type, uint64_t offset) {
    Put(tensors_, name);
    Put(tensors_, static_cast<uint32_t>(sizes.size()));
    for (const uint64_t size : sizes) {
      Put(tensors_, size);
    }
    Put(tensors_, type);
    Put(tensors_, offset);
    ++tensor_count_;
    return *this;
  }
  GgufBuilder& Floats(std::string_view name, const std::vector<uint64_t>& sizes, const std::vector<float>& values) {
    return Tensor(name, sizes, 0, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
  }

  std::string Build() const {
    std::string file = "GGUF";
    Put(file, version);
    Put(file, tensor_count_);
    Put(file, key_count_);
    file += keys_ + tensors_;
    file.resize((file.size() + alignment - 1) / alignment * alignment);
    return file + data_;
  }

 private:
  template <typename T>
  static void Put(std::string& to, T value) {
    to.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  static void Put(std::string& to, std::string_view text) {
    Put(to, static_cast<uint64_t>(text.size()));
    to += text;
  }
  void Key(std::string_view key, Type type) {
    Put(keys_, key);
    Put(keys_, type);
    ++key_count_;
  }

  std::string keys_;
  std::string tensors_;
  std::string data_;
  uint64_t key_count_ = 0;
  uint64_t tensor_count_ = 0;
};

}  // namespace causeway::model
