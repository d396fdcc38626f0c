#include "model/builder.h"

#include <cstring>
#include <optional>

#include "base/check.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace causeway::model {
namespace {

constexpr std::string_view kBody = "model.";
struct Naming {
  std::string_view body, rest;
};
constexpr Naming kNamings[] = {
    {kBody, ""}, {"", ""}, {"language_model.model.", "language_model."}, {"model.language_model.", ""}};

}  // namespace

WeightSource::WeightSource(const Checkpoint& checkpoint)
    : tensors_(checkpoint.tensors),
      orders_(checkpoint.column_orders),
      roundings_(checkpoint.input_roundings),
      terms_(checkpoint.terms),
      name_in_file_(checkpoint.name_in_file),
      conventions_(checkpoint.conventions),
      body_(kBody) {
  for (const Naming& naming : kNamings) {
    if (tensors_.contains(std::string(naming.body) + "embed_tokens.weight")) {
      body_ = naming.body;
      rest_ = naming.rest;
      return;
    }
  }
}

std::string WeightSource::Full(std::string_view name) const {
  return name.starts_with(kBody) ? body_ + std::string(name.substr(kBody.size())) : rest_ + std::string(name);
}

const Tensor* WeightSource::Take(const std::string& name, const std::vector<int64_t>& shape) {
  const std::string full = Full(name);
  const auto it = tensors_.find(full);
  const auto fail = [&](std::string_view what) {
    if (!error_) {
      error_ = MakeError(ErrorCode::kInvalidArgument, fmt::format("tensor {}{}", NameInFile(full), what));
    }
  };
  if (it == tensors_.end()) {
    fail(" is missing");
    return nullptr;
  }
  used_.insert(it->first);
  if (it->second.shape != shape) {
    fail(fmt::format(": its shape is [{}], the configuration wants [{}]", fmt::join(it->second.shape, ", "),
                     fmt::join(shape, ", ")));
    return nullptr;
  }
  const kernels::WeightFormat* const format = kernels::FindFormat(it->second.dtype);
  if (format == nullptr) {
    fail(fmt::format(": weights of type {} are not served; known: {}", it->second.dtype, kernels::KnownDtypes()));
    return nullptr;
  }
  if (shape.back() % format->block_elements != 0) {
    fail(fmt::format(": rows of {} values are no whole blocks of {}", shape.back(), format->dtype));
    return nullptr;
  }
  return &it->second;
}

kernels::WeightView WeightSource::Matrix(const std::string& name, int64_t rows, int64_t columns) {
  const Tensor* const tensor = Take(name, {rows, columns});
  if (tensor == nullptr) {
    return {};
  }
  const kernels::FormatId format = kernels::FindFormat(tensor->dtype)->id;
  const std::byte* data = tensor->data.data();
  const kernels::WeightFormat& layout = kernels::FormatOf(format);
  if (layout.block_elements == 1 && reinterpret_cast<uintptr_t>(data) % static_cast<size_t>(layout.block_bytes) != 0) {
    // Old writers did not pad the header; kernels read whole elements. Blocks need no alignment.
    data = owned_.emplace_back(tensor->data.begin(), tensor->data.end()).data();
  }
  const auto rounding = roundings_.find(Full(name));
  const auto terms = terms_.find(Full(name));
  return {.data = data,
          .format = format,
          .rows = rows,
          .columns = columns,
          .row_bytes = kernels::BytesOf(format, columns),
          .column_order = OrderOf(Full(name)),
          .input_rounding = rounding == roundings_.end() ? nullptr : &rounding->second,
          .terms = terms == terms_.end() ? std::span<const kernels::WeightTerm>() : terms->second.terms};
}

const int32_t* WeightSource::OrderOf(const std::string& name) {
  const auto it = orders_.find(name);
  if (it == orders_.end()) {
    return nullptr;
  }
  if (last_order_ == nullptr || *last_order_ != it->second) {
    last_order_ = &it->second;
  }
  return last_order_->data();
}

