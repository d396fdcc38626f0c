#include "model/gguf/random_weights.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "fmt/format.h"
#include "model/gguf/reader.h"
#include "model/gguf/writer.h"

namespace causeway::model::gguf {
namespace {

constexpr int64_t kPatternValues = 1 << 18;

struct RandomTensor {
  std::string name;
  std::vector<int64_t> shape;
  int64_t bytes;
};

std::vector<RandomTensor> TensorsOf(const LlamaShape& shape, const kernels::WeightFormat& format) {
  std::vector<RandomTensor> tensors;
  const auto matrix = [&](const std::string& name, int64_t rows, int64_t columns) {
    tensors.push_back({name + ".weight", {rows, columns}, kernels::BytesOf(format.id, rows * columns)});
  };
  const auto norm = [&](const std::string& name) {
    tensors.push_back({name + ".weight", {shape.hidden}, shape.hidden * static_cast<int64_t>(sizeof(float))});
  };
  matrix("token_embd", shape.vocab, shape.hidden);
  for (int64_t i = 0; i < shape.layers; ++i) {
    const std::string layer = fmt::format("blk.{}.", i);
    norm(layer + "attn_norm");
    matrix(layer + "attn_q", shape.heads * shape.head_dim, shape.hidden);
    matrix(layer + "attn_k", shape.kv_heads * shape.head_dim, shape.hidden);
    matrix(layer + "attn_v", shape.kv_heads * shape.head_dim, shape.hidden);
    matrix(layer + "attn_output", shape.hidden, shape.heads * shape.head_dim);
    norm(layer + "ffn_norm");
    matrix(layer + "ffn_gate", shape.inner, shape.hidden);
    matrix(layer + "ffn_up", shape.inner, shape.hidden);
    matrix(layer + "ffn_down", shape.hidden, shape.inner);
  }
  norm("output_norm");
  matrix("output", shape.vocab, shape.hidden);
  return tensors;
}

// "general.file_type", by which some readers choose how to convert a file; llama.cpp's numbers.
struct FileType {
  std::string_view dtype;
  int64_t number;
};
constexpr FileType kFileTypes[] = {{"F32", 0},   {"F16", 1},   {"Q4_0", 2},    {"Q4_1", 3},    {"Q8_0", 7},
                                   {"Q5_0", 8},  {"Q5_1", 9},  {"Q2_K", 10},   {"Q3_K", 11},   {"Q4_K", 14},
                                   {"Q5_K", 16}, {"Q6_K", 18}, {"IQ4_NL", 25}, {"IQ4_XS", 30}, {"BF16", 32}};

// Pieces in SentencePiece's manner: the special ones, every byte, then made-up words. Some readers refuse a file
// without a tokenizer, so one that has room for the bytes gets this.
void AddVocabulary(int64_t vocab, HeaderWriter& header) {
  constexpr int64_t kBytes = 256;
  constexpr int32_t kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6;
  std::vector<std::string> pieces = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {kUnknown, kControl, kControl};
  const auto specials = static_cast<int64_t>(pieces.size());
  if (vocab < specials + kBytes) {
    header.Text("tokenizer.ggml.model", "none");
    return;
  }
  std::vector<float> scores(static_cast<size_t>(vocab), 0.0F);
  for (int64_t i = specials; i < vocab; ++i) {
    const int64_t word = i - specials - kBytes;
    pieces.push_back(word < 0    ? fmt::format("<0x{:02X}>", i - specials)
                     : word == 0 ? "\xe2\x96\x81"  // a space
                                 : fmt::format("w{}", word));
    types.push_back(word < 0 ? kByte : kNormal);
    scores[static_cast<size_t>(i)] = -static_cast<float>(std::max<int64_t>(0, word));
  }
  header.Text("tokenizer.ggml.model", "llama");
  header.Texts("tokenizer.ggml.tokens", pieces);
  header.Numbers("tokenizer.ggml.scores", scores);
  header.Ints("tokenizer.ggml.token_type", types);
  header.Size("tokenizer.ggml.unknown_token_id", 0);
  header.Size("tokenizer.ggml.bos_token_id", 1);
  header.Size("tokenizer.ggml.eos_token_id", 2);
}

std::string HeaderOf(const LlamaShape& shape, const kernels::WeightFormat& format,
                     const std::vector<RandomTensor>& tensors) {
  HeaderWriter header;
  header.Text("general.architecture", "llama");
  header.Text("general.name", "random");
  for (const FileType& type : kFileTypes) {
    if (type.dtype == format.dtype) {
      header.Size("general.file_type", type.number);
    }
  }
  header.Size("general.quantization_version", 2);
  header.Size("llama.vocab_size", shape.vocab);
  header.Size("llama.rope.dimension_count", shape.head_dim);
  header.Size("llama.context_length", shape.context);
  header.Size("llama.embedding_length", shape.hidden);
  header.Size("llama.block_count", shape.layers);
  header.Size("llama.feed_forward_length", shape.inner);
  header.Size("llama.attention.head_count", shape.heads);
  header.Size("llama.attention.head_count_kv", shape.kv_heads);
  header.Size("llama.attention.key_length", shape.head_dim);
  header.Size("llama.attention.value_length", shape.head_dim);
  header.Number("llama.attention.layer_norm_rms_epsilon", 1e-5);
  header.Number("llama.rope.freq_base", 10000.0);
  AddVocabulary(shape.vocab, header);
  for (const RandomTensor& tensor : tensors) {
    header.Tensor(tensor.name, tensor.shape, tensor.shape.size() == 1 ? "F32" : format.dtype, tensor.bytes);
  }
  return header.Finish();
}

// Values in [-0.03, 0.03).
std::vector<std::byte> Pattern(const kernels::WeightFormat& format) {
  std::vector<float> values(static_cast<size_t>(kPatternValues));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = 0.06F * (static_cast<float>(RandomUniform(1, 0, i)) - 0.5F);
  }
  std::vector<std::byte> bytes(static_cast<size_t>(kernels::BytesOf(format.id, kPatternValues)));
  format.encode(values.data(), bytes.data(), kPatternValues);
  return bytes;
}

}  // namespace

