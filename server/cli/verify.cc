// causeway verify model|tokenizer|template PATH...
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/json.h"
#include "base/verify_report.h"
#include "fmt/format.h"
#include "model/gguf/reader.h"
#include "model/gguf/verify_vocabulary.h"
#include "model/tokenizer/verify.h"
#include "model/verify.h"
#include "server/cli/commands.h"
#include "server/cli/support.h"
#include "server/template/verify.h"

namespace causeway::server {
namespace {

namespace fs = std::filesystem;

struct VerifyCommand {
  std::vector<std::string> paths;
  std::string force_kernels;
  std::string activations = "int8";
  std::string dump;
  std::string base;
  int threads = 0;
  bool json = false;
};

// The folder itself if `marker` lies in it, else its subfolders in which it does.
std::vector<std::string> Expand(const std::vector<std::string>& paths, const char* marker) {
  std::vector<std::string> out;
  for (const std::string& path : paths) {
    std::error_code ignored;
    if (!fs::is_directory(path, ignored) || fs::exists(fs::path(path) / marker, ignored)) {
      out.push_back(path);
      continue;
    }
    const size_t before = out.size();
    for (const auto& entry : fs::directory_iterator(path, ignored)) {
      if (fs::exists(entry.path() / marker, ignored)) {
        out.push_back(entry.path().string());
      }
    }
    std::sort(out.begin() + static_cast<ptrdiff_t>(before), out.end());
    if (out.size() == before) {
      out.push_back(path);  // its own error will say what is missing
    }
  }
  return out;
}

// What was checked so far, and how it went.
class Outcome {
 public:
  explicit Outcome(bool json) : json_(json) {}

  // One line a case.
  void Add(const std::string& path, const Result<VerifyReport>& report) {
    ++paths_;
    if (!report.ok()) {
      failed_ = true;
      report_.push_back({{"path", path}, {"passed", false}, {"error", report.error().message}});
      Line("FAIL {}: {}\n", path, report.error().message);
      return;
    }
    OrderedJson cases = OrderedJson::array();
    for (const VerifyCase& one : report->cases) {
      ++cases_;
      passed_ += one.passed ? 1 : 0;
      cases.push_back({{"name", one.name}, {"passed", one.passed}, {"detail", one.detail}});
      Line("{} {} {}{}{}\n", one.passed ? "ok  " : "FAIL", path, one.name, one.detail.empty() ? "" : ": ", one.detail);
    }
    if (report->cases.empty()) {
      Line("FAIL {}: there are no cases\n", path);
    }
    failed_ = failed_ || !report->passed();
    report_.push_back({{"path", path}, {"passed", report->passed()}, {"cases", std::move(cases)}});
  }

  // The exit code.
  int Finish() const {
    Line("{} of {} cases passed in {} {}\n", passed_, cases_, paths_, paths_ == 1 ? "place" : "places");
    if (json_) {
      std::cout << DumpJson(OrderedJson{{"passed", !failed_}, {"results", report_}}) << '\n';
    }
    return failed_ ? 1 : 0;
  }

 private:
  template <typename... Args>
  void Line(fmt::format_string<const Args&...> format, const Args&... args) const {
    if (!json_) {
      std::cout << fmt::format(format, args...) << std::flush;
    }
  }

