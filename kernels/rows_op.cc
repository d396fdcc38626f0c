#include "kernels/rows_op.h"

namespace causeway::kernels {
namespace {

void Call(const Ops& ops, Stream& stream, const RmsNormArgs& args) { ops.rms_norm(stream, args); }
void Call(const Ops& ops, Stream& stream, const LayerNormArgs& args) { ops.layer_norm(stream, args); }
void Call(const Ops& ops, Stream& stream, const ActivationArgs& args) { ops.activation(stream, args); }

void SkipRows(RmsNormArgs& args, int64_t rows) { args.x += rows * args.x_stride; }
void SkipRows(LayerNormArgs& args, int64_t rows) { args.x += rows * args.x_stride; }
void SkipRows(ActivationArgs& args, int64_t rows) {
  args.gate += rows * args.gate_stride;
  args.up = args.up == nullptr ? nullptr : args.up + rows * args.up_stride;
}

}  // namespace

void MakeRows(const Ops& ops, Stream& stream, const RowsOp& op) {
  std::visit([&](const auto& args) { Call(ops, stream, args); }, op.args);
}

void MakeRow(const Ops& ops, Stream& stream, const RowsOp& op, int64_t row, float* to) {
  std::visit(
      [&](auto args) {
        SkipRows(args, row);
        args.y = to;
        args.m = 1;  // with which no op here forks
        Call(ops, stream, args);
      },
      op.args);
}

}  // namespace causeway::kernels
