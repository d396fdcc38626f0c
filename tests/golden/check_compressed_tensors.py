#!/usr/bin/env python3
"""Folders of `causeway quantize` as the compressed-tensors library reads them: the weights that transformers gets from
each are, bit for bit, those that Causeway computes with. Not part of the tests, because it needs gigabytes of packages:

    python3 -m venv VENV && VENV/bin/pip install torch==2.15.0 transformers==5.24.0 compressed-tensors==0.20.0
    VENV/bin/python tests/golden/check_compressed_tensors.py build/release/causeway [--model fable] [FORMAT ...]
"""

import argparse
import hashlib
import json
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

# Not nvfp4a16, whose codes the library unpacks to BF16, whatever the scales are.
FORMATS = ["w4a16", "w4a16_asym", "w3a16", "w8a16", "w8a16_asym", "w8a8", "fp8", "fp8_dynamic", "mxfp4a16"]


def weights_of(folder, wide):
    """Names and float32 values of the linear layers that the folder has compressed, with its scales as float32 in the
    folder `wide`: the library computes in the type of the scales, and would round what a kernel does not."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM, CompressedTensorsConfig
    shutil.copytree(folder, wide)
    tensors = load_file(f"{folder}/model.safetensors")
    for name, tensor in tensors.items():
        if name.endswith("_scale") and tensor.dtype == torch.bfloat16:
            tensors[name] = tensor.float()
    save_file(tensors, f"{wide}/model.safetensors", metadata={"format": "pt"})
    model = AutoModelForCausalLM.from_pretrained(wide, dtype=torch.float32,
                                                 quantization_config=CompressedTensorsConfig(run_compressed=False))
    config = json.loads((Path(folder) / "config.json").read_text())
    stays = set(config["quantization_config"]["ignore"]) | {"lm_head"}
    return {name + ".weight": module.weight.detach() for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and name not in stays}


def check(causeway, model, format_name, folder):
    subprocess.run([causeway, "quantize", model, folder, "--format", format_name], check=True, capture_output=True)
    weights = weights_of(folder, folder + "-wide")
    hashes = {name: hashlib.sha256(weight.contiguous().numpy().tobytes()).hexdigest() for name, weight in weights.items()}
    (Path(folder) / "golden.json").write_text(json.dumps({"prompts": [], "greedy": [], "margins": [], "dequant_sha256": hashes}))
    (Path(folder) / "golden.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    run = subprocess.run([causeway, "verify", "model", folder], capture_output=True, text=True)
    lines = [line for line in run.stdout.splitlines() if "dequantized" in line] or (run.stdout + run.stderr).splitlines()
    passed = bool(hashes) and any(line.startswith("ok") for line in lines)
    print("ok  " if passed else "FAIL", format_name, lines[0].split("dequantized weights")[-1].strip(": ") if lines else "")
    return passed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("causeway")
    parser.add_argument("--model", default="fable")
    parser.add_argument("formats", nargs="*", default=FORMATS)
    args = parser.parse_args()
    passed = True
    for format_name in args.formats:
        with tempfile.TemporaryDirectory() as folder:
            passed = check(args.causeway, args.model, format_name, f"{folder}/model") and passed
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
