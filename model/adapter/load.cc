#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <span>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "model/adapter/adapter.h"
#include "model/adapter/config.h"
#include "model/adapter/tensors.h"
#include "model/safetensors.h"

namespace causeway::model {
namespace {

namespace fs = std::filesystem;
using adapter::Choice;
using adapter::Pair;
using kernels::FormatId;

constexpr std::string_view kHead = "lm_head";
constexpr int64_t kMaxConfigBytes = 4 << 20;
constexpr int64_t kMaxHeaderBytes = 16 << 20;  // of adapter_model.safetensors, beside its tensors
constexpr const char* kWeightsFile = "adapter_model.safetensors";

Error Bad(std::string message) { return MakeError(ErrorCode::kInvalidArgument, std::move(message)); }

int64_t Padded(int64_t count, int64_t to) { return (count + to - 1) / to * to; }

// ---- The network's modules -------------------------------------------------------------------------

// One module of the reference and the projections that are it, or parts of it.
struct Module {
  int64_t in = 0;
  int64_t out = 0;
  std::vector<std::pair<size_t, const Projection*>> parts;  // index into Content::terms
};

std::map<std::string, Module> ModulesOf(const Network& network) {
  std::map<std::string, Module> modules;
  const auto add = [&](size_t index, const Projection* projection) {
    if (projection == nullptr) {
      return;
    }
    CHECK(!projection->module.empty());
    Module& module = modules[projection->module];
    module.in = projection->weight.columns;
    module.out = projection->module_rows;
    module.parts.emplace_back(index, projection);
  };
  const auto layers = std::ssize(network.layers);
  for (int64_t i = 0; i < layers * kLayerSlots; ++i) {
    add(static_cast<size_t>(i), ProjectionAt(network, i / kLayerSlots, static_cast<Slot>(i % kLayerSlots)));
  }
  add(static_cast<size_t>(layers * kLayerSlots), &network.head);
  return modules;
}

// How the adapter's trainer named modules: with a wrapper's prefix, or as a bare decoder.
class Names {
 public:
  // Takes the first spelling in which one of the adapter's modules is ours.
  Names(const std::map<std::string, Module>& modules, const std::map<std::string, Pair>& pairs) {
    static constexpr std::pair<std::string_view, std::string_view> kSpellings[] = {{"", ""},
                                                                                   {"model.language_model.", "model."},
                                                                                   {"language_model.model.", "model."},
                                                                                   {"", "model."},
                                                                                   {"", "transformer."},
                                                                                   {"transformer.", ""}};
    for (const auto& [theirs, ours] : kSpellings) {
      theirs_ = theirs;
      ours_ = ours;
      if (std::any_of(pairs.begin(), pairs.end(),
                      [&](const auto& pair) { return pair.first != kHead && modules.contains(Ours(pair.first)); })) {
        return;
      }
    }
    theirs_ = ours_ = {};
  }

  std::string Ours(const std::string& module) const {
    if (module == kHead || module == "language_model.lm_head") {
      return std::string(kHead);
    }
    return module.starts_with(theirs_) ? std::string(ours_) + module.substr(theirs_.size()) : module;
  }
  std::string Theirs(const std::string& module) const {
    return module != kHead && module.starts_with(ours_) ? std::string(theirs_) + module.substr(ours_.size()) : module;
  }

