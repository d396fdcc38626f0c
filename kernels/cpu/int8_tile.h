// The integer tile: R panels times C rows of x. A panel's sixteen rows, four k of each, take kParts registers, and so
// do their sums; registers of all panels of a tile are its parts. What differs between instruction sets is the vector
// operations of int8_vec_*.h, and there how many panels and rows of x a tile takes. Included by linear_int8.cc only.
#pragma once

#include "kernels/cpu/ahead.h"
#include "kernels/cpu/int8_super.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr bool kCanUnpack = true;

// Adds a group of all rows of x, of which `groups` follows the codes, to `scaled` or the sums, as Finish says.
template <PackedKind kKind, bool kUnpacked, int P, int C>
CAUSEWAY_INLINE void AddGroup(const std::byte* const (&codes)[P / kParts], const std::byte* const (&rows)[C],
                              const typename Dots<kKind, P, C, kUnpacked>::Params& params,
                              const XGroup* const (&groups)[C], Floats (&scaled)[P][C], Sums (&sums)[P / kParts][C]) {
  Dots<kKind, P, C, kUnpacked> dots;
  dots.template Start<0>(params, groups);
  if constexpr (TraitsOf(kKind).halves()) {
    dots.template AddQuads<0, kQuads / 2>(codes, rows);
    Finish<0>(dots, params, groups, scaled, sums);
    dots.template Start<1>(params, groups);
    dots.template AddQuads<kQuads / 2, kQuads / 2>(codes, rows);
    Finish<1>(dots, params, groups, scaled, sums);
  } else {
    dots.AddAll(codes, rows);
    Finish<0>(dots, params, groups, scaled, sums);
  }
}

// sums += what was scaled with the weight's scales, scaled with that of x.
template <int P, int C>
CAUSEWAY_INLINE void JoinScales(const Floats (&scaled)[P][C], const XGroup* const (&groups)[C],
                                Sums (&sums)[P / kParts][C]) {
  CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
    const Floats x_scale = AllLanes(groups[c]->scale);
    CAUSEWAY_UNROLL for (int p = 0; p < P; ++p) {
      Floats& sum = sums[p / kParts][c].part[p % kParts];
      sum = FusedMultiplyAdd(scaled[p][c], x_scale, sum);
      LeaveRegister<3 * P * C>(sum);
    }
  }
}

// Adds the groups that share a scale of x, from the `first`th on: of R panels, whose codes begin at `codes`, and of C
// rows of x, at `rows`. Leaves both behind those groups. Numbers that the chunk had spread out are at `spread`.
template <PackedKind kKind, bool kUnpacked, int R, int C>
CAUSEWAY_INLINE void AddScaled(const PanelParts<kKind, kUnpacked>& parts, const std::byte* const (&panels)[R],
                               const SpreadOut<kKind> (&spread)[R], const std::byte* const (&unpacked)[R],
                               int64_t first, const Ahead& ahead, const std::byte* (&codes)[R],
                               const std::byte* (&rows)[C], Sums (&sums)[R][C]) {
  using Parts = PanelParts<kKind, kUnpacked>;
  constexpr XShape kShape = XShapeOf({kKind});
  constexpr bool kScaled = ScalesIntegers(Parts::kTraits);
  constexpr int P = kParts * R;
  typename Parts::template Params<P> params;
  const XGroup* groups[C];
  Ints totals[P][C];
  Floats scaled[P][C];
  CAUSEWAY_UNROLL for (int p = 0; p < P; ++p) {
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
      totals[p][c] = AllInts(0);
      scaled[p][c] = AllLanes(0.0F);
    }
  }
  for (int64_t g = first; g < first + kShape.scale_groups; ++g) {
    AskAhead(ahead, g);
    CAUSEWAY_UNROLL for (int p = 0; p < P; ++p) {
      const int r = p / kParts;
      params[p] = parts.ParamsAt(panels[r], spread[r].bytes, unpacked[r], g, p % kParts);
    }
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { groups[c] = reinterpret_cast<const XGroup*>(rows[c] + kShape.group); }
    if constexpr (kScaled) {
      AddSuperGroup<kKind, kUnpacked>(codes, rows, params, totals);
    } else {
      AddGroup<kKind, kUnpacked>(codes, rows, params, groups, scaled, sums);
    }
    CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) { codes[r] += Parts::kPacked * Parts::kCodeBytes; }
    CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { rows[c] += kShape.group_bytes(); }
  }
  if constexpr (kScaled) {
    FinishSuper(totals, params, groups, sums);
  } else if constexpr (Parts::kTraits.x_joins_late()) {
    JoinScales(scaled, groups, sums);
  }
}

