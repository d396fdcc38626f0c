#include "model/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>

#include "base/json.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "model/config.h"

namespace causeway::model {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit
constexpr size_t kMaxDimensions = 8;

struct DtypeSize {
  std::string_view name;
  int64_t bytes;
};
constexpr std::array<DtypeSize, 15> kDtypes = {{{"BOOL", 1},
                                                {"U8", 1},
                                                {"I8", 1},
                                                {"F8_E5M2", 1},
                                                {"F8_E4M3", 1},
                                                {"F8_E8M0", 1},
                                                {"I16", 2},
                                                {"U16", 2},
                                                {"F16", 2},
                                                {"BF16", 2},
                                                {"I32", 4},
                                                {"U32", 4},
                                                {"F32", 4},
                                                {"F64", 8},
                                                {"I64", 8}}};

int64_t BytesOfDtype(std::string_view name) {
  for (const DtypeSize& dtype : kDtypes) {
    if (dtype.name == name) {
      return dtype.bytes;
    }
  }
  return 0;
}

Error Bad(const std::string& name, const std::string& what) {
  return MakeError(ErrorCode::kInvalidArgument, fmt::format("tensor {}: {}", name, what));
}

// The bytes of a shape, or -1 if they overflow.
int64_t BytesOfShape(const std::vector<int64_t>& shape, int64_t element_bytes) {
  int64_t bytes = element_bytes;
  for (const int64_t size : shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) {
      return -1;
    }
  }
  return bytes;
}

Result<std::vector<int64_t>> ReadShape(const std::string& name, const Json& entry) {
  const auto it = entry.find("shape");
  if (it == entry.end() || !it->is_array() || it->size() > kMaxDimensions) {
    return Bad(name, "no shape, or one of more than 8 dimensions");
  }
  std::vector<int64_t> shape;
  for (const Json& size : *it) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() > (uint64_t{1} << 48)) {
      return Bad(name, "a size of its shape is no number from 0 to 2^48");
    }
    shape.push_back(size.get<int64_t>());
  }
  return shape;
}

struct Placed {
  uint64_t begin;
  uint64_t end;
  std::string name;
};

Result<Placed> ReadOffsets(const std::string& name, const Json& entry, uint64_t data_bytes) {
  const auto it = entry.find("data_offsets");
  if (it == entry.end() || !it->is_array() || it->size() != 2 || !(*it)[0].is_number_unsigned() ||
      !(*it)[1].is_number_unsigned()) {
    return Bad(name, "no data_offsets of two numbers");
  }
  const Placed placed{(*it)[0].get<uint64_t>(), (*it)[1].get<uint64_t>(), name};
  if (placed.begin > placed.end || placed.end > data_bytes) {
    return Bad(name, fmt::format("offsets {} to {} lie outside the file's {} bytes of data", placed.begin, placed.end,
                                 data_bytes));
  }
  return placed;
}

Result<Tensor> ReadTensor(const std::string& name, const Json& entry, std::span<const std::byte> data,
                          std::vector<Placed>& places) {
  if (!entry.is_object()) {
    return Bad(name, "its header entry is no object");
  }
  const auto dtype = entry.find("dtype");
  if (dtype == entry.end() || !dtype->is_string()) {
    return Bad(name, "no dtype");
  }
  Tensor tensor;
  tensor.dtype = dtype->get<std::string>();
  const int64_t element_bytes = BytesOfDtype(tensor.dtype);
  if (element_bytes == 0) {
    return Bad(name, "unknown dtype " + tensor.dtype);
  }
  ASSIGN_OR_RETURN(tensor.shape, ReadShape(name, entry));
  ASSIGN_OR_RETURN(Placed placed, ReadOffsets(name, entry, data.size()));
  const int64_t bytes = BytesOfShape(tensor.shape, element_bytes);
  if (bytes < 0 || static_cast<uint64_t>(bytes) != placed.end - placed.begin) {
    return Bad(name, fmt::format("its shape takes {} bytes, its offsets span {}", bytes, placed.end - placed.begin));
  }
  tensor.data = data.subspan(placed.begin, placed.end - placed.begin);
  places.push_back(std::move(placed));
  return tensor;
}

// The format requires the tensors to cover the data without overlap or hole.
Result<void> CheckCover(std::vector<Placed>& places, uint64_t data_bytes) {
  std::sort(places.begin(), places.end(),
            [](const Placed& a, const Placed& b) { return a.begin != b.begin ? a.begin < b.begin : a.end < b.end; });
  uint64_t at = 0;
  for (const Placed& placed : places) {
    if (placed.begin != at) {
      return Bad(placed.name,
                 placed.begin < at ? "overlaps the tensor before it" : "leaves a hole before it in the file");
    }
    at = placed.end;
  }
  if (at != data_bytes) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("{} bytes of data belong to no tensor", data_bytes - at));
  }
  return {};
}

constexpr std::string_view kEnding = ".safetensors";
constexpr std::string_view kIndexEnding = ".safetensors.index.json";

bool HasWeights(const ModelFiles& files, const std::string& stem) {
  return files.Has(stem + std::string(kEnding)) || files.Has(stem + std::string(kIndexEnding));
}

// The only file that ends so, without the ending; empty: there is none.
Result<std::string> OnlyStem(const ModelFiles& files, std::string_view ending) {
  std::vector<std::string> names = files.Names();
  std::erase_if(names, [&](const std::string& name) {
    return !name.ends_with(ending) || name.size() == ending.size() || name.starts_with("adapter_model.");  // a LoRA's
  });
  if (names.size() > 1) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("{} holds several files of weights, none of them model{} or model{}: {}", files.path(),
                                 kEnding, kIndexEnding, fmt::join(names, ", ")));
  }
  return names.empty() ? "" : names[0].substr(0, names[0].size() - ending.size());
}

