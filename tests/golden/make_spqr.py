"""Writes tests/golden/quant/spqr-3bit: a random llama in SpQR's format, and what it computes.

Written from the description of the format (model/quant/spqr.cc), in numpy, without a line of the project's own: spqr_quant
itself needs a GPU. Run in the project's folder: python3 tests/golden/make_spqr.py (numpy only). Deterministic.
"""

import hashlib
import json
import pathlib
import struct

import numpy as np

FOLDER = pathlib.Path("tests/golden/quant/spqr-3bit")
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 176,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 128,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 256, "tie_word_embeddings": False,
    "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float16",
}
TILE = 16
rng = np.random.default_rng(20260)


def half_range(values):
    """Scale and zero point, in half precision, of 3-bit codes over the range of `values`."""
    low, high = float(values.min()), float(values.max())
    scale = np.float16((high - low) / 7 if high > low else 1)
    return scale, np.float16(-low / float(scale))


def nearest(values, scale, zero):
    table = scale * (np.arange(8).astype(np.float16) - zero)
    codes = np.abs(values[..., None].astype(np.float32) - table.astype(np.float32)).argmin(-1)
    return codes, table[codes]


def quantize_tile(tile):
    """Sixteen 64-bit words of a 16 x 16 tile."""
    stats = np.array([half_range(row) for row in tile])
    scale_scale, scale_zero = half_range(stats[:, 0])
    zero_scale, zero_zero = half_range(stats[:, 1])
    scale_codes, scales = nearest(stats[:, 0], scale_scale, scale_zero)
    zero_codes, zeros = nearest(stats[:, 1], zero_scale, zero_zero)
    halves = 0
    for i, half in enumerate((scale_scale, zero_scale, scale_zero, zero_zero)):
        halves |= int(half.view(np.uint16)) << (16 * i)
    words = []
    for row in range(TILE):
        codes, _ = nearest(tile[row], scales[row], zeros[row])
        word = int(scale_codes[row]) | int(zero_codes[row]) << 3
        for i, code in enumerate(codes):
            word |= int(code) << (6 + 3 * i)
        words.append(word | (halves >> (8 * (row // 2)) & 0xFF) << 54)
    return words


def dense_of(words, rows, columns):
    """The half-precision values that the words stand for, [rows, columns] as stored."""
    out = np.zeros((rows, columns), np.float16)
    tiles = columns // TILE
    for at, word in enumerate(words):
        tile, row = divmod(at, TILE)
        mates = words[tile * TILE:(tile + 1) * TILE]
        raw = bytes((mate >> 54) & 0xFF for mate in mates[::2])
        scale_scale, zero_scale, scale_zero, zero_zero = np.frombuffer(raw, np.float16)
        scale = scale_scale * (np.float16(word & 7) - scale_zero)
        zero = zero_scale * (np.float16(word >> 3 & 7) - zero_zero)
        codes = np.array([word >> (6 + 3 * i) & 7 for i in range(TILE)], np.float16)
        y, x = tile // tiles * TILE + row, tile % tiles * TILE
        out[y, x:x + TILE] = scale * (codes - zero)
    return out


def interleave(offsets, entries, rows):
    """Rows of a tile side by side, filled up with zeros to the longest."""
    out, starts = [], [0]
    for first in range(0, rows, TILE):
        longest = max(offsets[r + 1] - offsets[r] for r in range(first, first + TILE))
        for i in range(longest):
            for r in range(first, first + TILE):
                out.append(entries[offsets[r] + i] if offsets[r] + i < offsets[r + 1] else 0)
        starts.append(len(out))
    return starts, out


class Writer:
    def __init__(self):
        self.tensors, self.shapes, self.dequantized = {}, {}, {}

    def add(self, name, dtype, array):
        self.tensors[name] = (dtype, array)

    def linear(self, name, rows, columns, order=None, outliers=True, interleaved=False):
        stored = (rng.standard_normal((rows, columns)) * 0.12).astype(np.float32)
        rest = np.zeros((rows, columns), np.float16)
        if outliers:
            mask = rng.random((rows, columns)) < 0.02
            mask[:TILE, 0] |= rng.random(TILE) < 0.5
            mask[TILE:2 * TILE] = False
            rest[mask] = (rng.standard_normal(int(mask.sum())) * 0.6).astype(np.float16)
        words = [word for y in range(0, rows, TILE) for x in range(0, columns, TILE)
                 for word in quantize_tile(stored[y:y + TILE, x:x + TILE])]
        offsets, entries = [0], []
        for row in rest:
            for column in np.flatnonzero(row):
                entries.append(int(column) | int(row[column].view(np.uint16)) << 16)
            offsets.append(len(entries))
        if interleaved:
            offsets, entries = interleave(offsets, entries, rows)
        parts = {"dense_weights": np.array(words, np.uint64).view(np.int64), "row_offsets": np.array(offsets, np.int32),
                 "col_vals": np.array(entries, np.uint32).view(np.int32) if entries else np.zeros(0, np.float32)}
        if order is not None:
            pairs = np.array(order, np.uint32)
            parts["in_perm"] = (pairs[1::2] << 16 | pairs[0::2]).astype(np.uint32).view(np.int32)
        else:
            parts["in_perm"] = np.zeros(0, np.int32)
        for part, array in parts.items():
            self.shapes[f"{name}.{part}.shape"] = len(array)
            if len(array) > 0 or part == "col_vals":
                self.add(f"{name}.{part}", {"int64": "I64", "int32": "I32", "float32": "F32"}[str(array.dtype)], array)
        values = dense_of(words, rows, columns).astype(np.float32) + rest.astype(np.float32)
        if order is not None:
            plain = np.empty_like(values)
            plain[:, order] = values
            values = plain
        self.dequantized[name + ".weight"] = values

    def plain(self, name, *shape, scale=0.12, shift=0.0):
        values = (rng.standard_normal(shape) * scale + shift).astype(np.float16)
        self.add(name, "F16", values)
        return values.astype(np.float64)


def save(path, tensors):
    header, data = {}, b""
    for name, (dtype, array) in tensors.items():
        raw = array.tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def make_model():
    writer, plain = Writer(), {}
    hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    plain["embed"] = writer.plain("model.embed_tokens.weight", 128, hidden, scale=1.0)
    shared = rng.permutation(hidden)
    for i in range(CONFIG["num_hidden_layers"]):
        at = f"model.layers.{i}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            plain[at + name] = writer.plain(at + name + ".weight", hidden, scale=0.1, shift=1.0)
        order = shared if i == 0 else None
        for name, rows in (("q", hidden), ("k", 32), ("v", 32)):
            writer.linear(f"{at}self_attn.{name}_proj", rows, hidden, order, interleaved=i == 1)
        if i == 0:
            writer.linear(at + "self_attn.o_proj", hidden, hidden, outliers=False)
        else:
            plain[at + "self_attn.o_proj.weight"] = writer.plain(at + "self_attn.o_proj.weight", hidden, hidden)
        writer.linear(at + "mlp.gate_proj", inner, hidden, interleaved=i == 1)
        writer.linear(at + "mlp.up_proj", inner, hidden)
        writer.linear(at + "mlp.down_proj", hidden, inner, rng.permutation(inner), interleaved=i == 1)
    plain["norm"] = writer.plain("model.norm.weight", hidden, scale=0.1, shift=1.0)
    plain["head"] = writer.plain("lm_head.weight", 128, hidden)
    return writer, plain


def rms(x, weight):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + CONFIG["rms_norm_eps"]) * weight


def rotate(x):
    positions, dim = np.arange(x.shape[0]), CONFIG["head_dim"]
    angles = positions[:, None] / CONFIG["rope_theta"] ** (np.arange(0, dim, 2) / dim)
    cos, sin = (np.concatenate([f(angles)] * 2, -1)[:, None] for f in (np.cos, np.sin))
    left, right = np.split(x, 2, -1)
    return x * cos + np.concatenate([-right, left], -1) * sin


def attend(x, weight):
    heads, kv_heads, dim = CONFIG["num_attention_heads"], CONFIG["num_key_value_heads"], CONFIG["head_dim"]
    q, k, v = ((x @ weight(f"self_attn.{name}_proj").T).reshape(len(x), -1, dim) for name in "qkv")
    q, k = rotate(q), rotate(k)
    k, v = (np.repeat(part, heads // kv_heads, 1) for part in (k, v))
    scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(dim)
    scores[:, np.triu_indices(len(x), 1)[0], np.triu_indices(len(x), 1)[1]] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("hij,jhd->ihd", weights, v).reshape(len(x), -1) @ weight("self_attn.o_proj").T


def logits_of(tokens, dequantized, plain):
    x = plain["embed"][tokens]
    for i in range(CONFIG["num_hidden_layers"]):
        at = f"model.layers.{i}."

        def weight(name):
            full = at + name + ".weight"
            return dequantized[full].astype(np.float64) if full in dequantized else plain[full]

        x = x + attend(rms(x, plain[at + "input_layernorm"]), weight)
        y = rms(x, plain[at + "post_attention_layernorm"])
        gate = y @ weight("mlp.gate_proj").T
        x = x + (gate / (1 + np.exp(-gate)) * (y @ weight("mlp.up_proj").T)) @ weight("mlp.down_proj").T
    return rms(x, plain["norm"]) @ plain["head"].T


def main():
    writer, plain = make_model()
    FOLDER.mkdir(parents=True, exist_ok=True)
    save(FOLDER / "model.safetensors", writer.tensors)
    kept = ["model.layers.1.self_attn.o_proj.weight", "lm_head.weight"]
    quantization = {"quant_method": "spqr", "bits": 3, "beta1": TILE, "beta2": TILE, "modules_to_not_convert": kept,
                    "shapes": writer.shapes}
    (FOLDER / "config.json").write_text(json.dumps({**CONFIG, "quantization_config": quantization}, indent=1) + "\n")
    golden = {"prompts": [], "greedy": [], "margins": [], "packer": "tests/golden/make_spqr.py",
              "dequant_sha256": {name: hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()
                                 for name, values in writer.dequantized.items()}}
    tensors = {}
    for i, length in enumerate((9, 1, 17)):
        tokens = [int(token) for token in rng.integers(3, 128, length)]
        golden["prompts"].append(list(tokens))
        logits = logits_of(tokens, writer.dequantized, plain)
        tensors[f"logits.{i}"] = ("F32", logits.astype(np.float32))
        greedy, margins = [], []
        for _ in range(12):
            last = np.sort(logits[-1])
            greedy.append(int(logits[-1].argmax()))
            margins.append(round(float(last[-1] - last[-2]), 6))
            tokens.append(greedy[-1])
            logits = logits_of(tokens, writer.dequantized, plain)
        golden["greedy"].append(greedy)
        golden["margins"].append(margins)
    save(FOLDER / "golden.safetensors", tensors)
    (FOLDER / "golden.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
