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
  // What the transformers library assumes where config.json is silent, as JSON. Sizes are in it only for
  // models that come inside a wrapper, whose files leave out whatever is as usual.
  std::string_view defaults;
  // Fills `network` from the configuration and binds its weights.
  Result<void> (*build)(const Config& config, WeightSource& weights, Network& network);
};

std::span<const Architecture> Architectures();
// kUnsupported with the list of families known.
Result<const Architecture*> FindArchitecture(std::string_view model_type);

}  // namespace causeway::model
