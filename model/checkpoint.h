// What a container holds, in the words that the families are written in: config.json's fields and Hugging Face's names
// of tensors. A container of its own kind (GGUF) and a dialect of quantized weights are both translated into this, so
// that no family and no kernel knows them by name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "kernels/weight_view.h"
#include "model/late_rows.h"
#include "model/safetensors.h"

namespace causeway::model {

// How modules of multimodal wrappers begin that are no part of the text model. They are passed over.
inline constexpr std::string_view kBesideText[] = {"vision_tower.", "multi_modal_projector.", "model.vision_tower.",
                                                   "model.multi_modal_projector."};

// Where writers of weights differ.
struct WeightConventions {
  bool norms_hold_one = false;   // one-plus norms are stored with the one added
  bool output_major = false;     // GPT-2's Conv1D weights are stored [out, in], as all others are
  bool biases_as_found = false;  // the configuration does not tell of biases: those are used that are there
};

// Of tensors whose columns are not stored in the network's order, by name: stored column i is column order[i].
using ColumnOrders = std::map<std::string, std::vector<int32_t>, std::less<>>;

// Of weights whose inputs are to be rounded, by the weight's name.
using InputRoundings = std::map<std::string, kernels::InputRounding, std::less<>>;

// A sparse matrix and its memory.
struct SparseMatrix {
  std::vector<uint32_t> offsets;  // [rows + 1]
  std::vector<kernels::SparseEntry> entries;
};

// Of weights that are a sum, by the weight's name: what there is beside the base rows. `terms` point into the rest.
struct WeightTerms {
  explicit WeightTerms(SparseMatrix matrix) : sparse(std::move(matrix)) {
    terms.emplace_back(kernels::SparseRows{sparse.offsets.data(), sparse.entries.data()});
  }
  WeightTerms(WeightTerms&&) = default;  // moved vectors stay where they are

  SparseMatrix sparse;
  std::vector<kernels::WeightTerm> terms;
};
using TermsByName = std::map<std::string, WeightTerms, std::less<>>;

struct Checkpoint {
  Json config;
  // Rows of each tensor are whole blocks of a registered format, in the order in which the network computes them.
  TensorMap tensors;
  ColumnOrders column_orders;
  InputRoundings input_roundings;
  TermsByName terms;
  WeightConventions conventions;
  // What the container calls the tensor that the hub calls so, for messages; null: the same.
  std::function<std::string(std::string_view hub_name)> name_in_file;
  std::vector<std::vector<std::byte>> owned;  // what tensors point into beside the files
  std::vector<LateRows> late;                 // the same, not written yet
};

}  // namespace causeway::model
