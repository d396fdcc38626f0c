// GPTQ: qweight packed along the inputs, [in * bits / 32, out] words; qzeros along the outputs, [groups, out * bits /
// 32]; scales [groups, out]; g_idx [in], the group of each input. Checkpoint format "gptq" stores zero points less one
// (modulo 2^bits), "gptq_v2" as they are.
//
// Source: AutoGPTQ's and GPTQModel's pack(). The 3-bit codes of EfficientQAT's older files, ten in a word, are told by
// the number of words.
#include <algorithm>

#include "fmt/format.h"
#include "model/quant/packed_ints.h"
#include "model/quant/packed_lines.h"
#include "model/quant/reader.h"

namespace causeway::model::quant {
namespace {

constexpr int kBits[] = {2, 3, 4, 8};

struct Settings {
  int bits;
  int64_t group;  // -1: a whole row
  bool zeros_less_one;
  bool by_module;  // `dynamic` gives modules bits and groups of their own: the tensors tell
};

Result<Settings> ReadSettings(const Config& config) {
  Settings settings{};
  ASSIGN_OR_RETURN(const int64_t bits, config.Int("bits", 2, 8));
  if (std::find(std::begin(kBits), std::end(kBits), bits) == std::end(kBits)) {
    return MakeError(ErrorCode::kUnsupported, fmt::format("bits {} are not served; known: 2, 3, 4, 8", bits));
  }
  settings.bits = static_cast<int>(bits);
  ASSIGN_OR_RETURN(settings.group, config.Int("group_size", -1, int64_t{1} << 24, 128));
  if (settings.group == 0) {
    return MakeError(ErrorCode::kInvalidArgument, "group_size must be positive, or -1 for whole rows");
  }
  ASSIGN_OR_RETURN(const std::string pack, config.Text("pack_dtype", "int32"));
  if (pack != "int32") {
    return MakeError(ErrorCode::kUnsupported, fmt::format("pack_dtype '{}' is not served; known: int32", pack));
  }
  ASSIGN_OR_RETURN(const bool marlin, config.Flag("is_marlin_format", false));
  ASSIGN_OR_RETURN(const std::string alias,
                   config.Text("format", marlin ? "marlin" : "gptq"));  // GPTQModel writes both
  ASSIGN_OR_RETURN(const std::string format, config.Text("checkpoint_format", alias));
  if (format != "gptq" && format != "gptq_v2") {
    return MakeError(ErrorCode::kUnsupported,
                     fmt::format("checkpoint_format '{}' is not served; known: gptq, gptq_v2", format));
  }
  settings.zeros_less_one = format == "gptq";
  const Json* const by_module = config.Find("dynamic");
  settings.by_module = by_module != nullptr && !by_module->empty();
  return settings;
}

// The bits for which `words` hold the zero points of `outputs`.
Result<int> BitsOf(const std::string& name, const Settings& settings, int64_t outputs, int64_t words) {
  if (IntPacking::For(settings.bits, outputs, words)) {
    return settings.bits;
  }
  for (const int bits : kBits) {
    if (settings.by_module && outputs * bits == words * 32) {
      return bits;
    }
  }
  return Wrong(name,
               fmt::format("{} words a row do not hold {} zero points of {} bits", words, outputs, settings.bits));
}

// Whether all zero points are 2^(bits - 1), as symmetric quantization has them. Of four and eight bits.
bool AreAboutMiddle(const Tensor& zeros, int bits, bool less_one) {
  const uint32_t stored = (1U << (bits - 1)) - (less_one ? 1 : 0);
  const uint32_t word = bits == 4 ? stored * 0x11111111U : stored * 0x01010101U;
  const std::vector<int32_t> words = IntsOf(zeros);
  return (bits == 4 || bits == 8) &&
         std::all_of(words.begin(), words.end(), [&](int32_t one) { return static_cast<uint32_t>(one) == word; });
}

// Scales and zero points come [groups, out], a matrix has them [out, groups].
void FillScales(const Tensor& scales, CodedMatrix& matrix) {
  const std::vector<float> by_group = FloatsOf(scales);
  const int64_t groups = scales.shape[0];
  matrix.scales.resize(by_group.size());
  for (int64_t group = 0; group < groups; ++group) {
    for (int64_t row = 0; row < matrix.rows; ++row) {
      matrix.scales[static_cast<size_t>(row * groups + group)] =
          by_group[static_cast<size_t>(group * matrix.rows + row)];
    }
  }
}

void FillZeros(const Tensor& zeros, const IntPacking& packing, bool less_one, CodedMatrix& matrix) {
  const int64_t groups = zeros.shape[0];
  std::vector<uint8_t> line(static_cast<size_t>(matrix.rows));
  matrix.zeros.resize(matrix.Runs());
  for (int64_t group = 0; group < groups; ++group) {
    const auto first = static_cast<size_t>(group * zeros.shape[1]) * sizeof(uint32_t);
    UnpackLine(zeros.data.data() + first, zeros.shape[1], packing, matrix.rows, line.data());
    for (int64_t row = 0; row < matrix.rows; ++row) {
      const int stored = line[static_cast<size_t>(row)] + (less_one ? 1 : 0);
      matrix.zeros[static_cast<size_t>(row * groups + group)] = static_cast<uint8_t>(stored & ((1 << matrix.bits) - 1));
    }
  }
}

Result<void> ReadModule(const Settings& settings, const std::string& module, TensorSource& source) {
  ASSIGN_OR_RETURN(const Tensor scales, source.Take(module + ".scales", kFloats, {-1, -1}));
  const int64_t groups = scales.shape[0];
  CodedMatrix matrix;
  matrix.rows = scales.shape[1];
  ASSIGN_OR_RETURN(const Tensor zeros, source.Take(module + ".qzeros", {"I32", "U32"}, {groups, -1}));
  ASSIGN_OR_RETURN(const Tensor codes, source.Take(module + ".qweight", {"I32", "U32"}, {-1, matrix.rows}));
  ASSIGN_OR_RETURN(matrix.bits, BitsOf(module + ".qzeros", settings, matrix.rows, zeros.shape[1]));
  matrix.columns = codes.shape[0] * 32 / matrix.bits;
  std::vector<int32_t> run_of;
  if (source.Has(module + ".g_idx")) {
    ASSIGN_OR_RETURN(const Tensor order, source.Take(module + ".g_idx", {"I32"}, {-1}));
    run_of = IntsOf(order);
    matrix.columns = order.shape[0];
  }
  const auto packing = IntPacking::For(matrix.bits, matrix.columns, codes.shape[0]);
  if (!packing) {
    return Wrong(module + ".qweight",
                 fmt::format("{} words do not hold {} codes of {} bits", codes.shape[0], matrix.columns, matrix.bits));
  }
  matrix.run = settings.group == -1 || settings.group > matrix.columns ? matrix.columns : settings.group;
  if (matrix.RunsInRow() != groups && settings.by_module && matrix.columns % groups == 0) {
    matrix.run = matrix.columns / groups;
  }
  if (matrix.RunsInRow() != groups) {
    return Wrong(module + ".scales", fmt::format("{} groups; {} inputs in groups of {} have {}", groups, matrix.columns,
                                                 matrix.run, matrix.RunsInRow()));
  }
  if (!run_of.empty()) {
    TRY(SetOrder(module + ".g_idx", std::move(run_of), matrix));
  }
  matrix.about_middle = AreAboutMiddle(zeros, matrix.bits, settings.zeros_less_one);
  matrix.zero = static_cast<uint8_t>(1 << (matrix.bits - 1));  // where all are
  matrix.complete = [scales, zeros, packing = *IntPacking::For(matrix.bits, matrix.rows, zeros.shape[1]),
                     less_one = settings.zeros_less_one](CodedMatrix& whole) {
    FillScales(scales, whole);
    if (!whole.about_middle) {
      FillZeros(zeros, packing, less_one, whole);
    }
  };
  matrix.source = codes.data;
  matrix.read_quads = [data = codes.data.data(), rows = matrix.rows, packing = *packing](
                          int64_t row, int64_t count, std::span<const int32_t> columns, uint32_t* quads) {
    UnpackQuads(data, rows, row, count, packing, columns, quads);
  };
  matrix.row_words = codes.shape[0];
  matrix.read_copied = [packing = *packing](const std::byte* words, int64_t count, std::span<const int32_t> columns,
                                            uint32_t* quads) {
    UnpackQuads(words, kQuadLines, 0, count, packing, columns, quads);
  };
  return source.Put(module, std::move(matrix));
}

}  // namespace

Result<void> ReadGptq(const Config& config, TensorSource& source) {
  ASSIGN_OR_RETURN(const Settings settings, ReadSettings(config));
  for (const std::string& module : source.Modules(".qweight")) {
    // AutoGPTQ wrote a bias of zeros for modules that have none; the tensors tell which there are.
    source.conventions().biases_as_found = source.conventions().biases_as_found || source.Has(module + ".bias");
    TRY(ReadModule(settings, module, source));
  }
  return {};
}

}  // namespace causeway::model::quant
