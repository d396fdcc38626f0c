// Weights in panels: the packed numbers are the format's, every table agrees with the specification (ref), and a row
// of x has the same bits in any batch, weight and number of threads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/pack.h"
#include "kernels/packed.h"
#include "kernels/quant/float16.h"
#include "kernels/rows_op.h"
#include "tests/kernels/tables.h"

namespace causeway::kernels {
namespace {

std::vector<FormatId> PackedFormats() {
  std::vector<FormatId> formats;
  for (const WeightFormat& format : WeightFormats()) {
    if (PackingOf(format.id).kind != PackedKind::kNone) {
      formats.push_back(format.id);
    }
  }
  return formats;
}

// Where the halves lie that all of a block is multiplied with; the other formats' blocks begin with their scale. Minima
// have a half of their own.
struct Halves {
  FormatId format;
  int scale, minimum;  // -1: none
};
constexpr Halves kHalves[] = {
    {FormatId::kQ4_1, 0, 2},  {FormatId::kQ5_1, 0, 2},  {FormatId::kQ2_K, 80, 82},  {FormatId::kQ3_K, 108, -1},
    {FormatId::kQ4_K, 0, 2},  {FormatId::kQ5_K, 0, 2},  {FormatId::kQ6_K, 208, -1}, {FormatId::kQ8_0, 0, -1},
    {FormatId::kQ4_0, 0, -1}, {FormatId::kQ5_0, 0, -1}, {FormatId::kIQ4_NL, 0, -1}, {FormatId::kIQ4_XS, 0, -1},
    {FormatId::kSPQR3, 0, 2},
};

// Minima become nothing.
void SetScale(FormatId format, float scale, std::byte* block) {
  const auto* const found =
      std::find_if(std::begin(kHalves), std::end(kHalves), [&](auto& one) { return one.format == format; });
  if (found != std::end(kHalves)) {
    const uint16_t half = FloatToHalf(scale);
    std::memcpy(block + found->scale, &half, sizeof(half));
    if (found->minimum >= 0) {
      std::memset(block + found->minimum, 0, sizeof(half));
    }
  } else if (format == FormatId::kMXFP4) {  // a power of two, or NaN
    block[0] = std::byte{scale == 1.0F ? uint8_t{127} : uint8_t{255}};
  } else if (FormatOf(format).name.starts_with("nvfp4") && !std::isfinite(scale)) {  // its float32 is a divisor
    block[4] = std::byte{0xff};
  } else {
    std::memcpy(block, &scale, sizeof(scale));
  }
}

// How far a packed number may be from the format's, in largest magnitudes of a weight that is at most 1: what 15 bits
// leave of a table's numbers, products in another order, and where the format rounds on the way and panels do not.
float Loss(FormatId format) {
  switch (format) {
    case FormatId::kNF4G64:
    case FormatId::kNF4G32:
    case FormatId::kE4M3G128:
    case FormatId::kE4M3G32: return 0x1p-14F;
    case FormatId::kFP4G64:
    case FormatId::kFP4G32:
    case FormatId::kLLM_INT8G128:
    case FormatId::kLLM_INT8G32:
    case FormatId::kNVFP4G128:
    case FormatId::kNVFP4G32: return 0x1p-22F;
    case FormatId::kSPQR3: return 0x1p-10F;
    default: return 0.0F;
  }
}

class PanelMemory {
 public:
  explicit PanelMemory(int64_t bytes) : data_(static_cast<size_t>(bytes) + 64) {}
  std::byte* get() { return data_.data() + (64 - reinterpret_cast<uintptr_t>(data_.data()) % 64) % 64; }

