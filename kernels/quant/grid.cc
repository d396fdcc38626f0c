#include "kernels/quant/grid.h"

#include <array>

#include "kernels/quant/blocks.h"

namespace causeway::kernels {
namespace {

#define CAUSEWAY_GRID_ROW(name) \
  { FormatId::k##name, Fit##name, Pack##name }
constexpr GridFormat kGrids[] = {CAUSEWAY_GRID_ROW(Q8_0), CAUSEWAY_GRID_ROW(Q4_0),   CAUSEWAY_GRID_ROW(Q4_1),
                                 CAUSEWAY_GRID_ROW(Q5_0), CAUSEWAY_GRID_ROW(Q5_1),   CAUSEWAY_GRID_ROW(Q2_K),
                                 CAUSEWAY_GRID_ROW(Q3_K), CAUSEWAY_GRID_ROW(Q4_K),   CAUSEWAY_GRID_ROW(Q5_K),
                                 CAUSEWAY_GRID_ROW(Q6_K), CAUSEWAY_GRID_ROW(IQ4_NL), CAUSEWAY_GRID_ROW(IQ4_XS)};
#undef CAUSEWAY_GRID_ROW

constexpr std::array<float, kMaxBlockElements> MakeOnes() {
  std::array<float, kMaxBlockElements> ones{};
  for (float& one : ones) {
    one = 1.0F;
  }
  return ones;
}
constexpr std::array<float, kMaxBlockElements> kOnes = MakeOnes();

}  // namespace

std::span<const GridFormat> GridFormats() { return kGrids; }

const GridFormat* FindGrid(FormatId id) {
  for (const GridFormat& row : kGrids) {
    if (row.id == id) {
      return &row;
    }
  }
  return nullptr;
}

const float* EqualImportance() { return kOnes.data(); }

int NearestEntry(float x, std::span<const float> table) {
  const auto above = std::lower_bound(table.begin(), table.end(), x);
  if (above == table.begin()) {
    return 0;
  }
  const auto index = static_cast<int>(above - table.begin());
  const bool lower = above == table.end() || x - *(above - 1) < *above - x;
  return lower ? index - 1 : index;
}

}  // namespace causeway::kernels
