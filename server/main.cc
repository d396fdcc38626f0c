// causeway: one binary, a subcommand for each thing it does.
#include <exception>
#include <iostream>

#include <CLI/CLI.hpp>

#include "server/cli/commands.h"
#include "server/cli/help.h"

namespace {

using causeway::server::AddBench;
using causeway::server::AddEval;
using causeway::server::AddGenerate;
using causeway::server::AddInspect;
using causeway::server::AddQuantize;
using causeway::server::AddServe;
using causeway::server::AddVerify;

constexpr void (*kCommands[])(CLI::App&, int&) = {AddServe,    AddGenerate, AddInspect, AddEval,
                                                  AddQuantize, AddVerify,   AddBench};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Causeway serves large language models: OpenAI-style HTTP in front of continuous batching\n"
      "over a KV cache that is contiguous in virtual memory.");
  app.name("causeway");
  causeway::server::SetUpHelp(app);
  app.set_version_flag("--version", "causeway " CAUSEWAY_VERSION, "Print the version");
  app.require_subcommand(1);
  int exit_code = 0;
  for (const auto add : kCommands) {
    add(app, exit_code);
  }
  // Set last, for commands inherit it.
  app.footer("`causeway COMMAND --help` says more. Without --model, commands use fable, the model that is built in.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const causeway::server::ParseEnd end = causeway::server::DescribeParseEnd(app, error);
    (end.exit_code == 0 ? std::cout : std::cerr) << end.text;
    return end.exit_code;
  } catch (const std::exception& error) {
    std::cerr << "causeway: " << error.what() << '\n';
    return 1;
  }
  return exit_code;
}
