// From files to a Model: configuration, network, tokenizer, chat format, defaults.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <map>
#include <type_traits>
#include <utility>

#include "base/json.h"
#include "fmt/format.h"
#include "model/arch/registry.h"
#include "model/chat_format.h"
#include "model/checkpoint.h"
#include "model/files.h"
#include "model/gguf/reader.h"
#include "model/gguf/translate.h"
#include "model/gguf/vocabulary.h"
#include "model/model.h"
#include "model/network.h"
#include "model/quant/reader.h"
#include "model/repack_cache.h"
#include "model/safetensors.h"
#include "model/tokenizer/tokenizer.h"

namespace causeway::model {
namespace {

void CountWeights(const TensorMap& tensors, ModelInfo& info) {
  std::map<std::string, int64_t> bytes_of;
  for (const auto& [name, tensor] : tensors) {
    info.parameters += tensor.elements();
    info.weight_bytes += static_cast<int64_t>(tensor.data.size());
    bytes_of[tensor.dtype] += static_cast<int64_t>(tensor.data.size());
  }
  const auto most = std::max_element(bytes_of.begin(), bytes_of.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most != bytes_of.end()) {
    info.weight_dtype = most->first;
    std::transform(info.weight_dtype.begin(), info.weight_dtype.end(), info.weight_dtype.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  }
}

using Progress = std::function<void(double fraction, std::string_view what)>;

// What is used in rows. `pool` may be null.
void WriteLateRows(Network& network, ThreadPool* pool) {
  if (!network.late.empty()) {
    std::optional<ThreadPool> own;
    ThreadPool& writers = pool != nullptr ? *pool : own.emplace(ThreadPoolOptions{.threads = 0, .pin = false});
    for (LateRows& late : network.late) {
      late.WriteNow(writers);
    }
    network.files->Evict();  // what they were made of is not read again
  }
}

Result<void> Pack(Network& network, const LoadOptions& options, const Progress& progress, ModelInfo& info) {
  memory::FileOps system;
  std::optional<RepackCache> cache;
  if (!options.repack_cache.empty() && !info.path.empty()) {  // the built-in model has no files
    cache.emplace(options.file_ops != nullptr ? *options.file_ops : system, options.repack_cache, info.path,
                  network.files->Identity());
  }
  ASSIGN_OR_RETURN(info.pack, PackWeights(network, *options.pack_on, cache ? &*cache : nullptr, [&](double fraction) {
                     progress(0.5 + fraction / 2, "repacking the weights");
                   }));
  info.packed_bytes = info.pack.bytes;
  return {};
}

Result<std::unique_ptr<const Network>> BuildNetwork(Checkpoint checkpoint, bool wrapped,
                                                    std::unique_ptr<ModelFiles> files, const LoadOptions& options,
                                                    const Progress& progress, ModelInfo& info) {
  ASSIGN_OR_RETURN(const std::string type, Config(checkpoint.config).Text("model_type"));
  ASSIGN_OR_RETURN(const Architecture* const architecture, FindArchitecture(type));
  const Config config(WithDefaults(checkpoint.config, architecture->defaults));
  WeightSource weights(checkpoint);
  if (wrapped) {  // text is all that is served
    weights.IgnorePrefixed(kBesideText);
  }
  auto network = std::make_unique<Network>();
  network->family = architecture->model_type;
  TRY(architecture->build(config, weights, *network));
  TRY(weights.Finish());
  if (network->embedding.column_order != nullptr) {
    return MakeError(ErrorCode::kUnsupported, "an embedding quantized in act-order is not served");
  }
  if (!network->embedding.terms.empty()) {
    return MakeError(ErrorCode::kUnsupported, "an embedding with outliers of its own (SpQR) is not served");
  }
  network->column_orders = std::move(checkpoint.column_orders);  // the views stay: moving a map moves no value
  network->input_roundings = std::move(checkpoint.input_roundings);
  network->terms = std::move(checkpoint.terms);
  network->files = std::move(files);
  network->owned = weights.TakeOwned();
  std::move(checkpoint.owned.begin(), checkpoint.owned.end(), std::back_inserter(network->owned));
  network->late = std::move(checkpoint.late);
  info.family = network->family;
  info.vocab = network->vocab;
  info.context_length = network->context_length;
  CountWeights(checkpoint.tensors, info);
  for (const auto& [name, terms] : network->terms) {
    info.weight_bytes += static_cast<int64_t>(terms.sparse.entries.size() * sizeof(kernels::SparseEntry));
  }
  if (options.pack_on != nullptr) {
    TRY(Pack(*network, options, progress, info));
  }
  WriteLateRows(*network, options.pack_on);
  return std::unique_ptr<const Network>(std::move(network));
}

// A number of generation_config.json; absent or null: none.
template <typename T>
Result<std::optional<T>> NumberOf(const Json& json, const char* name) {
  const auto it = json.find(name);
  if (it == json.end() || it->is_null()) {
    return std::optional<T>();
  }
  const bool right = std::is_integral_v<T> ? it->is_number_integer() : it->is_number();
  if (!right || std::fabs(it->get<double>()) > 1e9) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("generation_config.json: {} must be a {} of ordinary size", name,
                                 std::is_integral_v<T> ? "whole number" : "number"));
  }
  return std::optional<T>(it->get<T>());
}

Result<void> ReadGeneration(ModelFiles& files, const Json& config, GenerationDefaults& generation) {
  ASSIGN_OR_RETURN(generation.eos_ids, ReadTokenIds(config, "eos_token_id"));
  if (!files.Has("generation_config.json")) {
    return {};
  }
  ASSIGN_OR_RETURN(const Json json, ReadJsonObject(files, "generation_config.json"));
  ASSIGN_OR_RETURN(const std::vector<Token> more, ReadTokenIds(json, "eos_token_id"));
  for (const Token id : more) {
    if (std::find(generation.eos_ids.begin(), generation.eos_ids.end(), id) == generation.eos_ids.end()) {
      generation.eos_ids.push_back(id);
    }
  }
  ASSIGN_OR_RETURN(generation.temperature, NumberOf<float>(json, "temperature"));
  ASSIGN_OR_RETURN(generation.top_p, NumberOf<float>(json, "top_p"));
  ASSIGN_OR_RETURN(generation.top_k, NumberOf<int>(json, "top_k"));
  ASSIGN_OR_RETURN(generation.min_p, NumberOf<float>(json, "min_p"));
  ASSIGN_OR_RETURN(generation.repetition_penalty, NumberOf<float>(json, "repetition_penalty"));
  return {};
}

// A Hugging Face folder, or the built-in model.
Result<void> LoadFolder(std::unique_ptr<ModelFiles> files, const LoadOptions& options, const Progress& progress,
                        Model& model) {
  progress(0.0, "reading the configuration");
  ASSIGN_OR_RETURN(const Json config, quant::ReadModelConfig(*files));
  TextConfig text = UnwrapText(config);
  TRY(ReadGeneration(*files, text.config.contains("eos_token_id") ? text.config : config, model.generation));
  ASSIGN_OR_RETURN(model.chat, ReadChatFormat(*files));
  if (files->Has("tokenizer.json")) {
    progress(0.2, "reading the tokenizer");
    ASSIGN_OR_RETURN(const auto bytes, files->Open("tokenizer.json"));
    auto tokenizer = Tokenizer::FromJson(AsText(bytes));
    if (!tokenizer.ok()) {
      return tokenizer.error().WithContext("tokenizer.json");
    }
    model.tokenizer = std::move(tokenizer).value();
  }
  if (options.weights) {
    progress(0.5, "checking the weights");
    ASSIGN_OR_RETURN(const std::string type, Config(text.config).Text("model_type"));
    TRY(FindArchitecture(type));  // before a word about files that another architecture may have
    Checkpoint checkpoint;
    checkpoint.config = std::move(text.config);
    ASSIGN_OR_RETURN(checkpoint.tensors, LoadTensors(*files));
    if (const Json* const quantization = quant::FindQuantization(config); quantization != nullptr) {
      TRY(quant::Translate(
          *quantization, checkpoint,
          [&](double fraction) { progress(0.5 + 0.5 * fraction, "reading the quantized weights"); },
          RowsWritten::kLater));
      if (!options.round_inputs) {
        checkpoint.input_roundings.clear();
      }
      files->Evict();  // what was repacked is not read again
    } else {
      TRY(quant::CheckNotQuantized(checkpoint.tensors));
    }
    ASSIGN_OR_RETURN(model.network, BuildNetwork(std::move(checkpoint), text.wrapped, std::move(files), options,
                                                 progress, model.info));
  }
  return {};
}

// A GGUF file, which holds everything.
Result<void> LoadGguf(std::unique_ptr<ModelFiles> files, const std::string& name, const LoadOptions& options,
                      const Progress& progress, Model& model) {
  progress(0.0, "reading the file");
  ASSIGN_OR_RETURN(const gguf::File file, gguf::Load(*files, name));
  ASSIGN_OR_RETURN(model.generation, gguf::ReadGeneration(file));
  ASSIGN_OR_RETURN(model.chat, gguf::ReadChatFormat(file));
  progress(0.2, "reading the tokenizer");
  ASSIGN_OR_RETURN(model.tokenizer, gguf::ReadTokenizer(file));
  if (options.weights) {
    progress(0.5, "checking the weights");
    ASSIGN_OR_RETURN(Checkpoint checkpoint, gguf::Translate(file, RowsWritten::kLater));
    ASSIGN_OR_RETURN(model.network,
                     BuildNetwork(std::move(checkpoint), false, std::move(files), options, progress, model.info));
  }
  return {};
}

// Families name config.json's fields, which a GGUF file does not have: they were made of its metadata.
Error AboutGguf(Error error, const std::string& name) {
  constexpr std::string_view kFile = "config.json: ";
  if (error.message.starts_with(kFile)) {
    error.message.replace(0, kFile.size(), "its metadata, in config.json's words: ");
  }
  return error.WithContext(name);
}

// The file's name without its ending and its place in a set; of a file that is only called "model", its folder's.
std::string NameOfGguf(const std::filesystem::path& file) {
  const std::string name = file.filename().string();
  const size_t set = name.find("-00001-of-");
  const std::string stem = name.substr(0, set != std::string::npos ? set : name.rfind('.'));
  const std::string folder = std::filesystem::absolute(file).lexically_normal().parent_path().filename().string();
  return stem == "model" && !folder.empty() ? folder : stem;
}

}  // namespace

