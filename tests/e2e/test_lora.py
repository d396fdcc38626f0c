"""LoRA adapters: chosen by name, loaded and unloaded while others are answered, and never mixed up."""

import json
import random
import struct
import subprocess
import threading

import grpc
import pytest
from causeway.v1 import causeway_pb2 as pb
from causeway.v1 import causeway_pb2_grpc as stubs

STORY = "Once upon a time there lived a king who had three sons, and the youngest of them was called Simple. " * 4
SAMPLED = {"max_tokens": 40, "seed": 7, "temperature": 0.9, "logprobs": 2, "ignore_eos": True}
ADMIN = "--enable-admin-endpoints"
# Of fable, the model that is built in: modules of a layer with their inputs and outputs.
LAYERS = 6
MODULES = {"self_attn.q_proj": (256, 256), "self_attn.k_proj": (256, 128), "self_attn.v_proj": (256, 128),
           "self_attn.o_proj": (256, 256), "mlp.gate_proj": (256, 768), "mlp.up_proj": (256, 768),
           "mlp.down_proj": (768, 256)}


def write_adapter(folder, seed, targets=("q_proj", "v_proj", "down_proj"), rank=4, **config):
    """As PEFT would, with random values; returns the folder's path."""
    source = random.Random(seed)
    header, data = {}, b""
    for layer in range(LAYERS):
        for module, (inputs, outputs) in MODULES.items():
            if module.split(".")[-1] not in targets:
                continue
            for matrix, shape in (("A", (rank, inputs)), ("B", (outputs, rank))):
                count = shape[0] * shape[1]
                values = struct.pack(f"<{count}f", *(source.uniform(-0.1, 0.1) for _ in range(count)))
                header[f"base_model.model.model.layers.{layer}.{module}.lora_{matrix}.weight"] = {
                    "dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
                data += values
    folder.mkdir(parents=True)
    text = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (folder / "adapter_config.json").write_text(json.dumps(
        {"peft_type": "LORA", "r": rank, "lora_alpha": 16, "target_modules": list(targets), "bias": "none", **config}))
    return str(folder)


def complete(server, model=None, prompt=STORY, **more):
    """(choices, cached tokens)."""
    status, answer = server.post("/v1/completions", {"prompt": prompt, **SAMPLED, "model": model, **more})
    assert status == 200, answer
    assert answer["model"] == (model or "fable")
    return answer["choices"], answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def load(server, name, path, **more):
    status, _, body = server.request("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": path, **more})
    return status, body.decode()


def unload(server, name):
    status, _, body = server.request("POST", "/v1/unload_lora_adapter", {"lora_name": name})
    return status, body.decode()


def models(server):
    return {model["id"]: model for model in json.loads(server.get("/v1/models")[1])["data"]}


def memory(server):
    return json.loads(server.get("/v1/memory")[1])["adapters"]


