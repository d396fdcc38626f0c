"""Tenants share nothing, and none takes what another was promised."""

import json
import threading

import grpc
import pytest
from causeway.v1 import causeway_pb2 as pb
from causeway.v1 import causeway_pb2_grpc as stubs

from harness import PATIENCE, end

STORY = "Once upon a time there lived a king who had three sons, and the youngest of them was called Simple. " * 8
SAMPLED = {"max_tokens": 8, "seed": 7, "temperature": 0.9, "ignore_eos": True}
A, B = {"Authorization": "Bearer key-a"}, {"Authorization": "Bearer key-b"}
PAGE = 192 << 10  # of the built-in model with a 16-bit cache


def ask(server, headers, prompt=STORY, **more):
    return server.post("/v1/completions", {"prompt": prompt, **SAMPLED, **more}, headers)


def cached(server, headers, prompt=STORY):
    status, answer = ask(server, headers, prompt)
    assert status == 200, answer
    return answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def pages_of(server, headers):
    shown = json.loads(server.request("GET", "/v1/memory", headers=headers)[2])
    return {tenant["name"]: tenant["pages"] for tenant in shown["tenants"]}


def test_tenants_share_neither_prefixes_nor_states(start, tmp_path):
    server = start("--tenant", "a=key-a", "--tenant", "a=key-a2", "--tenant", "b=key-b", "--api-key", "own",
                   "--state-dir", str(tmp_path))
    own = {"Authorization": "Bearer own"}
    for headers in (A, B, own):
        assert cached(server, headers) == 0
    for headers in (A, B, own, {"Authorization": "Bearer key-a2"}):
        assert cached(server, headers) == 192
    assert ask(server, {})[0] == 401 and ask(server, {"Authorization": "Bearer nobody"})[0] == 401
    status, answer = server.post("/v1/states", {"name": "x", "prompt": STORY}, A)
    assert status == 200
    assert server.post("/v1/states/x/save", {"file": "f"}, A)[0] == 200
    for headers in (B, own):
        assert server.request("GET", "/v1/states/x", headers=headers)[0] == 404
        assert server.post("/v1/states/x/fork", {"name": "y"}, headers)[0] == 404
        assert server.post("/v1/states/load", {"file": "f", "name": "y"}, headers)[0] == 404
        assert ask(server, headers, state="x")[0] == 404
        assert json.loads(server.request("GET", "/v1/states", headers=headers)[2])["data"] == []
    assert server.post("/v1/states", {"name": "x", "prompt": "B's own"}, B)[0] == 200
    assert ask(server, A, "and", state="x")[1]["usage"]["prompt_tokens_details"]["cached_tokens"] == 192
    with grpc.insecure_channel(server.grpc_target) as channel:
        states, serving = stubs.StatesStub(channel), stubs.CausewayStub(channel)
        get = lambda key: states.GetState(pb.GetStateRequest(name="x"), metadata=(("authorization", key),))
        assert get("Bearer key-a").tokens > get("Bearer key-b").tokens
        for key, code in (("Bearer own", grpc.StatusCode.NOT_FOUND), ("key-a", grpc.StatusCode.UNAUTHENTICATED)):
            with pytest.raises(grpc.RpcError) as error:
                get(key)
            assert error.value.code() == code
        request = pb.GenerateRequest(text=STORY, sampling=pb.SamplingParams(max_tokens=1))
        events = list(serving.Generate(request, metadata=(("authorization", "Bearer key-a2"),), timeout=PATIENCE))
        assert events[-1].done.usage.cached_tokens == 192
    log = server.log_text()
    assert "key-a" not in log and "key-b" not in log


def test_a_floor_holds_under_pressure(start):
    server = start("--kv-cache-memory", "8MiB", "--max-num-seqs", "2", "--kv-idle-trim", "0", "--max-model-len", "1024",
                   "--tenant", f"a=key-a,floor={4 * PAGE}", "--tenant", "b=key-b")
    assert cached(server, A) == 0
    server.wait_until_idle()
    assert pages_of(server, A)["a"]["cached"] >= 3
    for i in range(30):
        assert ask(server, B, f"{i} {STORY * 2}")[0] == 200
    assert pages_of(server, A)["a"]["cached"] >= 3
    assert cached(server, A) == 192


def test_a_quota_refuses_what_never_fits_and_lets_the_rest_wait(start):
    server = start("--kv-cache-memory", "32MiB", "--max-num-seqs", "8",
                   "--tenant", f"a=key-a,quota={8 * PAGE}", "--tenant", "b=key-b")
    status, answer = ask(server, A, STORY * 4)
    assert status == 400 and "tenant" in answer["error"]["message"], answer
    assert ask(server, B, STORY * 4)[0] == 200
    answers, most = [], 0
    threads = [threading.Thread(target=lambda i=i: answers.append(ask(server, A, f"{i} {STORY}", max_tokens=40)))
               for i in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        most = max(most, sum(pages_of(server, A)["a"].values()))
    for thread in threads:
        thread.join()
    assert [status for status, _ in answers] == [200] * 8 and 0 < most <= 8


def test_states_count_against_their_tenants_quota(start):
    server = start("--kv-cache-memory", "32MiB", "--max-model-len", "512",
                   "--tenant", f"a=key-a,quota={12 * PAGE}", "--tenant", "b=key-b")
    keep = lambda name, headers: server.post("/v1/states", {"name": name, "prompt": f"{name} {STORY}"}, headers)
    assert keep("x", A)[0] == 200 and keep("y", A)[0] == 200
    assert keep("y", B)[0] == 200 and keep("z", B)[0] == 200
    status, answer = ask(server, A, STORY * 2, max_tokens=100)  # 8 pages, beside 6
    assert status == 429 and "states keep 6 of the 12 KV pages" in answer["error"]["message"], answer
    assert ask(server, A, STORY)[0] == 200
    assert ask(server, B, STORY * 2, max_tokens=100)[0] == 200
    assert server.request("DELETE", "/v1/states/y", headers=A)[0] == 200
    assert ask(server, A, STORY * 2, max_tokens=100)[0] == 200


def test_wrong_settings_are_refused(binary):
    import subprocess
    for texts, word in ((["a"], "NAME=KEY"), (["a=k", "b=k"], "same key"), (["a="], "key"), ([".a=k"], "name"),
                        (["a=k,floor=x"], "floor"), (["a=k,floor=2MiB,quota=1MiB"], "above"),
                        (["a=k,floor=1MiB", "a=l,floor=1MiB"], "twice"), (["a=k,colour=red"], "same key|name|colour")):
        flags = [part for text in texts for part in ("--tenant", text)]
        done = subprocess.run([binary, "serve", "--port", "0", "--no-grpc", "--kv-cache-memory", "8MiB", *flags],
                              capture_output=True, text=True, timeout=PATIENCE) if word != "same key|name|colour" else None
        if done is not None:
            assert done.returncode == 2 and word in done.stderr, (texts, done.stderr)
    done = subprocess.run([binary, "serve", "--port", "0", "--no-grpc", "--kv-cache-memory", "8MiB",
                           "--tenant", "a=k,floor=64MiB"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode != 0 and "floors" in done.stderr