Model::Model() = default;
Model::~Model() = default;

memory::KvShape Model::KvShape(int64_t element_bytes) const {
  CHECK(network != nullptr);
  return {.layers = static_cast<int64_t>(network->layers.size()),
          .kv_heads = network->kv_heads,
          .head_dim = network->head_dim,
          .element_bytes = element_bytes};
}

int64_t Model::KvSwitchLength() const {
  CHECK(network != nullptr);
  int64_t length = 0;
  for (const Rope& rope : network->ropes) {
    if (rope.inverse_frequency_long.empty()) {
      continue;
    }
    CHECK(length == 0 || length == rope.long_beyond);  // one configuration, one original length
    length = rope.long_beyond;
  }
  return length;
}

Result<std::unique_ptr<const Model>> LoadModel(const LoadOptions& options) {
  const auto progress = [&](double fraction, std::string_view what) {
    if (options.progress) {
      options.progress(fraction, what);
    }
  };
  if (!options.repack_cache.empty() && options.pack_on == nullptr) {
    return MakeError(ErrorCode::kInvalidArgument, "--repack-cache needs --activations int8: nothing else is repacked",
                     "repack-cache");
  }
  auto model = std::make_unique<Model>();
  if (options.model.empty() || options.model == "fable") {
    model->info.name = "fable";
    model->info.created = 1764000000;  // of the model's data
    TRY(LoadFolder(BuiltinFiles(), options, progress, *model));
    progress(1.0, "loaded");
    return std::unique_ptr<const Model>(std::move(model));
  }
  ASSIGN_OR_RETURN(const ModelPlace place, FindModel(options.model, options.hub_caches));
  ASSIGN_OR_RETURN(auto files, OpenFolder(place.folder));
  const auto path = std::filesystem::path(place.folder).lexically_normal();
  model->info.path = place.gguf.empty() ? place.folder : (std::filesystem::path(place.folder) / place.gguf).string();
  if (!place.gguf.empty()) {
    model->info.name = NameOfGguf(model->info.path);
    const auto loaded = LoadGguf(std::move(files), place.gguf, options, progress, *model);
    if (!loaded.ok()) {
      return AboutGguf(loaded.error(), place.gguf);
    }
  } else {
    model->info.name = place.folder == options.model
                           ? (path.has_filename() ? path.filename() : path.parent_path().filename()).string()
                           : options.model;
    TRY(LoadFolder(std::move(files), options, progress, *model));
  }
  progress(1.0, "loaded");
  return std::unique_ptr<const Model>(std::move(model));
}

}  // namespace causeway::model
