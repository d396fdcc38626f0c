#include "model/gguf/metadata.h"

#include <cmath>
#include <cstring>

#include "fmt/format.h"

namespace causeway::model::gguf {
namespace {

struct TypeRow {
  std::string_view name;
  int64_t bytes;
};
constexpr TypeRow kTypes[] = {{"uint8", 1},  {"int8", 1},    {"uint16", 2}, {"int16", 2},  {"uint32", 4},
                              {"int32", 4},  {"float32", 4}, {"bool", 1},   {"string", 0}, {"array", 0},
                              {"uint64", 8}, {"int64", 8},   {"float64", 8}};

Error Bad(std::string_view key, const std::string& what) {
  return MakeError(ErrorCode::kInvalidArgument, fmt::format("metadata {}: {}", key, what));
}

std::string Described(const Value& value) {
  return value.is_array ? fmt::format("a list of {} {}", value.count, NameOf(value.type))
                        : "a " + std::string(NameOf(value.type));
}

template <typename T>
T ReadAt(const Value& value, uint64_t index) {
  T number;
  std::memcpy(&number, value.numbers.data() + index * sizeof(T), sizeof(T));
  return number;
}

bool IsInteger(ValueType type) {
  return BytesOf(type) > 0 && type != ValueType::kBool && type != ValueType::kFloat32 && type != ValueType::kFloat64;
}

// The whole number at `index`; none if it is beyond int64.
std::optional<int64_t> IntegerAt(const Value& value, uint64_t index) {
  switch (value.type) {
    case ValueType::kUint8: return ReadAt<uint8_t>(value, index);
    case ValueType::kInt8: return ReadAt<int8_t>(value, index);
    case ValueType::kUint16: return ReadAt<uint16_t>(value, index);
    case ValueType::kInt16: return ReadAt<int16_t>(value, index);
    case ValueType::kUint32: return ReadAt<uint32_t>(value, index);
    case ValueType::kInt32: return ReadAt<int32_t>(value, index);
    case ValueType::kInt64: return ReadAt<int64_t>(value, index);
    case ValueType::kUint64: {
      const auto number = ReadAt<uint64_t>(value, index);
      return number <= INT64_MAX ? std::optional(static_cast<int64_t>(number)) : std::nullopt;
    }
    default: return std::nullopt;
  }
}

double NumberAt(const Value& value, uint64_t index) {
  switch (value.type) {
    case ValueType::kFloat32: return static_cast<double>(ReadAt<float>(value, index));
    case ValueType::kFloat64: return ReadAt<double>(value, index);
    case ValueType::kBool: return ReadAt<uint8_t>(value, index) != 0 ? 1 : 0;
    case ValueType::kUint64: return static_cast<double>(ReadAt<uint64_t>(value, index));
    default: return static_cast<double>(IntegerAt(value, index).value_or(0));
  }
}

}  // namespace

int64_t BytesOf(ValueType type) {
  const auto index = static_cast<size_t>(type);
  return index < std::size(kTypes) ? kTypes[index].bytes : 0;
}

std::string_view NameOf(ValueType type) {
  const auto index = static_cast<size_t>(type);
  return index < std::size(kTypes) ? kTypes[index].name : "unknown type";
}

const Value* Metadata::Find(std::string_view key) const {
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

Result<int64_t> Metadata::Int(std::string_view key, int64_t low, int64_t high, std::optional<int64_t> fallback) const {
  const Value* const value = Find(key);
  if (value == nullptr) {
    return fallback ? Result<int64_t>(*fallback) : Bad(key, "is missing");
  }
  if (!IsInteger(value->type) || value->count == 0) {
    return Bad(key, fmt::format("must be a whole number from {} to {}, not {}", low, high, Described(*value)));
  }
  const auto number = IntegerAt(*value, 0);
  for (uint64_t i = 1; i < value->count; ++i) {
    if (IntegerAt(*value, i) != number) {
      return MakeError(ErrorCode::kUnsupported,
                       fmt::format("metadata {}: layers that differ in this are not served", key));
    }
  }
  if (!number || *number < low || *number > high) {
    return Bad(key, fmt::format("must be a whole number from {} to {}", low, high));
  }
  return *number;
}

Result<double> Metadata::Number(std::string_view key, std::optional<double> fallback) const {
  const Value* const value = Find(key);
  if (value == nullptr) {
    return fallback ? Result<double>(*fallback) : Bad(key, "is missing");
  }
  if (value->is_array || value->numbers.empty() || value->type == ValueType::kBool ||
      !std::isfinite(NumberAt(*value, 0))) {
    return Bad(key, "must be a finite number, not " + Described(*value));
  }
  return NumberAt(*value, 0);
}

Result<bool> Metadata::Flag(std::string_view key, bool fallback) const {
  const Value* const value = Find(key);
  if (value == nullptr) {
    return fallback;
  }
  if (value->is_array || value->type != ValueType::kBool) {
    return Bad(key, "must be a bool, not " + Described(*value));
  }
  return NumberAt(*value, 0) != 0;
}

Result<std::string> Metadata::Text(std::string_view key, std::optional<std::string> fallback) const {
  const Value* const value = Find(key);
  if (value == nullptr) {
    return fallback ? Result<std::string>(*fallback) : Bad(key, "is missing");
  }
  if (value->is_array || value->type != ValueType::kString) {
    return Bad(key, "must be a string, not " + Described(*value));
  }
  return std::string(value->strings[0]);
}

Result<std::vector<std::string_view>> Metadata::Texts(std::string_view key) const {
  const Value* const value = Find(key);
  if (value == nullptr) {
    return std::vector<std::string_view>();
  }
  if (!value->is_array || (value->type != ValueType::kString && value->count > 0)) {
    return Bad(key, "must be a list of strings, not " + Described(*value));
  }
  return value->strings;
}

Result<std::vector<double>> Metadata::Numbers(std::string_view key) const {
  std::vector<double> numbers;
  const Value* const value = Find(key);
  if (value == nullptr) {
    return numbers;
  }
  if (!value->is_array || (BytesOf(value->type) == 0 && value->count > 0)) {
    return Bad(key, "must be a list of numbers, not " + Described(*value));
  }
  numbers.reserve(value->count);
  for (uint64_t i = 0; i < value->count; ++i) {
    numbers.push_back(NumberAt(*value, i));
  }
  return numbers;
}

}  // namespace causeway::model::gguf