Result<void> WriteRandomLlama(const std::string& path, const LlamaShape& shape, const kernels::WeightFormat& format,
                              const std::function<void(double)>& progress) {
  if (!NumberOfType(format.dtype)) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("GGUF files have no type {}", format.name), "format");
  }
  for (const int64_t columns : {shape.hidden, shape.inner, shape.heads * shape.head_dim}) {
    if (columns % format.block_elements != 0) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("this shape has rows of {} values, which are no whole blocks of {} ({})", columns,
                                   format.name, format.block_elements),
                       "format");
    }
  }
  const std::vector<RandomTensor> tensors = TensorsOf(shape, format);
  const std::vector<std::byte> pattern = Pattern(format);
  const std::vector<float> ones(static_cast<size_t>(shape.hidden), 1.0F);
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << HeaderOf(shape, format, tensors);
  for (size_t i = 0; i < tensors.size() && file.good(); ++i) {
    const bool norm = tensors[i].shape.size() == 1;
    const std::span<const std::byte> source = norm ? std::as_bytes(std::span(ones)) : std::span(pattern);
    for (int64_t left = tensors[i].bytes; left > 0;) {
      const int64_t count = std::min(left, static_cast<int64_t>(source.size()));
      file.write(reinterpret_cast<const char*>(source.data()), count);
      left -= count;
    }
    const int64_t padding = AlignedBytes(tensors[i].bytes) - tensors[i].bytes;
    file.write("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", padding);
    progress(static_cast<double>(i + 1) / static_cast<double>(tensors.size()));
  }
  file.flush();
  if (!file.good()) {
    return MakeError(ErrorCode::kFailedPrecondition, "cannot write " + path + ": " + std::strerror(errno));
  }
  return {};
}

}  // namespace causeway::model::gguf