 private:
  std::vector<std::byte> data_;
};

// A weight as the file has it and as panels.
struct Weight {
  Weight(FormatId format, int64_t n, int64_t k, std::vector<std::byte> stored)
      : bytes(std::move(stored)), memory(PackedBytes(PackingOf(format), n, k)) {
    rows = {.data = bytes.data(), .format = format, .rows = n, .columns = k, .row_bytes = BytesOf(format, k)};
    PackPanels(rows, memory.get());
    panels = rows;
    panels.data = memory.get();
    panels.row_bytes = 0;
    panels.layout = WeightLayout::kPanels;
  }

  std::vector<std::byte> bytes;
  PanelMemory memory;
  WeightView rows, panels;
};

class PackedTest : public KernelTest {
 protected:
  // Made once for all tables: encoding takes longer than most of what is tested.
  static const Weight& MakeWeight(FormatId format, int64_t n, int64_t k, uint64_t seed = 5) {
    static std::map<std::tuple<FormatId, int64_t, int64_t, uint64_t>, Weight> weights;
    const auto key = std::make_tuple(format, n, k, seed);
    const auto it = weights.find(key);
    return it != weights.end()
               ? it->second
               : weights.try_emplace(key, format, n, k, Encode(Random(n * k, seed), format)).first->second;
  }
  static std::vector<float> Run(const Ops& ops, Stream& stream, const WeightView& weight, const std::vector<float>& x,
                                const std::vector<float>& bias, int64_t first, int64_t m) {
    std::vector<float> y(static_cast<size_t>(m * weight.rows), NAN);
    const LinearTarget target{weight, bias.empty() ? nullptr : bias.data(), y.data(), weight.rows};
    ops.linear(stream,
               {.x = x.data() + first * weight.columns, .x_stride = weight.columns, .m = m, .targets = {&target, 1}});
    return y;
  }
};
CAUSEWAY_FOR_EACH_TABLE(PackedTest);

TEST_P(PackedTest, PanelsHoldTheNumbersOfTheFormat) {
  if (ops().name != "ref") {
    GTEST_SKIP() << "one layout for all tables";
  }
  for (const FormatId id : PackedFormats()) {
    for (const int64_t n : {1, 16, 37}) {
      const Weight& weight = MakeWeight(id, n, 512);
      std::vector<float> values(512);
      for (int64_t row = 0; row < n; ++row) {
        FormatOf(id).decode(weight.bytes.data() + row * weight.rows.row_bytes, values.data(), 512);
        for (int64_t g = 0; g < 512 / kGroup; ++g) {
          const UnpackedGroup group = UnpackGroup(weight.panels, row, g);
          for (int64_t k = 0; k < kGroup; ++k) {
            const int half = k < kGroup / 2 ? 0 : 1;
            ASSERT_NEAR(group.scales[half] * static_cast<float>(group.codes[k]) - group.minima[half],
                        values[static_cast<size_t>(g * kGroup + k)], Loss(id))
                << FormatOf(id).name << " row " << row << " k " << g * kGroup + k;
          }
        }
      }
    }
  }
}

// The same rows of uniform codes, some columns at a time, the last ones first.
void PackInParts(const CodedRows& rows, std::byte* target) {
  const int64_t run = FormatOf(rows.format).block_elements;
  const int64_t blocks_in_row = rows.columns / run;
  for (int64_t first = 0; first < rows.rows; first += kPanelRows) {
    for (int64_t end = rows.columns, column = end - run; end > 0;
         end = column, column = std::max(end - 3 * run, int64_t{0})) {
      const int64_t blocks_here = (end - column) / run;
      std::vector<uint32_t> quads(static_cast<size_t>((end - column) / 4 * kPanelRows));
      std::vector<GroupScale> blocks(static_cast<size_t>(kPanelRows * blocks_here), GroupScale{.scale = 0.0F});
      for (int64_t lane = 0; lane < std::min(kPanelRows, rows.rows - first); ++lane) {
        const int64_t row = first + lane;
        for (int64_t k = column; k < end; ++k) {
          quads[static_cast<size_t>((k - column) / 4 * kPanelRows + lane)] |=
              uint32_t{rows.codes[row * rows.columns + k]} << (k % 4 * 8);
        }
        std::copy_n(rows.blocks + row * blocks_in_row + column / run, blocks_here, blocks.data() + lane * blocks_here);
      }
      PackColumns({rows.format, rows.columns, column, end - column, quads.data(), blocks.data()},
                  target + PackedBytes(PackingOf(rows.format), first, rows.columns));
    }
  }
}

// What memory a model takes, and what a step reads: numbers of few bits stay tight.
TEST(PackedSize, PanelsTakeHardlyMoreThanTheFormat) {
  for (const FormatId id : PackedFormats()) {
    const double packed = static_cast<double>(PackedBytes(PackingOf(id), 64, 4096));
    const double ratio = packed / static_cast<double>(BytesOf(id, 64 * 4096));
    EXPECT_LE(ratio, 1.06) << FormatOf(id).name;
  }
}

// What a checkpoint's reader has before it makes blocks gives the panels that the blocks give.
TEST_P(PackedTest, CodesArePackedAsTheirBlocksAre) {
  if (ops().name != "ref") {
    GTEST_SKIP() << "one layout for all tables";
  }
  constexpr int64_t kRows = 21, kColumns = 512;
  int formats = 0;
  for (const GroupCode code : {GroupCode::kUniform, GroupCode::kSigned, GroupCode::kInt8, GroupCode::kE4M3,
                               GroupCode::kNF4, GroupCode::kFP4, GroupCode::kMXFP4, GroupCode::kNVFP4}) {
    for (const int bits : {2, 3, 4, 8}) {
      for (const int64_t run : {32, 64, 128}) {
        const GroupBlock* const block = FindGroupBlock(code, bits, run);
        if (block == nullptr || block->elements != run) {
          continue;
        }
        ++formats;
        const auto random = [&](size_t i) { return static_cast<uint8_t>(RandomUniform(kSeed, 9, i) * 256.0); };
        const int64_t blocks_in_row = kColumns / run;
        std::vector<uint8_t> codes(kRows * kColumns);
        std::vector<uint8_t> fine(codes.size() / 16);
        std::vector<GroupScale> blocks(static_cast<size_t>(kRows * blocks_in_row));
        std::vector<std::byte> stored(static_cast<size_t>(BytesOf(block->id, kRows * kColumns)));
        for (size_t i = 0; i < codes.size(); ++i) {
          codes[i] = static_cast<uint8_t>(random(i) >> (8 - bits));
          fine[i / 16] = random(i);
        }
        for (size_t i = 0; i < blocks.size(); ++i) {
          const size_t first = i * static_cast<size_t>(run);
          blocks[i] = {0.25F + random(i) / 64.0F, random(i), fine.data() + first / 16};
          block->pack(codes.data() + first, blocks[i],
                      stored.data() + static_cast<int64_t>(i) * FormatOf(block->id).block_bytes);
        }
        const Weight expected(block->id, kRows, kColumns, stored);
        const int64_t bytes = PackedBytes(PackingOf(block->id), kRows, kColumns);
        PanelMemory got(bytes);
        const CodedRows rows{block->id, kRows, kColumns, codes.data(), blocks.data()};
        PackPanels(rows, got.get());
        EXPECT_EQ(0, std::memcmp(got.get(), expected.panels.data, static_cast<size_t>(bytes)))
            << FormatOf(block->id).name;
        if (code == GroupCode::kUniform || code == GroupCode::kSigned) {
          PanelMemory parts(bytes);
          PackInParts(rows, parts.get());
          EXPECT_EQ(0, std::memcmp(parts.get(), expected.panels.data, static_cast<size_t>(bytes)))
              << FormatOf(block->id).name;
        }
      }
    }
  }
  EXPECT_EQ(formats, 25);
}

// Integers are exact; a chain of k / 32 float32 additions rounds by half an ulp of the partial sum each, of which the
// norm of the products bounds the typical size; six sigmas.
TEST_P(PackedTest, AgreesWithTheSpecification) {
  static std::map<std::pair<FormatId, int64_t>, std::vector<float>> expected_of;  // the same for all tables
  for (const FormatId id : PackedFormats()) {
    for (const int64_t m : {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 31}) {
      const int64_t k = WholeBlocks(32 * (1 + m * m % 70), id);
      const int64_t n = 1 + m * 29 % 90;
      const Weight& weight = MakeWeight(id, n, k);
      const auto x = Random(m * k, 4);
      const auto bias = Random(n, 6);
      std::vector<float>& expected = expected_of[{id, m}];
      if (expected.empty()) {
        expected = Run(ref::kOps, stream(), weight.panels, x, bias, 0, m);
      }
      const auto got = Run(ops(), threads3(), weight.panels, x, bias, 0, m);
      const double tolerance = 6 * 0x1p-24 * std::sqrt(static_cast<double>(k) / 32) * std::sqrt(k / 9.0) * 4 + 0x1p-22;
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_NEAR(got[i], expected[i], tolerance) << FormatOf(id).name << " m=" << m << " n=" << n << " k=" << k;
      }
    }
  }
}

// Quantizing x moves each product by up to half a step of x: a 254th of the group's largest, 1 / sqrt(3) of that in the
// mean; six sigmas.
TEST_P(PackedTest, IsCloseToFloatActivations) {
  for (const FormatId id : PackedFormats()) {
    const int64_t k = 2048;
    const Weight& weight = MakeWeight(id, 33, k);
    const auto x = Random(3 * k, 4);
    const auto expected = Run(ref::kOps, stream(), weight.rows, x, {}, 0, 3);
    const auto got = Run(ops(), stream(), weight.panels, x, {}, 0, 3);
    const double tolerance = 6 * std::sqrt(static_cast<double>(k) / 3) / 254 / std::sqrt(3.0);
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], expected[i], tolerance) << FormatOf(id).name;
    }
  }
}

