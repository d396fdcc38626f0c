#include "server/cli/bench_serve/plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <string_view>

#include <fmt/format.h>

namespace causeway::server::bench {

namespace {

constexpr int kColumns = 2;
constexpr double kWidth = 460, kHeight = 320;                       // of one chart's cell
constexpr double kLeft = 62, kRight = 18, kTop = 34, kBottom = 46;  // margins in it
constexpr double kPlotWidth = kWidth - kLeft - kRight;
constexpr double kPlotHeight = kHeight - kTop - kBottom;
constexpr double kTitleHeight = 36;
constexpr double kTargetTicks = 5;

// Distinguishable with the common colour-vision deficiencies (Okabe and Ito).
constexpr auto kColours =
    std::to_array<std::string_view>({"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000"});

std::string Escape(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '<': result += "&lt;"; break;
      case '>': result += "&gt;"; break;
      case '&': result += "&amp;"; break;
      case '"': result += "&quot;"; break;
      default: result += c;
    }
  }
  return result;
}

struct Frame {
  double left, top;     // of the plot area, page coordinates
  double max_x, max_y;  // values at its right and upper edge

  double X(double value) const { return left + kPlotWidth * value / max_x; }
  double Y(double value) const { return top + kPlotHeight * (1 - value / max_y); }
};

void Text(std::string& svg, double x, double y, std::string_view attributes, std::string_view text) {
  fmt::format_to(std::back_inserter(svg), "<text x=\"{:.1f}\" y=\"{:.1f}\" {}>{}</text>\n", x, y, attributes,
                 Escape(text));
}

void DrawAxes(std::string& svg, const Chart& chart, const Frame& frame) {
  const double bottom = frame.top + kPlotHeight;
  for (const double tick : AxisTicks(frame.max_x)) {
    const double x = frame.X(tick);
    fmt::format_to(std::back_inserter(svg), "<path d=\"M{:.1f} {:.1f}V{:.1f}\" stroke=\"#ddd\"/>\n", x, frame.top,
                   bottom);
    Text(svg, x, bottom + 15, "text-anchor=\"middle\"", fmt::format("{:g}", tick));
  }
  for (const double tick : AxisTicks(frame.max_y)) {
    const double y = frame.Y(tick);
    fmt::format_to(std::back_inserter(svg), "<path d=\"M{:.1f} {:.1f}H{:.1f}\" stroke=\"#ddd\"/>\n", frame.left, y,
                   frame.left + kPlotWidth);
    Text(svg, frame.left - 6, y + 4, "text-anchor=\"end\"", fmt::format("{:g}", tick));
  }
  Text(svg, frame.left + kPlotWidth / 2, frame.top - 12, "text-anchor=\"middle\" font-weight=\"bold\"", chart.title);
  Text(svg, frame.left + kPlotWidth / 2, bottom + 34, "text-anchor=\"middle\"", chart.x_name);
  const double name_x = frame.left - kLeft + 14;
  const double name_y = frame.top + kPlotHeight / 2;
  Text(svg, name_x, name_y,
       fmt::format("text-anchor=\"middle\" transform=\"rotate(-90 {:.1f} {:.1f})\"", name_x, name_y), chart.y_name);
}

struct Box {
  double left, top, right, bottom;

  bool Meets(const Box& other) const {
    return left < other.right && other.left < right && top < other.bottom && other.top < bottom;
  }
};

// A label beside its point: at the first corner where it stays in the plot and off the labels before it.
void DrawLabel(std::string& svg, const Point& point, const std::string& label, const Frame& frame,
               std::vector<Box>& taken) {
  constexpr double kCharWidth = 6;  // of an 11-pixel font, nearly
  constexpr double kGap = 6;
  constexpr double kBelow = 14;
  const double width = kCharWidth * static_cast<double>(label.size());
  const Point corners[] = {{point.x + kGap, point.y - kGap},
                           {point.x - kGap - width, point.y - kGap},
                           {point.x + kGap, point.y + kBelow},
                           {point.x - kGap - width, point.y + kBelow}};
  Box box{};
  for (const Point& corner : corners) {
    box = {corner.x, corner.y - 11, corner.x + width, corner.y + 2};
    const bool inside = box.left > frame.left && box.right < frame.left + kPlotWidth && box.top > frame.top &&
                        box.bottom < frame.top + kPlotHeight;
    if (inside && std::none_of(taken.begin(), taken.end(), [&](const Box& other) { return box.Meets(other); })) {
      break;
    }
  }
  taken.push_back(box);
  Text(svg, box.left, box.bottom - 2, "", label);
}

