#include "model/verify_adapters.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "model/adapter/adapter.h"
#include "model/adapter/config.h"
#include "model/files.h"
#include "model/network.h"

namespace causeway::model {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxRuns = 64;
constexpr const char* kConfigFile = "adapter_config.json";

struct Run {
  std::string name;
  Golden golden;
  std::shared_ptr<const Adapter> adapter;  // null: none
};

bool IsModel(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    return path.extension() == ".gguf" && fs::exists(path, ignored);
  }
  const fs::directory_iterator files(path, ignored);
  return fs::exists(path / "config.json", ignored) ||
         std::any_of(begin(files), end(files), [](const auto& entry) { return entry.path().extension() == ".gguf"; });
}

// The folder itself, and those above it: where a golden's base lies by its name.
std::vector<fs::path> Above(const fs::path& folder) {
  std::error_code ignored;
  std::vector<fs::path> all;
  fs::path at = fs::weakly_canonical(folder, ignored);
  for (int level = 0; level < 4 && !at.empty(); ++level) {
    all.push_back(at);
    if (at == at.parent_path()) {
      break;
    }
    at = at.parent_path();
  }
  return all;
}

// What may be the base's name: the words of golden.json's "base" in backquotes, the whole of it, and what the
// adapters' configurations say.
std::vector<std::string> BaseNames(const fs::path& folder, const Json& golden) {
  std::vector<std::string> names;
  if (const auto base = golden.find("base"); base != golden.end() && base->is_string()) {
    const auto text = base->get<std::string>();
    for (size_t begin = text.find('`'); begin != std::string::npos;) {
      const size_t end = text.find('`', begin + 1);
      if (end == std::string::npos) {
        break;
      }
      names.push_back(text.substr(begin + 1, end - begin - 1));
      begin = text.find('`', end + 1);
    }
    names.push_back(text);
  }
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const auto files = OpenFolder(entry.path().string());
    if (files.ok() && (*files)->Has(kConfigFile)) {
      const auto text = (*files)->Open(kConfigFile);
      const auto config = text.ok() ? adapter::ParseConfig(AsText(*text)) : Result<adapter::Config>(text.error());
      if (config.ok() && !config->base_model.empty()) {
        names.push_back(config->base_model);
      }
    }
  }
  return names;
}

Result<std::string> FindBase(const fs::path& folder, const Json& golden, const VerifyOptions& options) {
  if (!options.base.empty()) {
    return options.base;
  }
  if (IsModel(folder)) {
    return folder.string();
  }
  const std::vector<std::string> names = BaseNames(folder, golden);
  for (const std::string& name : names) {
    for (const fs::path& place : Above(folder)) {
      if (!name.empty() && IsModel(place / name)) {
        return (place / name).string();
      }
    }
  }
  return MakeError(ErrorCode::kNotFound,
                   fmt::format("the base of {} is not beside or above it (looked for {}); --base names it",
                               folder.string(), fmt::join(names, ", ")));
}

Result<std::vector<Run>> LoadRuns(const fs::path& folder, const Json& golden, const Network& network) {
  std::vector<Run> runs;
  if (golden.at("runs").size() > kMaxRuns) {
    return MakeError(ErrorCode::kTooLarge, fmt::format("golden.json: more than {} runs", kMaxRuns));
  }
  for (const auto& [name, values] : golden.at("runs").items()) {
    Run& run = runs.emplace_back();
    run.name = name;
    ASSIGN_OR_RETURN(run.golden, ReadGolden(folder.string(), name));
    if (name == "none") {
      continue;
    }
    std::error_code ignored;
    const fs::path usual = folder / ("adapter-" + name);
    const fs::path path = fs::is_directory(usual, ignored) ? usual : folder / name;
    ASSIGN_OR_RETURN(run.adapter,
                     LoadAdapter(network, {.name = name, .path = path.string(), .max_rank = adapter::kMaxRank}));
  }
  return runs;
}

// Adapters that no run has.
void CheckRefused(const fs::path& folder, const std::vector<Run>& runs, const Network& network, VerifyReport& report) {
  std::set<std::string> others;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (fs::exists(entry.path() / kConfigFile, ignored)) {
      others.insert(entry.path().string());
    }
  }
  for (const Run& run : runs) {
    if (run.adapter != nullptr) {
      others.erase(run.adapter->path());
    }
  }
  for (const std::string& path : others) {
    const auto adapter = LoadAdapter(network, {.name = "other", .path = path, .max_rank = adapter::kMaxRank});
    report.cases.push_back({fmt::format("{} is refused", fs::path(path).filename().string()), !adapter.ok(),
                            adapter.ok() ? "it loads, and golden.json has no run with it" : adapter.error().message});
  }
}

