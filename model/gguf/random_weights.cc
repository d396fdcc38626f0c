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

std::string HeaderOf(const LlamaShape& shape, const kernels::WeightFormat& format,
                     const std::vector<RandomTensor>& tensors) {
  HeaderWriter header;
  header.Text("general.architecture", "llama");
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
  header.Text("tokenizer.ggml.model", "none");
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
