#!/usr/bin/env python3
"""Causeway against its peers: one machine, one run, the same files; tokens a second.

Models, once (random weights in the shape of TinyLlama 1.1B; speed does not depend on values):

    for f in f16 q4_0 q8_0 q4_K; do causeway bench make-model --shape tinyllama-1.1b --format $f --out MODELS/$f; done
    ov/bin/python tests/bench/openvino_peer.py make MODELS/f16/model.gguf MODELS/openvino-int4-g128
    causeway quantize MODELS/f16/model.gguf MODELS/int4_g128 --format w4a16 --output-tensor-type w4a16

OpenVINO's file holds every layer in int4, the head as well, and so does ours: left in 16 bits it is a fifth of a step of batch 8 or 16.

Peers, built on the machine that runs them (both need only cmake and a compiler):

    llama.cpp      pip download --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36, its vendor/llama.cpp:
                   cmake -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_OPENSSL=OFF
                   cmake --build build --target llama-bench llama-batched-bench
    ik_llama.cpp   github.com/ikawrakow/ik_llama.cpp at 8337e4c (2026-08): the same; -DGGML_IQK_FA_ALL_QUANTS=OFF is quicker
    OpenVINO GenAI tests/bench/openvino_peer.py says how
    As on a machine with AVX2 alone: --force-kernels avx2, and both llama.cpps in folders of their own, built with
                   -DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON (llama.cpp: -DGGML_BMI2=ON too)

Then, each on an idle machine; a file of results may be filled in pieces and printed at any time:

    tests/bench/peers.py --causeway build/release/causeway --llama DIR --ik DIR --openvino ov/bin/python \\
        --models MODELS --results peers.json --rounds 2
    tests/bench/peers.py --results peers.json --report

Every round runs all engines in turn, so that what else the machine does hits all alike; the best of all rounds counts,
for each engine and point. Threads are as many as --threads for all. Prefill is one prompt of 512 tokens; decode starts
from 128 positions of each sequence. llama.cpp's decode is the better one of llama-bench and llama-batched-bench.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

GGUF_FORMATS = ("q4_0", "q8_0", "q4_K")
INT4 = "int4_g128"  # OpenVINO has its own files; causeway's is a folder of that name
PREFILL = 512
CONTEXT = 128
TOKENS = 32
BATCHES = (1, 4, 8, 16)
POINTS = ["prefill"] + [f"b={batch}" for batch in BATCHES]
TIMEOUT_S = 600


def output_of(command, stderr=subprocess.PIPE):
    with tempfile.TemporaryDirectory() as folder:  # some leave logs where they run
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=TIMEOUT_S, check=False,
                              cwd=folder)
    if done.returncode != 0:
        raise SystemExit(f"peers: {' '.join(command)} ended with {done.returncode}:\n{(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def json_lines(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def model_file(args, name):
    return os.path.join(args.models, name, "model.gguf")


def causeway(args, name):
    path = model_file(args, name) if name in GGUF_FORMATS else os.path.join(args.models, name)
    text = output_of([args.causeway, "bench", "engine", "--model", path, "--threads", str(args.threads),
                      "--prompt-tokens", str(PREFILL), "--context", str(CONTEXT), "--gen-tokens", str(TOKENS),
                      "--batch", ",".join(map(str, BATCHES)), "--json",
                      *(["--force-kernels", args.force_kernels] if args.force_kernels else [])])
    report = json.loads(text)
    points = {f"b={row['batch']}": row["decode_tokens_per_s"] for row in report["results"]}
    points["prefill"] = max(row["prefill_tokens_per_s"] for row in report["results"])
    # What the machine allows: prefill and large batches by multiplying, small ones by reading the weights.
    machine = report["machine"]
    first = report["results"][0]
    read = max(machine["read_gb_per_s_one_stream"], machine["read_gb_per_s_far_streams"])
    steps = read * 1e9 / first["decode_weight_bytes_per_step"]
    most = first["prefill_tokens_per_s"] / first["prefill_share_of_peak"]
    limit = {f"b={batch}": min(steps * batch, most) for batch in BATCHES}
    return points, dict(limit, prefill=most), machine


def llama(folder, path, threads, bench_options, batched_options):
    """llama.cpp and its forks: prefill and batch 1 by llama-bench, all batches by llama-batched-bench."""
    common = ["-m", path, "-t", str(threads), "-fa", "1"]
    rows = json.loads(output_of([os.path.join(folder, "llama-bench"), *common, *bench_options, "-p", str(PREFILL), "-n",
                                 str(TOKENS), "-r", "2", "-o", "json"]))
    points = {}
    for row in rows:
        points["prefill" if row["n_prompt"] else "b=1"] = row["avg_ts"]
    capacity = str(max(BATCHES) * (CONTEXT + TOKENS))
    text = output_of([os.path.join(folder, "llama-batched-bench"), *common, *batched_options, "-c", capacity, "-b",
                      "2048", "-npp", str(CONTEXT), "-ntg", str(TOKENS), "-npl", ",".join(map(str, BATCHES))],
                     stderr=subprocess.STDOUT)  # where the fork prints its table
    for line in text.splitlines():  # | PP | TG | B | N_KV | T_PP s | S_PP t/s | T_TG s | S_TG t/s | T s | S t/s |
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 10 and cells[0].isdigit():
            point = f"b={cells[2]}"
            points[point] = max(points.get(point, 0), float(cells[7]))
    return points


def openvino(args, group):
    worker = os.path.join(os.path.dirname(os.path.abspath(__file__)), "openvino_peer.py")
    return json_lines(output_of([args.openvino, worker, "run", os.path.join(args.models, "openvino-int4-g128"),
                                 "--threads", str(args.threads), "--group", str(group), "--prefill", str(PREFILL),
                                 "--context", str(CONTEXT), "--tokens", str(TOKENS),
                                 "--batch", ",".join(map(str, BATCHES))]))[-1]


def measure(args, results):
    """One round: every engine that is given, over every format that it reads."""

    def keep(name, engine, points):
        best = results.setdefault(name, {}).setdefault(engine, {})
        for point, rate in points.items():
            best[point] = max(best.get(point, 0), rate)
        print(name, engine, {point: round(rate, 1) for point, rate in points.items()}, file=sys.stderr)
        with open(args.results, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)

    for name in args.formats:
        if args.causeway and (name in GGUF_FORMATS or os.path.isdir(os.path.join(args.models, name))):
            points, limit, machine = causeway(args, name)
            keep(name, "causeway", points)
            keep(name, "limit", limit)
            results["machine"] = machine
        if name in GGUF_FORMATS:
            if args.llama:
                keep(name, "llama.cpp", llama(args.llama, model_file(args, name), args.threads, [], []))
            if args.ik:
                keep(name, "ik_llama.cpp",
                     llama(args.ik, model_file(args, name), args.threads, ["-rtr", "1"], ["-rtr"]))
        elif args.openvino:
            for group, engine in ((0, "OpenVINO"), (128, "OpenVINO, groups of 128")):
                keep(name, engine, openvino(args, group))


def report(results):
    machine = results.get("machine", {})
    if machine:
        print(f"{machine['kernels']} kernels, {machine['threads']} threads, read "
              f"{machine['read_gb_per_s_one_stream']:.1f} GB/s in one stream, "
              f"{machine['read_gb_per_s_far_streams']:.1f} in several, {machine['int8_multiply_add']} "
              f"{machine['int8_gops']:.0f} GOP/s")
    print("| tokens/s | " + " | ".join(POINTS) + " |\n| --- |" + " --- |" * len(POINTS))

    def row(label, cell):
        print(f"| {label} | " + " | ".join(cell(point) for point in POINTS) + " |")

    for name, engines in results.items():
        if name == "machine":
            continue
        peers = {engine: points for engine, points in engines.items() if engine not in ("causeway", "limit")}
        for engine, points in engines.items():
            row(f"{name}: {engine}", lambda point, of=points: f"{of[point]:.1f}" if point in of else "-")
        ours = engines.get("causeway", {})
        best = {point: max((points.get(point, 0) for points in peers.values()), default=0) for point in POINTS}
        limit = engines.get("limit", {})
        row("**of the best peer**", lambda p: f"{ours[p] / best[p]:.2f}" if p in ours and best[p] else "-")
        row("**of the limit**", lambda p: f"{100 * ours[p] / limit[p]:.0f} %" if p in ours and p in limit else "-")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--causeway", help="our binary")
    parser.add_argument("--force-kernels", help="causeway's kernels, where the peers were built for another machine")
    parser.add_argument("--llama", help="folder of llama.cpp's binaries")
    parser.add_argument("--ik", help="folder of ik_llama.cpp's binaries")
    parser.add_argument("--openvino", help="a Python with openvino-genai")
    parser.add_argument("--models", help="folder with one model a format")
    parser.add_argument("--results", required=True, help="JSON file that rounds are added to")
    parser.add_argument("--formats", type=lambda text: text.split(","), default=[*GGUF_FORMATS, INT4])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--report", action="store_true", help="only print what the file holds")
    args = parser.parse_args()
    for name in ("causeway", "llama", "ik", "openvino", "models", "results"):
        if getattr(args, name):
            setattr(args, name, os.path.abspath(getattr(args, name)))
    results = {}
    if os.path.exists(args.results):
        with open(args.results, encoding="utf-8") as file:
            results = json.load(file)
    if not args.report:
        if not args.models:
            parser.error("--models is needed to measure")
        unknown = [name for name in args.formats if name not in (*GGUF_FORMATS, INT4)]
        if unknown:
            parser.error(f"unknown format {unknown[0]}; known: {', '.join((*GGUF_FORMATS, INT4))}")
        for _ in range(args.rounds):
            measure(args, results)
    report(results)


if __name__ == "__main__":
    main()
