"""Named states: whatever a conversation was kept as, its answers are those of the whole conversation, to the last bit."""

import json
import os
import threading
import time
from pathlib import Path

import grpc
import pytest
from causeway.v1 import causeway_pb2 as pb
from causeway.v1 import causeway_pb2_grpc as stubs

from harness import PATIENCE, end, events_of

STORY = "Once upon a time there lived a king who had three sons, and the youngest of them was called Simple. " * 8
MORE = "When they were grown the king said: go out into the world. " * 12
QUESTION = "The youngest answered"
SAMPLED = {"max_tokens": 40, "seed": 7, "temperature": 0.9, "logprobs": 2, "ignore_eos": True}


def complete(server, headers=None, **fields):
    status, answer = server.post("/v1/completions", {**SAMPLED, **fields}, headers)
    assert status == 200, answer
    return answer["choices"], answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def call(server, path, body=None, headers=None, method="POST"):
    status, _, answer = server.request(method, "/v1/states" + path, body if body is not None else {}, headers)
    return status, json.loads(answer)


def make(server, path, body, headers=None):
    status, answer = call(server, path, body, headers)
    assert status == 200, answer
    return answer


def ids(server, text, special=True):
    return server.post("/tokenize", {"prompt": text, "add_special_tokens": special})[1]["tokens"]


@pytest.fixture(scope="module")
def wanted(binary):
    """The answer of a server that keeps nothing, to the tokens that the others see."""
    from harness import Server
    with Server(binary, "--no-enable-prefix-caching") as cold:
        story, more, question = ids(cold, STORY), ids(cold, MORE, False), ids(cold, QUESTION, False)
        yield {"short": complete(cold, prompt=story + question)[0],
               "long": complete(cold, prompt=story + more + question)[0]}


def test_every_way_to_a_state_gives_the_same_bits(start, wanted, tmp_path):
    folder = ("--state-dir", str(tmp_path))
    server = start(*folder)
    tokens = len(ids(server, STORY))
    state = make(server, "", {"name": "a", "prompt": STORY})
    assert state["object"] == "state" and state["tokens"] == tokens and state["pinned"] and state["expires_at"] is None
    assert state["pages"] == tokens // 64 and state["bytes"] > 0 and state["uses"] == 0
    choices, cached = complete(server, state="a", prompt=QUESTION)
    assert choices == wanted["short"] and cached == state["pages"] * 64
    make(server, "/a/fork", {"name": "b"})
    make(server, "/b/extend", {"prompt": MORE})
    assert complete(server, state="a", prompt=QUESTION)[0] == wanted["short"]
    choices, cached = complete(server, state="b", prompt=QUESTION)
    assert choices == wanted["long"] and cached >= 256
    for name in ("a", "b"):
        make(server, f"/{name}/save", {"file": name + ".state"})
    assert end(server) == 0
    again = start(*folder)
    for name, answer in (("a", "short"), ("b", "long")):
        loaded = make(again, "/load", {"file": name + ".state", "name": name})
        choices, cached = complete(again, state=name, prompt=QUESTION)
        assert choices == wanted[answer] and cached == loaded["pages"] * 64 > 0
    make(again, "/load", {"file": "a.state", "name": "b", "overwrite": True})  # pages that are here already
    assert complete(again, state="b", prompt=QUESTION)[0] == wanted["short"]


def test_a_pool_under_pressure_keeps_states(start, wanted):
    server = start("--kv-cache-memory", "6MiB", "--max-num-seqs", "2", "--max-model-len", "640")
    make(server, "", {"name": "a", "prompt": STORY})
    for i in range(6):
        complete(server, prompt=f"{i} {MORE * 3}")
        choices, cached = complete(server, state="a", prompt=QUESTION)
        assert choices == wanted["short"] and cached >= 128
    status, answer = call(server, "", {"name": "big", "prompt": "x" + STORY * 2})
    assert status in (200, 429), answer  # pinned pages have a limit; the answers stay right
    for i in range(8):
        status, answer = call(server, "", {"name": f"n{i}", "prompt": f"{i} {STORY}"})
        if status != 200:
            break
    assert status == 429 and "pages" in answer["error"]["message"], answer
    assert complete(server, state="a", prompt=QUESTION)[0] == wanted["short"]


