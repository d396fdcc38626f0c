// The integer tile: R panels times C rows of x. A panel's sixteen rows, four k of each, take kParts registers, and so
// do their sums; registers of all panels of a tile are its parts. What differs between instruction sets is the vector
// operations of int8_vec_*.h, and there how many panels and rows of x a tile takes. Included by linear_int8.cc only.
#pragma once

#include "kernels/cpu/int8_ahead.h"
#include "kernels/cpu/int8_super.h"

namespace causeway::kernels::CAUSEWAY_ISA {
namespace {

constexpr bool kCanUnpack = true;

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

// Adds the groups of R panels times C rows of x to the sums, and asks for what is `ahead`. kUnpacked: what the kind
// unpacks is taken from `unpacked`.
template <PackedKind kKind, int R, int C, bool kUnpacked>
CAUSEWAY_INLINE void AddGroups(const std::byte* const (&panels)[R], const std::byte* const (&unpacked)[R],
                               const PanelShape& shape, const QuantizedX& x, const Ahead& ahead, Sums (&sums)[R][C]) {
  using Parts = PanelParts<kKind, kUnpacked>;
  constexpr PackedTraits kTraits = TraitsOf(kKind);
  constexpr XShape kShape = XShapeOf({kKind});
  constexpr int64_t kPacked = kShape.group / kGroup;  // groups of the weight in one of x
  constexpr bool kScaled = ScalesIntegers(kTraits);
  constexpr int P = kParts * R;
  const Parts parts(shape, x.per_row * kPacked);
  const std::byte* codes[R];
  const std::byte* rows[C];
  CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) { codes[r] = Parts::kCodesMade ? unpacked[r] : panels[r]; }
  CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { rows[c] = x.Row(c); }
  typename Parts::template Params<P> params;
  const XGroup* groups[C];
  for (int64_t first = 0; first < x.per_row; first += kShape.scale_groups) {
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
        params[p] = parts.ParamsAt(panels[p / kParts], unpacked[p / kParts], g, p % kParts);
      }
      CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) {
        groups[c] = reinterpret_cast<const XGroup*>(rows[c] + kShape.group);
      }
      if constexpr (kScaled) {
        AddSuperGroup<kKind, kUnpacked>(codes, rows, params, totals);
      } else {
        AddGroup<kKind, kUnpacked>(codes, rows, params, groups, scaled, sums);
      }
      CAUSEWAY_UNROLL for (int r = 0; r < R; ++r) { codes[r] += kPacked * Parts::kCodeBytes; }
      CAUSEWAY_UNROLL for (int c = 0; c < C; ++c) { rows[c] += kShape.group_bytes(); }
    }
    if constexpr (kScaled) {
      FinishSuper(totals, params, groups, sums);
    } else if constexpr (kTraits.x_joins_late()) {
      JoinScales(scaled, groups, sums);
    }
  }
}

}  // namespace
}  // namespace causeway::kernels::CAUSEWAY_ISA
