"""Files that `causeway quantize` writes, as llama.cpp's own Python package reads them."""

import json
import struct
import subprocess

import gguf
import numpy
import pytest
from gguf.quants import dequantize

FABLE = "model/builtin/fable"


def quantize(binary, path, name, *flags):
    done = subprocess.run([binary, "quantize", "fable", str(path), "--format", name, *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return gguf.GGUFReader(path)


def original():
    """The tensors of the built-in model, float32, by their names in its file."""
    with open(FABLE + "/model.safetensors", "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    tensors = {}
    for name, tensor in header.items():
        if name != "__metadata__":
            begin, end = tensor["data_offsets"]
            bits = numpy.frombuffer(data[begin:end], dtype="<u2").astype(numpy.uint32) << 16
            tensors[name] = bits.view(numpy.float32).reshape(tensor["shape"])
    return tensors


def in_gguf_order(rows, head_dim=64):
    """Rows of Q and K as llama.cpp's converter lays them."""
    heads = rows.shape[0] // head_dim
    return rows.reshape(heads, 2, head_dim // 2, -1).swapaxes(1, 2).reshape(rows.shape)


@pytest.mark.parametrize("name, allowed", [("bf16", 0.0), ("q8_0", 0.009), ("q6_k", 0.03), ("q5_1", 0.05), ("q4_k_m", 0.1), ("q4_0", 0.12),
                                           ("iq4_xs", 0.1), ("q3_k_m", 0.2), ("q2_k", 0.4)])
def test_values_are_those_of_the_model(binary, tmp_path, name, allowed):
    reader = quantize(binary, tmp_path / "x.gguf", name)
    values = original()
    assert len(reader.tensors) == len(values)
    for tensor in reader.tensors:
        layer = tensor.name.split(".")
        hub = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}.get(tensor.name)
        if hub is None:
            stem = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
                    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
                    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}[layer[2]]
            hub = f"model.layers.{layer[1]}.{stem}.weight"
        wanted = values[hub]
        if layer[-2] in ("attn_q", "attn_k"):
            wanted = in_gguf_order(wanted)
        got = dequantize(tensor.data, tensor.tensor_type).reshape(wanted.shape)
        error = numpy.linalg.norm(got - wanted) / numpy.linalg.norm(wanted)
        assert error <= allowed, (tensor.name, error)


def test_metadata_are_what_llama_cpp_wants(binary, tmp_path):
    reader = quantize(binary, tmp_path / "x.gguf", "q4_k_m")
    field = {name: value.contents() for name, value in reader.fields.items()}
    with open(FABLE + "/tokenizer.json", encoding="utf-8") as file:
        tokenizer = json.load(file)
    assert field["general.architecture"] == "llama"
    assert field["general.file_type"] == gguf.LlamaFileType.MOSTLY_Q4_K_M
    assert field["general.quantization_version"] == gguf.GGML_QUANT_VERSION
    sizes = {"block_count": 6, "context_length": 2048, "embedding_length": 256, "feed_forward_length": 768, "attention.head_count": 4,
             "attention.head_count_kv": 2, "rope.dimension_count": 64, "vocab_size": 4096}
    assert {name: field["llama." + name] for name in sizes} == sizes
    assert field["tokenizer.ggml.model"] == "gpt2"
    assert [field["tokenizer.ggml.tokens"][token] for token in (4089, 4094)] == ["<|bos|>", "<|end|>"]
    assert field["tokenizer.ggml.token_type"][4089] == gguf.TokenType.CONTROL
    assert field["tokenizer.ggml.merges"] == [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    assert (field["tokenizer.ggml.bos_token_id"], field["tokenizer.ggml.eos_token_id"]) == (4089, 4094)
    assert field["tokenizer.ggml.add_bos_token"] is True
    assert "<|assistant|>" in field["tokenizer.chat_template"]