def test_adapters_and_the_base_in_one_batch_answer_as_alone(start, tmp_path):
    paths = {name: write_adapter(tmp_path / name, name) for name in ("a", "b")}
    flags = ["--lora-modules", f"a={paths['a']}", "--lora-modules", json.dumps({"name": "b", "path": paths["b"]})]
    cold = start("--no-enable-prefix-caching", *flags)
    jobs = [(model, STORY + end) for end in ("", " Then", " He") for model in (None, "a", "b")]
    wanted = {job: complete(cold, *job)[0] for job in jobs}
    assert len({json.dumps(wanted[model, STORY]) for model in (None, "a", "b")}) == 3  # they do differ
    server = start("--max-num-batched-tokens", "64", *flags)
    for _ in range(2):  # the second time behind known prefixes
        got = {}
        threads = [threading.Thread(target=lambda job=job: got.update({job: complete(server, *job)[0]})) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert got == wanted


def test_a_prefix_of_one_adapter_serves_no_other(start, tmp_path):
    paths = {name: write_adapter(tmp_path / name, name) for name in ("a", "b")}
    server = start(ADMIN, *(flag for name, path in paths.items() for flag in ("--lora-modules", f"{name}={path}")))
    for model in (None, "a", "b"):
        assert complete(server, model)[1] == 0, model
    answers = {model: complete(server, model) for model in (None, "a", "b")}
    assert all(cached >= 64 for _, cached in answers.values())
    # The same content is the same model: what it computed is found under another name, and after a reload.
    assert load(server, "c", paths["a"])[0] == 200
    assert complete(server, "c") == answers["a"]
    assert unload(server, "a")[0] == 200 and load(server, "a", paths["a"])[0] == 200
    assert complete(server, "a") == answers["a"]
    assert load(server, "a", paths["b"], load_inplace=True)[0] == 200
    assert complete(server, "a") == answers["b"]


def test_load_list_and_unload_while_others_are_answered(start, tmp_path):
    path = write_adapter(tmp_path / "a", 1, rank=8)
    server = start(ADMIN, "--max-loras", "2")
    base = complete(server)[0]
    answers = []
    thread = threading.Thread(target=lambda: answers.extend(
        server.post("/v1/completions", {"prompt": STORY, **SAMPLED, "max_tokens": 300})[1]["choices"]))
    thread.start()
    server.wait_until("running", lambda m: m["vllm:num_requests_running"] == 1)
    assert load(server, "a", path) == (200, "Success: adapter 'a' is loaded")
    with_adapter = complete(server, "a")[0]
    assert with_adapter != base and complete(server)[0] == base
    shown = models(server)
    assert shown["a"]["parent"] == "fable" and shown["a"]["root"] == path and shown["fable"]["parent"] is None
    assert json.loads(server.get("/v1/models/a")[1]) == shown["a"]
    assert memory(server)["count"] == 1 and memory(server)["bytes"] > 0
    assert server.post("/tokenize", {"prompt": "x", "model": "a"})[0] == 200
    assert unload(server, "a")[0] == 200
    assert set(models(server)) == {"fable"}
    status, answer = server.post("/v1/completions", {"prompt": "x", "model": "a"})
    assert status == 404 and answer["error"]["param"] == "model" and answer["error"]["code"] == "model_not_found"
    thread.join()
    assert answers[0]["logprobs"]["tokens"][:40] == base[0]["logprobs"]["tokens"]


def test_unloading_does_not_touch_what_runs(start, tmp_path):
    path = write_adapter(tmp_path / "a", 1)
    server = start(ADMIN, "--max-loras", "1", "--lora-modules", f"a={path}")
    long = {"max_tokens": 600, "n": 2}
    wanted = complete(server, "a", **long)[0]
    answers = []
    thread = threading.Thread(target=lambda: answers.extend(complete(server, "a", cache_salt="x", **long)[0]))
    thread.start()
    server.wait_until("running", lambda m: m["vllm:num_requests_running"] == 2)
    assert unload(server, "a")[0] == 200
    assert server.post("/v1/completions", {"prompt": "x", "model": "a"})[0] == 404
    shown = memory(server)
    assert shown["count"] == 0 and shown["unloading"] == 1 and shown["bytes"] > 0
    assert load(server, "b", path)[0] == 429  # its memory is still in use
    info = [line for line in server.get("/metrics")[1].decode().splitlines() if "lora_requests_info{" in line]
    assert len(info) == 1 and 'running_lora_adapters="a"' in info[0] and 'max_lora="1"' in info[0]
    thread.join()
    assert answers == wanted
    server.wait_until("let go", lambda m: m["causeway:lora_bytes"] == 0)
    assert load(server, "b", path)[0] == 200 and complete(server, "b", **long)[0] == wanted


def test_states_hold_for_their_adapter(start, tmp_path):
    paths = {name: write_adapter(tmp_path / name, name) for name in ("a", "b")}
    flags = [flag for name, path in paths.items() for flag in ("--lora-modules", f"{name}={path}")]
    server = start(ADMIN, "--state-dir", str(tmp_path / "states"), *flags)
    (tmp_path / "states").mkdir(exist_ok=True)
    status, state = server.post("/v1/states", {"name": "s", "prompt": STORY, "model": "a"})
    assert status == 200 and state["adapter"] == "a", state
    behind = {"state": "s", "prompt": " And so"}
    wanted, cached = complete(server, "a", **behind)
    assert cached >= 64
    for model in (None, "b"):
        status, answer = server.post("/v1/completions", {**SAMPLED, **behind, "model": model})
        assert status == 400 and answer["error"]["param"] == "model", answer
    assert server.post("/v1/states/s/save", {"file": "f"})[0] == 200
    assert server.request("DELETE", "/v1/states/s")[0] in (200, 204)
    server.request("POST", "/reset_prefix_cache", b"")
    status, state = server.post("/v1/states/load", {"file": "f", "name": "s"})
    assert status == 200 and state["adapter"] == "a", state
    assert complete(server, "a", **behind) == (wanted, cached)
    assert server.post("/v1/completions", {**SAMPLED, **behind})[0] == 400


def test_mistakes_get_one_clear_error(start, tmp_path, binary):
    inside = tmp_path / "inside"
    inside.mkdir()
    good = write_adapter(inside / "good", 1)
    outside = write_adapter(tmp_path / "outside", 1)
    write_adapter(inside / "other-model", 1, target_modules=["c_attn"])
    write_adapter(inside / "big", 1, rank=16)
    write_adapter(inside / "dora", 1, use_dora=True)
    (inside / "empty").mkdir()
    server = start(ADMIN, "--lora-dir", str(inside), "--max-lora-rank", "8", "--max-loras", "1")
    for name, path, status, param in (
            ("x", "none", 404, "lora_path"), ("x", "empty", 404, "lora_path"), ("x", "dora", 400, "lora_path"),
            ("x", "other-model", 400, "lora_path"), ("x", "big", 413, "lora_path"), ("x", outside, 400, "lora_path"),
            ("x", "../outside", 400, "lora_path"), ("fable", "good", 400, "lora_name"), ("a b", "good", 400, "lora_name"),
            ("x" * 300, "good", 400, "lora_name"), ("", "good", 400, "lora_name"), ("x", 7, 400, "lora_path"),
            ("x", None, 400, "lora_path")):
        got, body = load(server, name, path)
        assert (got, json.loads(body)["error"]["param"]) == (status, param), (name, path, body)
    assert load(server, "a", good)[0] == 200 and load(server, "a", "good")[0] == 400
    assert load(server, "a", "good", load_inplace=True)[0] == 200
    assert load(server, "b", "good")[0] == 429
    assert unload(server, "none")[0] == 404 and server.post("/v1/unload_lora_adapter", {})[0] == 400
    assert unload(server, "a")[0] == 200 and unload(server, "a")[0] == 404
    plain = start()
    assert load(plain, "a", good)[0] == 404 and unload(plain, "a")[0] == 404  # no admin endpoints
    for flag, code in ((f"a={inside / 'dora'}", 1), ("a", 2), (f"fable={good}", 2)):
        run = subprocess.run([binary, "serve", "--port", "0", "--grpc-port", "0", "--lora-modules", flag],
                             capture_output=True, text=True, timeout=60)
        assert run.returncode == code and "--lora-modules" in run.stderr.splitlines()[-1], run.stderr


def refused(call, code, param=None):
    with pytest.raises(grpc.RpcError) as failure:
        call()
    assert failure.value.code() == code, failure.value
    assert param is None or dict(failure.value.trailing_metadata() or ()).get("causeway-param") == param


def test_grpc_loads_lists_and_unloads(start, tmp_path):
    inside = tmp_path / "adapters"
    write_adapter(inside / "a", 1, rank=8)
    write_adapter(inside / "b", 2)
    write_adapter(tmp_path / "outside", 1)
    server = start(ADMIN, "--lora-dir", str(inside), "--max-loras", "1")
    base = complete(server)[0]
    with grpc.insecure_channel(server.grpc_target) as channel:
        stub = stubs.AdaptersStub(channel)
        loaded = stub.LoadAdapter(pb.LoadAdapterRequest(lora_name="x", lora_path="a"))
        assert (loaded.lora_name, loaded.rank, loaded.running) == ("x", 8, 0) and loaded.bytes > 0 and loaded.created > 0
        assert loaded.lora_path == str(inside / "a") and loaded.modules % 3 == 0
        first = complete(server, "x")[0]
        assert first != base
        assert list(stub.ListAdapters(pb.ListAdaptersRequest()).adapters) == [loaded]

        def load(**fields):
            return lambda: stub.LoadAdapter(pb.LoadAdapterRequest(**fields))

        refused(load(lora_name="x", lora_path="b"), grpc.StatusCode.INVALID_ARGUMENT, "lora_name")
        refused(load(lora_name="y", lora_path="b"), grpc.StatusCode.RESOURCE_EXHAUSTED, "lora_name")
        refused(load(lora_name="y"), grpc.StatusCode.INVALID_ARGUMENT, "lora_path")
        refused(load(lora_path="b"), grpc.StatusCode.INVALID_ARGUMENT, "lora_name")
        refused(load(lora_name="x", lora_path="../outside", load_inplace=True),
                grpc.StatusCode.INVALID_ARGUMENT, "lora_path")
        refused(load(lora_name="x", lora_path="none", load_inplace=True), grpc.StatusCode.NOT_FOUND, "lora_path")
        assert complete(server, "x")[0] == first
        assert stub.LoadAdapter(pb.LoadAdapterRequest(lora_name="x", lora_path="b", load_inplace=True)).rank == 4
        assert complete(server, "x")[0] not in (first, base)

        stub.UnloadAdapter(pb.UnloadAdapterRequest(lora_name="x"))
        assert not stub.ListAdapters(pb.ListAdaptersRequest()).adapters
        for name, code in (("x", grpc.StatusCode.NOT_FOUND), ("", grpc.StatusCode.INVALID_ARGUMENT)):
            refused(lambda name=name: stub.UnloadAdapter(pb.UnloadAdapterRequest(lora_name=name)), code, "lora_name")


def test_grpc_leaves_adapters_to_administrators(start, tmp_path):
    path = write_adapter(tmp_path / "a", 1)
    server = start("--lora-modules", f"a={path}", "--api-key", "secret")
    with grpc.insecure_channel(server.grpc_target) as channel:
        stub = stubs.AdaptersStub(channel)
        key = (("authorization", "Bearer secret"),)
        refused(lambda: stub.ListAdapters(pb.ListAdaptersRequest()), grpc.StatusCode.UNAUTHENTICATED)
        refused(lambda: stub.UnloadAdapter(pb.UnloadAdapterRequest(lora_name="a")), grpc.StatusCode.UNAUTHENTICATED)
        refused(lambda: stub.UnloadAdapter(pb.UnloadAdapterRequest(lora_name="a"), metadata=key),
                grpc.StatusCode.UNIMPLEMENTED)
        refused(lambda: stub.LoadAdapter(pb.LoadAdapterRequest(lora_name="b", lora_path=path), metadata=key),
                grpc.StatusCode.UNIMPLEMENTED)
        assert [one.lora_name for one in stub.ListAdapters(pb.ListAdaptersRequest(), metadata=key).adapters] == ["a"]


def test_grpc_and_the_command_choose_adapters_too(start, tmp_path, binary):
    path = write_adapter(tmp_path / "a", 1)
    server = start("--lora-modules", f"a={path}")
    wanted = complete(server, "a", temperature=0)[0][0]["text"]
    with grpc.insecure_channel(server.grpc_target) as channel:
        stub = stubs.CausewayStub(channel)
        request = pb.GenerateRequest(model="a", text=STORY, sampling=pb.SamplingParams(
            max_tokens=40, temperature=0, ignore_eos=True))
        events = list(stub.Generate(request))
        assert events[0].started.model == "a"
        assert "".join(event.delta.text for event in events if event.HasField("delta")) == wanted
        listed = {model.id: model.parent for model in stub.ListModels(pb.ListModelsRequest()).models}
        assert listed == {"fable": "", "a": "fable"}
    run = subprocess.run([binary, "generate", STORY, "--lora", path, "--max-tokens", "8", "--temperature", "0"],
                         capture_output=True, text=True, timeout=60)
    assert run.returncode == 0 and run.stdout.strip() and wanted.startswith(run.stdout.rstrip("\n")), run


def test_eval_takes_an_adapter(tmp_path, binary):
    path = write_adapter(tmp_path / "a", 1)
    text = tmp_path / "text"
    text.write_text(STORY * 4)

    def evaluate(*flags):
        run = subprocess.run([binary, "eval", "perplexity", "--json", "--text", str(text), *flags], capture_output=True,
                             text=True, timeout=60)
        return run.returncode, run.stderr if run.returncode else json.loads(run.stdout)["perplexity"]

    plain, adapted = evaluate(), evaluate("--lora", path)
    assert plain[0] == adapted[0] == 0 and plain != adapted
    assert evaluate("--lora", f"a={path}") == adapted
    code, message = evaluate("--lora", str(tmp_path / "none"))
    assert code == 1 and "--lora" in message and "no adapter" in message