  const bool json_;
  bool failed_ = false;
  size_t paths_ = 0;
  size_t cases_ = 0;
  size_t passed_ = 0;
  OrderedJson report_ = OrderedJson::array();
};

int VerifyModels(const VerifyCommand& command) {
  const auto ops = kernels::SelectOps(command.force_kernels);
  if (!ops.ok()) {
    return PrintError(ops.error());
  }
  const std::vector<std::string> folders = Expand(command.paths, "golden.json");
  if (!command.dump.empty() && folders.size() != 1) {
    std::cerr << fmt::format("causeway verify model: --dump writes the logits of one model, and {} are named\n",
                             folders.size());
    return 2;
  }
  ThreadPool pool({.threads = command.threads, .pin = false});
  Outcome outcome(command.json);
  for (const std::string& path : folders) {
    outcome.Add(path,
                model::VerifyModel(
                    path, **ops, pool,
                    {.dump = command.dump, .int8_activations = command.activations == "int8", .base = command.base}));
  }
  return outcome.Finish();
}

// A folder of vocabularies as GGUF files becomes those that have texts beside them.
std::vector<std::string> ExpandVocabularies(const std::vector<std::string>& paths) {
  std::vector<std::string> out;
  for (const std::string& path : paths) {
    const size_t before = out.size();
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(path, ignored)) {
      const std::string file = entry.path().string();
      if (model::gguf::IsGgufName(file) && fs::exists(file + ".inp", ignored)) {
        out.push_back(file);
      }
    }
    std::sort(out.begin() + static_cast<ptrdiff_t>(before), out.end());
    if (out.size() == before) {
      out.push_back(path);
    }
  }
  return out;
}

int VerifyTokenizers(const VerifyCommand& command) {
  Outcome outcome(command.json);
  for (const std::string& path : ExpandVocabularies(Expand(command.paths, "cases.jsonl"))) {
    const auto run = [&]() -> Result<VerifyReport> {
      if (model::gguf::IsGgufName(path)) {
        ASSIGN_OR_RETURN(const std::string texts, ReadInputFile(path + ".inp"));
        ASSIGN_OR_RETURN(const std::string ids, ReadInputFile(path + ".out"));
        return model::gguf::VerifyVocabulary(path, texts, ids);
      }
      ASSIGN_OR_RETURN(const std::string tokenizer, ReadInputFile(path + "/tokenizer.json"));
      ASSIGN_OR_RETURN(const std::string cases, ReadInputFile(path + "/cases.jsonl"));
      return model::VerifyTokenizer(tokenizer, cases);
    };
    outcome.Add(path, run());
  }
  return outcome.Finish();
}

// NAME.jinja, NAME.cases.json, or a folder of both.
std::vector<std::string> TemplateStems(const std::vector<std::string>& paths) {
  std::vector<std::string> stems;
  const auto add = [&](const std::string& path, const std::string& ending) {
    if (path.ends_with(ending)) {
      stems.push_back(path.substr(0, path.size() - ending.size()));
    }
    return path.ends_with(ending);
  };
  for (const std::string& path : paths) {
    std::error_code ignored;
    if (fs::is_directory(path, ignored)) {
      for (const auto& entry : fs::directory_iterator(path, ignored)) {
        add(entry.path().string(), ".jinja");
      }
    } else if (!add(path, ".jinja") && !add(path, ".cases.json")) {
      stems.push_back(path);
    }
  }
  std::sort(stems.begin(), stems.end());
  return stems;
}

int VerifyTemplates(const VerifyCommand& command) {
  const auto stems = TemplateStems(command.paths);
  if (stems.empty()) {
    return PrintError(MakeError(ErrorCode::kNotFound, "no .jinja file there"));
  }
  Outcome outcome(command.json);
  for (const std::string& stem : stems) {
    const auto run = [&]() -> Result<VerifyReport> {
      ASSIGN_OR_RETURN(const std::string source, ReadInputFile(stem + ".jinja"));
      ASSIGN_OR_RETURN(const std::string cases, ReadInputFile(stem + ".cases.json"));
      return VerifyTemplate(source, cases);
    };
    outcome.Add(stem, run());
  }
  return outcome.Finish();
}

CLI::App* AddKind(CLI::App& verify, const char* name, const char* help, const char* paths,
                  std::shared_ptr<VerifyCommand> command, int (*run)(const VerifyCommand&), int& exit_code) {
  CLI::App* const kind = verify.add_subcommand(name, help);
  kind->add_option("PATH", command->paths, paths)->required();
  kind->add_flag("--json", command->json, "Print JSON");
  kind->footer("Prints a line for each case. Exit code 1 if one of them is wrong.");
  kind->callback([command = std::move(command), run, &exit_code] { exit_code = run(*command); });
  return kind;
}

}  // namespace

void AddVerify(CLI::App& root, int& exit_code) {
  CLI::App* const verify = root.add_subcommand("verify", "Prove that a model, tokenizer or template is served right");
  verify->require_subcommand(1);
  const auto models = std::make_shared<VerifyCommand>();
  CLI::App* const model = AddKind(
      *verify, "model", "Logits, hidden states and greedy tokens against golden values",
      "Folders of models or of adapters with golden.json and golden.safetensors, GGUF files in such, or folders "
      "of them",
      models, VerifyModels, exit_code);
  model->add_option("--dump", models->dump,
                    "Write the computed logits to this safetensors file, under the golden's names");
  model->add_option("--base", models->base,
                    "The model that adapters are for; without it, the one that golden.json names");
  model->add_option("--force-kernels", models->force_kernels, "Use this set of kernels instead of the fastest");
  AddActivationsOption(*model, models->activations);
  model->add_option("--threads", models->threads, "Threads that compute; 0: one a core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  AddKind(*verify, "tokenizer", "Ids and texts against recorded cases",
          "Folders with tokenizer.json and cases.jsonl, GGUF files with .inp and .out beside them, or folders of such",
          std::make_shared<VerifyCommand>(), VerifyTokenizers, exit_code);
  AddKind(*verify, "template", "Renderings against recorded ones",
          "NAME.jinja with NAME.cases.json beside it, or folders of such", std::make_shared<VerifyCommand>(),
          VerifyTemplates, exit_code);
}

}  // namespace causeway::server
