// model/quant on arbitrary bytes: a line of JSON (quantization_config), then a safetensors file. What a reader accepts
// has the bytes that its shape says, an order that names every column once, and outliers that lie in it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>

#include "base/check.h"
#include "base/json.h"
#include "kernels/quant/format.h"
#include "model/quant/reader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const uint8_t* const line = std::find(data, data + size, '\n');
  if (line == data + size) {
    return 0;
  }
  const auto settings = causeway::ParseJson({reinterpret_cast<const char*>(data), static_cast<size_t>(line - data)});
  auto tensors = causeway::model::ParseSafetensors(std::as_bytes(std::span(line + 1, data + size)));
  if (!settings.ok() || !tensors.ok()) {
    return 0;
  }
  causeway::model::Checkpoint checkpoint;
  checkpoint.tensors = *tensors;
  if (!causeway::model::quant::Translate(*settings, checkpoint, {}).ok()) {
    return 0;
  }
  for (const auto& [name, tensor] : checkpoint.tensors) {
    const auto* const format = causeway::kernels::FindFormat(tensor.dtype);
    CHECK_MSG(format == nullptr ||
                  causeway::kernels::BytesOf(format->id, tensor.elements()) == static_cast<int64_t>(tensor.data.size()),
              "tensor {} is not as long as its shape says", name);
  }
  for (const auto& [name, order] : checkpoint.column_orders) {
    std::vector<int32_t> sorted = order;
    std::sort(sorted.begin(), sorted.end());
    std::vector<int32_t> all(order.size());
    std::iota(all.begin(), all.end(), 0);
    CHECK_MSG(sorted == all && static_cast<int64_t>(order.size()) == checkpoint.tensors.at(name).shape.back(),
              "tensor {} has an order that is none", name);
  }
  for (const auto& [name, terms] : checkpoint.terms) {
    const auto& [offsets, entries] = terms.sparse;
    const std::vector<int64_t>& shape = checkpoint.tensors.at(name).shape;
    CHECK_MSG(static_cast<int64_t>(offsets.size()) == shape[0] + 1 && offsets.front() == 0 &&
                  offsets.back() == entries.size() && std::is_sorted(offsets.begin(), offsets.end()) &&
                  std::all_of(entries.begin(), entries.end(), [&](const auto& one) { return one.column < shape[1]; }),
              "tensor {} has outliers outside of it", name);
  }
  return 0;
}
