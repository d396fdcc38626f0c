// The typed values of a GGUF file by name. Numbers and texts are views of the file; nothing is copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace causeway::model::gguf {

// As numbered in files (ggml's docs/gguf.md).
enum class ValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};
// Bytes of a number or bool; 0 for the rest.
int64_t BytesOf(ValueType type);
std::string_view NameOf(ValueType type);

struct Value {
  ValueType type = ValueType::kUint8;  // of the elements, where it is an array
  bool is_array = false;
  uint64_t count = 1;
  std::span<const std::byte> numbers;     // count of them, little-endian, where type has BytesOf
  std::vector<std::string_view> strings;  // count of them, where type is kString; not checked for UTF-8
};

// Reads with checks, as Config does for config.json: errors name the key. Const after it is filled.
class Metadata {
 public:
  bool Has(std::string_view key) const { return Find(key) != nullptr; }
  const Value* Find(std::string_view key) const;
  // False if the key is there already.
  bool Add(std::string_view key, Value value) { return values_.emplace(key, std::move(value)).second; }
  size_t size() const { return values_.size(); }
  const std::map<std::string, Value, std::less<>>& values() const { return values_; }

  // A whole number in [low, high], of any integer type. An array that repeats one number counts as that number: writers
  // give some sizes for each layer. Absent: `fallback`, or an error if there is none.
  Result<int64_t> Int(std::string_view key, int64_t low, int64_t high,
                      std::optional<int64_t> fallback = std::nullopt) const;
  // A finite number of any type. Absent: `fallback`, or an error if there is none.
  Result<double> Number(std::string_view key, std::optional<double> fallback = std::nullopt) const;
  Result<bool> Flag(std::string_view key, bool fallback) const;
  // Valid UTF-8 is the caller's to check. Absent: `fallback`, or an error if there is none.
  Result<std::string> Text(std::string_view key, std::optional<std::string> fallback = std::nullopt) const;
  // Arrays; empty if absent.
  Result<std::vector<std::string_view>> Texts(std::string_view key) const;
  Result<std::vector<double>> Numbers(std::string_view key) const;

 private:
  std::map<std::string, Value, std::less<>> values_;
};

}  // namespace causeway::model::gguf
