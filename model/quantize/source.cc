#include "model/quantize/source.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/check.h"
#include "fmt/format.h"
#include "kernels/quant/format.h"
#include "model/arch/registry.h"
#include "model/config.h"
#include "model/gguf/export.h"
#include "model/gguf/to_hub.h"
#include "model/gguf/translate.h"
#include "model/network.h"
#include "model/quant/reader.h"

namespace causeway::model::quantize {
namespace {

// Whether a tensor is a norm that GGUF files hold with the one added, of a family or architecture.
bool IsNormPlusOne(std::string_view family, std::string_view name) {
  return name.ends_with("norm.weight") && family.starts_with("gemma");
}

// ---- Names -------------------------------------------------------------------------------------------

// What stands in front of the names of a text model in its file, and what families call it.
struct Naming {
  std::string_view embedding;
  std::string_view prefix;
  std::string_view hub;
};
constexpr Naming kNamings[] = {{"model.embed_tokens.weight", "model.", "model."},
                               {"embed_tokens.weight", "", "model."},
                               {"language_model.model.embed_tokens.weight", "language_model.model.", "model."},
                               {"model.language_model.embed_tokens.weight", "model.language_model.", "model."},
                               {"transformer.wte.weight", "transformer.", ""},
                               {"wte.weight", "", ""}};

// A file's name in the words of a family; empty for what is no part of the text model.
std::string HubName(const TensorMap& tensors, std::string_view name) {
  for (const Naming& naming : kNamings) {
    if (!tensors.contains(naming.embedding)) {
      continue;
    }
    if (name == "lm_head.weight" || name == "language_model.lm_head.weight") {
      return "lm_head.weight";
    }
    return name.starts_with(naming.prefix) ? std::string(naming.hub) + std::string(name.substr(naming.prefix.size()))
                                           : std::string();
  }
  return std::string(name);
}

// Buffers that old files hold: masks and frequencies.
bool IsBuffer(std::string_view name) {
  return name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias");
}

bool IsConv1d(std::string_view name, const Tensor& tensor) {
  const bool named =
      name.ends_with(".c_attn.weight") || name.ends_with(".c_proj.weight") || name.ends_with(".c_fc.weight");
  return named && tensor.shape.size() == 2;
}
// Folders hold such weights as [in, out], but quantized ones as all others are.
bool IsTransposed(std::string_view name, const Tensor& tensor) {
  return IsConv1d(name, tensor) && kernels::FindFormat(tensor.dtype)->block_elements == 1;
}

// Embedding, layers by number, the rest: readers go through a file in this order, and calibration must.
int64_t PlaceOf(const SourceTensor& tensor) {
  const std::string_view name = tensor.name;
  for (const std::string_view prefix : {"blk.", "model.layers.", "h.", "transformer.h."}) {
    const size_t at = name.find(prefix);
    if (at != std::string_view::npos) {
      int64_t layer = 0;
      for (size_t i = at + prefix.size(); i < name.size() && name[i] >= '0' && name[i] <= '9'; ++i) {
        layer = layer * 10 + (name[i] - '0');
      }
      return 1 + layer;
    }
  }
  const bool first = name.find("embd") != std::string_view::npos || name.find("embed_tokens") != std::string_view::npos;
  return first ? 0 : INT64_MAX;
}

void Sort(std::vector<SourceTensor>& tensors) {
  std::stable_sort(tensors.begin(), tensors.end(),
                   [](const SourceTensor& a, const SourceTensor& b) { return PlaceOf(a) < PlaceOf(b); });
}

// ---- A GGUF file -------------------------------------------------------------------------------------

Result<void> OpenGguf(const std::string& name, Source& source) {
  ASSIGN_OR_RETURN(source.gguf, gguf::Load(*source.files, name));
  ASSIGN_OR_RETURN(const Json config, gguf::TranslateConfig(source.gguf));
  ASSIGN_OR_RETURN(const std::string architecture, source.gguf.metadata.Text("general.architecture"));
  for (const gguf::Architecture& row : gguf::Architectures()) {
    source.architecture = row.name == architecture ? &row : source.architecture;
  }
  for (const auto& [tensor_name, stored] : source.gguf.tensors) {
    SourceTensor tensor{.name = tensor_name, .shape = stored.shape, .role = RoleOf(tensor_name), .stored = stored};
    if (tensor.role && (tensor.role->parts & 3) != 0 && source.architecture->reordered_qk) {  // Q or K
      if (tensor.role->parts > 3) {
        tensor.role.reset();  // with V: no writer does so; rounded to nearest
      } else {
        tensor.network_rows = gguf::ReorderedRows(tensor.rows(), config["head_dim"].get<int64_t>());
      }
    }
    source.quantized = source.quantized || kernels::FindFormat(stored.dtype)->block_elements > 1;
    source.tensors.push_back(std::move(tensor));
  }
  return {};
}

// ---- A folder ----------------------------------------------------------------------------------------

Result<void> ReadCheckpoint(Source& source) {
  ASSIGN_OR_RETURN(source.config, quant::ReadModelConfig(*source.files));
  source.text_config = UnwrapText(source.config).config;
  ASSIGN_OR_RETURN(const std::string type, Config(source.text_config).Text("model_type"));
  ASSIGN_OR_RETURN(const model::Architecture* const architecture, FindArchitecture(type));
  source.checkpoint.config = source.text_config;
  source.text_config = WithDefaults(std::move(source.text_config), architecture->defaults);
  ASSIGN_OR_RETURN(source.checkpoint.tensors, LoadTensors(*source.files));
  if (const Json* const quantization = quant::FindQuantization(source.config); quantization != nullptr) {
    source.quantized = true;
    TRY(quant::Translate(*quantization, source.checkpoint, [](double) {}));
  }
  return {};
}

void AddHubTensors(Source& source) {
  for (const auto& [name, stored] : source.checkpoint.tensors) {
    if (IsBuffer(name)) {
      continue;
    }
    SourceTensor tensor{.name = name, .shape = stored.shape, .stored = stored};
    const std::string hub = HubName(source.checkpoint.tensors, name);
    tensor.role = stored.shape.size() == 2 ? RoleOf(hub) : std::nullopt;
    const auto order = source.checkpoint.column_orders.find(name);
    tensor.column_order = order == source.checkpoint.column_orders.end() ? nullptr : &order->second;
    if (IsConv1d(hub, stored)) {
      const bool turned = IsTransposed(hub, stored) && !source.checkpoint.conventions.output_major;
      tensor = turned ? Turned(std::move(tensor)) : std::move(tensor);
      tensor.conv1d = true;
    }
    source.tensors.push_back(std::move(tensor));
  }
}

// ---- A GGUF file that becomes a folder ---------------------------------------------------------------

// Q and K are read where they lie in the file: rows that the translation would reorder have an order instead.
void ReadReordered(const Source& source, int64_t head_dim, SourceTensor& tensor) {
  for (const LateRows& late : source.checkpoint.late) {
    if (late.written() || !late.Holds(tensor.stored.data.data())) {
      continue;
    }
    const std::vector<int64_t> order = gguf::ReorderedRows(tensor.rows(), head_dim);
    tensor.row_order.resize(order.size());
    for (size_t row = 0; row < order.size(); ++row) {
      tensor.row_order[static_cast<size_t>(order[row])] = static_cast<int64_t>(row);
    }
    tensor.stored.data = late.source();
  }
}

Result<void> OpenGgufForHub(const std::string& name, Source& source) {
  ASSIGN_OR_RETURN(source.gguf, gguf::Load(*source.files, name));
  ASSIGN_OR_RETURN(source.checkpoint, gguf::Translate(source.gguf, RowsWritten::kLater));
  ASSIGN_OR_RETURN(source.config, gguf::HubConfig(source.gguf, source.checkpoint, *source.model));
  AddHubTensors(source);
  const Network& network = *source.model->network;
  for (SourceTensor& tensor : source.tensors) {
    ReadReordered(source, network.head_dim, tensor);
    if (IsNormPlusOne(source.model->info.family, tensor.name)) {
      tensor.plus = -1.0F;
    }
    source.quantized = source.quantized || kernels::FindFormat(tensor.stored.dtype)->block_elements > 1;
  }
  return {};
}

// What GGUF's conventions make of a tensor.
void BringIntoGguf(const Source& source, std::string_view hub, SourceTensor& tensor) {
  const bool query_or_key =
      hub.find("self_attn.q_proj.") != std::string::npos || hub.find("self_attn.k_proj.") != std::string::npos;
  if (query_or_key && source.architecture->reordered_qk) {
    const int64_t rows = tensor.shape[0];
    tensor.row_order = gguf::ReorderedRows(rows, source.model->network->head_dim);
    tensor.network_rows = tensor.row_order;
  }
  if (IsNormPlusOne(source.architecture->name, hub)) {
    tensor.plus = 1.0F;
  }
  if (IsTransposed(hub, tensor.stored)) {
    tensor = Turned(std::move(tensor));
  }
}

Result<void> AddHubTensorsForGguf(Source& source) {
  ASSIGN_OR_RETURN(source.architecture, gguf::ArchitectureOf(source.model->info.family));
  const TensorMap& tensors = source.checkpoint.tensors;
  for (const auto& [name, stored] : tensors) {
    const std::string hub = HubName(tensors, name);
    if (hub.empty() || IsBuffer(hub) || (hub == "lm_head.weight" && source.model->network->tied)) {
      continue;
    }
    SourceTensor tensor{.name = gguf::GgufName(*source.architecture, hub), .shape = stored.shape, .stored = stored};
    if (tensor.name.empty()) {
      return MakeError(ErrorCode::kUnsupported, fmt::format("tensor {} has no place in a GGUF file", name));
    }
    tensor.role = stored.shape.size() == 2 ? RoleOf(hub) : std::nullopt;
    const auto order = source.checkpoint.column_orders.find(name);
    tensor.column_order = order == source.checkpoint.column_orders.end() ? nullptr : &order->second;
    BringIntoGguf(source, hub, tensor);
    source.tensors.push_back(std::move(tensor));
  }
  return {};
}

// Of a transposed tensor: the blocks that hold the rows are decoded for each column.
void ReadColumns(const SourceTensor& tensor, int64_t begin, int64_t end, float* values) {
  const kernels::WeightFormat& format = *kernels::FindFormat(tensor.stored.dtype);
  const int64_t columns = tensor.columns();
  const int64_t first = begin / format.block_elements * format.block_elements;
  const int64_t blocks = (end - first + format.block_elements - 1) / format.block_elements;
  std::vector<float> line(static_cast<size_t>(blocks * format.block_elements));
  for (int64_t column = 0; column < columns; ++column) {
    const int64_t at = kernels::BytesOf(format.id, column * tensor.rows() + first);
    format.decode(tensor.stored.data.data() + at, line.data(), static_cast<int64_t>(line.size()));
    for (int64_t row = begin; row < end; ++row) {
      values[(row - begin) * columns + column] = line[static_cast<size_t>(row - first)];
    }
  }
}

}  // namespace

SourceTensor Turned(SourceTensor tensor) {
  CHECK(tensor.shape.size() == 2 && tensor.row_order.empty() && tensor.column_order == nullptr);
  std::swap(tensor.shape[0], tensor.shape[1]);
  tensor.transposed = !tensor.transposed;
  return tensor;
}

void ReadRows(const SourceTensor& tensor, int64_t begin, int64_t end, float* values) {
  if (tensor.transposed) {
    ReadColumns(tensor, begin, end, values);
    return;
  }
  const kernels::WeightFormat& format = *kernels::FindFormat(tensor.stored.dtype);
  const int64_t columns = tensor.columns();
  const std::byte* const data = tensor.stored.data.data();
  const int64_t row_bytes = kernels::BytesOf(format.id, columns);
  std::vector<float> stored(tensor.column_order == nullptr ? 0 : static_cast<size_t>(columns));
  for (int64_t row = begin; row < end; ++row) {
    float* const target = values + (row - begin) * columns;
    const int64_t from = tensor.row_order.empty() ? row : tensor.row_order[static_cast<size_t>(row)];
    format.decode(data + from * row_bytes, stored.empty() ? target : stored.data(), columns);
    for (size_t i = 0; i < stored.size(); ++i) {
      target[(*tensor.column_order)[i]] = stored[i];
    }
    for (int64_t i = 0; tensor.plus != 0.0F && i < columns; ++i) {
      target[i] += tensor.plus;
    }
  }
}

Result<Source> Source::Open(const LoadOptions& options, Container destination) {
  Source source;
  ASSIGN_OR_RETURN(source.model, LoadModel(options));
  const bool builtin = options.model.empty() || options.model == "fable";
  ModelPlace place;
  if (builtin) {
    source.files = BuiltinFiles();
  } else {
    ASSIGN_OR_RETURN(place, FindModel(options.model, options.hub_caches));
    ASSIGN_OR_RETURN(source.files, OpenFolder(place.folder));
  }
  if (!place.gguf.empty()) {
    source.container = Container::kGguf;
    TRY(destination == Container::kGguf ? OpenGguf(place.gguf, source) : OpenGgufForHub(place.gguf, source));
  } else {
    TRY(ReadCheckpoint(source));
    if (destination == Container::kGguf) {
      TRY(AddHubTensorsForGguf(source));
    } else {
      AddHubTensors(source);
    }
  }
  Sort(source.tensors);
  return source;
}

}  // namespace causeway::model::quantize
