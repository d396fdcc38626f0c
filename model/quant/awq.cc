// AWQ in its GEMM layout: qweight [in, out / 8] and qzeros [groups, out / 8] words of eight 4-bit codes, which stand
// for outputs 0, 2, 4, 6, 1, 3, 5, 7 from the lowest up; scales [groups, out]; zero points as they are.
//
// Source: AutoAWQ's WQLinear_GEMM.from_linear.
#include <algorithm>
#include <cstring>

#include "fmt/format.h"
#include "model/quant/reader.h"

namespace causeway::model::quant {
namespace {

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

// Four codes of four bits, in every second byte.
uint64_t SpreadFour(uint64_t codes) {
  codes = (codes | codes << 24) & 0x000000ff000000ffU;
  return (codes | codes << 12) & 0x000f000f000f000fU;
}

// The eight codes of the word at `index`, that of output i in byte i.
uint64_t CodesOf(std::span<const std::byte> data, int64_t index) {
  uint32_t word;
  std::memcpy(&word, data.data() + index * static_cast<int64_t>(sizeof(word)), sizeof(word));
  return SpreadFour(word & 0xffff) | SpreadFour(word >> 16) << 8;
}

// Byte j of word i becomes byte i of word j.
void TransposeBytes(uint64_t (&words)[8]) {
  constexpr uint64_t kLow[] = {0x00ff00ff00ff00ffU, 0x0000ffff0000ffffU, 0x00000000ffffffffU};
  for (int step = 0; step < 3; ++step) {  // blocks of 2^step bytes change places across the diagonal
    const int apart = 1 << step;
    for (int i = 0; i < 8; ++i) {
      if ((i & apart) == 0) {
        const uint64_t changed = ((words[i] >> (8 * apart)) ^ words[i + apart]) & kLow[step];
        words[i] ^= changed << (8 * apart);
        words[i + apart] ^= changed;
      }
    }
  }
}

// Outputs [begin, end), multiples of eight, as [end - begin, columns] codes.
void ReadOutputs(std::span<const std::byte> data, int64_t words, int64_t columns, int64_t begin, int64_t end,
                 uint8_t* codes) {
  for (int64_t column = 0; column < columns; column += 8) {
    const int64_t here = std::min<int64_t>(8, columns - column);
    for (int64_t row = begin; row < end; row += 8) {
      uint64_t eight[8] = {};
      for (int64_t i = 0; i < here; ++i) {
        eight[i] = CodesOf(data, (column + i) * words + row / 8);
      }
      TransposeBytes(eight);
      for (int64_t i = 0; i < 8; ++i) {
        std::memcpy(codes + (row + i - begin) * columns + column, &eight[i], static_cast<size_t>(here));
      }
    }
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
      const uint64_t codes = CodesOf(zeros.data, at * words + word);
      for (int64_t i = 0; i < 8; ++i) {
        matrix.zeros[static_cast<size_t>((word * 8 + i) * groups + at)] = static_cast<uint8_t>(codes >> (8 * i));
      }
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
  matrix.source_in_order = false;
  matrix.read = [data = codes.data, words, columns = matrix.columns](int64_t begin, int64_t end, uint8_t* target) {
    ReadOutputs(data, words, columns, begin, end, target);
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
