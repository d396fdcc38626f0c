// One builder a family; the rows that name them are in registry.cc.
#pragma once

#include "base/result.h"
#include "model/builder.h"
#include "model/config.h"
#include "model/network.h"

namespace causeway::model {

Result<void> BuildLlama(const Config& config, WeightSource& weights, Network& network);
Result<void> BuildSmolLm3(const Config& config, WeightSource& weights, Network& network);
Result<void> BuildMistral(const Config& config, WeightSource& weights, Network& network);
Result<void> BuildQwen2(const Config& config, WeightSource& weights, Network& network);
Result<void> BuildQwen3(const Config& config, WeightSource& weights, Network& network);
Result<void> BuildOlmo2(const Config& config, WeightSource& weights, Network& network);
Result<void> BuildGranite(const Config& config, WeightSource& weights, Network& network);
Result<void> BuildPhi3(const Config& config, WeightSource& weights, Network& network);
Result<void> BuildGemma2(const Config& config, WeightSource& weights, Network& network);
Result<void> BuildGemma3(const Config& config, WeightSource& weights, Network& network);
Result<void> BuildGpt2(const Config& config, WeightSource& weights, Network& network);

}  // namespace causeway::model
