#include "model/quantize/source.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "fmt/format.h"
#include "kernels/quant/format.h"
#include "model/arch/registry.h"
#include "model/config.h"
#include "model/gguf/export.h"
#include "model/gguf/translate.h"
#include "model/network.h"
#include "model/quant/reader.h"

namespace causeway::model::quantize {
namespace {

constexpr std::string_view kNormEnding = "norm.weight";

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

bool IsTransposed(std::string_view name, const Tensor& tensor) {
  const bool conv1d =
      name.ends_with(".c_attn.weight") || name.ends_with(".c_proj.weight") || name.ends_with(".c_fc.weight");
  return conv1d && tensor.shape.size() == 2 && kernels::FindFormat(tensor.dtype)->block_elements == 1;
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
  ASSIGN_OR_RETURN(source.config, ReadJsonObject(*source.files, "config.json"));
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
    SourceTensor tensor{.name = name, .shape = stored.shape, .stored = stored};
    const std::string hub = HubName(source.checkpoint.tensors, name);
    tensor.role = stored.shape.size() == 2 ? RoleOf(hub) : std::nullopt;
    const auto order = source.checkpoint.column_orders.find(name);
    tensor.column_order = order == source.checkpoint.column_orders.end() ? nullptr : &order->second;
    source.tensors.push_back(std::move(tensor));
  }
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
  if (hub.ends_with(kNormEnding) && source.architecture->name.starts_with("gemma")) {
    tensor.plus = 1.0F;
  }
  if (IsTransposed(hub, tensor.stored)) {
    tensor.transposed = true;
    std::swap(tensor.shape[0], tensor.shape[1]);
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

}  // namespace

void ReadRows(const SourceTensor& tensor, int64_t begin, int64_t end, float* values) {
  const kernels::WeightFormat& format = *kernels::FindFormat(tensor.stored.dtype);
  const int64_t columns = tensor.columns();
  const std::byte* const data = tensor.stored.data.data();
  if (tensor.transposed) {
    std::vector<float> line(static_cast<size_t>(end - begin));
    for (int64_t column = 0; column < columns; ++column) {
      format.decode(data + (column * tensor.rows() + begin) * format.block_bytes, line.data(), end - begin);
      for (int64_t row = begin; row < end; ++row) {
        values[(row - begin) * columns + column] = line[static_cast<size_t>(row - begin)];
      }
    }
    return;
  }
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
    if (destination == Container::kHub) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "a GGUF file is quantized to a GGUF file; for compressed-tensors give the original folder",
                       "SRC");
    }
    TRY(OpenGguf(place.gguf, source));
  } else {
    TRY(ReadCheckpoint(source));
    if (destination == Container::kHub && source.model->info.family == "gpt2") {
      return MakeError(ErrorCode::kUnsupported, "compressed-tensors has no place for GPT-2's layers; GGUF has");
    }
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
