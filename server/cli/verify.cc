// causeway verify model|tokenizer|template PATH...
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/verify_report.h"
#include "fmt/format.h"
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
  std::string dump;
  int threads = 0;
};

Result<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file.good()) {
    return MakeError(ErrorCode::kNotFound, "cannot read " + path);
  }
  return std::string(std::istreambuf_iterator<char>(file), {});
}

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

// One line a case. 0 if all passed.
int Print(const std::string& path, const Result<VerifyReport>& report) {
  if (!report.ok()) {
    std::cout << fmt::format("FAIL {}: {}\n", path, report.error().message);
    return 1;
  }
  size_t passed = 0;
  for (const VerifyCase& one : report->cases) {
    passed += one.passed ? 1 : 0;
    std::cout << fmt::format("{} {} {}{}{}\n", one.passed ? "ok  " : "FAIL", path, one.name,
                             one.detail.empty() ? "" : ": ", one.detail);
  }
  std::cout << fmt::format("{}: {} of {} passed\n", path, passed, report->cases.size());
  return report->passed() ? 0 : 1;
}

int VerifyModels(const VerifyCommand& command) {
  const auto ops = kernels::SelectOps(command.force_kernels);
  if (!ops.ok()) {
    PrintError(ops.error());
    return 2;
  }
  ThreadPool pool({.threads = command.threads, .pin = false});
  int code = 0;
  for (const std::string& path : Expand(command.paths, "golden.json")) {
    code = std::max(code, Print(path, model::VerifyModel(path, **ops, pool, {.dump = command.dump})));
  }
  return code;
}

int VerifyTokenizers(const VerifyCommand& command) {
  int code = 0;
  for (const std::string& path : Expand(command.paths, "cases.jsonl")) {
    const auto run = [&]() -> Result<VerifyReport> {
      ASSIGN_OR_RETURN(const std::string tokenizer, ReadFile(path + "/tokenizer.json"));
      ASSIGN_OR_RETURN(const std::string cases, ReadFile(path + "/cases.jsonl"));
      return model::VerifyTokenizer(tokenizer, cases);
    };
    code = std::max(code, Print(path, run()));
  }
  return code;
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
  int code = 0;
  const auto stems = TemplateStems(command.paths);
  if (stems.empty()) {
    return PrintError(MakeError(ErrorCode::kNotFound, "no .jinja file there"));
  }
  for (const std::string& stem : stems) {
    const auto run = [&]() -> Result<VerifyReport> {
      ASSIGN_OR_RETURN(const std::string source, ReadFile(stem + ".jinja"));
      ASSIGN_OR_RETURN(const std::string cases, ReadFile(stem + ".cases.json"));
      return VerifyTemplate(source, cases);
    };
    code = std::max(code, Print(stem, run()));
  }
  return code;
}

void AddKind(CLI::App& verify, const char* name, const char* help, int (*run)(const VerifyCommand&), int& exit_code,
             bool is_model) {
  CLI::App* const kind = verify.add_subcommand(name, help);
  auto command = std::make_shared<VerifyCommand>();
  kind->add_option("PATH", command->paths, "Folders or files laid out like the reference data")->required();
  if (is_model) {
    kind->add_option("--dump", command->dump, "Write the computed logits to this safetensors file");
    kind->add_option("--force-kernels", command->force_kernels, "Use this set of kernels");
    kind->add_option("--threads", command->threads, "Threads that compute; 0: one a core")->check(CLI::Range(0, 1024));
  }
  kind->callback([command, run, &exit_code] { exit_code = run(*command); });
}

}  // namespace

void AddVerify(CLI::App& root, int& exit_code) {
  CLI::App* const verify = root.add_subcommand("verify", "Prove that a model, tokenizer or template is served right");
  verify->require_subcommand(1);
  AddKind(*verify, "model", "Logits, hidden states and greedy tokens against golden values", VerifyModels, exit_code, true);
  AddKind(*verify, "tokenizer", "Ids and texts against recorded cases", VerifyTokenizers, exit_code, false);
  AddKind(*verify, "template", "Renderings against recorded ones", VerifyTemplates, exit_code, false);
}

}  // namespace causeway::server
