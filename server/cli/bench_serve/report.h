// The figures of a benchmark as text, JSON and a plot.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "server/cli/bench_serve/stats.h"

namespace causeway::server::bench {

struct RunReport {
  double request_rate = 0;  // infinite: as fast as the concurrency allows
  int64_t concurrency = 0;  // 0: no limit
  RunStats stats;
};

// "rate 2/s", "concurrency 16", "rate 2/s, concurrency 16" or "all at once".
std::string RunLabel(const RunReport& run);

// A table of one run for a person.
std::string ReportText(const RunReport& run, bool has_slo);

// One run: times in milliseconds, rates per second.
Json ReportJson(const RunReport& run);

// An SVG: distributions of TTFT, TPOT and E2E (a curve for each run) and throughput over load.
std::string ReportSvg(const std::string& title, const std::vector<RunReport>& runs);

}  // namespace causeway::server::bench
