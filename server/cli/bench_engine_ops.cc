#include "server/cli/bench_engine_ops.h"

#include <algorithm>

#include "fmt/format.h"

namespace causeway::server {
namespace {

// The least time that a machine needs for so much, and what bounds it.
struct Bound {
  double seconds = 0;
  std::string_view by = "";  // "read", "int8", ...; empty: a cache may hold all that is touched, no limit applies
};

Bound BoundOf(const kernels::OpCost& cost, const kernels::MachineLimits& limits) {
  if (cost.streamed_bytes == 0) {
    return {};
  }
  Bound bound{cost.streamed_bytes / limits.ReadBytesPerSecond(), "read"};
  const double compute[] = {cost.operations[0] / limits.float_flops_all_threads,
                            cost.operations[1] / limits.flops_all_threads,
                            cost.operations[2] / limits.int8_ops_all_threads};
  const double multiply = compute[0] + compute[1] + compute[2];
  if (multiply > bound.seconds) {
    constexpr std::string_view kUnits[] = {"float", "16 bit", "int8"};
    bound = {multiply, kUnits[std::ranges::max_element(compute) - compute]};
  }
  return bound;
}

OrderedJson RowJson(const kernels::TracedOp& op, double steps, double step_seconds,
                    const kernels::MachineLimits& limits) {
  const Bound bound = BoundOf(op.cost, limits);
  OrderedJson row = {{"op", op.name},
                     {"calls", static_cast<double>(op.calls) / steps},
                     {"ms", 1e3 * op.seconds / steps},
                     {"share_of_step", op.seconds / steps / step_seconds},
                     {"bytes", op.cost.Bytes() / steps},
                     {"gb_per_s", op.cost.Bytes() / op.seconds / 1e9},
                     {"gop_per_s", op.cost.Operations() / op.seconds / 1e9}};
  if (!bound.by.empty()) {
    row["limit"] = std::string(bound.by);
    row["limit_ms"] = 1e3 * bound.seconds / steps;
    row["share_of_limit"] = bound.seconds / op.seconds;
  }
  return row;
}

}  // namespace

void NameWeights(const model::Network& network, kernels::OpTrace& trace) {
  for (const model::Layer& layer : network.layers) {
    const model::AttentionBlock& attention = layer.attention;
    for (const model::Projection* const projection : {&attention.q, &attention.k, &attention.v}) {
      trace.NameWeight(projection->weight.data, "qkv");
    }
    trace.NameWeight(attention.o.weight.data, "o");
    trace.NameWeight(layer.mlp.gate.weight.data, "gate_up");
    trace.NameWeight(layer.mlp.up.weight.data, layer.mlp.gated ? "gate_up" : "up");
    trace.NameWeight(layer.mlp.down.weight.data, "down");
  }
  trace.NameWeight(network.head.weight.data, "head");
}

OrderedJson OpsJson(const std::vector<kernels::TracedOp>& ops, int64_t steps, double seconds,
                    const kernels::MachineLimits& limits) {
  const auto count = static_cast<double>(steps);
  const double step_seconds = seconds / count;
  OrderedJson rows = OrderedJson::array();
  double outside = seconds;
  for (const kernels::TracedOp& op : ops) {
    rows.push_back(RowJson(op, count, step_seconds, limits));
    outside -= op.seconds;
  }
  rows.push_back(
      {{"op", "outside ops"}, {"ms", 1e3 * outside / count}, {"share_of_step", outside / count / step_seconds}});
  return {{"step_ms", 1e3 * step_seconds}, {"ops", std::move(rows)}};
}

std::string OpsTable(std::string_view title, const OrderedJson& ops) {
  std::string text =
      fmt::format("{}: {:.2f} ms\n  {:<16}{:>6}{:>10}{:>9}{:>10}{:>8}{:>9}  {}\n", title, ops["step_ms"].get<double>(),
                  "op", "calls", "ms", "of step", "MB", "GB/s", "GOP/s", "of its limit");
  for (const OrderedJson& row : ops["ops"]) {
    text += fmt::format("  {:<16}", row["op"].get<std::string>());
    text += row.contains("calls") ? fmt::format("{:>6.0f}", row["calls"].get<double>()) : std::string(6, ' ');
    text += fmt::format("{:>10.3f}{:>8.1f}%", row["ms"].get<double>(), 100 * row["share_of_step"].get<double>());
    if (row.contains("bytes")) {
      text += fmt::format("{:>10.2f}{:>8.1f}{:>9.1f}", row["bytes"].get<double>() / 1e6, row["gb_per_s"].get<double>(),
                          row["gop_per_s"].get<double>());
    }
    if (row.contains("limit")) {
      text += fmt::format("  {:.0f}% ({})", 100 * row["share_of_limit"].get<double>(), row["limit"].get<std::string>());
    }
    text += '\n';
  }
  return text;
}

}  // namespace causeway::server
