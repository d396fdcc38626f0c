#include "server/cli/bench_serve/report.h"

#include <cmath>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "server/cli/bench_serve/plot.h"

namespace causeway::server::bench {

namespace {

constexpr double kMilliseconds = 1000.0;
constexpr size_t kPlotPoints = 200;  // of a distribution

struct NamedSamples {
  const char* key;
  const char* name;
  const std::vector<double> RunStats::*samples;
};

constexpr NamedSamples kLatencies[] = {
    {"ttft_ms", "time to first token", &RunStats::ttft},
    {"tpot_ms", "time per output token", &RunStats::tpot},
    {"itl_ms", "inter-token latency", &RunStats::itl},
    {"e2e_ms", "end to end", &RunStats::e2e},
};

Series Distribution(const std::vector<double>& sorted, std::string label) {
  Series series{std::move(label), {}};
  if (sorted.empty()) {
    return series;
  }
  for (size_t i = 0; i <= kPlotPoints; ++i) {
    const double q = static_cast<double>(i) / kPlotPoints;
    series.points.push_back({Quantile(sorted, q) * kMilliseconds, q});
  }
  return series;
}

Chart ThroughputChart(const std::vector<RunReport>& runs) {
  Chart chart{"throughput over load", "output tokens/s", "median end to end, ms", {}};
  Series series{"", {}};
  for (const RunReport& run : runs) {
    series.points.push_back({run.stats.output_tokens_per_s, Quantile(run.stats.e2e, 0.5) * kMilliseconds});
    series.point_labels.push_back(RunLabel(run));
  }
  chart.series.push_back(std::move(series));
  return chart;
}

}  // namespace

std::string RunLabel(const RunReport& run) {
  const bool has_rate = std::isfinite(run.request_rate);
  if (has_rate && run.concurrency > 0) {
    return fmt::format("rate {:g}/s, concurrency {}", run.request_rate, run.concurrency);
  }
  if (has_rate) {
    return fmt::format("rate {:g}/s", run.request_rate);
  }
  return run.concurrency > 0 ? fmt::format("concurrency {}", run.concurrency) : "all at once";
}

std::string ReportText(const RunReport& run, bool has_slo) {
  const RunStats& stats = run.stats;
  std::string text = fmt::format("\n{}: {} answered", RunLabel(run), stats.answered);
  for (const auto& error : stats.errors) {
    text += fmt::format(", {} {}", error.second, error.first);
  }
  auto out = std::back_inserter(text);
  fmt::format_to(out, " in {:.2f} s, at most {} at once\n", stats.duration, stats.peak_concurrency);
  fmt::format_to(out, "  {:<24}{:>10.2f} requests/s\n", "throughput", stats.requests_per_s);
  fmt::format_to(out, "  {:<24}{:>10.1f} output tokens/s, {:.1f} with the prompts\n", "", stats.output_tokens_per_s,
                 stats.total_tokens_per_s);
  if (has_slo) {
    fmt::format_to(out, "  {:<24}{:>10.2f} requests/s ({} of {} keep the bounds)\n", "goodput", stats.goodput,
                   stats.within_slo, stats.answered);
  }
  fmt::format_to(out, "  {:<24}{:>10} prompt ({} cached), {} output\n", "tokens", stats.prompt_tokens,
                 stats.cached_tokens, stats.output_tokens);
  fmt::format_to(out, "  {:<24}{:>10}{:>10}{:>10}{:>10}{:>10}\n", "milliseconds", "mean", "p50", "p90", "p99", "max");
  for (const NamedSamples& row : kLatencies) {
    const Summary summary = Summarize(stats.*row.samples);
    fmt::format_to(out, "  {:<24}{:>10.2f}{:>10.2f}{:>10.2f}{:>10.2f}{:>10.2f}\n", row.name,
                   summary.mean * kMilliseconds, summary.p50 * kMilliseconds, summary.p90 * kMilliseconds,
                   summary.p99 * kMilliseconds, summary.max * kMilliseconds);
  }
  constexpr double kLagWorthSaying = 0.05;
  if (stats.max_lag > kLagWorthSaying) {
    fmt::format_to(out, "  the generator itself was up to {:.0f} ms late\n", stats.max_lag * kMilliseconds);
  }
  if (!stats.first_error.empty()) {
    fmt::format_to(out, "  first error: {}\n", stats.first_error.substr(0, 300));
  }
  return text;
}

Json ReportJson(const RunReport& run) {
  const RunStats& stats = run.stats;
  Json json = {{"request_rate", std::isfinite(run.request_rate) ? Json(run.request_rate) : Json()},
               {"concurrency", run.concurrency > 0 ? Json(run.concurrency) : Json()},
               {"answered", stats.answered},
               {"errors", stats.errors},
               {"duration_s", stats.duration},
               {"peak_concurrency", stats.peak_concurrency},
               {"prompt_tokens", stats.prompt_tokens},
               {"cached_tokens", stats.cached_tokens},
               {"output_tokens", stats.output_tokens},
               {"requests_per_s", stats.requests_per_s},
               {"output_tokens_per_s", stats.output_tokens_per_s},
               {"total_tokens_per_s", stats.total_tokens_per_s},
               {"goodput_requests_per_s", stats.goodput},
               {"within_slo", stats.within_slo},
               {"max_lag_ms", stats.max_lag * kMilliseconds}};
  for (const NamedSamples& row : kLatencies) {
    const Summary summary = Summarize(stats.*row.samples);
    json[row.key] = {{"count", summary.count},
                     {"mean", summary.mean * kMilliseconds},
                     {"min", summary.min * kMilliseconds},
                     {"p50", summary.p50 * kMilliseconds},
                     {"p90", summary.p90 * kMilliseconds},
                     {"p99", summary.p99 * kMilliseconds},
                     {"max", summary.max * kMilliseconds}};
  }
  return json;
}

std::string ReportSvg(const std::string& title, const std::vector<RunReport>& runs) {
  std::vector<Chart> charts;
  for (const NamedSamples& row : kLatencies) {
    Chart chart{row.name, "milliseconds", "share of samples", {}};
    for (const RunReport& run : runs) {
      chart.series.push_back(Distribution(run.stats.*row.samples, RunLabel(run)));
    }
    charts.push_back(std::move(chart));
  }
  if (runs.size() > 1) {
    charts.push_back(ThroughputChart(runs));
  }
  return RenderSvg(title, charts);
}

}  // namespace causeway::server::bench