// Beside a value 1000 times as large, under the same scale, one is rounded away; under a scale of its own it is not.
TEST_P(PackedTest, ValuesOfXShareAScaleWhereTheirShapeSaysSo) {
  constexpr int64_t kK = 256;
  for (const FormatId id : PackedFormats()) {
    const Weight& weight = MakeWeight(id, 19, kK);
    for (const int64_t at : {31, 40, 127, 128, 255}) {
      std::vector<float> x(kK, 0.0F);
      x[0] = 1000.0F;
      const auto without = Run(ops(), stream(), weight.panels, x, {}, 0, 1);
      x[static_cast<size_t>(at)] = 1.0F;
      const auto with = Run(ops(), stream(), weight.panels, x, {}, 0, 1);
      EXPECT_EQ(with == without, at < XShapeOf(PackingOf(id)).scale_values()) << FormatOf(id).name << " k=" << at;
    }
  }
  EXPECT_EQ(XShapeOf(PackingOf(FormatId::kQ8_0)).scale_values(), 32);
  EXPECT_EQ(XShapeOf(PackingOf(FormatId::kQ6_K)).scale_values(), 128);
}

// One-hot rows: a code of 127 under the scale 1 / 127 of x gives back each weight.
TEST_P(PackedTest, OneHotRowsGiveTheWeights) {
  for (const FormatId id : PackedFormats()) {
    const int64_t k = 256;
    const Weight& weight = MakeWeight(id, 19, k);
    std::vector<float> x(static_cast<size_t>(k * k), 0.0F);
    for (int64_t i = 0; i < k; ++i) {
      x[static_cast<size_t>(i * k + i)] = 1.0F;
    }
    std::vector<float> values(static_cast<size_t>(19 * k));
    FormatOf(id).decode(weight.bytes.data(), values.data(), 19 * k);
    const auto got = Run(ops(), threads3(), weight.panels, x, {}, 0, k);
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t n = 0; n < 19; ++n) {
        const float wanted = values[static_cast<size_t>(n * k + i)];
        const float tolerance = 4e-6F * (1 + std::fabs(wanted)) + Loss(id);
        ASSERT_NEAR(got[static_cast<size_t>(i * 19 + n)], wanted, tolerance) << FormatOf(id).name << i << "," << n;
      }
    }
  }
}

