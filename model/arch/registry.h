// The families that are served. Adding one: a row in registry.cc, and a file if it is no variant of the
// common decoder.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/builder.h"
#include "model/config.h"
#include "model/network.h"

namespace causeway::model {

struct Architecture {
  std::string_view model_type;  // of config.json
  std::string_view note;        // what is particular about it, for `causeway inspect`
  // Fills `network` from the configuration and binds its weights.
  Result<void> (*build)(const Config& config, WeightSource& weights, Network& network);
};

std::span<const Architecture> Architectures();
// kUnsupported with the list of families known.
Result<const Architecture*> FindArchitecture(std::string_view model_type);

}  // namespace causeway::model