// Where a tile begins neither its rows of x nor the panels that it shares with the one before are in the first cache,
// and hardware sees no streams yet: asking for their first lines gave a tile of 2048 columns 1 to 2 % with AVX-512.
// With AVX2 it took 1 %.
constexpr bool kAsksForNextTile = kParts == 1;
constexpr int64_t kRowLines = 2;
constexpr int64_t kPanelLines = 4;

// Asks for what the tile behind this one begins with: the same panels, at `panels`, and the next C rows of x.
template <int R, int C>
CAUSEWAY_INLINE void AskForNextTile(const std::byte* const (&panels)[R], const QuantizedX& x) {
  CAUSEWAY_UNROLL for (int64_t i = 0; i < C * kRowLines; ++i) {
    __builtin_prefetch(x.Row(C + i / kRowLines) + i % kRowLines * 64, 0, 3);
  }
  CAUSEWAY_UNROLL for (int64_t i = 0; i < R * kPanelLines; ++i) {
    __builtin_prefetch(panels[i / kPanelLines] + i % kPanelLines * 64, 0, 3);
  }
}

// One panel for few rows of x is a stream that hardware runs ahead of as long as lines are touched in their order; the
// numbers of a chunk lie in front of its codes, and would be touched between them. Asking for all of them as it is
// entered took a quarter to a third off codes of a byte in groups of 32, up to 8 % off others. Several panels: nothing.
CAUSEWAY_INLINE void TouchNumbers(const std::byte* panel, int64_t begin, int64_t end) {
  for (int64_t at = begin; at < end; at += 64) {
    __builtin_prefetch(panel + at, 0, 3);
  }
}

// Adds the groups of R panels times C rows of x to the sums, and asks for what is `ahead`. kUnpacked: what the kind
// unpacks is taken from `unpacked`.
template <PackedKind kKind, int R, int C, bool kUnpacked>
CAUSEWAY_INLINE void AddGroups(const std::byte* const (&panels)[R], const std::byte* const (&unpacked)[R],
                               const PanelShape& shape, const QuantizedX& x, const Ahead& ahead, Sums (&sums)[R][C]) {
  using Parts = PanelParts<kKind, kUnpacked>;
  constexpr int64_t kScaleGroups = XShapeOf({kKind}).scale_groups;
  const std::byte* codes[R];
  const std::byte* rows[C];
  SpreadOut<kKind> spread[R];
  CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) { codes[r] = unpacked[r]; }
  CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { rows[c] = x.Row(c); }
  Parts parts(shape);
  for (int64_t begin = 0; begin < x.per_row; begin += Parts::kChunk) {
    const int64_t end = begin + Parts::kChunk < x.per_row ? begin + Parts::kChunk : x.per_row;
    parts.Enter(shape, begin);
    if constexpr (R == 1 && !kUnpacked) {
      TouchNumbers(panels[0], parts.params, parts.codes);
    }
    if constexpr (Parts::kSpreads) {
      CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) { Spread<kKind>(panels[r] + parts.params, spread[r].bytes); }
    }
    if constexpr (!Parts::kCodesMade) {
      CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) { codes[r] = panels[r] + parts.codes; }
    }
    if (kAsksForNextTile && end == x.per_row) {
      AskForNextTile<R, C>(Parts::kCodesMade ? unpacked : panels, x);
    }
    for (int64_t first = begin; first < end; first += kScaleGroups) {
      AddScaled(parts, panels, spread, unpacked, first, ahead, codes, rows, sums);
    }
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
