#include "server/api/json_fields.h"

#include "fmt/format.h"

namespace causeway::server {

const OrderedJson* JsonFields::Find(const char* name) const {
  const auto it = json_.find(name);
  return it == json_.end() || it->is_null() ? nullptr : &*it;
}

std::optional<bool> JsonFields::Flag(const char* name) {
  const OrderedJson* const value = Find(name);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_boolean()) {
    Fail(name, "must be true or false");
    return std::nullopt;
  }
  return value->get<bool>();
}

std::optional<int64_t> JsonFields::Int(const char* name, int64_t low, int64_t high) {
  const OrderedJson* const value = Find(name);
  if (value == nullptr) {
    return std::nullopt;
  }
  const bool too_big = value->is_number_unsigned() && value->get<uint64_t>() > uint64_t{INT64_MAX};
  if (!value->is_number_integer() || too_big || value->get<int64_t>() < low || value->get<int64_t>() > high) {
    Fail(name, fmt::format("must be a whole number from {} to {}", low, high));
    return std::nullopt;
  }
  return value->get<int64_t>();
}

std::optional<double> JsonFields::Number(const char* name, double low, double high) {
  const OrderedJson* const value = Find(name);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_number() || !(value->get<double>() >= low && value->get<double>() <= high)) {
    Fail(name, fmt::format("must be a number from {} to {}", low, high));
    return std::nullopt;
  }
  return value->get<double>();
}

std::optional<std::string> JsonFields::Text(const char* name) {
  const OrderedJson* const value = Find(name);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_string()) {
    Fail(name, "must be a string");
    return std::nullopt;
  }
  return value->get<std::string>();
}

void JsonFields::Fail(const char* name, const std::string& what) {
  if (!error_) {
    error_ = MakeError(ErrorCode::kInvalidArgument, fmt::format("{} {}", name, what), name);
  }
}

Result<void> JsonFields::Finish() const {
  if (error_) {
    return *error_;
  }
  return {};
}

}  // namespace causeway::server
