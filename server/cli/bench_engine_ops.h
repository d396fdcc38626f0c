// bench engine --ops: where the time of a step goes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "kernels/cpu/peak.h"
#include "kernels/op_trace.h"
#include "model/network.h"

namespace causeway::server {

// Names a network's weights by their part in it: qkv, o, gate_up, down, head.
void NameWeights(const model::Network& network, kernels::OpTrace& trace);

// The traced ops of `steps` steps that took `seconds` in all; figures are of one step.
OrderedJson OpsJson(const std::vector<kernels::TracedOp>& ops, int64_t steps, double seconds,
                    const kernels::MachineLimits& limits);

// The same as a table under a title.
std::string OpsTable(std::string_view title, const OrderedJson& ops);

}  // namespace causeway::server
