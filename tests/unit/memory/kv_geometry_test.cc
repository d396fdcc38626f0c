#include "memory/kv_geometry.h"

#include <gtest/gtest.h>

#include "memory/kv_view.h"

namespace causeway::memory {
namespace {

TEST(KvGeometry, Llama8BFillsTwoMegabytesWithSixteenTokens) {
  const auto geometry = ChooseGeometry({32, 8, 128, 2}, 4096);
  ASSERT_TRUE(geometry.ok());
  EXPECT_EQ(geometry->tokens_per_page, 16);
  EXPECT_EQ(geometry->page_bytes, 2 << 20);
}

TEST(KvGeometry, SmallModelsGetSmallPages) {
  const auto geometry = ChooseGeometry({4, 2, 16, 4}, 4096);
  ASSERT_TRUE(geometry.ok());
  EXPECT_EQ(geometry->tokens_per_page, 64);
  EXPECT_EQ(geometry->page_bytes, 4 * 2 * 64 * 2 * 16 * 4);
}

// For all shapes: T is a multiple of 16 in [16, 64], and the rest that rounding leaves is below one granule.
TEST(KvGeometry, EveryShapeKeepsTheInvariants) {
  for (const int64_t layers : {1, 6, 22, 32, 61, 80}) {
    for (const int64_t width : {16, 64, 96, 512, 1024, 4096}) {
      for (const int64_t bytes : {1, 2, 4}) {
        for (const int64_t granularity : {64, 4096, 2 << 20}) {
          const KvShape shape{layers, width / 16, 16, bytes};
          const auto geometry = ChooseGeometry(shape, granularity);
          if (layers * 2 * width * bytes * 16 > 32 << 20) {  // the least number of tokens is over the largest page
            EXPECT_EQ(geometry.error().code, ErrorCode::kUnsupported);
            continue;
          }
          ASSERT_TRUE(geometry.ok()) << layers << " " << width << " " << bytes;
          EXPECT_EQ(geometry->tokens_per_page % 16, 0);
          EXPECT_GE(geometry->tokens_per_page, 16);
          EXPECT_LE(geometry->tokens_per_page, 64);
          EXPECT_EQ(geometry->page_bytes % granularity, 0);
          const int64_t slab = geometry->tokens_per_page * geometry->row_bytes;
          EXPECT_LT(geometry->page_bytes - 2 * layers * slab, granularity);
        }
      }
    }
  }
}

TEST(KvGeometry, RefusesWhatCannotBe) {
  EXPECT_EQ(ChooseGeometry({0, 1, 1, 1}, 64).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(ChooseGeometry({1, 1, 1, 1}, 0).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(ChooseGeometry({128, 128, 256, 4}, 4096).error().code, ErrorCode::kUnsupported);
  const int64_t huge = int64_t{1} << 40;  // the product overflows
  EXPECT_EQ(ChooseGeometry({huge, huge, huge, 4}, 4096).error().code, ErrorCode::kUnsupported);
}

TEST(KvGeometry, PagesForRoundsUp) {
  const auto geometry = ChooseGeometry({32, 8, 128, 2}, 4096);
  EXPECT_EQ(geometry->PagesFor(0), 0);
  EXPECT_EQ(geometry->PagesFor(1), 1);
  EXPECT_EQ(geometry->PagesFor(16), 1);
  EXPECT_EQ(geometry->PagesFor(17), 2);
}

TEST(KvView, TellsKernelsWhereALayerLies) {
  const auto geometry = ChooseGeometry({4, 2, 16, 2}, 4096);
  const kernels::KvLayerView view = LayerView(*geometry, kernels::KvFormat::kF16, 3);
  EXPECT_EQ(view.k_offset, 6 * 64 * 64);
  EXPECT_EQ(view.v_offset, 7 * 64 * 64);
  EXPECT_EQ(view.tokens_per_page, geometry->tokens_per_page);
  EXPECT_EQ(view.page_bytes, geometry->page_bytes);
  EXPECT_EQ(view.row_bytes, 2 * 16 * 2);
}

}  // namespace
}  // namespace causeway::memory