TEST_P(PackedTest, ARowHasTheSameBitsAloneAndInAnyBatch) {
  ThreadPool pool({.threads = 2, .pin = false});
  Scratch scratch(2);
  Stream threads2{pool, scratch, {.x_block_bytes = 1, .least_block_rows = 16}};  // many blocks of x
  const bool slow = ops().name == "ref" || ops().name == "scalar";               // and one path only
  for (const FormatId id : PackedFormats()) {
    for (const int64_t k : {32, 1120, 2304}) {
      if (slow && k > 1120) {
        continue;
      }
      const int64_t columns = WholeBlocks(k, id);
      const int64_t n = 77;
      const Weight& weight = MakeWeight(id, n, columns);
      const auto x = Random(70 * columns, 4);
      const auto bias = Random(n, 6);
      const auto whole = Run(ops(), threads3(), weight.panels, x, bias, 0, 70);
      for (int64_t m = 1; m <= 66; m += m < 20 ? 1 : 23) {
        const int64_t first = (m * 29) % (70 - m);
        for (Stream* const one : {&stream(), &threads2, &threads3()}) {
          const auto part = Run(ops(), *one, weight.panels, x, bias, first, m);
          ASSERT_EQ(0, std::memcmp(part.data(), whole.data() + first * n, part.size() * sizeof(float)))
              << FormatOf(id).name << " k=" << columns << " rows " << first << ".." << first + m;
        }
        if (slow && m > 6) {
          break;
        }
      }
    }
  }
}

