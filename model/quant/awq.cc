// AWQ in its GEMM layout: qweight [in, out / 8] and qzeros [groups, out / 8] words of eight 4-bit codes, which stand
// for outputs 0, 2, 4, 6, 1, 3, 5, 7 from the lowest up; scales [groups, out]; zero points as they are.
//
// Source: AutoAWQ's WQLinear_GEMM.from_linear.
#include "fmt/format.h"
#include "model/quant/reader.h"

namespace causeway::model::quant {
namespace {

constexpr int kOutputs[8] = {0, 2, 4, 6, 1, 3, 5, 7};

Result<int64_t> ReadGroup(const Config& config) {
  ASSIGN_OR_RETURN(const int64_t own_bits, config.Int("w_bit", 1, 16, 4));  // AutoAWQ's own words
  ASSIGN_OR_RETURN(const int64_t bits, config.Int("bits", 1, 16, own_bits));
  if (bits != 4) {
    return MakeError(ErrorCode::kUnsupported, fmt::format("bits {} are not served; known: 4", bits));
  }
  ASSIGN_OR_RETURN(const std::string format, config.Text("checkpoint_format", "gemm"));  // GPTQModel's word for it
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

// Eight codes of the word at `index` into outputs that lie `stride` apart.
void UnpackWord(std::span<const std::byte> data, int64_t index, uint8_t* target, int64_t stride) {
  uint32_t word;
  std::memcpy(&word, data.data() + index * static_cast<int64_t>(sizeof(word)), sizeof(word));
  for (int i = 0; i < 8; ++i) {
    target[kOutputs[i] * stride] = static_cast<uint8_t>((word >> (4 * i)) & 0xf);
  }
}

// Scales and zero points come [groups, out], a matrix has them [out, groups].
void FillRuns(const Tensor& scales, const Tensor& zeros, CodedMatrix& matrix) {
  const std::vector<float> by_group = FloatsOf(scales);
  const int64_t groups = scales.shape[0];
  const int64_t words = zeros.shape[1];
  matrix.scales.resize(by_group.size());
  matrix.zeros.resize(by_group.size());
  for (int64_t at = 0; at < groups; ++at) {
    for (int64_t row = 0; row < matrix.rows; ++row) {
      matrix.scales[static_cast<size_t>(row * groups + at)] = by_group[static_cast<size_t>(at * matrix.rows + row)];
    }
    for (int64_t word = 0; word < words; ++word) {
      UnpackWord(zeros.data, at * words + word, matrix.zeros.data() + word * 8 * groups + at, groups);
    }
  }
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
  matrix.read = [data = codes.data, words, columns = matrix.columns](int64_t begin, int64_t end, uint8_t* target) {
    for (int64_t column = 0; column < columns; ++column) {
      for (int64_t row = begin; row < end; row += 8) {
        UnpackWord(data, column * words + row / 8, target + (row - begin) * columns + column, columns);
      }
    }
  };
  return source.Put(module, std::move(matrix));
}

}  // namespace

Result<void> ReadAwq(const Config& config, TensorSource& source) {
  ASSIGN_OR_RETURN(const int64_t group, ReadGroup(config));
  for (const std::string& module : source.Modules(".qweight")) {
    TRY(ReadModule(group, module, source));
  }
  return {};
}

}  // namespace causeway::model::quant
