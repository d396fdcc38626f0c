// How the rows of a linear call's x come about, where they are not there yet: by an op that makes each row from one of
// its own. Linear of panels, which reads x once, to quantize it (once for each shape of x that its targets take), makes
// a row where it is about to be read; x then keeps what it held. Of rows the whole op runs first.
#pragma once

#include <variant>

#include "kernels/ops.h"

namespace causeway::kernels {

struct RowsOp {
  std::variant<RmsNormArgs, LayerNormArgs, ActivationArgs> args;
};

// All rows, to where the op writes them. As the table's own op.
void MakeRows(const Ops& ops, Stream& stream, const RowsOp& op);
// Row `row`, written to `to`, with the bits of MakeRows. Any thread, several at once: of one row these ops neither fork
// nor take scratch.
void MakeRow(const Ops& ops, Stream& stream, const RowsOp& op, int64_t row, float* to);

}  // namespace causeway::kernels
