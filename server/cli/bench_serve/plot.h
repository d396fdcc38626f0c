// Line charts as SVG text. Pure.
#pragma once

#include <string>
#include <vector>

namespace causeway::server::bench {

struct Point {
  double x = 0;
  double y = 0;
};

struct Series {
  std::string label;                           // in the legend; empty: none
  std::vector<Point> points;                   // drawn in order
  std::vector<std::string> point_labels = {};  // beside each point; empty: no marks
};

struct Chart {
  std::string title;
  std::string x_name;
  std::string y_name;
  std::vector<Series> series;
};

// The charts of one page, two in a row. Text is escaped; axes start at zero.
std::string RenderSvg(const std::string& title, const std::vector<Chart>& charts);

// Round values from 0 to at least `max`: steps of 1, 2 or 5 times a power of ten.
std::vector<double> AxisTicks(double max);

}  // namespace causeway::server::bench
