// causeway: one binary, a subcommand for each thing it does.
#include <cstdio>
#include <exception>
#include <iostream>

#include <CLI/CLI.hpp>

#include "server/cli/commands.h"

namespace {

using causeway::server::AddBench;
using causeway::server::AddEval;
using causeway::server::AddGenerate;
using causeway::server::AddInspect;
using causeway::server::AddServe;
using causeway::server::AddVerify;

constexpr void (*kCommands[])(CLI::App&, int&) = {AddServe, AddGenerate, AddInspect,
                                                   AddEval,  AddVerify,   AddBench};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Causeway serves large language models: OpenAI-style HTTP in front of continuous batching\n"
               "over a KV cache that is contiguous in virtual memory.");
  app.set_version_flag("--version", CAUSEWAY_VERSION);
  app.require_subcommand(1);
  int exit_code = 0;
  for (const auto add : kCommands) {
    add(app, exit_code);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;  // --help and --version are successes; all else is wrong usage
  } catch (const std::exception& error) {
    std::cerr << "causeway: " << error.what() << '\n';
    return 1;
  }
  return exit_code;
}
