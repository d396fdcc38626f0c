// causeway inspect MODEL (and --memory: inspect_memory.h)
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include "base/json.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

#include "model/network.h"
#include "model/tokenizer/tokenizer.h"
#include "server/cli/commands.h"
#include "server/cli/inspect_memory.h"
#include "server/cli/support.h"
#include "server/template/template.h"

namespace causeway::server {
namespace {

constexpr std::pair<const char*, int64_t> kKvElements[] = {{"f32", 4}, {"f16", 2}, {"bf16", 2}};

std::string ActivationName(kernels::Activation activation) {
  switch (activation) {
    case kernels::Activation::kSilu: return "silu";
    case kernels::Activation::kGelu: return "gelu";
    case kernels::Activation::kGeluTanh: return "gelu_tanh";
    case kernels::Activation::kRelu: return "relu";
  }
  return "unknown";
}

OrderedJson LayerJson(const model::Network& network, const model::Layer& layer) {
  const model::AttentionBlock& attention = layer.attention;
  const bool before = static_cast<bool>(layer.attention_norm);
  const bool after = static_cast<bool>(layer.attention_post_norm);
  return {{"attention",
           {{"heads", attention.heads},
            {"kv_heads", network.kv_heads},
            {"head_dim", network.head_dim},
            {"window", attention.window > 0 ? OrderedJson(attention.window) : OrderedJson()},
            {"rope", attention.rope >= 0 ? OrderedJson(attention.rope) : OrderedJson()},
            {"qk_norms", static_cast<bool>(attention.q_norm)},
            {"bias", !attention.q.bias.empty()},
            {"softcap", attention.softcap > 0 ? OrderedJson(attention.softcap) : OrderedJson()}}},
          {"mlp",
           {{"inner", layer.mlp.up.weight.rows},
            {"gated", layer.mlp.gated},
            {"activation", ActivationName(layer.mlp.activation)}}},
          {"norms", before && after ? "sandwich"
                    : after         ? "post"
                                    : "pre"}};
}

// Equal neighbours are one entry: "layers": [first, last].
OrderedJson BlocksJson(const model::Network& network) {
  OrderedJson blocks = OrderedJson::array();
  for (size_t i = 0; i < network.layers.size(); ++i) {
    OrderedJson layer = LayerJson(network, network.layers[i]);
    if (!blocks.empty() && blocks.back()["block"] == layer) {
      blocks.back()["layers"][1] = i;
    } else {
      blocks.push_back({{"layers", {i, i}}, {"block", std::move(layer)}});
    }
  }
  return blocks;
}

struct Count {
  int64_t parameters = 0;
  int64_t bytes = 0;

