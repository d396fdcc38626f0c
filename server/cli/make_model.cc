#include "server/cli/make_model.h"

#include <iostream>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include "fmt/format.h"

#include "model/make_model.h"
#include "server/cli/support.h"

namespace causeway::server {
namespace {

constexpr int64_t kBytesPerParameter = 2;  // BF16

std::string ShapesTable() {
  std::string text = fmt::format("Shapes:\n  {:<16}{:>7}{:>7}{:>9}{:>6}{:>8}{:>11}{:>9}\n", "", "layers", "hidden",
                                 "heads/kv", "mlp", "vocab", "parameters", "file");
  for (const model::ModelShape& shape : model::ModelShapes()) {
    const int64_t parameters = shape.Parameters();
    text += fmt::format("  {:<16}{:>7}{:>7}{:>9}{:>6}{:>8}{:>11}{:>9}\n", shape.name, shape.layers, shape.hidden,
                        fmt::format("{}/{}", shape.heads, shape.kv_heads), shape.inner, shape.vocab,
                        ReadableCount(parameters), ReadableBytes(parameters * kBytesPerParameter));
  }
  text.pop_back();
  return text;
}

int Make(const std::string& shape, const std::string& format, const std::string& out) {
  {
    ProgressBar bar("writing " + shape);
    const auto made = model::MakeModel(shape, format, out, [&](double fraction) { bar.Show(fraction); });
    if (!made.ok()) {
      return PrintError(made.error());
    }
  }
  for (const model::ModelShape& one : model::ModelShapes()) {
    if (one.name == shape) {
      std::cout << fmt::format("{}: {}, {} parameters in {}\n", out, shape, ReadableCount(one.Parameters()), format);
    }
  }
  return 0;
}

}  // namespace

void AddMakeModel(CLI::App& bench, int& exit_code) {
  CLI::App* const make = bench.add_subcommand("make-model", "Write a checkpoint of random weights in a known shape");
  const auto shape = std::make_shared<std::string>("tinyllama-1.1b");
  const auto format = std::make_shared<std::string>("bf16");
  const auto out = std::make_shared<std::string>();
  make->add_option("--shape", *shape, "One of the shapes below")->capture_default_str();
  make->add_option("--format", *format, "Of the matrices: bf16 (safetensors), or q4_0, q8_0, ... (GGUF)")
      ->capture_default_str();
  make->add_option("OUT,--out", *out, "Folder to write; it is made if it is not there")->required();
  make->footer(ShapesTable());
  make->callback([shape, format, out, &exit_code] { exit_code = Make(*shape, *format, *out); });
}

}  // namespace causeway::server
