// The subcommands of `causeway`: one file and one row in main.cc each. A command adds its options to its
// CLI11 app and a callback that sets the exit code: 0 done, 1 failed or out of tolerance, 2 wrong usage.
#pragma once

namespace CLI {
class App;
}

namespace causeway::server {

void AddServe(CLI::App& root, int& exit_code);
void AddGenerate(CLI::App& root, int& exit_code);
void AddInspect(CLI::App& root, int& exit_code);
void AddEval(CLI::App& root, int& exit_code);
void AddQuantize(CLI::App& root, int& exit_code);
void AddVerify(CLI::App& root, int& exit_code);
void AddBench(CLI::App& root, int& exit_code);

}  // namespace causeway::server
