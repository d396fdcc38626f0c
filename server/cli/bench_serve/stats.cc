#include "server/cli/bench_serve/stats.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

namespace causeway::server::bench {

double Quantile(const std::vector<double>& sorted, double q) {
  if (sorted.empty()) {
    return 0;
  }
  const double position = q * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(std::floor(position));
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (position - static_cast<double>(low));
}

Summary Summarize(const std::vector<double>& sorted) {
  Summary summary;
  if (sorted.empty()) {
    return summary;
  }
  summary.count = sorted.size();
  summary.mean = std::accumulate(sorted.begin(), sorted.end(), 0.0) / static_cast<double>(sorted.size());
  summary.min = sorted.front();
  summary.p50 = Quantile(sorted, 0.50);
  summary.p90 = Quantile(sorted, 0.90);
  summary.p99 = Quantile(sorted, 0.99);
  summary.max = sorted.back();
  return summary;
}

namespace {

Result<void> ParseBound(std::string_view item, Slo& slo) {
  const size_t colon = item.find(':');
  const std::string_view name = item.substr(0, colon);
  double* bound = name == "ttft" ? &slo.ttft : name == "tpot" ? &slo.tpot : name == "e2e" ? &slo.e2e : nullptr;
  if (bound == nullptr) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("no such bound '{}'; known: ttft, tpot, e2e", name),
                     "slo");
  }
  const std::string_view value = colon == std::string_view::npos ? "" : item.substr(colon + 1);
  double milliseconds = 0;
  const auto [end, code] = std::from_chars(value.data(), value.data() + value.size(), milliseconds);
  if (code != std::errc() || end != value.data() + value.size() || !(milliseconds > 0)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     fmt::format("'{}' is not a bound like {}:200 (milliseconds)", item, name), "slo");
  }
  *bound = milliseconds / 1000;
  return {};
}

bool HasTpot(const RequestRecord& record) { return record.output_tokens > 1 && record.last_text > 0; }

double Tpot(const RequestRecord& record) {
  return (record.last_text - record.first_text) / static_cast<double>(record.output_tokens - 1);
}

bool KeepsSlo(const RequestRecord& record, const Slo& slo) {
  return record.first_text - record.start <= slo.ttft && record.end - record.start <= slo.e2e &&
         (!HasTpot(record) || Tpot(record) <= slo.tpot);
}

size_t PeakConcurrency(const std::vector<RequestRecord>& records) {
  std::vector<std::pair<double, int>> edges;  // an end sorts before a start at the same time
  edges.reserve(records.size() * 2);
  for (const RequestRecord& record : records) {
    edges.emplace_back(record.start, 1);
    edges.emplace_back(record.end, -1);
  }
  std::sort(edges.begin(), edges.end());
  int now = 0;
  int peak = 0;
  for (const auto& edge : edges) {
    now += edge.second;
    peak = std::max(peak, now);
  }
  return static_cast<size_t>(peak);
}

void AddAnswered(const RequestRecord& record, const Slo& slo, RunStats& stats) {
  ++stats.answered;
  stats.within_slo += KeepsSlo(record, slo) ? 1 : 0;
  stats.prompt_tokens += record.prompt_tokens;
  stats.cached_tokens += record.cached_tokens;
  stats.output_tokens += record.output_tokens;
  stats.ttft.push_back(record.first_text - record.start);
  stats.e2e.push_back(record.end - record.start);
  if (HasTpot(record)) {
    stats.tpot.push_back(Tpot(record));
  }
  stats.itl.insert(stats.itl.end(), record.gaps.begin(), record.gaps.end());
}

}  // namespace

Result<Slo> ParseSlo(std::string_view text) {
  Slo slo;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    TRY(ParseBound(text.substr(0, comma), slo));
    slo.given = true;
    text = comma == std::string_view::npos ? "" : text.substr(comma + 1);
  }
  return slo;
}

RunStats ComputeStats(const std::vector<RequestRecord>& records, const Slo& slo) {
  RunStats stats;
  double first = std::numeric_limits<double>::infinity();
  double last = 0;
  for (const RequestRecord& record : records) {
    first = std::min(first, record.start);
    last = std::max(last, record.end);
    stats.max_lag = std::max(stats.max_lag, record.lag);
    if (record.ok()) {
      AddAnswered(record, slo, stats);
    } else {
      ++stats.errors[record.error_kind];
      if (stats.first_error.empty()) {
        stats.first_error = record.error_message;
      }
    }
  }
  for (std::vector<double>* samples : {&stats.ttft, &stats.tpot, &stats.itl, &stats.e2e}) {
    std::sort(samples->begin(), samples->end());
  }
  stats.peak_concurrency = PeakConcurrency(records);
  stats.duration = records.empty() ? 0 : last - first;
  if (stats.duration > 0) {
    stats.requests_per_s = static_cast<double>(stats.answered) / stats.duration;
    stats.output_tokens_per_s = static_cast<double>(stats.output_tokens) / stats.duration;
    stats.total_tokens_per_s = static_cast<double>(stats.output_tokens + stats.prompt_tokens) / stats.duration;
    stats.goodput = static_cast<double>(stats.within_slo) / stats.duration;
  }
  return stats;
}

}  // namespace causeway::server::bench
