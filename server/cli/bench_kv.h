// causeway bench kv
#pragma once

namespace CLI {
class App;
}

namespace causeway::server {

// Adds the subcommand to `bench`. Both arguments must outlive the parse.
void AddBenchKv(CLI::App& bench, int& exit_code);

}  // namespace causeway::server