void DrawSeries(std::string& svg, const Series& series, const Frame& frame, std::string_view colour) {
  auto out = std::back_inserter(svg);
  fmt::format_to(out, "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.8\" points=\"", colour);
  for (const Point& point : series.points) {
    fmt::format_to(out, "{:.1f},{:.1f} ", frame.X(point.x), frame.Y(point.y));
  }
  svg += "\"/>\n";
  std::vector<Box> taken;
  for (size_t i = 0; i < series.point_labels.size(); ++i) {
    const double x = frame.X(series.points[i].x);
    const double y = frame.Y(series.points[i].y);
    fmt::format_to(out, "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"/>\n", x, y, colour);
    DrawLabel(svg, {x, y}, series.point_labels[i], frame, taken);
  }
}

void DrawLegend(std::string& svg, const Chart& chart, const Frame& frame) {
  constexpr double kRowHeight = 15;
  double y = frame.top + kPlotHeight - 8 - kRowHeight * static_cast<double>(chart.series.size() - 1);
  for (size_t i = 0; i < chart.series.size(); ++i, y += kRowHeight) {
    if (!chart.series[i].label.empty()) {
      Text(svg, frame.left + kPlotWidth - 6, y,
           fmt::format("text-anchor=\"end\" fill=\"{}\"", kColours[i % kColours.size()]), chart.series[i].label);
    }
  }
}

void DrawChart(std::string& svg, const Chart& chart, double left, double top) {
  Frame frame{left + kLeft, top + kTop, 0, 0};
  for (const Series& series : chart.series) {
    for (const Point& point : series.points) {
      frame.max_x = std::max(frame.max_x, point.x);
      frame.max_y = std::max(frame.max_y, point.y);
    }
  }
  frame.max_x = AxisTicks(frame.max_x).back();
  frame.max_y = AxisTicks(frame.max_y).back();
  DrawAxes(svg, chart, frame);
  for (size_t i = 0; i < chart.series.size(); ++i) {
    DrawSeries(svg, chart.series[i], frame, kColours[i % kColours.size()]);
  }
  DrawLegend(svg, chart, frame);
}

}  // namespace

std::vector<double> AxisTicks(double max) {
  if (!(max > 0) || !std::isfinite(max)) {
    return {0, 1};
  }
  const double rough = max / kTargetTicks;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = power * 10;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (power * factor >= rough * (1 - 1e-9)) {
      step = power * factor;
      break;
    }
  }
  std::vector<double> ticks{0};
  while (ticks.back() < max * (1 - 1e-9)) {
    ticks.push_back(step * static_cast<double>(ticks.size()));
  }
  return ticks;
}

std::string RenderSvg(const std::string& title, const std::vector<Chart>& charts) {
  const size_t rows = (charts.size() + kColumns - 1) / kColumns;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 "
      "0 {0:.0f} {1:.0f}\" "
      "font-family=\"sans-serif\" font-size=\"11\" fill=\"#222\">\n<rect width=\"100%\" "
      "height=\"100%\" "
      "fill=\"#fff\"/>\n",
      kWidth * kColumns, kTitleHeight + kHeight * static_cast<double>(rows));
  Text(svg, kWidth * kColumns / 2, 24, "text-anchor=\"middle\" font-size=\"15\"", title);
  for (size_t i = 0; i < charts.size(); ++i) {
    DrawChart(svg, charts[i], kWidth * static_cast<double>(i % kColumns),
              kTitleHeight + kHeight * static_cast<double>(i / kColumns));
  }
  return svg + "</svg>\n";
}

}  // namespace causeway::server::bench