// Many outputs are written past the caches where they begin at a cache line; nothing beside them is touched.
TEST_P(PackedTest, OutputsFarApartAreThoseSideBySide) {
  constexpr int64_t kN = 53, kK = 256, kM = 29, kStride = 16384;  // 1.9 MB from the first output to the last
  const Weight& weight = MakeWeight(FormatId::kQ4_0, kN, kK);
  const auto x = Random(kM * kK, 3);
  const auto expected = Run(ops(), threads3(), weight.panels, x, {}, 0, kM);
  PanelMemory memory((kM * kStride + 16) * static_cast<int64_t>(sizeof(float)));
  for (const int64_t offset : {0, 16, 1}) {
    float* const y = reinterpret_cast<float*>(memory.get()) + offset;
    std::fill_n(y, kM * kStride, -1.0F);
    const LinearTarget target{weight.panels, nullptr, y, kStride};
    ops().linear(threads3(), {.x = x.data(), .x_stride = kK, .m = kM, .targets = {&target, 1}});
    for (int64_t row = 0; row < kM; ++row) {
      ASSERT_EQ(std::memcmp(y + row * kStride, expected.data() + row * kN, kN * sizeof(float)), 0) << "row " << row;
      ASSERT_TRUE(std::all_of(y + row * kStride + kN, y + (row + 1) * kStride, [](float v) { return v == -1.0F; }))
          << "behind row " << row;
    }
  }
}

