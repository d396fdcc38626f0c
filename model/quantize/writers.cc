#include "model/quantize/writers.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/json.h"
#include "fmt/format.h"
#include "model/config.h"
#include "model/gguf/export.h"
#include "model/gguf/to_hub.h"
#include "model/gguf/writer.h"
#include "model/network.h"
#include "model/quantize/output.h"
#include "model/safetensors_writer.h"

namespace causeway::model::quantize {
namespace {

namespace fs = std::filesystem;

constexpr int kQuantizationVersion = 2;  // of ggml's block layouts
constexpr JsonLimits kTokenizerLimits = {.max_depth = 32, .max_nodes = 20'000'000};
constexpr int64_t kMaxCopiedBytes = int64_t{64} << 20;

// ---- GGUF --------------------------------------------------------------------------------------------

bool IsReplacedKey(std::string_view key) {
  return key == "general.file_type" || key == "general.quantization_version" || key == "general.alignment" ||
         key.starts_with("split.");
}

void CopyMetadata(const gguf::File& file, gguf::HeaderWriter& header) {
  for (const auto& [key, value] : file.metadata.values()) {
    if (!IsReplacedKey(key)) {
      header.Copy(key, value);
    }
  }
}

Result<std::vector<gguf::RopeTensor>> WriteMetadata(const Source& source, gguf::HeaderWriter& header) {
  if (source.container == Container::kGguf) {
    CopyMetadata(source.gguf, header);
    return std::vector<gguf::RopeTensor>();
  }
  ASSIGN_OR_RETURN(auto rope, gguf::WriteConfig(*source.architecture, source.text_config, *source.model, header));
  if (source.model->tokenizer == nullptr) {
    header.Text("tokenizer.ggml.model", "none");
    return rope;
  }
  ASSIGN_OR_RETURN(const auto bytes, source.files->Open("tokenizer.json"));
  ASSIGN_OR_RETURN(const Json tokenizer, ParseJson(AsText(bytes), kTokenizerLimits));
  TRY(gguf::WriteTokenizer(tokenizer, *source.model, header));
  return rope;
}

Result<void> WritePadded(FileWriter& file, std::span<const std::byte> bytes) {
  constexpr std::byte kZeros[gguf::kWriterAlignment] = {};
  TRY(file.Write(bytes));
  const auto size = static_cast<int64_t>(bytes.size());
  return file.Write(std::span(kZeros).first(static_cast<size_t>(gguf::AlignedBytes(size) - size)));
}

// ---- A folder ----------------------------------------------------------------------------------------

std::string ModuleOf(std::string_view tensor) { return std::string(tensor.substr(0, tensor.rfind('.'))); }

// Of a wrapper's parts beside its text model: the pattern of all their modules, whatever prefix a reader has for them.
// Empty for modules of the text model.
std::string PatternBesideText(const Source& source, std::string_view module) {
  constexpr std::string_view kPrefix = "model.";
  if (!UnwrapText(source.config).wrapped || module.find("language_model") != std::string_view::npos ||
      module.ends_with("lm_head")) {
    return {};
  }
  module.remove_prefix(module.starts_with(kPrefix) ? kPrefix.size() : 0);
  return fmt::format("re:.*{}.*", module.substr(0, module.find('.')));
}

// A group for each scheme. The recipe's own takes all linear layers that are left; others name their modules.
Json QuantizationConfig(const Source& source, const Plan& plan, const PlanOptions& options, bool act_order) {
  std::vector<std::pair<const CompressedScheme*, Json>> groups;
  std::set<std::string> ignored;
  for (const TensorPlan& tensor : plan.tensors) {
    const std::string module = ModuleOf(tensor.source->name);
    if (tensor.codec == nullptr) {
      const std::string beside = PatternBesideText(source, module);
      const bool linear = tensor.source->role || module.ends_with("lm_head") || !beside.empty();
      if (linear && tensor.source->shape.size() == 2) {
        ignored.insert(beside.empty() ? module : beside);
      }
      continue;
    }
    const auto row =
        std::find_if(groups.begin(), groups.end(), [&](const auto& group) { return group.first == tensor.scheme; });
    Json& targets = row != groups.end() ? row->second : groups.emplace_back(tensor.scheme, Json::array()).second;
    targets.push_back(module);
  }
  if (source.model->network->tied) {
    ignored.insert("lm_head");
  }
  Json config_groups = Json::object();
  std::set<std::string_view> formats;
  for (size_t i = 0; i < groups.size(); ++i) {
    const auto& [scheme, modules] = groups[i];
    Json group = GroupOf(*scheme, act_order);
    group["targets"] = scheme->name == options.recipe.name ? Json{"Linear"} : modules;
    config_groups[fmt::format("group_{}", i)] = std::move(group);
    formats.insert(scheme->format);
  }
  return {{"quant_method", "compressed-tensors"},
          {"quantization_status", "compressed"},
          {"format", formats.size() == 1 ? std::string(*formats.begin()) : "mixed-precision"},
          {"config_groups", std::move(config_groups)},
          {"ignore", ignored},
          {"kv_cache_scheme", nullptr},
          {"global_compression_ratio", nullptr}};
}

Result<void> WriteText(const std::string& path, std::string_view text) {
  ASSIGN_OR_RETURN(FileWriter file, FileWriter::Open(path));
  TRY(file.Write(text));
  return file.Close();
}

bool IsWeights(const std::string& name) {
  for (const char* const ending : {".safetensors", ".index.json", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack"}) {
    if (name.ends_with(ending)) {
      return true;
    }
  }
  return false;
}

// Everything of the model that is no weight: tokenizer, templates, licence.
Result<void> CopyFiles(const Source& source, const std::string& path) {
  const std::string folder = source.files->path();
  std::vector<std::string> names;
  if (folder.empty()) {
    for (const ModelFiles::NamedBytes& file : source.files->Opened()) {
      names.push_back(file.name);
    }
  } else {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder, ignored)) {
      if (entry.is_regular_file(ignored) && static_cast<int64_t>(entry.file_size(ignored)) <= kMaxCopiedBytes) {
        names.push_back(entry.path().filename().string());
      }
    }
  }
  for (const std::string& name : names) {
    if (IsWeights(name) || name == "config.json" || name.find('/') != std::string::npos || name.starts_with('.')) {
      continue;
    }
    ASSIGN_OR_RETURN(const auto bytes, source.files->Open(name));
    TRY(WriteText(path + "/" + name, AsText(bytes)));
  }
  return {};
}

// The same of a GGUF file, which holds it in words of its own.
Result<void> WriteFilesOfGguf(const Source& source, const std::string& path) {
  ASSIGN_OR_RETURN(const Json tokenizer, gguf::HubTokenizer(source.gguf));
  if (!tokenizer.is_null()) {
    TRY(WriteText(path + "/tokenizer.json", DumpJson(tokenizer)));
    TRY(WriteText(path + "/tokenizer_config.json", gguf::HubTokenizerConfig(*source.model).dump(2) + "\n"));
  }
  return WriteText(path + "/generation_config.json", gguf::HubGeneration(*source.model).dump(2) + "\n");
}

}  // namespace

