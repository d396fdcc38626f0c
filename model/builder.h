// What a family's builder works with: the configuration, and the tensors with a record of which were used.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "model/network.h"

namespace causeway::model {

// Takes tensors out of a map, checked for name, type and shape. The first error sticks, so that a family
// can be written as a list of what it wants; Finish() reports it, or the tensors that no one wanted.
class WeightSource {
 public:
  // Families name tensors as a whole causal model's file does ("model.norm.weight", "lm_head.weight"). Files
  // of a bare decoder lack "model.", wrappers put names of their own in front: which it is, the place of the
  // embedding tells.
  // What `checkpoint` holds outlives the source and, its column orders and terms, the views.
  explicit WeightSource(const Checkpoint& checkpoint);

  // [rows, columns] as it lies in the file.
  kernels::WeightView Matrix(const std::string& name, int64_t rows, int64_t columns);
  // A file's [columns, rows], transposed once into memory of ours; as it lies, where the container stores it so.
  kernels::WeightView Transposed(const std::string& name, int64_t rows, int64_t columns);
  // `shared`, for a head tied to the embedding. Some files hold the matrix twice; one that differs is an
  // error, because the reference's versions do not agree on which of the two counts.
  kernels::WeightView Tied(const std::string& name, const kernels::WeightView& shared);
  // float32 values.
  std::vector<float> Vector(const std::string& name, int64_t size);
  // The weight of a norm that multiplies by one plus what the hub's files hold.
  std::vector<float> OnePlusVector(const std::string& name, int64_t size);
  // Whether a bias is to be taken: `wanted` by the configuration, or there where only the tensors tell.
  bool WantsBias(const std::string& name, bool wanted) const {
    return conventions_.biases_as_found ? Has(name) : wanted;
  }

  bool Has(const std::string& name) const { return tensors_.contains(Full(name)); }
  // Marks as used without looking: buffers that carry no weights.
  void Ignore(const std::string& name) { used_.insert(Full(name)); }
  // The same for every tensor whose full name starts so: parts of a multimodal model that text never uses.
  void IgnorePrefixed(std::span<const std::string_view> prefixes);

  // What the views point into beside the files. To be kept for as long as they are used.
  std::vector<std::vector<std::byte>> TakeOwned() { return std::move(owned_); }

  // The first error, or the names of unused tensors.
  Result<void> Finish() const;

 private:
  const Tensor* Take(const std::string& name, const std::vector<int64_t>& shape);
  std::string Full(std::string_view name) const;
  // For messages.
  std::string NameInFile(const std::string& full) const { return name_in_file_ ? name_in_file_(full) : full; }

  // The column order of a tensor; tensors in the same order that are taken in a row share one.
  const int32_t* OrderOf(const std::string& name);

  const TensorMap& tensors_;
  const ColumnOrders& orders_;
  const InputRoundings& roundings_;
  const TermsByName& terms_;
  const std::function<std::string(std::string_view)>& name_in_file_;
  const std::vector<int32_t>* last_order_ = nullptr;
  const WeightConventions conventions_;
  std::string body_;  // what stands for "model." in this file
  std::string rest_;  // what stands in front of the other names
  std::set<std::string, std::less<>> used_;
  std::vector<std::vector<std::byte>> owned_;
  std::optional<Error> error_;
};

// Rows [begin, end) of a fused weight.
kernels::WeightView Rows(const kernels::WeightView& weight, int64_t begin, int64_t end);
// The same of a fused projection.
Projection Part(const Projection& fused, int64_t begin, int64_t end);

}  // namespace causeway::model
