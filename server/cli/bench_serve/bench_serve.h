// `causeway bench serve`: a load generator for any OpenAI-compatible HTTP server.
//
// Speaks HTTP only, so it measures this server and its peers the same way.
#pragma once

namespace CLI {
class App;
}

namespace causeway::server {

// Adds the subcommand `serve` to `bench`. Its callback runs the load and sets `exit_code`: 0 when
// every request was answered, 1 when some failed or the server could not be reached, 2 for options
// that make no sense. `bench` and `exit_code` must outlive the parse.
void AddBenchServe(CLI::App& bench, int& exit_code);

}  // namespace causeway::server