  void Add(const kernels::WeightView& weight) {
    parameters += weight.rows * weight.columns;
    bytes += kernels::BytesOf(weight.format, weight.rows * weight.columns);  // as published, packed or not
  }
  void Add(const model::Projection& projection) {
    Add(projection.weight);
    AddVector(projection.bias);
  }
  void Add(const model::Norm& norm) {
    AddVector(norm.weight);
    AddVector(norm.bias);
  }
  void AddVector(const std::vector<float>& values) {
    parameters += static_cast<int64_t>(values.size());
    bytes += static_cast<int64_t>(values.size() * sizeof(float));
  }
};

// Where the parameters are. Vectors are counted as they lie in memory, in float32.
OrderedJson PartsJson(const model::Network& network) {
  Count embedding;
  Count attention;
  Count mlp;
  Count norms;
  Count head;
  embedding.Add(network.embedding);
  if (network.positions) {
    embedding.Add(*network.positions);
  }
  for (const model::Layer& layer : network.layers) {
    for (const model::Projection* const one :
         {&layer.attention.q, &layer.attention.k, &layer.attention.v, &layer.attention.o}) {
      attention.Add(*one);
    }
    for (const model::Projection* const one : {&layer.mlp.gate, &layer.mlp.up, &layer.mlp.down}) {
      if (one != &layer.mlp.gate || layer.mlp.gated) {
        mlp.Add(*one);
      }
    }
    for (const model::Norm* const one : {&layer.attention_norm, &layer.attention_post_norm, &layer.mlp_norm,
                                         &layer.mlp_post_norm, &layer.attention.q_norm, &layer.attention.k_norm}) {
      norms.Add(*one);
    }
  }
  norms.Add(network.final_norm);
  if (!network.tied) {
    head.Add(network.head);
  }
  OrderedJson parts = OrderedJson::object();
  const std::pair<const char*, const Count*> rows[] = {
      {"embedding", &embedding}, {"attention", &attention}, {"mlp", &mlp}, {"norms", &norms}, {"head", &head}};
  for (const auto& [name, count] : rows) {
    parts[name] = {{"parameters", count->parameters}, {"bytes", count->bytes}};
  }
  return parts;
}

OrderedJson KvJson(const model::Model& model) {
  OrderedJson bytes = OrderedJson::object();
  for (const auto& [name, element] : kKvElements) {
    const memory::KvShape shape = model.KvShape(element);
    bytes[name] = shape.layers * 2 * shape.kv_heads * shape.head_dim * shape.element_bytes;
  }
  return bytes;
}

OrderedJson KernelsJson(const kernels::Ops& chosen) {
  OrderedJson available = OrderedJson::array();
  for (const kernels::Ops* const ops : kernels::AllOps()) {
    if (kernels::CanRun(*ops)) {
      available.push_back(std::string(ops->name));
    }
  }
  return {{"chosen", std::string(chosen.name)},
          {"needs", std::string(chosen.description)},
          {"available", std::move(available)}};
}

OrderedJson Unsupported(const model::Model& model) {
  OrderedJson unsupported = OrderedJson::array();
  if (model.tokenizer == nullptr) {
    unsupported.push_back("text prompts (there is no tokenizer.json): requests give token ids");
  }
  if (model.chat.template_source.empty()) {
    unsupported.push_back("chat (there is no chat template): --chat-template FILE gives one");
  } else if (const auto parsed = ChatTemplate::Parse(model.chat.template_source); !parsed.ok()) {
    unsupported.push_back("chat: " + parsed.error().message);
  }
  return unsupported;
}

OrderedJson Describe(const model::Model& model, const kernels::Ops& ops) {
  const model::ModelInfo& info = model.info;
  return {{"name", info.name},
          {"path", info.path.empty() ? OrderedJson() : OrderedJson(info.path)},
          {"family", info.family},
          {"context_length", info.context_length},
          {"vocab", info.vocab},
          {"hidden", model.network->hidden},
          {"parameters", info.parameters},
          {"weight_bytes", info.weight_bytes},
          {"weight_dtype", info.weight_dtype},
          {"tied_head", model.network->tied},
          {"parts", PartsJson(*model.network)},
          {"blocks", BlocksJson(*model.network)},
          {"kv_bytes_per_token", KvJson(model)},
          {"kernels", KernelsJson(ops)},
          {"unsupported", Unsupported(model)}};
}

std::string BlockText(const OrderedJson& block) {
  const OrderedJson& attention = block["attention"];
  std::string text = fmt::format("attention {} heads of {}, {} for keys and values", attention["heads"].get<int64_t>(),
                                 attention["head_dim"].get<int64_t>(), attention["kv_heads"].get<int64_t>());
  text += attention["window"].is_null() ? "" : fmt::format(", window {}", attention["window"].get<int64_t>());
  text += attention["rope"].is_null() ? ", no rope" : attention["rope"] == 0 ? "" : ", second rope";
  text += attention["qk_norms"].get<bool>() ? ", q and k norms" : "";
  text += attention["bias"].get<bool>() ? ", biases" : "";
  text += attention["softcap"].is_null() ? "" : fmt::format(", soft-cap {:g}", attention["softcap"].get<double>());
  const OrderedJson& mlp = block["mlp"];
  text +=
      fmt::format("; {}{} mlp of {}; {}-norms", mlp["gated"].get<bool>() ? "gated " : "",
                  mlp["activation"].get<std::string>(), mlp["inner"].get<int64_t>(), block["norms"].get<std::string>());
  return text;
}

void PrintParts(const OrderedJson& described) {
  std::cout << "parameters\n";
  const auto row = [](const std::string& name, int64_t parameters, int64_t bytes) {
    std::cout << fmt::format("  {:<12}{:>10}{:>16}{:>14}{:>16} bytes\n", name, ReadableCount(parameters), parameters,
                             ReadableBytes(bytes), bytes);
  };
  for (const auto& [name, part] : described["parts"].items()) {
    if (part["parameters"] != 0) {
      row(name, part["parameters"].get<int64_t>(), part["bytes"].get<int64_t>());
    }
  }
  row("in the file", described["parameters"].get<int64_t>(), described["weight_bytes"].get<int64_t>());
  std::cout << (described["tied_head"].get<bool>() ? "  the head is the embedding\n" : "");
}

void PrintText(const OrderedJson& described) {
  const auto text = [&](const char* key) { return described[key].get<std::string>(); };
  const auto number = [&](const char* key) { return described[key].get<int64_t>(); };
  std::cout << fmt::format("{}: {}, {} parameters, {} of {} weights{}\n", text("name"), text("family"),
                           ReadableCount(number("parameters")), ReadableBytes(number("weight_bytes")),
                           text("weight_dtype"), described["path"].is_null() ? ", built in" : ", in " + text("path"));
  std::cout << fmt::format("context {} tokens, vocabulary {}, hidden size {}\n", number("context_length"),
                           number("vocab"), number("hidden"));
  std::cout << "blocks\n";
  for (const OrderedJson& group : described["blocks"]) {
    const auto first = group["layers"][0].get<int64_t>();
    const auto last = group["layers"][1].get<int64_t>();
    const std::string range = first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last);
    std::cout << fmt::format("  {:<8}{}\n", range, BlockText(group["block"]));
  }
  PrintParts(described);
  std::cout << "KV cache\n";
  for (const auto& [name, bytes] : described["kv_bytes_per_token"].items()) {
    const auto value = bytes.get<int64_t>();
    std::cout << fmt::format("  {:<6}{:>8} bytes a token, {} for {} tokens\n", name, value,
                             ReadableBytes(value * number("context_length")), number("context_length"));
  }
  const OrderedJson& kernels = described["kernels"];
  std::cout << fmt::format("kernels\n  {} ({}); this machine can run {}\n", kernels["chosen"].get<std::string>(),
                           kernels["needs"].get<std::string>(),
                           fmt::join(kernels["available"].get<std::vector<std::string>>(), ", "));
  std::cout << "unsupported\n";
  for (const OrderedJson& one : described["unsupported"]) {
    std::cout << "  " << one.get<std::string>() << '\n';
  }
  std::cout << (described["unsupported"].empty() ? "  nothing\n" : "");
}

// A model that cannot be served: what stands in the way is the answer.
int Refuse(const ModelOptions& options, const Error& error, bool json) {
  if (json && error.code == ErrorCode::kUnsupported) {
    std::cout << DumpJson(OrderedJson{{"name", options.model}, {"unsupported", {error.message}}}) << '\n';
  }
  return PrintError(error);
}

}  // namespace

void AddInspect(CLI::App& root, int& exit_code) {
  CLI::App* const command =
      root.add_subcommand("inspect", "What a model is made of, and what it costs; or what a server's KV cache holds");
  auto options = std::make_shared<ModelOptions>();
  auto json = std::make_shared<bool>(false);
  auto memory = std::make_shared<std::string>();
  auto api_key = std::make_shared<std::string>();
  options->threads = 1;  // nothing is computed
  AddModelOptions(*command, *options, {.threads = false});
  command->add_flag("--json", *json, "Print JSON");
  auto* const url =
      command->add_option("--memory", *memory, "Show the KV cache of a running server instead; default: this machine's")
          ->expected(0, 1)
          ->type_name("URL");
  command->add_option("--api-key", *api_key, "With --memory: a key of the server")->needs(url);
  command->callback([options, json, memory, api_key, url, &exit_code] {
    if (url->count() > 0) {
      exit_code = InspectMemory(memory->empty() ? "http://127.0.0.1:8000" : *memory, *api_key, *json);
      return;
    }
    const auto bench = MakeWorkbench(*options);
    if (!bench.ok()) {
      exit_code = Refuse(*options, bench.error(), *json);
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