// "model", or what AutoGPTQ calls it, whose settings lie beside it, or what there is one of.
Result<std::string> StemOfWeights(ModelFiles& files) {
  const std::string usual = "model";
  if (HasWeights(files, usual)) {
    return usual;
  }
  const char* const kSettings = "quantize_config.json";
  const auto json = files.Has(kSettings) ? ReadJsonObject(files, kSettings) : Json();
  if (json.ok() && json->is_object()) {
    const Config settings(*json);
    const auto bits = settings.Int("bits", 1, 64);
    const auto group = settings.Int("group_size", -1, int64_t{1} << 24);
    const auto named = settings.Text("model_file_base_name", "");
    if (named.ok() && HasWeights(files, *named)) {
      return *named;
    }
    const std::string after_bits = bits.ok() && group.ok() ? fmt::format("gptq_model-{}bit-{}g", *bits, *group) : "";
    if (HasWeights(files, after_bits)) {
      return after_bits;
    }
  }
  for (const std::string_view ending : {kIndexEnding, kEnding}) {
    ASSIGN_OR_RETURN(std::string stem, OnlyStem(files, ending));
    if (!stem.empty()) {
      return stem;
    }
  }
  return usual;
}

Result<std::vector<std::string>> ShardNames(ModelFiles& files, const std::string& index_name,
                                            std::map<std::string, std::string>& places) {
  ASSIGN_OR_RETURN(const auto bytes, files.Open(index_name));
  auto index = ParseJson(AsText(bytes));
  if (!index.ok()) {
    return index.error().WithContext(index_name);
  }
  const auto map = index->is_object() ? index->find("weight_map") : index->end();
  if (!index->is_object() || map == index->end() || !map->is_object()) {
    return MakeError(ErrorCode::kInvalidArgument, index_name + ": no weight_map object");
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string()) {
      return MakeError(ErrorCode::kInvalidArgument, index_name + ": the file of " + tensor + " is no string");
    }
    names.insert(file.get<std::string>());
    places.emplace(tensor, file.get<std::string>());
  }
  return std::vector<std::string>(names.begin(), names.end());
}

}  // namespace

int64_t Tensor::elements() const {
  int64_t count = 1;
  for (const int64_t size : shape) {
    count *= size;
  }
  return count;
}

Result<TensorMap> ParseSafetensors(std::span<const std::byte> file) {
  uint64_t header_bytes = 0;
  if (file.size() < sizeof(header_bytes)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("{} bytes are too short for a safetensors file", file.size()));
  }
  std::memcpy(&header_bytes, file.data(), sizeof(header_bytes));
  const uint64_t rest = file.size() - sizeof(header_bytes);
  if (header_bytes > kMaxHeaderBytes || header_bytes > rest) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("a header of {} bytes does not fit the file's {} (or the limit of {})", header_bytes,
                                 file.size(), kMaxHeaderBytes));
  }
  const auto header = file.subspan(sizeof(header_bytes), header_bytes);
  const auto data = file.subspan(sizeof(header_bytes) + header_bytes);
  ASSIGN_OR_RETURN(const Json json,
                   ParseJson(AsText(header), {.max_depth = 8, .max_nodes = 10'000'000, .unique_keys = true}));
  if (!json.is_object()) {
    return MakeError(ErrorCode::kInvalidArgument, "the header is no JSON object");
  }
  TensorMap tensors;
  std::vector<Placed> places;
  for (const auto& [name, entry] : json.items()) {
    if (name == "__metadata__") {
      continue;
    }
    ASSIGN_OR_RETURN(Tensor tensor, ReadTensor(name, entry, data, places));
    tensors.emplace(name, std::move(tensor));
  }
  TRY(CheckCover(places, data.size()));
  return tensors;
}

Result<TensorMap> LoadTensors(ModelFiles& files) {
  std::map<std::string, std::string> places;
  ASSIGN_OR_RETURN(const std::string stem, StemOfWeights(files));
  std::vector<std::string> names = {stem + std::string(kEnding)};
  if (!files.Has(names[0])) {
    const std::string index_name = stem + std::string(kIndexEnding);
    if (!files.Has(index_name)) {
      const bool pickled = files.Has("pytorch_model.bin") || files.Has("pytorch_model.bin.index.json");
      return MakeError(ErrorCode::kNotFound,
                       fmt::format("no {} and no {} in {}{}", names[0], index_name, files.path(),
                                   pickled ? "; pytorch_model.bin can run code when it is read: save the model as "
                                             "safetensors"
                                           : ""));
    }
    ASSIGN_OR_RETURN(names, ShardNames(files, index_name, places));
  }
  TensorMap all;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const auto bytes, files.Open(name));
    auto tensors = ParseSafetensors(bytes);
    if (!tensors.ok()) {
      return tensors.error().WithContext(name);
    }
    for (auto& [tensor, value] : *tensors) {
      if (!all.emplace(tensor, std::move(value)).second) {
        return MakeError(ErrorCode::kInvalidArgument, name + ": tensor " + tensor + " is in two files");
      }
    }
  }
  for (const auto& [tensor, file] : places) {
    if (!all.contains(tensor)) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("tensor {} is in the index but not in {}", tensor, file));
    }
  }
  return all;
}

}  // namespace causeway::model
