"""/metrics: vLLM's names and labels, in the text format that Prometheus reads."""

import re

GAUGES = ["num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "cache_config_info"]
COUNTERS = ["prompt_tokens_total", "generation_tokens_total", "num_preemptions_total", "request_success_total"]
HISTOGRAMS = ["time_to_first_token_seconds", "inter_token_latency_seconds", "request_time_per_output_token_seconds",
              "e2e_request_latency_seconds", "request_queue_time_seconds", "request_prefill_time_seconds",
              "request_decode_time_seconds", "request_inference_time_seconds", "request_prompt_tokens",
              "request_generation_tokens", "request_max_num_generation_tokens", "request_params_n",
              "request_params_max_tokens", "iteration_tokens_total"]
SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*\})? (\S+)$')


def test_names_types_and_labels(server):
    server.post("/v1/completions", {"prompt": "a", "max_tokens": 2, "n": 2})
    status, headers, body = server.request("GET", "/metrics")
    assert status == 200 and headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    types, samples = {}, {}
    for line in body.decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types
            types[name] = kind
        elif not line.startswith("#"):
            match = SAMPLE.match(line)
            assert match, line
            float(match[3])
            samples.setdefault(match[1], []).append(match[2] or "")
    for names, kind in ((GAUGES, "gauge"), (COUNTERS, "counter"), (HISTOGRAMS, "histogram")):
        for name in names:
            name = "vllm:" + name
            assert types[name] == kind
            labels = samples[name if kind != "histogram" else name + "_count"][0]
            assert 'model_name="fable"' in labels and 'engine="0"' in labels
    reasons = "".join(samples["vllm:request_success_total"])
    assert all(f'finished_reason="{reason}"' in reasons for reason in ("stop", "length", "abort", "error"))
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds",
                 "process_start_time_seconds"):
        assert name in types


def test_counts_are_true(server):
    before = server.metrics()
    _, answer = server.post("/v1/completions", {"prompt": ["a b", "c"], "max_tokens": 5, "n": 2, "ignore_eos": True})
    free = server.post("/v1/completions", {"prompt": "a", "max_tokens": 20, "seed": 1})[1]["choices"][0]["text"]
    stopped = server.post("/v1/completions", {"prompt": "a", "max_tokens": 20, "seed": 1, "stop": free[2:4]})[1]
    assert stopped["choices"][0]["finish_reason"] == "stop"
    after = server.wait_until_idle()
    grown = lambda name: after[name] - before[name]
    assert grown("vllm:request_success_total") == 6
    assert grown("vllm:e2e_request_latency_seconds_count") == 6
    assert grown("vllm:request_params_n_count") == 4
    assert grown("vllm:time_to_first_token_seconds_count") == 6
    assert grown("vllm:generation_tokens_total") >= answer["usage"]["completion_tokens"] + 20
    # Counted when the last byte is out, which the client may have read by then.
    server.wait_until("counted", lambda m: m["http_requests_total"] - before["http_requests_total"] >= 3)


def test_labels_are_no_place_for_clients(server):
    for i in range(20):
        server.request(f"MADEUP{i}", f"/made/up/{i}")
    _, body = server.get("/metrics")
    assert b"MADEUP" not in body and b"made/up" not in body
