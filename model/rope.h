// Rotary position embedding: frequencies per scaling type, and the cosines and sines of a step's rows.
// Formulas: Su et al. 2021; linear (Chen et al. 2023), llama3 (Meta's reference), yarn (Peng et al. 2023),
// longrope (Ding et al. 2024), all as the transformers library computes them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace causeway::model {

// Const after construction.
struct Rope {
  int64_t rotary_dim = 0;
  std::vector<float> inverse_frequency;       // [rotary_dim / 2]
  std::vector<float> inverse_frequency_long;  // longrope's other list; empty for the rest
  int64_t long_beyond = 0;                    // a sequence whose length limit is above this uses that list
  float attention_factor = 1.0F;              // multiplies cosines and sines

  bool operator==(const Rope&) const = default;
};

struct RopeInputs {
  double theta = 10000.0;
  int64_t dimensions = 0;  // of a head that turn; an odd number takes one more with it
  int64_t max_position_embeddings = 0;
  int64_t original_max_position_embeddings = 0;  // of the top level of the configuration; 0 if absent
  const Json* scaling = nullptr;                 // rope_scaling or rope_parameters; null: default
  bool yarn_is_longrope = false;                 // the type "yarn" names longrope
};

// kUnsupported for a scaling type that is not served (it is named), kInvalidArgument for a bad one.
Result<Rope> MakeRope(const RopeInputs& inputs);

// Fills [rows, rotary_dim / 2] each. The list that longrope uses is fixed by the sequence's length limit,
// so that no cached key ever goes stale.
void FillRotation(const Rope& rope, int64_t position, int64_t length_limit, std::span<float> cosine,
                  std::span<float> sine);

}  // namespace causeway::model