 private:
  std::string_view theirs_;
  std::string_view ours_;
};

// ---- One term --------------------------------------------------------------------------------------

std::string ShapeText(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

Result<void> CheckShape(const std::string& module, char matrix, const Tensor& tensor, int64_t rows, int64_t columns) {
  const kernels::WeightFormat* const format = kernels::FindFormat(tensor.dtype);
  if (format == nullptr || format->block_elements != 1) {
    return MakeError(ErrorCode::kUnsupported,
                     fmt::format("lora_{} of {} has type {}; known: F32, F16, BF16", matrix, module, tensor.dtype));
  }
  if (tensor.shape != std::vector<int64_t>{rows, columns}) {
    return Bad(fmt::format("lora_{} of {} has shape {}; its rank and the model make it [{}, {}]", matrix, module,
                           ShapeText(tensor.shape), rows, columns));
  }
  return {};
}

// Values of a matrix as they are stored, or as float32.
std::vector<std::byte> ValuesAs(FormatId format, const Tensor& tensor) {
  std::vector<std::byte> bytes(tensor.data.begin(), tensor.data.end());  // on a boundary, wherever it lay
  const kernels::WeightFormat& stored = *kernels::FindFormat(tensor.dtype);
  if (stored.id == format) {
    return bytes;
  }
  std::vector<std::byte> floats(static_cast<size_t>(tensor.elements()) * sizeof(float));
  stored.decode(bytes.data(), reinterpret_cast<float*>(floats.data()), tensor.elements());
  return floats;
}

// PEFT writes the base's head beside its term. It is not trained, so it has to be ours, but for rounding; where ours is
// quantized only its shape tells.
Result<void> CheckHead(const kernels::WeightView& ours, const Tensor& copy) {
  const kernels::WeightFormat* const stored = kernels::FindFormat(copy.dtype);
  if (stored == nullptr || stored->block_elements != 1 || copy.shape != std::vector<int64_t>{ours.rows, ours.columns}) {
    return Bad(
        fmt::format("the adapter brings a head of its own: lm_head.base_layer.weight is {} {}, the model's [{}, {}]",
                    copy.dtype, ShapeText(copy.shape), ours.rows, ours.columns));
  }
  const kernels::WeightFormat& format = kernels::FormatOf(ours.format);
  if (ours.layout != kernels::WeightLayout::kRows || format.block_elements != 1) {
    return {};
  }
  constexpr float kRounding = 1.0F / 128;  // of BF16, generously
  const std::vector<std::byte> theirs = ValuesAs(FormatId::kF32, copy);
  const auto* values = reinterpret_cast<const float*>(theirs.data());
  std::vector<float> row(static_cast<size_t>(ours.columns));
  for (int64_t n = 0; n < ours.rows; ++n, values += ours.columns) {
    format.decode(ours.data + n * ours.row_bytes, row.data(), ours.columns);
    for (size_t i = 0; i < row.size(); ++i) {
      if (!(std::fabs(values[i] - row[i]) <= kRounding * std::fabs(row[i]) + 1e-6F)) {
        return Bad("the adapter brings a head of its own (lm_head.base_layer.weight differs from the model's)");
      }
    }
  }
  return {};
}

// A term's place in the adapter's memory, and its bytes.
struct Layout {
  FormatId format = FormatId::kF32;
  int64_t rank = 0;
  int64_t a_stride = 0;
  int64_t b_stride = 0;
  int64_t a_bytes = 0;
  int64_t b_bytes = 0;
};

Layout LayoutOf(const Module& module, const Pair& pair, int64_t rank) {
  Layout layout;
  // Both in one type: kernels read a term with one.
  layout.format = pair.a->dtype == pair.b->dtype ? kernels::FindFormat(pair.a->dtype)->id : FormatId::kF32;
  layout.rank = rank;
  layout.a_stride = Padded(module.in, kernels::kLowRankColumns);
  layout.b_stride = Padded(module.out, kernels::kLowRankColumns);
  constexpr int64_t kAlignment = 64;
  layout.a_bytes =
      Padded(kernels::BytesOf(layout.format, Padded(rank, kernels::kLowRankRows) * layout.a_stride), kAlignment);
  layout.b_bytes =
      Padded(kernels::BytesOf(layout.format, rank * layout.b_stride + kernels::kLowRankColumns), kAlignment);
  return layout;
}

// Copies A as it is and B transposed into memory of zeros.
void Fill(const Layout& layout, const Module& module, const Pair& pair, std::byte* a, std::byte* b) {
  const auto size = static_cast<size_t>(kernels::BytesOf(layout.format, 1));
  const auto rank = static_cast<size_t>(layout.rank);
  const std::vector<std::byte> down = ValuesAs(layout.format, *pair.a);
  const size_t row_bytes = static_cast<size_t>(module.in) * size;
  for (size_t r = 0; r < rank; ++r) {
    std::memcpy(a + r * static_cast<size_t>(layout.a_stride) * size, down.data() + r * row_bytes, row_bytes);
  }
  const std::vector<std::byte> up = ValuesAs(layout.format, *pair.b);
  for (size_t n = 0; n < static_cast<size_t>(module.out); ++n) {
    for (size_t r = 0; r < rank; ++r) {
      std::memcpy(b + (r * static_cast<size_t>(layout.b_stride) + n) * size, up.data() + (n * rank + r) * size, size);
    }
  }
}

// ---- The whole -------------------------------------------------------------------------------------

// Terms are placed one after the other; a last pass fills the memory in and hashes it.
class Builder {
 public:
  Builder(const Network& network, const AdapterLoadOptions& options)
      : network_(network), options_(options), modules_(ModulesOf(network)) {
    content_.terms.resize(network.layers.size() * kLayerSlots + 1);
    content_.path = options.path;
  }

  Result<std::shared_ptr<const Adapter>> Build(const adapter::Config& config, const TensorMap& tensors) {
    ASSIGN_OR_RETURN(const auto grouped, adapter::PairTensors(tensors));
    const auto& pairs = grouped.pairs;
    if (grouped.head != nullptr) {
      TRY(CheckHead(network_.head.weight, *grouped.head));
    }
    const Names names(modules_, pairs);
    std::vector<std::string> theirs;
    std::vector<std::string> ours;
    for (const auto& [name, module] : modules_) {
      ours.push_back(name);
      theirs.push_back(names.Theirs(name));
    }
    theirs.insert(theirs.end(), grouped.beside.begin(), grouped.beside.end());  // targets may name them alone
    ASSIGN_OR_RETURN(const auto choices, adapter::ChooseModules(config, theirs, kHead));
    std::map<std::string, const Choice*> chosen;
    for (const Choice& choice : choices) {
      if (choice.module < ours.size()) {
        chosen[ours[choice.module]] = &choice;
      }
    }
    for (const auto& [name, pair] : pairs) {
      TRY(Add(name, names.Ours(name), pair, chosen));
    }
    if (!chosen.empty()) {
      return Bad(fmt::format("target_modules names {}, which has no tensors", names.Theirs(chosen.begin()->first)));
    }
    if (placed_.empty()) {
      return Bad("the adapter has no terms for the text model");
    }
    content_.base_model = config.base_model;
    return Finish();
  }

 private:
  struct Placed {
    std::string name;
    const Module* module;
    Pair pair;
    Layout layout;
    float scale;
  };

  Result<void> Add(const std::string& name, const std::string& ours, const Pair& pair,
                   std::map<std::string, const Choice*>& chosen) {
    const auto module = modules_.find(ours);
    if (module == modules_.end()) {
      return Bad(fmt::format("the model has no module {}", name));
    }
    const auto choice = chosen.find(ours);
    if (choice == chosen.end()) {
      return Bad(fmt::format("there are tensors for {}, which target_modules does not name", name));
    }
    const int64_t rank = choice->second->rank;
    if (rank > options_.max_rank) {
      return MakeError(ErrorCode::kTooLarge,
                       fmt::format("{} has rank {}, over the limit of {}", name, rank, options_.max_rank));
    }
    TRY(CheckShape(name, 'A', *pair.a, rank, module->second.in));
    TRY(CheckShape(name, 'B', *pair.b, module->second.out, rank));
    placed_.push_back(
        {ours, &module->second, pair, LayoutOf(module->second, pair, rank), static_cast<float>(choice->second->scale)});
    chosen.erase(choice);
    return {};
  }

  Result<std::shared_ptr<const Adapter>> Finish() {
    int64_t bytes = 0;
    for (const Placed& one : placed_) {
      bytes += one.layout.a_bytes + one.layout.b_bytes;
    }
    content_.memory.resize(static_cast<size_t>(bytes));
    std::byte* at = content_.memory.data();
    std::string description;
    for (const Placed& one : placed_) {
      Place(one, at);
      at += one.layout.a_bytes + one.layout.b_bytes;
      description +=
          fmt::format("{} {} {} {:a}\n", one.name, static_cast<int>(one.layout.format), one.layout.rank, one.scale);
    }
    KeyedHash hash(Digest{}, "causeway.adapter");
    const uint64_t length = description.size();
    const Digest digest = hash.Hash({std::as_bytes(std::span(&length, 1)), std::as_bytes(std::span(description)),
                                     std::as_bytes(std::span(content_.memory))});
    content_.modules = std::ssize(placed_);
    return std::make_shared<const Adapter>(options_.name, digest, std::move(content_));
  }

  void Place(const Placed& one, std::byte* a) {
    const Layout& layout = one.layout;
    std::byte* const b = a + layout.a_bytes;
    Fill(layout, *one.module, one.pair, a, b);
    for (const auto& [index, projection] : one.module->parts) {
      content_.terms[index] = {.a = a,
                               .b = b + kernels::BytesOf(layout.format, projection->module_first),
                               .format = layout.format,
                               .rank = layout.rank,
                               .a_stride = layout.a_stride,
                               .b_stride = layout.b_stride,
                               .scale = one.scale,
                               .n = projection->weight.rows};
    }
    content_.rank = std::max(content_.rank, layout.rank);
    content_.parameters += layout.rank * (one.module->in + one.module->out);
  }

  const Network& network_;
  const AdapterLoadOptions& options_;
  const std::map<std::string, Module> modules_;
  std::vector<Placed> placed_;
  Adapter::Content content_;
};

// ---- Files -----------------------------------------------------------------------------------------

// A file whole: what is mapped would end the process if somebody cut it meanwhile.
Result<std::vector<std::byte>> ReadFile(const fs::path& path, int64_t max_bytes) {
  std::error_code failed;
  if (!fs::is_regular_file(path, failed)) {
    return MakeError(ErrorCode::kNotFound, fmt::format("there is no file {}", path.string()));
  }
  const auto size = static_cast<int64_t>(fs::file_size(path, failed));
  if (failed || size > max_bytes) {
    return MakeError(ErrorCode::kTooLarge, fmt::format("{} has {} bytes, over the limit of {}", path.string(),
                                                       failed ? -1 : size, max_bytes));
  }
  std::vector<std::byte> bytes(static_cast<size_t>(size));
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(bytes.data()), size);
  if (!file || file.gcount() != size) {
    return MakeError(ErrorCode::kFailedPrecondition, fmt::format("cannot read {}", path.string()));
  }
  return bytes;
}

// Bytes that no adapter within the limits is above.
int64_t MaxWeightsBytes(const Network& network, int64_t max_rank) {
  int64_t values = network.head.weight.rows * network.head.weight.columns;  // CheckHead
  for (const auto& [name, module] : ModulesOf(network)) {
    values += max_rank * (module.in + module.out);
  }
  return kMaxHeaderBytes + values * static_cast<int64_t>(sizeof(float));
}

}  // namespace

Adapter::Adapter(std::string name, const Digest& digest, Content content)
    : scheduler::Adapter(std::move(name), digest), content_(std::move(content)) {}

const Projection* ProjectionAt(const Network& network, int64_t layer, Slot slot) {
  if (slot == Slot::kHead) {
    return &network.head;
  }
  const AttentionBlock& attention = network.layers[static_cast<size_t>(layer)].attention;
  const MlpBlock& mlp = network.layers[static_cast<size_t>(layer)].mlp;
  switch (slot) {
    case Slot::kQ: return &attention.q;
    case Slot::kK: return &attention.k;
    case Slot::kV: return &attention.v;
    case Slot::kO: return &attention.o;
    case Slot::kGate: return mlp.gated ? &mlp.gate : nullptr;
    case Slot::kUp: return &mlp.up;
    default: return &mlp.down;
  }
}

Result<std::shared_ptr<const Adapter>> MakeAdapter(const Network& network, const AdapterLoadOptions& options,
                                                   std::string_view config, std::span<const std::byte> file) {
  ASSIGN_OR_RETURN(const adapter::Config parsed, adapter::ParseConfig(config));
  const auto tensors = ParseSafetensors(file);
  if (!tensors.ok()) {
    return tensors.error().WithContext(kWeightsFile);
  }
  return Builder(network, options).Build(parsed, *tensors);
}

Result<std::shared_ptr<const Adapter>> LoadAdapter(const Network& network, const AdapterLoadOptions& options) {
  const fs::path folder = options.path;
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) {
    return MakeError(ErrorCode::kNotFound, fmt::format("there is no folder {}", options.path));
  }
  const auto load = [&]() -> Result<std::shared_ptr<const Adapter>> {
    ASSIGN_OR_RETURN(const auto config, ReadFile(folder / "adapter_config.json", kMaxConfigBytes));
    if (!fs::exists(folder / kWeightsFile, ignored) && fs::exists(folder / "adapter_model.bin", ignored)) {
      return MakeError(ErrorCode::kUnsupported,
                       "adapter_model.bin can run code when it is read; save the adapter as safetensors");
    }
    ASSIGN_OR_RETURN(const auto weights, ReadFile(folder / kWeightsFile, MaxWeightsBytes(network, options.max_rank)));
    return MakeAdapter(network, options, AsText(config), weights);
  };
  auto adapter = load();
  if (!adapter.ok()) {
    return adapter.error().WithContext(fmt::format("adapter {}", options.path));
  }
  return adapter;
}

}  // namespace causeway::model
