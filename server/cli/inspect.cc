// causeway inspect MODEL
#include <iostream>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "base/json.h"
#include "fmt/format.h"
#include "model/network.h"
#include "model/tokenizer/tokenizer.h"
#include "server/cli/commands.h"
#include "server/cli/support.h"

namespace causeway::server {
namespace {

std::string DescribeLayer(const model::Network& network, const model::Layer& layer) {
  const model::AttentionBlock& attention = layer.attention;
  std::string text = fmt::format("attention {} heads, {} kv, {} wide", attention.heads, network.kv_heads, network.head_dim);
  text += attention.window > 0 ? fmt::format(", window {}", attention.window) : "";
  text += attention.rope < 0 ? ", no rope" : attention.rope > 0 ? ", local rope" : "";
  text += attention.q_norm ? ", q and k norms" : "";
  text += attention.softcap > 0 ? fmt::format(", soft-cap {}", attention.softcap) : "";
  text += fmt::format("; {} mlp {}", layer.mlp.gated ? "gated" : "plain", layer.mlp.up.weight.rows);
  text += layer.attention_post_norm ? (layer.attention_norm ? "; sandwich norms" : "; post-norms") : "";
  return text;
}

// Equal neighbours on one line: "0-21: ...".
OrderedJson LayersJson(const model::Network& network) {
  OrderedJson groups = OrderedJson::array();
  size_t first = 0;
  for (size_t i = 0; i < network.layers.size(); ++i) {
    const std::string text = DescribeLayer(network, network.layers[i]);
    if (i + 1 == network.layers.size() || DescribeLayer(network, network.layers[i + 1]) != text) {
      groups.push_back({{"layers", first == i ? fmt::format("{}", i) : fmt::format("{}-{}", first, i)}, {"block", text}});
      first = i + 1;
    }
  }
  return groups;
}

OrderedJson Describe(const model::Model& model, const kernels::Ops& ops) {
  const model::ModelInfo& info = model.info;
  const auto kv_bytes = [&](int64_t element) {
    const memory::KvShape shape = model.KvShape(element);
    return shape.layers * 2 * shape.kv_heads * shape.head_dim * shape.element_bytes;
  };
  OrderedJson unsupported = OrderedJson::array();
  if (model.tokenizer == nullptr) {
    unsupported.push_back("text prompts: there is no tokenizer.json");
  }
  if (model.chat.template_source.empty()) {
    unsupported.push_back("chat: there is no chat template");
  }
  return {{"name", info.name},
          {"family", info.family},
          {"parameters", info.parameters},
          {"weight_bytes", info.weight_bytes},
          {"weight_dtype", info.weight_dtype},
          {"vocab", info.vocab},
          {"context_length", info.context_length},
          {"kv_bytes_per_token", {{"f32", kv_bytes(4)}, {"f16", kv_bytes(2)}}},
          {"tied_head", model.network->tied},
          {"blocks", LayersJson(*model.network)},
          {"kernels", std::string(ops.name)},
          {"unsupported", unsupported}};
}

void PrintText(const OrderedJson& described) {
  for (const auto& [key, value] : described.items()) {
    if (key == "blocks") {
      std::cout << "blocks:\n";
      for (const OrderedJson& group : value) {
        std::cout << fmt::format("  {}: {}\n", group["layers"].get<std::string>(), group["block"].get<std::string>());
      }
    } else {
      std::cout << fmt::format("{}: {}\n", key, value.is_string() ? value.get<std::string>() : DumpJson(value));
    }
  }
}

}  // namespace

void AddInspect(CLI::App& root, int& exit_code) {
  CLI::App* const command = root.add_subcommand("inspect", "What a model is made of, and what it costs");
  auto options = std::make_shared<ModelOptions>();
  auto json = std::make_shared<bool>(false);
  command->add_option("MODEL", options->model, "A folder, org/name in the Hugging Face cache, or fable")->default_str("fable");
  command->add_option("--force-kernels", options->force_kernels, "Use this set of kernels");
  command->add_flag("--json", *json, "Print JSON");
  command->callback([options, json, &exit_code] {
    const auto bench = MakeWorkbench(*options);
    if (!bench.ok()) {
      exit_code = PrintError(bench.error());
      return;
    }
    const OrderedJson described = Describe(*bench->model, *bench->ops);
    if (*json) {
      std::cout << DumpJson(described) << '\n';
    } else {
      PrintText(described);
    }
  });
}

}  // namespace causeway::server
