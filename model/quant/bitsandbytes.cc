// bitsandbytes. Four bits: `weight` holds two codes a byte, the high half first, flat over the row-major matrix, with
// one float (`absmax`) for each `blocksize` of them; with double quantization absmax is codes into nested_quant_map,
// times nested_absmax, plus an offset. The shape and the block size are JSON in a tensor of bytes. Eight bits: int8
// rows whose largest magnitudes are `SCB`; the reference's 16-bit outlier columns are not needed with float inputs.
//
// Source: bitsandbytes' functional.py (QuantState.as_dict, dequantize_4bit, int8_vectorwise_dequant).
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <utility>

#include "fmt/format.h"
#include "model/quant/packed_ints.h"
#include "model/quant/reader.h"

namespace causeway::model::quant {
namespace {

using kernels::GroupCode;

struct FourBit {
  std::string_view name;  // quant_type, and the end of the state's tensor
  GroupCode code;
};
constexpr FourBit kFourBits[] = {{"nf4", GroupCode::kNF4}, {"fp4", GroupCode::kFP4}};

struct State {
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t block = 0;
  int64_t nested_block = 0;  // 0: no double quantization
  float offset = 0.0F;
};

Result<State> ReadState(const std::string& name, std::string_view type, TensorSource& source) {
  ASSIGN_OR_RETURN(const Tensor tensor, source.Take(name, {"U8"}));
  auto json = ParseJson(AsText(tensor.data));
  if (!json.ok()) {
    return json.error().WithContext("tensor " + name);
  }
  if (!json->is_object()) {
    return Wrong(name, "it is no JSON object");
  }
  const Config config(*std::move(json));
  const auto read = [&]() -> Result<State> {
    State state;
    ASSIGN_OR_RETURN(const std::string said, config.Text("quant_type"));
    ASSIGN_OR_RETURN(const std::vector<int64_t> shape, config.IntList("shape"));
    constexpr int64_t kMaxSize = int64_t{1} << 31;
    if (said != type || shape.size() != 2 || shape[0] < 1 || shape[1] < 1 || shape[0] > kMaxSize ||
        shape[1] > kMaxSize) {
      return MakeError(ErrorCode::kInvalidArgument, fmt::format("quant_type must be {} and shape two sizes", type));
    }
    state.rows = shape[0];
    state.columns = shape[1];
    ASSIGN_OR_RETURN(state.block, config.Int("blocksize", 1, int64_t{1} << 24));
    if (config.Has("nested_blocksize")) {
      ASSIGN_OR_RETURN(state.nested_block, config.Int("nested_blocksize", 1, int64_t{1} << 24));
      ASSIGN_OR_RETURN(const double offset, config.Number("nested_offset"));
      state.offset = static_cast<float>(offset);
    }
    return state;
  };
  auto state = read();
  return state.ok() ? std::move(state) : Result<State>(state.error().WithContext("tensor " + name));
}

Result<void> CheckTable(const std::string& name, GroupCode code, TensorSource& source) {
  ASSIGN_OR_RETURN(const Tensor tensor, source.Take(name, {"F32"}, {16}));
  const std::span<const float> table = kernels::TableOf(code);
  if (FloatsOf(tensor) != std::vector<float>(table.begin(), table.end())) {
    return MakeError(ErrorCode::kUnsupported, fmt::format("tensor {}: a table other than bitsandbytes' own", name));
  }
  return {};
}

// One float for each block of the flat matrix; they are made when the matrix is, for they are an eighth of its codes.
using Absmax = std::function<std::vector<float>()>;
Result<Absmax> ReadAbsmax(const std::string& weight, const State& state, TensorSource& source) {
  const int64_t blocks = (state.rows * state.columns + state.block - 1) / state.block;
  if (state.nested_block == 0) {
    ASSIGN_OR_RETURN(const Tensor absmax, source.Take(weight + ".absmax", kFloats, {blocks}));
    return Absmax([absmax] { return FloatsOf(absmax); });
  }
  ASSIGN_OR_RETURN(const Tensor codes, source.Take(weight + ".absmax", {"U8"}, {blocks}));
  ASSIGN_OR_RETURN(const Tensor nested, source.Take(weight + ".nested_absmax", {"F32"},
                                                    {(blocks + state.nested_block - 1) / state.nested_block}));
  ASSIGN_OR_RETURN(const Tensor map, source.Take(weight + ".nested_quant_map", {"F32"}, {256}));
  return Absmax([codes, nested, map, state] {
    const std::vector<float> scales = FloatsOf(nested);
    const std::vector<float> table = FloatsOf(map);
    std::vector<float> absmax(codes.data.size());
    for (size_t i = 0; i < absmax.size(); ++i) {
      const float product =
          table[static_cast<uint8_t>(codes.data[i])] * scales[i / static_cast<size_t>(state.nested_block)];
      absmax[i] = product + state.offset;
    }
    return absmax;
  });
}

Result<void> ReadFourBits(const FourBit& kind, const std::string& weight, TensorSource& source) {
  const std::string state_name = fmt::format("{}.quant_state.bitsandbytes__{}", weight, kind.name);
  ASSIGN_OR_RETURN(const State state, ReadState(state_name, kind.name, source));
  ASSIGN_OR_RETURN(const Tensor codes, source.Take(weight, {}));  // of any type: bytes all the same
  if (static_cast<int64_t>(codes.data.size()) != (state.rows * state.columns + 1) / 2) {
    return Wrong(weight, fmt::format("{} bytes do not hold {} x {} codes of 4 bits", codes.data.size(), state.rows,
                                     state.columns));
  }
  TRY(CheckTable(weight + ".quant_map", kind.code, source));
  ASSIGN_OR_RETURN(Absmax absmax, ReadAbsmax(weight, state, source));
  CodedMatrix matrix;
  matrix.rows = state.rows;
  matrix.columns = state.columns;
  matrix.code = kind.code;
  // Where rows are no multiple of it a block runs on into the next row: cut into pieces that do not.
  matrix.run = std::gcd(state.block, state.columns);
  matrix.complete = [absmax = std::move(absmax), block = state.block](CodedMatrix& whole) {
    const std::vector<float> scales = absmax();
    whole.scales.reserve(static_cast<size_t>(whole.rows * whole.columns / whole.run));
    for (int64_t at = 0; at < whole.rows * whole.columns; at += whole.run) {
      whole.scales.push_back(scales[static_cast<size_t>(at / block)]);
    }
  };
  matrix.source = codes.data;
  matrix.read = [data = codes.data, columns = state.columns](int64_t begin, int64_t end, uint8_t* target) {
    const bool odd = begin * columns % 2 != 0;  // it begins in the low half of a byte
    if (odd) {
      *target++ = static_cast<uint8_t>(data[static_cast<size_t>(begin * columns / 2)]) & 0xf;
    }
    const int64_t first = (begin * columns + 1) / 2;
    const int64_t last = end * columns / 2;
    UnpackHalves(data.data() + first, last - first, false, target);
    if (end * columns % 2 != 0) {
      target[2 * (last - first)] = static_cast<uint8_t>(data[static_cast<size_t>(last)]) >> 4;
    }
  };
  return source.Put(weight.substr(0, weight.rfind('.')), std::move(matrix));
}

Result<void> ReadEightBits(const std::string& module, TensorSource& source) {
  ASSIGN_OR_RETURN(const Tensor weight, source.Take(module + ".weight", {"I8"}, {-1, -1}));
  ASSIGN_OR_RETURN(const Tensor largest, source.Take(module + ".SCB", kFloats, {weight.shape[0]}));
  if (const std::string name = module + ".weight_format"; source.Has(name)) {
    ASSIGN_OR_RETURN(const Tensor format, source.Take(name, {"U8"}));
    if (format.data[0] != std::byte{0}) {
      return MakeError(ErrorCode::kUnsupported, fmt::format("tensor {}: only rows (0) are served, not {}", name,
                                                            static_cast<int>(format.data[0])));
    }
  }
  CodedMatrix matrix;
  matrix.rows = weight.shape[0];
  matrix.columns = weight.shape[1];
  matrix.code = GroupCode::kInt8;
  TRY(SetScales(module + ".SCB", largest, 1, matrix.columns, matrix));
  matrix.source = weight.data;
  matrix.read = [data = weight.data, columns = matrix.columns](int64_t begin, int64_t end, uint8_t* codes) {
    ReadSigned(data, begin * columns, end * columns, codes);
  };
  return source.Put(module, std::move(matrix));
}

}  // namespace

void ReadSigned(std::span<const std::byte> data, int64_t begin, int64_t end, uint8_t* codes) {
  for (int64_t at = begin; at < end; ++at) {
    *codes++ = static_cast<uint8_t>(data[static_cast<size_t>(at)]) ^ 0x80;
  }
}

Result<void> ReadBitsAndBytes(const Config&, TensorSource& source) {
  for (const FourBit& kind : kFourBits) {
    for (const std::string& weight : source.Modules(fmt::format(".quant_state.bitsandbytes__{}", kind.name))) {
      TRY(ReadFourBits(kind, weight, source));
    }
  }
  for (const std::string& module : source.Modules(".SCB")) {
    TRY(ReadEightBits(module, source));
  }
  return {};
}

}  // namespace causeway::model::quant