def test_a_conversation_is_kept_turn_by_turn(start):
    server, cold = start(), start("--no-enable-prefix-caching")
    fields = {"temperature": 0.8, "seed": 3, "max_tokens": 24, "logprobs": True, "top_logprobs": 2}

    def chat(on, **more):
        status, answer = on.post("/v1/chat/completions", {**fields, **more})
        assert status == 200, answer
        return answer

    messages = []
    for turn, text in enumerate(["Tell me of a king. " * 12, "And of his sons?", "What became of them?"]):
        messages.append({"role": "user", "content": text})
        state = {"state": "talk"} if turn > 0 else {}
        kept = chat(server, messages=messages[-1:], save_state="talk", **state)
        whole = chat(cold, messages=messages)
        assert kept["choices"] == whole["choices"]
        assert kept["usage"]["prompt_tokens"] == whole["usage"]["prompt_tokens"]
        assert kept["saved_state"]["name"] == "talk"
        if turn > 0:
            assert kept["usage"]["prompt_tokens_details"]["cached_tokens"] >= 64
        messages.append({"role": "assistant", "content": kept["choices"][0]["message"]["content"]})
    status, _, body = server.request("POST", "/v1/chat/completions", {
        **fields, "messages": messages[:1], "stream": True, "save_state": {"name": "streamed", "ttl": 60}})
    events = [json.loads(event) for event in events_of(body.decode())[:-1]]
    assert events[-1]["saved_state"]["name"] == "streamed" and events[-1]["saved_state"]["expires_at"] > time.time()


def test_an_answer_that_a_stop_string_ends_is_kept(start):
    server, cold = start(), start("--no-enable-prefix-caching")
    status, answer = server.post("/v1/completions", {**SAMPLED, "prompt": STORY, "return_token_ids": True})
    text = answer["choices"][0]["text"]
    fields = {**SAMPLED, "prompt": STORY, "stop": text[8:12], "return_token_ids": True}
    answer = server.post("/v1/completions", {**fields, "save_state": "stopped"})[1]
    said = answer["choices"][0]["token_ids"]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["saved_state"]["tokens"] == answer["usage"]["prompt_tokens"] + len(said)
    after = complete(server, state="stopped")[0]
    assert after == complete(cold, prompt=ids(cold, STORY) + said)[0]


def test_mistakes_get_one_clear_error(start, tmp_path):
    server = start("--state-dir", str(tmp_path), "--max-states", "2")
    make(server, "", {"name": "a", "prompt": STORY, "cache_salt": "s"})
    for path, body, status, param in (
            ("", {"name": "a", "prompt": "x"}, 409, "name"),
            ("", {"name": "no/slash", "prompt": "x"}, 400, "name"),
            ("", {"name": ".hidden", "prompt": "x"}, 400, "name"),
            ("", {"name": "x" * 65, "prompt": "x"}, 400, "name"),
            ("", {"prompt": "x"}, 400, "name"),
            ("", {"name": "b"}, 400, "prompt"),
            ("", {"name": "b", "prompt": "x", "messages": []}, 400, "prompt"),
            ("", {"name": "b", "prompt": ["x", "y"]}, 400, "prompt"),
            ("", {"name": "b", "prompt": "x", "ttl": 0}, 400, "ttl"),
            ("", {"name": "b", "prompt": "x", "ttl": "1"}, 400, "ttl"),
            ("/gone/extend", {"prompt": "x"}, 404, "state"),
            ("/gone/fork", {"name": "b"}, 404, "state"),
            ("/gone/save", {"file": "f"}, 404, "state"),
            ("/gone/pin", {"ttl": 1}, 404, "state"),
            ("/a/fork", {"name": "a"}, 409, "name"),
            ("/a/extend", {"prompt": "x", "cache_salt": "other"}, 400, "cache_salt"),
            ("/a/save", {"file": "../f"}, 400, "file"),
            ("/a/save", {"file": ""}, 400, "file"),
            ("/load", {"file": "none", "name": "b"}, 404, "file"),
            ("/load", {"file": "/etc/passwd", "name": "b"}, 400, "file")):
        got, answer = call(server, path, body)
        assert (got, answer["error"]["param"]) == (status, param), (path, body, answer)
    assert call(server, "/a/jump", {})[0] == 404 and call(server, "/none", method="GET")[0] == 404
    status, answer = server.post("/v1/completions", {"prompt": "x", "state": "none"})
    assert status == 404 and answer["error"]["param"] == "state"
    for fields in ({"echo": True}, {"n": 2, "save_state": "b"}, {"save_state": "b", "prompt": ["x", "y"]},
                   {"save_state": 1}, {"save_state": {"name": "b", "ttl": -1}}, {"cache_salt": "other"}):
        status, answer = server.post("/v1/completions", {"prompt": "x", "state": "a", "max_tokens": 1, **fields})
        assert status == 400, (fields, answer)
    make(server, "/a/fork", {"name": "b"})
    status, answer = call(server, "", {"name": "c", "prompt": "x"})
    assert status == 429 and "limit" in answer["error"]["message"]
    assert call(server, "/b", method="DELETE")[0] == 200 and call(server, "/b", method="DELETE")[0] == 404
    listed = call(server, "", method="GET")[1]
    assert [state["name"] for state in listed["data"]] == ["a"]
    assert end(server) == 0
    bare = start()
    make(bare, "", {"name": "a", "prompt": "x"})
    status, answer = call(bare, "/a/save", {"file": "f"})
    assert status == 409 and "--state-dir" in answer["error"]["message"]


