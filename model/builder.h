// What a family's builder works with: the configuration, and the tensors with a record of which were used.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "model/network.h"
#include "model/safetensors.h"

namespace causeway::model {

// Takes tensors out of a map, checked for name, type and shape. The first error sticks, so that a family
// can be written as a list of what it wants; Finish() reports it, or the tensors that no one wanted.
class WeightSource {
 public:
  WeightSource(const TensorMap& tensors, std::string prefix) : tensors_(tensors), prefix_(std::move(prefix)) {}

  // [rows, columns] as it lies in the file.
  kernels::WeightView Matrix(const std::string& name, int64_t rows, int64_t columns);
  // A file's [columns, rows], transposed once into `owned`.
  kernels::WeightView Transposed(const std::string& name, int64_t rows, int64_t columns,
                                 std::vector<std::vector<std::byte>>& owned);
  // float32 values plus `offset`.
  std::vector<float> Vector(const std::string& name, int64_t size, float offset = 0.0F);

  bool Has(const std::string& name) const { return tensors_.contains(Full(name)); }
  // Marks as used without looking: buffers that carry no weights.
  void Ignore(const std::string& name) { used_.insert(Full(name)); }
  // The same for every tensor whose full name starts so: parts of a multimodal model that text never uses.
  void IgnorePrefixed(std::initializer_list<std::string_view> prefixes);

  // The first error, or the names of unused tensors.
  Result<void> Finish() const;

 private:
  const Tensor* Take(const std::string& name, const std::vector<int64_t>& shape);
  std::string Full(const std::string& name) const { return prefix_ + name; }

  const TensorMap& tensors_;
  const std::string prefix_;  // in front of every name: "", "model." stripped or added by hub variants
  std::set<std::string, std::less<>> used_;
  std::optional<Error> error_;
};

// Rows [begin, end) of a fused weight.
kernels::WeightView Rows(const kernels::WeightView& weight, int64_t begin, int64_t end);

}  // namespace causeway::model
