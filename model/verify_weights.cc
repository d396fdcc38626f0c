#include "model/verify_weights.h"

#include <algorithm>
#include <vector>

#include "base/sha256.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "kernels/quant/float16.h"
#include "kernels/quant/format.h"
#include "model/gguf/reader.h"
#include "model/model.h"

namespace causeway::model {
namespace {

constexpr int64_t kValuesAtOnce = 1 << 16;  // a multiple of every block

// What belongs to a tensor beside its rows; null: nothing.
struct Besides {
  const std::vector<int32_t>* order = nullptr;
  const WeightTerms* terms = nullptr;
};

template <typename Map>
const typename Map::mapped_type* FindOrNull(const Map& map, const std::string& name) {
  const auto it = map.find(name);
  return it == map.end() ? nullptr : &it->second;
}

void AddOutliers(const SparseMatrix& sparse, int64_t row, std::vector<float>& values) {
  for (uint32_t i = sparse.offsets[static_cast<size_t>(row)]; i < sparse.offsets[static_cast<size_t>(row) + 1]; ++i) {
    values[sparse.entries[i].column] += kernels::HalfToFloat(sparse.entries[i].half);
  }
}

// Of all values of a tensor as float32, outliers added, its columns in the network's order.
Result<std::string> HashOf(const std::string& name, const Tensor& tensor, const Besides& besides) {
  const kernels::WeightFormat* const format = kernels::FindFormat(tensor.dtype);
  if (format == nullptr) {
    return MakeError(ErrorCode::kUnsupported, fmt::format("tensor {}: no way to decode {}", name, tensor.dtype));
  }
  Sha256 hash;
  const bool by_row = besides.order != nullptr || besides.terms != nullptr;
  const int64_t at_once = by_row ? tensor.shape.back() : kValuesAtOnce;
  std::vector<float> values(static_cast<size_t>(at_once));
  std::vector<float> stored;
  const int64_t count = tensor.elements();
  for (int64_t at = 0; at < count; at += at_once) {
    const int64_t here = std::min(at_once, count - at);
    format->decode(tensor.data.data() + kernels::BytesOf(format->id, at), values.data(), here);
    if (besides.terms != nullptr) {
      AddOutliers(besides.terms->sparse, at / at_once, values);
    }
    if (besides.order != nullptr) {
      stored = values;
      for (size_t i = 0; i < stored.size(); ++i) {
        values[static_cast<size_t>((*besides.order)[i])] = stored[i];
      }
    }
    hash.Add(std::as_bytes(std::span(values).first(static_cast<size_t>(here))));
  }
  return hash.Hex();
}

}  // namespace

Result<VerifyCase> VerifyDequantized(const Json& golden, const Checkpoint& checkpoint) {
  VerifyCase one{"dequantized weights", false, {}};
  std::vector<std::string> wrong;
  const Json& hashes = golden.at("dequant_sha256");
  for (const auto& [name, hash] : hashes.items()) {
    const auto tensor = checkpoint.tensors.find(name);
    if (tensor == checkpoint.tensors.end()) {
      wrong.push_back(name + " (missing)");
      continue;
    }
    ASSIGN_OR_RETURN(
        const std::string got,
        HashOf(name, tensor->second, {FindOrNull(checkpoint.column_orders, name), FindOrNull(checkpoint.terms, name)}));
    if (!hash.is_string() || got != hash.get<std::string>()) {
      wrong.push_back(name + " (" + tensor->second.dtype + ")");
    }
  }
  one.passed = wrong.empty() && !hashes.empty();
  one.detail = wrong.empty() ? fmt::format("{} tensors equal bit for bit", hashes.size())
                             : fmt::format("different: {}", fmt::join(wrong, ", "));
  return one;
}

Result<VerifyCase> VerifyTexts(const Json& golden, const Tokenizer& tokenizer) {
  VerifyCase one{"tokenizer", true, {}};
  const Json& texts = golden.at("tokenize");
  for (const Json& item : texts) {
    const std::string text = item.at("text").get<std::string>();
    ASSIGN_OR_RETURN(const auto ids, tokenizer.Encode(text, {.add_special_tokens = false, .parse_special = false}));
    if (ids != item.at("ids").get<std::vector<Token>>()) {
      one.passed = false;
      one.detail += fmt::format("{}'{}' becomes [{}]", one.detail.empty() ? "" : "; ", text, fmt::join(ids, ", "));
    }
  }
  one.detail = one.passed ? fmt::format("{} texts equal", texts.size()) : one.detail;
  return one;
}

bool IsAboutFiles(const Json& golden) {
  return golden.is_object() && !golden.contains("prompts") &&
         std::any_of(golden.items().begin(), golden.items().end(),
                     [](const auto& item) { return gguf::IsGgufName(item.key()); });
}

Result<VerifyReport> VerifyFiles(const Json& golden, const std::string& folder) {
  VerifyReport report;
  for (const auto& [name, wanted] : golden.items()) {
    const std::string text = wanted.is_string() ? wanted.get<std::string>() : std::string();
    const bool must_load = text.starts_with("must load");
    if (!gguf::IsGgufName(name) || (!must_load && !text.starts_with("must be refused"))) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("golden.json: {} says neither 'must load' nor 'must be refused'", name));
    }
    const auto loaded = LoadModel({.model = folder + "/" + name, .weights = true, .progress = {}, .hub_caches = {}});
    report.cases.push_back(
        {name, loaded.ok() == must_load, loaded.ok() ? "it loads" : "it is refused: " + loaded.error().message});
  }
  return report;
}

}  // namespace causeway::model