// The extremes of codes against the extremes of x, every sign: sums in 16 bits must not wrap or saturate.
TEST_P(PackedTest, LargestCodesDoNotOverflow) {
  for (const FormatId id : PackedFormats()) {
    const int64_t k = WholeBlocks(64, id);
    const int64_t n = 16;
    for (const int fill : {0x00, 0x7e, 0x7f, 0x80, 0x81, 0xfe, 0xff}) {
      std::vector<std::byte> bytes(static_cast<size_t>(BytesOf(id, n * k)), static_cast<std::byte>(fill));
      const int64_t block = FormatOf(id).block_bytes;
      for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(block)) {
        SetScale(id, 1.0F, &bytes[at]);
      }
      const Weight weight(id, n, k, bytes);
      for (const float sign : {1.0F, -1.0F}) {
        const std::vector<float> x(static_cast<size_t>(5 * k), 127.0F * sign);
        const auto got = Run(ops(), stream(), weight.panels, x, {}, 0, 5);
        const auto expected = Run(ref::kOps, stream(), weight.panels, x, {}, 0, 5);
        for (size_t i = 0; i < got.size(); ++i) {  // but for what float32 rounds of a few large whole numbers
          if (std::isnan(expected[i])) {           // small floats spell it
            ASSERT_TRUE(std::isnan(got[i])) << FormatOf(id).name << " codes " << fill;
            continue;
          }
          ASSERT_NEAR(got[i], expected[i], 1e-6 * std::fabs(expected[i])) << FormatOf(id).name << " codes " << fill;
        }
      }
    }
  }
}

TEST_P(PackedTest, HostileScalesStayInTheirRows) {
  for (const FormatId id : PackedFormats()) {
    const int64_t k = 512;
    const int64_t n = 35;
    for (const float hostile : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                                std::numeric_limits<float>::quiet_NaN()}) {
      auto bytes = Encode(Random(n * k, 5), id);
      const Weight good(id, n, k, bytes);
      SetScale(id, hostile, bytes.data() + 17 * BytesOf(id, k));
      const Weight bad(id, n, k, bytes);
      const auto x = Random(8 * k, 4);
      for (const int64_t m : {1, 8}) {
        const auto expected = Run(ops(), stream(), good.panels, x, {}, 0, m);
        const auto got = Run(ops(), stream(), bad.panels, x, {}, 0, m);
        for (size_t i = 0; i < got.size(); ++i) {
          if (i % static_cast<size_t>(n) == 17) {
            EXPECT_FALSE(std::isfinite(got[i])) << FormatOf(id).name;
          } else {
            ASSERT_EQ(got[i], expected[i]) << FormatOf(id).name;
          }
        }
      }
    }
  }
}

TEST_P(PackedTest, ZerosGiveTheBiasAndInfinitiesSpoilTheirOwnRow) {
  const float kInfinity = std::numeric_limits<float>::infinity();
  for (const FormatId id : PackedFormats()) {
    const int64_t k = 256;
    const int64_t n = 21;
    const Weight& weight = MakeWeight(id, n, k);
    const auto bias = Random(n, 6);
    EXPECT_EQ(Run(ops(), stream(), weight.panels, std::vector<float>(static_cast<size_t>(k), 0.0F), bias, 0, 1), bias);
    EXPECT_EQ(Run(ops(), stream(), weight.panels, std::vector<float>(static_cast<size_t>(k), 1e-40F), bias, 0, 1),
              bias);
    auto x = Random(9 * k, 4);
    const auto expected = Run(ops(), stream(), weight.panels, x, bias, 0, 9);
    x[static_cast<size_t>(1 * k + 200)] = NAN;
    x[static_cast<size_t>(4 * k + 3)] = kInfinity;
    x[static_cast<size_t>(7 * k + 77)] = -kInfinity;
    const auto got = Run(ops(), stream(), weight.panels, x, bias, 0, 9);
    for (size_t i = 0; i < got.size(); ++i) {
      const size_t row = i / static_cast<size_t>(n);
      if (row == 1 || row == 4 || row == 7) {
        EXPECT_TRUE(std::isnan(got[i])) << FormatOf(id).name;
      } else {
        ASSERT_EQ(got[i], expected[i]) << FormatOf(id).name;
      }
    }
  }
}

