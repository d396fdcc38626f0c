// Adapters against golden values: a folder whose golden.json has runs. It holds a folder for each run (adapter-NAME, or
// NAME; none for "none"), and adapters that are in no run: those must be refused.
#pragma once

#include <string>

#include "base/json.h"
#include "base/result.h"
#include "model/verify.h"

namespace causeway::model {

bool HasAdapterRuns(const Json& golden);

// Each run as VerifyAgainst does, on the base that options.base, golden.json's "base" or the adapters' configurations
// name. Then all runs' prompts in one batch: their bits must be those that each gives alone.
Result<VerifyReport> VerifyAdapters(const std::string& folder, const Json& golden, const kernels::Ops& ops,
                                    ThreadPool& pool, const VerifyOptions& options);

}  // namespace causeway::model
