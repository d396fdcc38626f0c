#include "server/cli/bench_serve/plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace causeway::server::bench {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(PlotTest, TicksAreRoundAndCoverTheMaximum) {
  EXPECT_THAT(AxisTicks(10), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(AxisTicks(0.9), ElementsAre(0, 0.2, 0.4, testing::DoubleEq(0.6000000000000001), 0.8, 1.0));
  EXPECT_THAT(AxisTicks(0), ElementsAre(0, 1));
  for (double max = 1e-6; max < 1e9; max *= 1.7) {
    const auto ticks = AxisTicks(max);
    EXPECT_GE(ticks.back(), max * (1 - 1e-6)) << max;
    EXPECT_LE(ticks.size(), 8U) << max;
    EXPECT_GE(ticks.size(), 3U) << max;
  }
}

TEST(PlotTest, TextIsEscapedAndTheDocumentCloses) {
  const std::string svg = RenderSvg("a < b & \"c\"", {{"t", "x", "y", {{"<s>", {{0, 0}, {1, 2}}}}}});
  EXPECT_THAT(svg, HasSubstr("a &lt; b &amp; &quot;c&quot;"));
  EXPECT_THAT(svg, HasSubstr("&lt;s&gt;"));
  EXPECT_THAT(svg, HasSubstr("<polyline"));
  EXPECT_THAT(svg, testing::StartsWith("<svg xmlns="));
  EXPECT_THAT(svg, testing::EndsWith("</svg>\n"));
}

TEST(PlotTest, EmptySeriesDrawNoNan) {
  const std::string svg = RenderSvg("t", {{"t", "x", "y", {{"none", {}}}}});
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
}

}  // namespace
}  // namespace causeway::server::bench
