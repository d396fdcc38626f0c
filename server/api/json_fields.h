// Typed reads of a request object's fields; the first error sticks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace causeway::server {

class JsonFields {
 public:
  explicit JsonFields(const OrderedJson& json) : json_(json) {}

  // Null if absent or JSON null.
  const OrderedJson* Find(const char* name) const;
  std::optional<bool> Flag(const char* name);
  std::optional<int64_t> Int(const char* name, int64_t low, int64_t high);
  std::optional<double> Number(const char* name, double low, double high);
  std::optional<std::string> Text(const char* name);

  void Fail(const char* name, const std::string& what);
  Result<void> Finish() const;

 private:
  const OrderedJson& json_;
  std::optional<Error> error_;
};

}  // namespace causeway::server