def test_files_are_checked_from_end_to_end(start, tmp_path):
    folder = tmp_path / "states"
    folder.mkdir()
    server = start("--state-dir", str(folder))
    make(server, "", {"name": "a", "prompt": STORY, "cache_salt": "secret-salt"})
    make(server, "/a/save", {"file": "good"})
    assert call(server, "/a/save", {"file": "good"})[0] == 409
    make(server, "/a/save", {"file": "good", "overwrite": True})
    mine = folder / "default"
    good = (mine / "good").read_bytes()
    assert sorted(os.listdir(mine)) == ["good"] and b"secret-salt" not in good
    head = int.from_bytes(good[8:16], "little")

    def refused(data, what):
        (mine / "bad").write_bytes(data)
        status, answer = call(server, "/load", {"file": "bad", "name": "b", "cache_salt": "secret-salt"})
        assert status == 409 and what in answer["error"]["message"], (what, answer)

    for size in (0, 10, 24, head, len(good) // 2, len(good) - 1):
        refused(good[:size], "no whole state")
    refused(good + b"x", "no whole state")
    for place in (0, 9, 17, head - 2, head + 1, len(good) // 2, len(good) - 100, len(good) - 1):
        refused(good[:place] + bytes([good[place] ^ 1]) + good[place + 1:], "no whole state")
    for salt in ("", "other"):
        status, answer = call(server, "/load", {"file": "good", "name": "b", "cache_salt": salt})
        assert status == 409 and answer["error"]["param"] == "cache_salt"
    (tmp_path / "outside").write_bytes(good)
    (mine / "link").symlink_to(tmp_path / "outside")
    os.mkfifo(mine / "fifo")
    (mine / "folder").mkdir()
    for name in ("link", "fifo", "folder"):
        status, answer = call(server, "/load", {"file": name, "name": "b", "cache_salt": "secret-salt"})
        assert status == 409, answer
    make(server, "/load", {"file": "good", "name": "b", "cache_salt": "secret-salt"})
    assert end(server) == 0
    other = start("--state-dir", str(folder), "--kv-cache-dtype", "f32")
    status, answer = call(other, "/load", {"file": "good", "name": "b", "cache_salt": "secret-salt"})
    assert status == 409 and "another layout" in answer["error"]["message"], answer
    full = start("--state-dir", str(folder), "--max-state-dir-size", "4KiB")
    make(full, "", {"name": "a", "prompt": STORY})
    status, answer = call(full, "/a/save", {"file": "more"})
    assert status == 429 and "limit" in answer["error"]["message"]


def test_states_end_when_their_time_is_over(start):
    server = start()
    make(server, "", {"name": "short", "prompt": STORY, "ttl": 0.5})
    make(server, "", {"name": "long", "prompt": STORY + MORE, "ttl": 1000})
    make(server, "/short/fork", {"name": "copy"})
    server.wait_until("over", lambda m: m["causeway:states"] == 2)
    assert call(server, "/short", method="GET")[0] == 404
    assert server.post("/v1/completions", {"prompt": "x", "state": "short"})[0] == 404
    status, answer = call(server, "/long", {"ttl": 0.2}, method="PATCH")
    assert status == 200 and answer["expires_at"] is not None
    server.wait_until("over", lambda m: m["causeway:states"] == 1)
    assert call(server, "/copy", method="DELETE")[0] == 200
    memory = json.loads(server.get("/v1/memory")[1])
    server.wait_until("let go", lambda m: json.loads(server.get("/v1/memory")[1])["pages"]["pinned"] == 0)
    assert memory["states"]["count"] == 0


def test_states_may_go_while_they_are_used(start, wanted):
    server = start("--max-num-seqs", "4")
    stop, failures = threading.Event(), []

    def use():
        while not stop.is_set():
            status, answer = server.post("/v1/completions", {**SAMPLED, "state": "a", "prompt": QUESTION})
            if status == 200 and answer["choices"] != wanted["short"]:
                failures.append(answer)
            elif status not in (200, 404):
                failures.append((status, answer))

    users = [threading.Thread(target=use) for _ in range(3)]
    for user in users:
        user.start()
    for _ in range(8):
        make(server, "", {"name": "a", "prompt": STORY, "overwrite": True})
        time.sleep(0.05)
        assert call(server, "/a", method="DELETE")[0] == 200
    stop.set()
    for user in users:
        user.join()
    assert not failures, failures[:2]
    server.wait_until_idle()


def test_a_state_on_either_side_of_a_length_switch(start, tmp_path):
    """Of the longrope model, whose keys change once a request may have more than 64 tokens: a state of the other side is
    computed anew, and nobody can tell by the answer."""
    model = ("--model", str(Path(__file__).resolve().parents[1] / "golden" / "models" / "phi3-longrope"),
             "--max-model-len", "400")
    server, cold = start(*model, "--state-dir", str(tmp_path)), start(*model, "--no-enable-prefix-caching")
    tokens = [7 + i * 13 % 300 for i in range(150)]
    make(server, "", {"name": "short", "prompt": tokens[:32]})
    make(server, "", {"name": "long", "prompt": tokens[:140]})
    make(server, "/long/save", {"file": "f"})
    make(server, "/load", {"file": "f", "name": "loaded"})
    hits = {}
    for name, begin in (("short", 32), ("long", 140), ("loaded", 140)):
        for most in (8, 100):
            fields = {"max_tokens": most, "seed": 7, "temperature": 0.9, "logprobs": 2, "ignore_eos": True}
            status, answer = server.post("/v1/completions", {**fields, "state": name, "prompt": tokens[begin:begin + 8]})
            assert status == 200, answer
            wanted = cold.post("/v1/completions", {**fields, "prompt": tokens[:begin + 8]})[1]
            assert [one["logprobs"]["tokens"] for one in answer["choices"]] == [
                one["logprobs"]["tokens"] for one in wanted["choices"]]
            assert answer["choices"] == wanted["choices"]
            hits[name, most] = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert hits["long", 8] > 0 and hits["loaded", 8] > 0


def test_states_over_grpc(start, wanted, tmp_path):
    server = start("--state-dir", str(tmp_path))
    with grpc.insecure_channel(server.grpc_target) as channel:
        states, serving = stubs.StatesStub(channel), stubs.CausewayStub(channel)
        made = states.CreateState(pb.CreateStateRequest(name="a", text=STORY), timeout=PATIENCE)
        assert made.pages == made.tokens // 64 and not made.HasField("expires_at")
        states.ForkState(pb.ForkStateRequest(name="a", new_name="b", ttl_seconds=100))
        longer = states.ExtendState(pb.ExtendStateRequest(name="b", text=MORE), timeout=PATIENCE)
        assert longer.HasField("expires_at") and longer.tokens > made.tokens
        states.SaveState(pb.SaveStateRequest(name="b", file="f"), timeout=PATIENCE)
        states.LoadState(pb.LoadStateRequest(file="f", name="c"), timeout=PATIENCE)
        assert [state.name for state in states.ListStates(pb.ListStatesRequest()).states] == ["a", "b", "c"]
        assert states.GetState(pb.GetStateRequest(name="c")).tokens == longer.tokens
        request = pb.GenerateRequest(text=QUESTION, state="c", save_state=pb.SaveTarget(name="d"), sampling=pb.SamplingParams(
            max_tokens=40, seed=7, temperature=0.9, ignore_eos=True))
        events = list(serving.Generate(request, timeout=PATIENCE))
        assert "".join(event.delta.text for event in events) == wanted["long"][0]["text"]
        assert events[-1].done.saved_state.name == "d" and events[-1].done.usage.cached_tokens >= 256
        states.PinState(pb.PinStateRequest(name="d", ttl_seconds=0.1))
        for name in "abc":
            states.DeleteState(pb.DeleteStateRequest(name=name))
        server.wait_until("over", lambda m: m["causeway:states"] == 0)
        for code, wrong in ((grpc.StatusCode.NOT_FOUND, lambda: states.GetState(pb.GetStateRequest(name="a"))),
                            (grpc.StatusCode.INVALID_ARGUMENT,
                             lambda: states.CreateState(pb.CreateStateRequest(name="a", text="x", ttl_seconds=-1))),
                            (grpc.StatusCode.INVALID_ARGUMENT,
                             lambda: states.CreateState(pb.CreateStateRequest(name="a")))):
            with pytest.raises(grpc.RpcError) as error:
                wrong()
            assert error.value.code() == code
