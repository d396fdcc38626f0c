// Quantized checkpoints made by hand, for the tests of their readers.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "base/json.h"
#include "kernels/quant/format.h"
#include "model/checkpoint.h"
#include "model/quant/reader.h"

namespace causeway::model::quant {

// A checkpoint whose tensors are given as numbers.
class Tensors {
 public:
  template <typename T>
  Tensors& Add(const std::string& name, const std::string& dtype, std::vector<int64_t> shape,
               const std::vector<T>& values) {
    std::vector<std::byte>& bytes = bytes_.emplace_back(values.size() * sizeof(T));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    checkpoint_.tensors[name] = {dtype, std::move(shape), bytes};
    return *this;
  }
  Tensors& Remove(const std::string& name) {
    checkpoint_.tensors.erase(name);
    return *this;
  }

  std::string ErrorOf(const Json& settings) {
    const auto read = Translate(settings, checkpoint_, {});
    return read.ok() ? "accepted" : read.error().message;
  }
  const Checkpoint& checkpoint() const { return checkpoint_; }
  std::string Dtype(const std::string& name) const { return checkpoint_.tensors.at(name).dtype; }
  std::vector<float> Decoded(const std::string& name) const {
    const Tensor& tensor = checkpoint_.tensors.at(name);
    std::vector<float> values(static_cast<size_t>(tensor.elements()));
    kernels::FindFormat(tensor.dtype)->decode(tensor.data.data(), values.data(), tensor.elements());
    return values;
  }

 private:
  std::deque<std::vector<std::byte>> bytes_;
  Checkpoint checkpoint_;
};

inline const Json kGptq = {{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 32}, {"checkpoint_format", "gptq_v2"}};

// 64 inputs, 8 outputs, two groups: code = input % 16, zero point 8, scale 1 + group.
inline Tensors GptqModule() {
  Tensors tensors;
  std::vector<uint32_t> words;
  for (uint32_t word = 0; word < 8; ++word) {
    words.insert(words.end(), 8, word % 2 == 0 ? 0x76543210U : 0xfedcba98U);
  }
  std::vector<float> scales(16, 1.0F);
  std::fill(scales.begin() + 8, scales.end(), 2.0F);
  tensors.Add("a.qweight", "I32", {8, 8}, words)
      .Add("a.qzeros", "I32", {2, 1}, std::vector<uint32_t>(2, 0x88888888U))
      .Add("a.scales", "F32", {2, 8}, scales);
  return tensors;
}

inline Json Packed(const std::string& target, int bits) {
  return {{"targets", {target}},
          {"weights", {{"num_bits", bits}, {"type", "int"}, {"strategy", "channel"}, {"symmetric", true}}}};
}

}  // namespace causeway::model::quant
