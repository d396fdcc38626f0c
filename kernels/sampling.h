// Logits to tokens. One implementation serves every table: the work is selection, not arithmetic, and its
// order is the token order, so the draw is the same on every instruction set for the same logits.
#pragma once

#include "kernels/ops.h"

namespace causeway::kernels {

void SampleRows(Stream& stream, const SampleArgs& args);
void ScoreRows(Stream& stream, const ScoreArgs& args);

}  // namespace causeway::kernels