Result<void> WriteGguf(const std::string& path, const Source& source, const Plan& plan, const Recipe& recipe,
                       const NextTensor& next) {
  gguf::HeaderWriter header;
  ASSIGN_OR_RETURN(const auto rope, WriteMetadata(source, header));
  header.Size("general.file_type", recipe.file_type);
  header.Size("general.quantization_version", kQuantizationVersion);
  for (const gguf::RopeTensor& tensor : rope) {
    const auto size = static_cast<int64_t>(tensor.values.size());
    header.Tensor(tensor.name, std::vector<int64_t>{size}, "F32", size * 4);
  }
  for (const TensorPlan& tensor : plan.tensors) {
    header.Tensor(tensor.source->name, tensor.source->shape, tensor.parts[0].dtype, tensor.parts[0].bytes);
  }
  ASSIGN_OR_RETURN(FileWriter file, FileWriter::Open(path));
  TRY(file.Write(header.Finish()));
  for (const gguf::RopeTensor& tensor : rope) {
    TRY(WritePadded(file, std::as_bytes(std::span(tensor.values))));
  }
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    ASSIGN_OR_RETURN(const auto parts, next(i));
    TRY(WritePadded(file, parts[0]));
  }
  return file.Close();
}

Result<void> WriteHubFolder(const std::string& path, const Source& source, const Plan& plan, const PlanOptions& options,
                            bool act_order, const NextTensor& next) {
  Json config = source.config;
  config.erase("compression_config");
  config["quantization_config"] = QuantizationConfig(source, plan, options, act_order);
  TRY(WriteText(path + "/config.json", config.dump(2) + "\n"));
  TRY(source.container == Container::kGguf ? WriteFilesOfGguf(source, path) : CopyFiles(source, path));
  std::vector<TensorToWrite> tensors;
  for (const TensorPlan& tensor : plan.tensors) {
    for (const Part& part : tensor.parts) {
      tensors.push_back({part.suffix, part.dtype, part.shape, part.bytes});
    }
  }
  ASSIGN_OR_RETURN(FileWriter file, FileWriter::Open(path + "/model.safetensors"));
  TRY(file.Write(SafetensorsHeader(tensors)));
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    ASSIGN_OR_RETURN(const auto parts, next(i));
    for (const std::vector<std::byte>& part : parts) {
      TRY(file.Write(part));
    }
  }
  return file.Close();
}

}  // namespace causeway::model::quantize
