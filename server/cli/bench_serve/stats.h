// From what happened to each request to the figures of a run. Pure.
//
// Definitions (the common ones of load generators for language models):
//   TTFT  send to first chunk with text
//   TPOT  (last chunk with text - first) / (output tokens - 1); requests of one token have none
//   ITL   gaps between chunks with text
//   E2E   send to the end of the stream
//   goodput  answered requests that keep every given bound, per second
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace causeway::server::bench {

// Times in seconds since the start of the run.
struct RequestRecord {
  double start = 0;
  double first_text = 0;
  double last_text = 0;
  double end = 0;
  double lag = 0;           // how much later than planned it was sent
  std::vector<float> gaps;  // between chunks with text
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t output_tokens = 0;
  std::string error_kind;  // empty: answered
  std::string error_message;

  bool ok() const { return error_kind.empty(); }
};

struct Summary {
  size_t count = 0;
  double mean = 0;
  double min = 0;
  double p50 = 0;
  double p90 = 0;
  double p99 = 0;
  double max = 0;
};

// Bounds in seconds; infinite where none was given.
struct Slo {
  double ttft = std::numeric_limits<double>::infinity();
  double tpot = std::numeric_limits<double>::infinity();
  double e2e = std::numeric_limits<double>::infinity();
  bool given = false;
};

struct RunStats {
  size_t answered = 0;
  std::map<std::string, size_t> errors;  // by kind
  std::string first_error;
  double duration = 0;  // first send to last end, seconds
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t output_tokens = 0;
  double requests_per_s = 0;
  double output_tokens_per_s = 0;
  double total_tokens_per_s = 0;
  double goodput = 0;  // requests/s that keep the SLO; all answered if none was given
  size_t within_slo = 0;
  size_t peak_concurrency = 0;
  double max_lag = 0;
  // Samples in seconds, sorted.
  std::vector<double> ttft, tpot, itl, e2e;
};

// The q-quantile of sorted samples, linear between neighbours; 0 of none.
double Quantile(const std::vector<double>& sorted, double q);
Summary Summarize(const std::vector<double>& sorted);

// "ttft:200,tpot:50,e2e:5000", milliseconds. Unknown names list the names known.
Result<Slo> ParseSlo(std::string_view text);

RunStats ComputeStats(const std::vector<RequestRecord>& records, const Slo& slo);

}  // namespace causeway::server::bench
