// What is quantized: the tensors of a model that is already there, in the order in which they are written, each
// readable row by row as float32 in the words of the destination.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/checkpoint.h"
#include "model/files.h"
#include "model/gguf/architectures.h"
#include "model/gguf/reader.h"
#include "model/model.h"
#include "model/quantize/role.h"

namespace causeway::model::quantize {

enum class Container : uint8_t { kGguf, kHub };

struct SourceTensor {
  std::string name;               // as the destination calls it
  std::vector<int64_t> shape;     // as the destination has it: [rows, columns], [size]
  std::optional<Role> role = {};  // of matrices that a layer multiplies with
  // Where the values come from.
  Tensor stored;
  bool transposed = false;                             // stored is [columns, rows]
  bool conv1d = false;                                 // floats of a folder are to be [columns, rows] (GPT-2)
  float plus = 0.0F;                                   // added to each value
  std::vector<int64_t> row_order = {};                 // row i is stored row row_order[i]; empty: i
  const std::vector<int32_t>* column_order = nullptr;  // stored column i is column order[i]; null: i
  // Row i is row network_rows[i] of the network's weight, which GGUF files reorder; empty: i.
  std::vector<int64_t> network_rows = {};

  // Of more than two dimensions (convolutions of vision towers) all but the last count rows.
  int64_t rows() const { return elements() / std::max<int64_t>(columns(), 1); }
  int64_t columns() const { return shape.empty() ? 1 : shape.back(); }
  int64_t elements() const { return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()); }
};

// Rows [begin, end) as float32, [end - begin, columns]. Any thread.
void ReadRows(const SourceTensor& tensor, int64_t begin, int64_t end, float* values);
// The same values as [columns, rows]. Requires rows and columns in the stored order.
SourceTensor Turned(SourceTensor tensor);

// Const after Open; the tensors are views of it.
struct Source {
  std::unique_ptr<const Model> model;  // as it runs, with float32 activations
  Container container = Container::kHub;
  std::unique_ptr<ModelFiles> files;
  gguf::File gguf;        // kGguf
  Json config;            // config.json as it stands, or as a GGUF file that becomes a folder says it
  Json text_config;       // kHub: the text model's, with its family's defaults
  Checkpoint checkpoint;  // kHub, or of a folder to be
  bool quantized = false;
  std::vector<std::string> notes;  // what the destination cannot say and loses
  std::vector<SourceTensor> tensors;
  const gguf::Architecture* architecture = nullptr;  // of a GGUF destination

  // kUnsupported for a model that the destination has no words for. Other errors are those of LoadModel.
  static Result<Source> Open(const LoadOptions& options, Container destination);
};

}  // namespace causeway::model::quantize
