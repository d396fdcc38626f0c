#!/usr/bin/env python3
"""The table of formats: format_table.py BINARY [--calibration TEXT] [--only NAME,...] prints Markdown.

Quantizes the built-in model to each format and measures what came of it: bytes, bits a weight, perplexity over the
held-out text, retrieval. Rows that need calibration are left out without a text; it must not be the held-out one.
"""

import argparse
import json
import os
import subprocess
import tempfile

GGUF = ["bf16", "q8_0", "q6_k", "q5_k_m", "q5_1", "q5_0", "q4_k_m", "q4_k_s", "q4_1", "q4_0", "iq4_nl", "iq4_xs", "q3_k_m", "q2_k"]
HUB = ["w8a16", "w8a8", "fp8_dynamic", "w4a16_asym", "w4a16", "nvfp4a16", "mxfp4a16", "w3a16_asym"]
CALIBRATED = ["q4_k_m", "q4_0", "q3_k_m", "w4a16_asym", "w4a16", "w3a16_asym"]
# Formats that multiply int8 activations unless --activations f32 is given.
PACKED = set(GGUF + HUB) - {"bf16"}


def run(binary, *arguments):
    done = subprocess.run([binary, *arguments, "--json"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr.splitlines()[-1]}")
    return json.loads(done.stdout)


def quality(binary, model, activations):
    flags = ["--model", model, "--activations", activations]
    retrieval = run(binary, "eval", "retrieval", *flags)
    return run(binary, "eval", "perplexity", *flags)["perplexity"], f"{retrieval['correct']} of {retrieval['items']}"


def rows(binary, folder, calibration, only):
    methods = [(name, []) for name in GGUF + HUB]
    if calibration:
        gptq = ["--method", "gptq", "--calibration", calibration]
        methods += [(name, gptq + (["--act-order"] if name in HUB else [])) for name in CALIBRATED]
    for name, flags in methods:
        if only and name not in only:
            continue
        path = os.path.join(folder, name + ("" if name in HUB else ".gguf"))
        report = run(binary, "quantize", "fable", path, "--format", name, "--force", *flags)
        for activations in ["f32", "int8"] if name in PACKED else ["f32"]:
            perplexity, retrieval = quality(binary, path, activations)
            label = name + (", GPTQ" if flags else "") + (", int8 activations" if activations == "int8" else "")
            yield label, report["bytes_after"], report["quantized_bits_per_weight"] or 16.0, perplexity, retrieval


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--calibration")
    parser.add_argument("--only", type=lambda text: set(text.split(",")))
    options = parser.parse_args()
    base = run(options.binary, "eval", "perplexity")["perplexity"]
    print("| format | MiB | bits of a matrix' weight | perplexity | over BF16 | retrieval |\n| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for label, size, bits, perplexity, retrieval in rows(options.binary, folder, options.calibration, options.only):
            print(f"| {label} | {size / 2**20:.2f} | {bits:.2f} | {perplexity:.3f} | {100 * (perplexity / base - 1):+.2f} % | "
                  f"{retrieval} |", flush=True)


if __name__ == "__main__":
    main()
