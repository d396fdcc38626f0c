// AWQ in its GEMM layout: qweight [in, out / 8] and qzeros [groups, out / 8] words of eight 4-bit codes, which stand
// for outputs 0, 2, 4, 6, 1, 3, 5, 7 from the lowest up; scales [groups, out]; zero points as they are.
//
// Source: AutoAWQ's WQLinear_GEMM.from_linear.
#include <algorithm>
#include <cstring>

#include "fmt/format.h"
#include "kernels/packed_kinds.h"
#include "model/quant/reader.h"

namespace causeway::model::quant {
namespace {

Result<int64_t> ReadGroup(const Config& config) {
  ASSIGN_OR_RETURN(const int64_t own_bits, config.Int("w_bit", 1, 16, 4));  // AutoAWQ's own words
  ASSIGN_OR_RETURN(const int64_t bits, config.Int("bits", 1, 16, own_bits));
  if (bits != 4) {
    return MakeError(ErrorCode::kUnsupported, fmt::format("bits {} are not served; known: 4", bits));
  }
  ASSIGN_OR_RETURN(const std::string alias, config.Text("format", "gemm"));  // GPTQModel's words for it
  ASSIGN_OR_RETURN(const std::string format, config.Text("checkpoint_format", alias));
  ASSIGN_OR_RETURN(const std::string version, config.Text("version", format));
  if (version != "gemm" && version != "GEMM") {
    return MakeError(ErrorCode::kUnsupported, fmt::format("version '{}' is not served; known: gemm", version));
  }
  constexpr int64_t kMaxGroup = int64_t{1} << 24;
  ASSIGN_OR_RETURN(const int64_t own_group, config.Int("q_group_size", -1, kMaxGroup, 128));
  ASSIGN_OR_RETURN(const int64_t group, config.Int("group_size", -1, kMaxGroup, own_group));
  if (group == 0) {
    return MakeError(ErrorCode::kInvalidArgument, "group_size must be positive, or -1 for whole rows");
  }
  return group;
}

// Of two words of each of four columns the codes in the low halves of bytes, or in the high ones, as quads: of the
// second word eight rows on.
template <int kHigh>
void PutQuads(const uint64_t (&words)[4], uint32_t* quads) {
  constexpr int kRowOfByte[][4] = {{0, 4, 1, 5}, {2, 6, 3, 7}};
  constexpr uint64_t kCodes = 0x0f0f0f0f0f0f0f0fU;
  constexpr uint64_t kBytes = 0x00ff00ff00ff00ffU;
  constexpr uint64_t kPairs = 0x0000ffff0000ffffU;
  uint64_t codes[4];
  for (int i = 0; i < 4; ++i) {
    codes[i] = (words[i] >> (4 * kHigh)) & kCodes;
  }
  const auto put = [&](int byte, uint64_t both) {
    quads[kRowOfByte[kHigh][byte]] = static_cast<uint32_t>(both);
    quads[kRowOfByte[kHigh][byte] + 8] = static_cast<uint32_t>(both >> 32);
  };
  for (int byte = 0; byte < 2; ++byte) {  // of 0 and 2, then of 1 and 3
    const uint64_t first = ((codes[0] >> (8 * byte)) & kBytes) | ((codes[1] >> (8 * byte)) & kBytes) << 8;
    const uint64_t second = ((codes[2] >> (8 * byte)) & kBytes) | ((codes[3] >> (8 * byte)) & kBytes) << 8;
    put(byte, (first & kPairs) | (second & kPairs) << 16);
    put(byte + 2, ((first >> 16) & kPairs) | (second & ~kPairs));
  }
}

// Some columns of outputs [row, row + count), multiples of eight and at most sixteen, as quads. `words` are those of a
// column.
void ReadColumns(const std::byte* data, int64_t words, int64_t row, int64_t count, std::span<const int32_t> columns,
                 uint32_t* quads) {
  constexpr int64_t kWordBytes = sizeof(uint32_t);
  const std::byte* const first = data + row / 8 * kWordBytes;
  for (size_t at = 0; at < columns.size(); at += 4, quads += kernels::kPanelRows) {
    uint64_t four[4] = {};
    for (size_t i = 0; i < std::min<size_t>(4, columns.size() - at); ++i) {
      const std::byte* const source = first + columns[at + i] * words * kWordBytes;
      __builtin_prefetch(source + 64);  // hardware follows few of so many streams
      if (count == kernels::kPanelRows) {
        std::memcpy(&four[i], source, 2 * kWordBytes);
      } else {
        std::memcpy(&four[i], source, kWordBytes);
      }
    }
    PutQuads<0>(four, quads);
    PutQuads<1>(four, quads);
  }
}

QuadReader ReaderOf(const Tensor& codes) {
  return [data = codes.data.data(), words = codes.shape[1]](int64_t row, int64_t count,
                                                            std::span<const int32_t> columns, uint32_t* quads) {
    ReadColumns(data, words, row, count, columns, quads);
  };
}

// Scales and zero points come [groups, out], a matrix has them [out, groups].
void FillRuns(const Tensor& scales, const Tensor& zeros, CodedMatrix& matrix) {
  const std::vector<float> by_group = FloatsOf(scales);
  const int64_t groups = scales.shape[0];
  matrix.scales.resize(by_group.size());
  for (int64_t at = 0; at < groups; ++at) {
    for (int64_t row = 0; row < matrix.rows; ++row) {
      matrix.scales[static_cast<size_t>(row * groups + at)] = by_group[static_cast<size_t>(at * matrix.rows + row)];
    }
  }
  matrix.zeros.resize(by_group.size());
  UnpackRows(ReaderOf(zeros), 0, matrix.rows, ColumnsInOrder(groups), matrix.zeros.data());
}

Result<void> ReadModule(int64_t group, const std::string& module, TensorSource& source) {
  ASSIGN_OR_RETURN(const Tensor codes, source.Take(module + ".qweight", {"I32", "U32"}, {-1, -1}));
  CodedMatrix matrix;
  matrix.bits = 4;
  matrix.columns = codes.shape[0];
  matrix.rows = codes.shape[1] * 8;
  matrix.run = group == -1 || group > matrix.columns ? matrix.columns : group;
  const int64_t groups = matrix.RunsInRow();
  const int64_t words = codes.shape[1];
  ASSIGN_OR_RETURN(const Tensor zeros, source.Take(module + ".qzeros", {"I32", "U32"}, {groups, words}));
  ASSIGN_OR_RETURN(const Tensor scales, source.Take(module + ".scales", kFloats, {groups, matrix.rows}));
  matrix.complete = [scales, zeros](CodedMatrix& whole) { FillRuns(scales, zeros, whole); };
  matrix.source = codes.data;
  matrix.read_quads = ReaderOf(codes);
  return source.Put(module, std::move(matrix));
}

}  // namespace

Result<void> ReadAwq(const Config& config, TensorSource& source) {
  ASSIGN_OR_RETURN(const int64_t group, ReadGroup(config));
  for (const std::string& module : source.Modules(".qweight")) {
    // As in GPTQ some writers add biases of zeros to modules that have none.
    source.conventions().biases_as_found = source.conventions().biases_as_found || source.Has(module + ".bias");
    TRY(ReadModule(group, module, source));
  }
  return {};
}

}  // namespace causeway::model::quant
