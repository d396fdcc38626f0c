"""What `causeway quantize` writes, as llama.cpp's own Python package and the tokenizers library read it."""

import json
import struct
import subprocess

import gguf
import numpy
import pytest
from gguf.quants import dequantize
from tokenizers import Tokenizer

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


def write_vocabulary(path, model, tokens, types, **more):
    """A small model around a vocabulary."""
    writer = gguf.GGUFWriter(path, "llama")
    for add, value in ((writer.add_block_count, 1), (writer.add_context_length, 64), (writer.add_embedding_length, 32),
                       (writer.add_feed_forward_length, 32), (writer.add_head_count, 1), (writer.add_layer_norm_rms_eps, 1e-6),
                       (writer.add_tokenizer_model, model), (writer.add_token_list, tokens), (writer.add_token_types, types)):
        add(value)
    for key, value in more.items():
        getattr(writer, "add_" + key)(value)
    random = numpy.random.default_rng(3)
    shapes = {"token_embd": (len(tokens), 32), "output_norm": (32,), "blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,)}
    shapes.update({f"blk.0.{name}": (32, 32) for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")})
    for name, shape in shapes.items():
        writer.add_tensor(name + ".weight", random.standard_normal(shape).astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def folder_of(binary, source, folder):
    done = subprocess.run([binary, "quantize", str(source), str(folder), "--format", "w8a16", "--group-size", "-1", "--allow-requantize"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("name", ["zoo", "llama3-bpe-Q4_K_S"])
def test_a_gguf_files_tokenizer_is_one_of_the_library(binary, tmp_path, name):
    """The recorded ids are those of the tokenizer that the file was made of."""
    tokenizer = folder_of(binary, f"tests/golden/gguf/{name}/model.gguf", tmp_path / "x")
    with open(f"tests/golden/gguf/{name}/golden.json", encoding="utf-8") as file:
        cases = json.load(file)["tokenize"]
    assert cases
    for case in cases:
        assert tokenizer.encode(case["text"], add_special_tokens=False).ids == case["ids"]


# A pattern of each kind of syntax: look-ahead, ranges by number, scripts, possessive runs.
@pytest.mark.parametrize("pre", ["gpt-2", "llama-bpe", "qwen2", "deepseek-llm", "kimi-k2", "afmoe", "bailingmoe", "superbpe", "jais-2"])
def test_pre_tokenizers_cut_as_the_library_does(binary, tmp_path, pre):
    """The library's ids of a text are what Causeway makes of it with the file itself."""
    alphabet = [chr(byte) for byte in [*range(33, 127), *range(161, 173), *range(174, 256)]]
    alphabet += [chr(256 + i) for i in range(256 - len(alphabet))]
    pairs = [("t", "h"), ("th", "e"), ("\u0120", "a"), ("1", "2"), ("12", "3"), ("\u00e4", "\u00b8"), ("\u00e4\u00b8", "\u0143")]
    tokens = alphabet + [left + right for left, right in pairs] + ["<|end|>"]
    write_vocabulary(tmp_path / "v.gguf", "gpt2", tokens, [1] * (len(tokens) - 1) + [3], tokenizer_pre=pre, eos_token_id=len(tokens) - 1,
                     token_merges=[" ".join(pair) for pair in pairs])
    tokenizer = folder_of(binary, tmp_path / "v.gguf", tmp_path / "x")
    texts = ["the 1234567 theatre's  a\n\n b", "\u4e2d\u6587\u3001abc 12.5%", "x==y!=z //c\t\r\n  end", "na\u00efve caf\u00e9 \U0001f642", "th" * 40]
    (tmp_path / "v.gguf.inp").write_text("\n__ggml_vocab_test__\n".join([*texts, ""]), encoding="utf-8")
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    (tmp_path / "v.gguf.out").write_text("".join(" ".join(map(str, line)) + "\n" for line in ids))
    done = subprocess.run([binary, "verify", "tokenizer", str(tmp_path / "v.gguf")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_merges_of_scores(binary, tmp_path):
    """SentencePiece's scores: better pieces first, never by way of unused ones."""
    pieces = {"<unk>": (2, 0), "<s>": (3, 0), "</s>": (3, 0), "\u2581": (1, -9), "a": (1, -9), "b": (1, -9), "ab": (1, -2), "ba": (1, -1),
              "bab": (1, -4), "\u2581a": (1, -3), "aa": (5, -1), "<tool>": (4, 0), **{f"<0x{byte:02X}>": (6, 0) for byte in range(256)}}
    write_vocabulary(tmp_path / "v.gguf", "llama", list(pieces), [kind for kind, _ in pieces.values()],
                     token_scores=[float(score) for _, score in pieces.values()], bos_token_id=1, eos_token_id=2, unk_token_id=0)
    tokenizer = folder_of(binary, tmp_path / "v.gguf", tmp_path / "x")
    assert tokenizer.encode("abab<tool>b").tokens == ["<s>", "\u2581a", "bab", "<tool>", "\u2581", "b"]
    assert tokenizer.decode(tokenizer.encode("ab ba").ids) == "ab ba"