kernels::WeightView WeightSource::Transposed(const std::string& name, int64_t rows, int64_t columns) {
  const auto found = tensors_.find(Full(name));
  const kernels::WeightFormat* const format =
      found == tensors_.end() ? nullptr : kernels::FindFormat(found->second.dtype);
  if (conventions_.output_major || (format != nullptr && format->block_elements > 1)) {
    return Matrix(name, rows, columns);  // quantized weights are [out, in] in every dialect
  }
  const kernels::WeightView source = Matrix(name, columns, rows);
  if (source.data == nullptr) {
    return {};
  }
  const int64_t bytes = kernels::BytesOf(source.format, 1);
  std::vector<std::byte>& target = owned_.emplace_back(static_cast<size_t>(rows * columns * bytes));
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      std::memcpy(target.data() + (row * columns + column) * bytes,
                  source.data + column * source.row_bytes + row * bytes, static_cast<size_t>(bytes));
    }
  }
  return {
      .data = target.data(), .format = source.format, .rows = rows, .columns = columns, .row_bytes = columns * bytes};
}

kernels::WeightView WeightSource::Tied(const std::string& name, const kernels::WeightView& shared) {
  if (!Has(name) || shared.data == nullptr) {
    return shared;
  }
  const kernels::WeightView own = Matrix(name, shared.rows, shared.columns);
  const bool equal = own.data != nullptr && own.format == shared.format &&
                     std::memcmp(own.data, shared.data, static_cast<size_t>(shared.rows * shared.row_bytes)) == 0;
  if (own.data != nullptr && !equal && !error_) {
    error_ = MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("tensor {} differs from the embedding, but the configuration ties the two "
                                   "(tie_word_embeddings); set it to false to use both",
                                   NameInFile(Full(name))));
  }
  return shared;
}

std::vector<float> WeightSource::Vector(const std::string& name, int64_t size) {
  const Tensor* const tensor = Take(name, {size});
  if (tensor == nullptr) {
    return {};
  }
  std::vector<float> values(static_cast<size_t>(size));
  kernels::FindFormat(tensor->dtype)->decode(tensor->data.data(), values.data(), size);
  return values;
}

std::vector<float> WeightSource::OnePlusVector(const std::string& name, int64_t size) {
  std::vector<float> values = Vector(name, size);
  for (float& value : values) {
    value += conventions_.norms_hold_one ? 0.0F : 1.0F;
  }
  return values;
}

void WeightSource::IgnorePrefixed(std::span<const std::string_view> prefixes) {
  for (const auto& [name, tensor] : tensors_) {
    for (const std::string_view prefix : prefixes) {
      if (name.starts_with(prefix)) {
        used_.insert(name);
      }
    }
  }
}

Result<void> WeightSource::Finish() const {
  if (error_) {
    return *error_;
  }
  std::vector<std::string> unused;
  size_t count = 0;
  for (const auto& [name, tensor] : tensors_) {
    if (!used_.contains(name) && ++count <= 5) {
      unused.push_back(NameInFile(name));
    }
  }
  if (count > 0) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("{} tensors have no place in this family: {}{}", count, fmt::join(unused, ", "),
                                 count > unused.size() ? ", ..." : ""));
  }
  return {};
}

kernels::WeightView Rows(const kernels::WeightView& weight, int64_t begin, int64_t end) {
  if (weight.data == nullptr) {
    return {};  // an error is already recorded
  }
  CHECK(begin >= 0 && begin <= end && end <= weight.rows);
  kernels::WeightView rows = weight;
  rows.data += begin * weight.row_bytes;
  rows.first_term_row += begin;
  rows.rows = end - begin;
  return rows;
}

Projection Part(const Projection& fused, int64_t begin, int64_t end) {
  Projection part;
  part.weight = Rows(fused.weight, begin, end);
  if (!fused.bias.empty()) {
    part.bias.assign(fused.bias.begin() + begin, fused.bias.begin() + end);
  }
  part.module = fused.module;
  part.module_first = begin;
  part.module_rows = fused.module_rows;
  return part;
}

}  // namespace causeway::model
