"""OpenVINO GenAI as a peer (tests/bench/peers.py runs this with the Python of a virtual environment of its own).

    python3 -m venv ov && ov/bin/pip install openvino-genai==2026.4.1.0 nncf==3.4.0
    ov/bin/python openvino_peer.py make F16.gguf FOLDER     # int4, symmetric, groups of 128, all layers
    ov/bin/python openvino_peer.py run FOLDER --group 128   # a line of JSON

`make` takes the graph that GenAI builds of an F16 GGUF file (`causeway bench make-model --format f16`) and fills it with
random weights anew, because OpenVINO stores equal ones once and would read them from the cache.
"""

import argparse
import json
import os
import time


def make(gguf, folder):
    import nncf
    import numpy as np
    import openvino as ov
    import openvino_genai

    graph = os.path.join(os.path.dirname(gguf), "openvino_model.xml")
    try:
        openvino_genai.LLMPipeline(gguf, "CPU", enable_save_ov_model=True)
    except Exception as error:  # the graph is written before the tokenizer, which this vocabulary is too plain for
        if not os.path.exists(graph):
            raise SystemExit(f"openvino: no graph of {gguf}: {error}")
    model = ov.Core().read_model(graph)
    random = np.random.default_rng(1)
    for op in model.get_ordered_ops():
        shape = list(op.get_output_shape(0)) if op.get_type_name() == "Constant" else []
        if len(shape) == 2 and shape[0] * shape[1] > 100_000:
            values = ((random.random(shape, dtype=np.float32) - 0.5) * 0.06).astype(np.float16)
            fresh = ov.op.Constant(values)
            fresh.set_friendly_name(op.get_friendly_name())
            op.output(0).replace(fresh.output(0))
    model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT4_SYM, group_size=128, ratio=1.0,
                                  all_layers=True)
    os.makedirs(folder, exist_ok=True)
    ov.save_model(model, os.path.join(folder, "openvino_model.xml"), compress_to_fp16=False)


class Pipeline:
    """Continuous batching over token ids."""

    def __init__(self, folder, threads, group):
        import openvino_genai as genai

        self.genai = genai
        scheduler = genai.SchedulerConfig()
        scheduler.cache_size = 1  # GiB
        scheduler.max_num_batched_tokens = 512
        properties = {"INFERENCE_NUM_THREADS": threads}
        if group:
            properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = group
        self.pipe = genai.ContinuousBatchingPipeline(folder, scheduler, "CPU", properties)
        self.requests = 0

    def add(self, prompt, tokens):
        import numpy as np
        import openvino as ov

        config = self.genai.GenerationConfig()
        config.max_new_tokens = tokens
        config.min_new_tokens = tokens
        config.set_eos_token_id(2)  # the folder has no tokenizer to name one
        config.ignore_eos = True
        config.do_sample = False
        ids = np.random.default_rng(self.requests).integers(300, 30000, (1, prompt), dtype=np.int64)
        self.requests += 1
        return self.pipe.add_request(self.requests, ov.Tensor(ids), config)

    def prefill(self, prompt):
        """Tokens a second of one prompt."""
        handle = self.add(prompt, 1)
        start = time.perf_counter()
        while self.pipe.has_non_finished_requests():
            self.pipe.step()
        seconds = time.perf_counter() - start
        del handle
        return prompt / seconds

    def decode(self, batch, prompt, tokens):
        """Tokens a second of all sequences together, once every prompt has been read."""
        handles = [self.add(prompt, tokens + 8) for _ in range(batch)]
        for _ in range((batch * prompt + 511) // 512 + 2):
            self.pipe.step()
        start = time.perf_counter()
        for _ in range(tokens - 2):
            self.pipe.step()
        seconds = time.perf_counter() - start
        while self.pipe.has_non_finished_requests():
            self.pipe.step()
        del handles
        return batch * (tokens - 2) / seconds


def run(args):
    pipeline = Pipeline(args.folder, args.threads, args.group)
    pipeline.prefill(args.prefill)
    result = {"prefill": max(pipeline.prefill(args.prefill) for _ in range(2))}
    for batch in args.batch:
        result[f"b={batch}"] = pipeline.decode(batch, args.context, args.tokens)
    print(json.dumps(result))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("make")
    command.add_argument("gguf")
    command.add_argument("folder")
    command.set_defaults(call=lambda args: make(args.gguf, args.folder))
    command = commands.add_parser("run")
    command.add_argument("folder")
    command.add_argument("--threads", type=int, default=2)
    command.add_argument("--group", type=int, default=0, help="DYNAMIC_QUANTIZATION_GROUP_SIZE; 0: its default")
    command.add_argument("--prefill", type=int, default=512)
    command.add_argument("--context", type=int, default=128)
    command.add_argument("--tokens", type=int, default=32)
    command.add_argument("--batch", type=lambda text: [int(b) for b in text.split(",")], default=[1, 4, 8, 16])
    command.set_defaults(call=run)
    args = parser.parse_args()
    args.call(args)


if __name__ == "__main__":
    main()