// ---- One batch -------------------------------------------------------------------------------------

struct Sequence {
  const GoldenPrompt* prompt;
  const Adapter* adapter;
};

constexpr size_t kSteps = 6;  // of decoding together

// Logits of all steps, by sequence.
Result<std::vector<std::vector<float>>> Decode(const Model& model, const kernels::Ops& ops, ThreadPool& pool,
                                               std::span<const Sequence> sequences) {
  size_t longest = 0;
  for (const Sequence& one : sequences) {
    longest = std::max(longest, one.prompt->tokens.size());
  }
  ASSIGN_OR_RETURN(const auto runner,
                   SequenceRunner::Create(model, ops, pool,
                                          {.kv_format = kernels::KvFormat::kF32,
                                           .max_positions = static_cast<int64_t>(longest + kSteps + 1),
                                           .max_sequences = std::ssize(sequences)}));
  std::vector<Token> tokens;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const auto slot = static_cast<int64_t>(i);
    runner->SetAdapter(slot, sequences[i].adapter);
    ASSIGN_OR_RETURN(tokens.emplace_back(),
                     runner->Prefill(slot, sequences[i].prompt->tokens, true, static_cast<int64_t>(longest + kSteps)));
  }
  std::vector<std::vector<float>> logits(sequences.size());
  runner->runner().SetLogitsObserver([&](const scheduler::PlanRow& row, int64_t, std::span<const float> values) {
    logits[row.sequence].insert(logits[row.sequence].end(), values.begin(), values.end());
  });
  for (size_t step = 0; step < kSteps; ++step) {
    ASSIGN_OR_RETURN(tokens, runner->Decode(tokens));
  }
  return logits;
}

Result<VerifyCase> CheckMixture(const std::vector<Run>& runs, const Model& model, const kernels::Ops& ops,
                                ThreadPool& pool) {
  std::vector<Sequence> sequences;
  size_t most = 0;
  for (const Run& run : runs) {
    most = std::max(most, run.golden.prompts.size());
  }
  for (size_t prompt = 0; prompt < most; ++prompt) {  // neighbours have different adapters
    for (const Run& run : runs) {
      if (prompt < run.golden.prompts.size()) {
        sequences.push_back({&run.golden.prompts[prompt], run.adapter.get()});
      }
    }
  }
  sequences.resize(std::min<size_t>(sequences.size(), 64));
  ASSIGN_OR_RETURN(const auto together, Decode(model, ops, pool, sequences));
  size_t wrong = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    ASSIGN_OR_RETURN(const auto alone, Decode(model, ops, pool, std::span(sequences).subspan(i, 1)));
    const bool equal = alone[0].size() == together[i].size() &&
                       std::memcmp(alone[0].data(), together[i].data(), alone[0].size() * sizeof(float)) == 0;
    wrong += equal ? 0 : 1;
  }
  return VerifyCase{
      "all runs in one batch", wrong == 0,
      fmt::format("{} of {} sequences have the bits that they have alone", sequences.size() - wrong, sequences.size())};
}

}  // namespace

bool HasAdapterRuns(const Json& golden) {
  const auto runs = golden.find("runs");
  return runs != golden.end() && runs->is_object() && !golden.contains("prompts");
}

Result<VerifyReport> VerifyAdapters(const std::string& folder, const Json& golden, const kernels::Ops& ops,
                                    ThreadPool& pool, const VerifyOptions& options) {
  LoadOptions load;
  ASSIGN_OR_RETURN(load.model, FindBase(folder, golden, options));
  load.pack_on = options.int8_activations ? &pool : nullptr;
  const auto model = LoadModel(load);
  if (!model.ok()) {
    return model.error().WithContext("the base " + load.model);
  }
  ASSIGN_OR_RETURN(const auto runs, LoadRuns(folder, golden, *(*model)->network));
  VerifyReport report;
  NamedLogits logits;
  for (const Run& run : runs) {
    ASSIGN_OR_RETURN(VerifyReport one,
                     VerifyRun(run.golden, **model, run.adapter.get(), ops, pool, options, run.name + ".", logits));
    std::move(one.cases.begin(), one.cases.end(), std::back_inserter(report.cases));
  }
  ASSIGN_OR_RETURN(VerifyCase mixture, CheckMixture(runs, **model, ops, pool));
  report.cases.push_back(std::move(mixture));
  CheckRefused(folder, runs, *(*model)->network, report);
  if (!options.dump.empty()) {
    TRY(DumpLogits(options.dump, logits, (*model)->network->vocab));
  }
  return report;
}

}  // namespace causeway::model
