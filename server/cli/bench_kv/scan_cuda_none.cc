#include "server/cli/bench_kv/figures.h"

namespace causeway::server::bench_kv {

Result<void> MeasureDeviceScan(const memory::KvGeometry& /*geometry*/, const Sizes& /*sizes*/, Figures& /*figures*/) {
  return MakeError(ErrorCode::kUnsupported, "built without the CUDA Toolkit");
}

}  // namespace causeway::server::bench_kv
