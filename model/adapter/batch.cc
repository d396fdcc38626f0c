#include "model/adapter/batch.h"

#include <algorithm>

namespace causeway::model {

void AdapterBatch::Clear() { used_ = 0; }

void AdapterBatch::Add(const Adapter* adapter, int64_t first_row, int64_t rows) {
  if (adapter == nullptr) {
    return;
  }
  const auto end = adapters_.begin() + static_cast<ptrdiff_t>(used_);
  auto it = std::find_if(adapters_.begin(), end, [&](const Rows& one) { return one.adapter == adapter; });
  if (it == end) {
    if (used_ == adapters_.size()) {
      adapters_.emplace_back();
    }
    it = adapters_.begin() + static_cast<ptrdiff_t>(used_++);
    it->adapter = adapter;
    it->rows.clear();
  }
  for (int64_t row = first_row; row < first_row + rows; ++row) {
    it->rows.push_back(static_cast<int32_t>(row));
  }
}

void AdapterBatch::Apply(const kernels::Ops& ops, kernels::Stream& stream, int64_t layer, const float* x,
                         int64_t x_stride, int64_t k, std::span<const Output> outputs) {
  terms_.clear();
  segments_.clear();
  terms_.reserve(used_ * outputs.size());  // the spans below point into it
  for (const Rows& one : std::span(adapters_).first(used_)) {
    const size_t first = terms_.size();
    for (const Output& output : outputs) {
      kernels::LowRankTerm term = one.adapter->Of(layer, output.slot);
      if (term.a != nullptr) {
        term.y = output.y;
        term.y_stride = output.y_stride;
        terms_.push_back(term);
      }
    }
    if (terms_.size() > first) {
      segments_.push_back({one.rows, std::span(terms_).subspan(first)});
    }
  }
  if (!segments_.empty()) {
    ops.low_rank(stream, {.x = x, .x_stride = x_stride, .k = k, .segments = segments_});
  }
}

}  // namespace causeway::model
