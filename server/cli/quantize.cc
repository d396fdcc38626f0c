// causeway quantize SRC DST
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/json.h"
#include "fmt/format.h"
#include "model/builtin/builtin.h"
#include "model/eval.h"
#include "model/files.h"
#include "model/quantize/quantize.h"
#include "server/cli/commands.h"
#include "server/cli/support.h"
#include "server/config/environment.h"

namespace causeway::server {
namespace {

namespace quantize = model::quantize;

struct QuantizeFlags {
  std::string source;
  std::string destination;
  std::string format;
  std::string method = "rtn";
  std::string calibration;
  std::vector<std::string> tensors;
  int threads = 0;
  std::string force_kernels;
  std::string activations = "int8";
  bool eval = false;
  std::string eval_text;
  bool json = false;
  quantize::QuantizeOptions options;
};

// ---- Evaluation --------------------------------------------------------------------------------------

struct Quality {
  double perplexity = 0;
  std::optional<model::RetrievalResult::Score> retrieval;
};

Result<Quality> Evaluate(const QuantizeFlags& flags, const std::string& model_name, const kernels::Ops& ops,
                         ThreadPool& pool) {
  model::LoadOptions load;
  load.model = model_name;
  load.hub_caches = HubCaches();
  load.pack_on = flags.activations == "int8" ? &pool : nullptr;
  ASSIGN_OR_RETURN(const auto model, model::LoadModel(load));
  std::string text(model::AsText(model::BuiltinFile("eval/valid.txt")));
  if (!flags.eval_text.empty()) {
    ASSIGN_OR_RETURN(text, ReadInputFile(flags.eval_text));
  }
  constexpr int64_t kWindow = 1024;
  const int64_t window = std::min(kWindow, model->info.context_length);
  Quality quality;
  {
    ProgressBar bar("perplexity of " + model_name);
    ASSIGN_OR_RETURN(const auto result, model::EvalPerplexity(*model, ops, pool, {}, text, window, window / 2,
                                                              [&](double fraction, std::string_view detail) {
                                                                bar.Show(fraction, detail);
                                                              }));
    quality.perplexity = result.perplexity;
  }
  if (flags.options.source.model.empty() || flags.options.source.model == "fable") {  // the items are its tokens
    ProgressBar bar("retrieval of " + model_name);
    const auto items = model::AsText(model::BuiltinFile("eval/retrieval.jsonl"));
    ASSIGN_OR_RETURN(const auto result,
                     model::EvalRetrieval(*model, ops, pool, {}, items, [&](double fraction, std::string_view detail) {
                       bar.Show(fraction, detail);
                     }));
    quality.retrieval = result.all;
  }
  return quality;
}

// ---- Output ------------------------------------------------------------------------------------------

double BitsPerWeight(int64_t bytes, int64_t weights) {
  return weights == 0 ? 0.0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(weights);
}

void Print(const quantize::QuantizeReport& report, const std::string& destination) {
  std::cout << fmt::format("{:<14}{:>9}{:>12}{:>12}{:>8}  {}\n", "format", "tensors", "weights", "bytes", "bits",
                           "largest error (root of squares, of a tensor)");
  for (const quantize::QuantizeReport::Format& format : report.formats) {
    std::cout << fmt::format(
        "{:<14}{:>9}{:>12}{:>12}{:>8.3f}  {}\n", format.name, format.tensors, ReadableCount(format.weights),
        ReadableBytes(format.bytes), BitsPerWeight(format.bytes, format.weights),
        format.worst_tensor.empty() ? "none" : fmt::format("{:.4f} {}", format.worst_error, format.worst_tensor));
  }
  for (const std::string& note : report.notes) {
    std::cout << "note: " << note << '\n';
  }
  std::cout << fmt::format("{}: {} -> {}, {:.3f} bits a weight ({:.3f} of what was quantized)\n", destination,
                           ReadableBytes(report.bytes_before), ReadableBytes(report.bytes_after),
                           BitsPerWeight(report.bytes_after, report.weights),
                           BitsPerWeight(report.matrix_bytes, report.matrix_weights));
}

void Print(const Quality& before, const Quality& after) {
  std::cout << fmt::format("perplexity {:.4f} -> {:.4f} ({:+.3f} %)\n", before.perplexity, after.perplexity,
                           100 * (after.perplexity / before.perplexity - 1));
  if (before.retrieval && after.retrieval) {
    std::cout << fmt::format("retrieval {} -> {} of {}\n", before.retrieval->correct, after.retrieval->correct,
                             after.retrieval->items);
  }
}

OrderedJson JsonOf(const Quality& quality) {
  OrderedJson json = {{"perplexity", quality.perplexity}};
  if (quality.retrieval) {
    json["retrieval"] = {quality.retrieval->correct, quality.retrieval->items};
  }
  return json;
}

OrderedJson JsonOf(const quantize::QuantizeReport& report) {
  OrderedJson formats = OrderedJson::array();
  for (const quantize::QuantizeReport::Format& format : report.formats) {
    formats.push_back({{"format", format.name},
                       {"tensors", format.tensors},
                       {"weights", format.weights},
                       {"bytes", format.bytes},
                       {"worst_relative_error", format.worst_error},
                       {"worst_tensor", format.worst_tensor}});
  }
  return {{"weights", report.weights},
          {"bytes_before", report.bytes_before},
          {"bytes_after", report.bytes_after},
          {"bits_per_weight", BitsPerWeight(report.bytes_after, report.weights)},
          {"quantized_bits_per_weight", BitsPerWeight(report.matrix_bytes, report.matrix_weights)},
          {"formats", std::move(formats)},
          {"notes", report.notes}};
}

// ---- The command -------------------------------------------------------------------------------------

Result<void> ReadFlags(QuantizeFlags& flags) {
  quantize::QuantizeOptions& options = flags.options;
  ASSIGN_OR_RETURN(options.plan.recipe, quantize::FindRecipe(flags.format));
  options.source.model = flags.source;
  options.source.hub_caches = HubCaches();
  options.source.round_inputs = false;
  options.destination = flags.destination;
  options.method = flags.method == "gptq" ? quantize::Method::kGptq : quantize::Method::kNearest;
  for (const std::string& text : flags.tensors) {
    const size_t equals = text.rfind('=');
    if (equals == 0 || equals == std::string::npos || equals + 1 == text.size()) {
      return MakeError(ErrorCode::kInvalidArgument, fmt::format("--tensor {}: PATTERN=FORMAT is wanted", text),
                       "tensor");
    }
    options.plan.overrides.push_back({text.substr(0, equals), text.substr(equals + 1)});
  }
  if (!flags.calibration.empty()) {
    ASSIGN_OR_RETURN(options.calibration_text, ReadInputFile(flags.calibration));
  }
  return {};
}

Result<void> Run(QuantizeFlags& flags) {
  TRY(ReadFlags(flags));
  ASSIGN_OR_RETURN(const kernels::Ops* const ops, kernels::SelectOps(flags.force_kernels));
  ThreadPool pool({.threads = flags.threads, .pin = false});
  quantize::QuantizeReport report;
  {
    ProgressBar bar("quantizing");
    flags.options.progress = [&](double fraction, std::string_view what) { bar.Show(fraction, what); };
    ASSIGN_OR_RETURN(report, quantize::Quantize(flags.options, *ops, pool));
  }
  std::optional<Quality> before;
  std::optional<Quality> after;
  if (flags.eval) {
    ASSIGN_OR_RETURN(before, Evaluate(flags, flags.options.source.model, *ops, pool));
    ASSIGN_OR_RETURN(after, Evaluate(flags, flags.destination, *ops, pool));
  }
  if (flags.json) {
    OrderedJson json = JsonOf(report);
    if (before && after) {
      json["before"] = JsonOf(*before);
      json["after"] = JsonOf(*after);
    }
    std::cout << DumpJson(json) << '\n';
    return {};
  }
  Print(report, flags.destination);
  if (before && after) {
    Print(*before, *after);
  }
  return {};
}

void AddCalibration(CLI::App& command, QuantizeFlags& flags) {
  quantize::QuantizeOptions& options = flags.options;
  command.add_option("--method", flags.method, "rtn rounds each value to the nearest; gptq fits a layer's outputs")
      ->check(CLI::IsMember({"rtn", "gptq"}))
      ->capture_default_str();
  command.add_option("--calibration", flags.calibration,
                     "A text file, - for standard input: what gptq fits; rtn weighs its errors by it");
  command.add_option("--samples", options.calibration.samples, "Sequences of the calibration text")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command.add_option("--sequence-length", options.calibration.sequence_length, "Tokens of each")
      ->check(CLI::Range(2, 1 << 24))
      ->capture_default_str();
  command.add_option("--damping", options.gptq.damping, "Of gptq: added to the diagonal, as a share of its mean")
      ->check(CLI::Range(1e-6, 1.0))
      ->capture_default_str();
  command.add_flag("--act-order", options.gptq.act_order, "Of gptq: the columns that count most first");
}

void AddChoices(CLI::App& command, QuantizeFlags& flags) {
  quantize::PlanOptions& plan = flags.options.plan;
  command.add_option("--tensor", flags.tensors,
                     "PATTERN=FORMAT for tensors whose name matches (* and ?); may be given again, the last counts");
  command.add_option("--output-tensor-type", plan.output_type, "Format of the head");
  command.add_option("--token-embedding-type", plan.embedding_type, "Format of the token embedding");
  command.add_flag("--leave-output-tensor", plan.leave_output, "Leave the head as it is");
  command.add_flag("--pure", plan.pure, "One type for all matrices: no mixture");
  command
      .add_option("--group-size", plan.group_size,
                  "Of compressed-tensors: columns that share a scale; -1: the row; 0: as usual for the format")
      ->check(CLI::Range(-1, 1 << 24))
      ->capture_default_str();
}

}  // namespace

void AddQuantize(CLI::App& root, int& exit_code) {
  CLI::App* const command = root.add_subcommand("quantize", "Write a model in fewer bits");
  const auto flags = std::make_shared<QuantizeFlags>();
  command->add_option("SRC", flags->source, "A folder, a GGUF file, org/name in the Hugging Face cache, or fable")
      ->required();
  command->add_option("DST", flags->destination, "NAME.gguf, or a folder for compressed-tensors")->required();
  command->add_option("--format", flags->format, "One of the formats below")->required();
  AddCalibration(*command, *flags);
  AddChoices(*command, *flags);
  command->add_flag("--force", flags->options.replace, "Replace a DST that is there");
  command->add_flag("--allow-requantize", flags->options.allow_requantize, "Take a SRC that is quantized already");
  command->add_flag("--eval", flags->eval, "Print perplexity before and after; of fable also retrieval");
  command->add_option("--eval-text", flags->eval_text, "Text for --eval; without it, the built-in model's own");
  AddActivationsOption(*command, flags->activations);
  command->add_option("--threads", flags->threads, "Threads that compute; 0: one a core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_option("--force-kernels", flags->force_kernels, "Use this set of kernels instead of the fastest");
  command->add_flag("--json", flags->json, "Print JSON");
  command->footer("Formats: " + quantize::KnownRecipes());
  command->callback([flags, &exit_code] {
    if (const auto done = Run(*flags); !done.ok()) {
      exit_code = PrintError(done.error());
    }
  });
}

}  // namespace causeway::server