// A call may mix weights in panels and in rows, of several formats.
TEST_P(PackedTest, MixedTargetsGiveWhatSeparateCallsGive) {
  const int64_t k = 512;
  const Weight& a = MakeWeight(FormatId::kQ4_0, 40, k, 1);
  const Weight& b = MakeWeight(FormatId::kQ8_0, 17, k, 2);
  const Weight& c = MakeWeight(FormatId::kQ4_K, 48, k, 3);
  for (const int64_t m : {1, 9}) {
    const auto x = Random(m * k, 4);
    const WeightView views[] = {a.panels, b.rows, c.panels, b.panels};
    std::vector<std::vector<float>> ys;
    std::vector<LinearTarget> targets;
    for (const WeightView& view : views) {
      ys.emplace_back(static_cast<size_t>(m * view.rows));
    }
    for (size_t i = 0; i < ys.size(); ++i) {
      targets.push_back({views[i], nullptr, ys[i].data(), views[i].rows});
    }
    ops().linear(threads3(), {.x = x.data(), .x_stride = k, .m = m, .targets = targets});
    for (size_t i = 0; i < ys.size(); ++i) {
      EXPECT_EQ(ys[i], Run(ops(), stream(), views[i], x, {}, 0, m)) << i;
    }
  }
}

// Rows of x that an op makes inside of linear: the bits of that op and linear behind it, be targets in panels (of each
// shape of x) or some in rows, few rows of x or as many as threads share.
TEST_P(PackedTest, RowsThatAnOpMakesGiveWhatItWouldHaveWritten) {
  constexpr int64_t k = 512;
  const Weight& q4_0 = MakeWeight(FormatId::kQ4_0, 40, k, 1);
  const Weight& q4_k = MakeWeight(FormatId::kQ4_K, 48, k, 3);
  const Weight& wide = MakeWeight(FormatId::kLLM_INT8G128, 33, k, 4);
  const std::vector<std::vector<WeightView>> calls = {
      {q4_0.panels}, {wide.panels, wide.panels}, {q4_0.panels, q4_k.panels, wide.panels}, {q4_k.panels, q4_0.rows}};
  const auto weight = Random(k, 6);
  const auto bias = Random(k, 7);
  for (const int64_t m : {1, 5, 40}) {
    const auto from = Random(m * k, 8);
    const auto up = Random(m * k, 9);
    std::vector<float> x(from.size());
    std::vector<float> gate;  // written in place
    const ActivationArgs in_place{Activation::kSilu, nullptr, k, up.data(), k, nullptr, k, m, k};
    const RowsOp makers[] = {{RmsNormArgs{from.data(), k, weight.data(), 1e-5F, x.data(), k, m, 1, k}},
                             {RmsNormArgs{from.data(), k, weight.data(), 1e-5F, x.data(), k, m, 4, k / 4}},
                             {LayerNormArgs{from.data(), k, weight.data(), bias.data(), 1e-5F, x.data(), k, m, k}},
                             {in_place}};
    for (size_t maker = 0; maker < std::size(makers); ++maker) {
      for (size_t call = 0; call < calls.size(); ++call) {
        std::vector<std::vector<float>> ys[2];
        for (const bool inside : {false, true}) {
          RowsOp op = makers[maker];
          float* made = x.data();
          if (auto* const activation = std::get_if<ActivationArgs>(&op.args)) {
            gate = from;
            activation->gate = activation->y = made = gate.data();
          }
          std::vector<LinearTarget> targets;
          for (const WeightView& view : calls[call]) {
            auto& y = ys[inside ? 1 : 0].emplace_back(static_cast<size_t>(m * view.rows), NAN);
            targets.push_back({view, nullptr, y.data(), view.rows});
          }
          if (!inside) {
            MakeRows(ops(), threads3(), op);
          }
          ops().linear(threads3(),
                       {.x = made, .x_stride = k, .m = m, .targets = targets, .made_by = inside ? &op : nullptr});
        }
        EXPECT_EQ(ys[0], ys[1]) << "m " << m << " maker " << maker << " call " << call;
      }
    }
  }
}

}  // namespace
}  // namespace causeway::kernels
