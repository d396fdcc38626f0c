"""The memory's figures add up, and the calls that change it for everybody lose nobody's request."""

import json
import subprocess
import threading

STORY = "Once upon a time there lived a king who had three sons, and the youngest of them was called Simple. " * 8
SAMPLED = {"max_tokens": 60, "seed": 7, "temperature": 0.9, "logprobs": 2, "ignore_eos": True}
ADMIN = "--enable-admin-endpoints"


def memory(server):
    status, body = server.get("/v1/memory")
    assert status == 200
    return json.loads(body)


def labelled(server, name, label):
    """{label's value: value} of a metric."""
    values = {}
    for line in server.get("/metrics")[1].decode().splitlines():
        if line.startswith(name + "{"):
            values[line.split(label + '="')[1].split('"')[0]] = float(line.rsplit(" ", 1)[1])
    return values


def change(server, path, body=b""):
    status, _, answer = server.request("POST", path, body)
    return status, json.loads(answer)


def test_figures_add_up_and_equal_the_metrics(start):
    server = start("--kv-cache-memory", "16MiB", "--kv-idle-trim", "0")
    server.post("/v1/states", {"name": "a", "prompt": STORY})
    server.post("/v1/completions", {"prompt": "x" + STORY, **SAMPLED})
    server.wait_until_idle()
    shown = memory(server)
    pages = shown["pages"]
    assert sum(pages.values()) == shown["budget"]["pages"] and pages["pinned"] == 3 and pages["live"] == 0
    assert pages["cached"] >= 3 and shown["budget"]["bytes"] == shown["budget"]["pages"] * shown["page_bytes"]
    assert shown["physical"]["bytes"] == shown["physical"]["pages"] * shown["page_bytes"] > 0
    assert shown["tenants"] == [{"name": "default", "floor_pages": 0, "quota_pages": None, "pages": {
        kind: pages[kind] for kind in ("live", "pinned", "moving", "cached")}}]
    assert shown["states"]["count"] == 1 and shown["tiers"] is None and not shown["asleep"]
    assert labelled(server, "causeway:kv_pages", "class") == pages
    assert labelled(server, "causeway:kv_map_calls_total", "thread") == shown["map_calls"]
    assert labelled(server, "causeway:kv_dropped_pages_total", "reason") == shown["dropped_pages"]
    assert labelled(server, "causeway:prefix_lost_tokens_total", "reason") == shown["prefix"]["lost_tokens"]
    metrics = server.metrics()
    for name, value in (("kv_physical_bytes", shown["physical"]["bytes"]), ("kv_mappings", shown["mappings"]),
                        ("kv_unmap_calls_total", shown["unmap_calls"]), ("kv_spilled_pages_total", 0),
                        ("kv_restored_pages_total", 0), ("kv_lost_pages_total", 0), ("states", 1), ("asleep", 0)):
        assert metrics["causeway:" + name] == value, name
    lost = shown["prefix"]
    assert lost["query_tokens"] == lost["hit_tokens"] + sum(lost["lost_tokens"].values())


def test_a_tier_is_in_the_figures(start):
    server = start("--kv-cache-memory", "5MiB", "--max-num-seqs", "2", "--kv-host-memory", "64MiB")
    prompts = [f"{i} {STORY}" for i in range(16)]
    ask = lambda prompt: server.post("/v1/completions", {"prompt": prompt, **SAMPLED})[1]["choices"]
    wanted = [ask(prompt) for prompt in prompts]
    assert [ask(prompt) for prompt in prompts] == wanted
    server.wait_until_idle()
    shown, metrics = memory(server), server.metrics()
    host = shown["tiers"]["host"]
    assert 0 < host["bytes"] <= host["capacity_bytes"] and "disk" not in shown["tiers"]
    assert shown["spilled_pages"] > 0 and sum(shown["pages"].values()) == shown["budget"]["pages"]
    assert metrics["causeway:kv_tier_bytes"] == host["bytes"]
    assert metrics["causeway:kv_tier_read_pages_total"] == host["read_pages"]
    assert metrics["causeway:kv_spilled_pages_total"] == shown["spilled_pages"]
    assert metrics["causeway:kv_restored_pages_total"] == shown["restored_pages"]


def test_inspect_prints_a_running_servers_memory(start):
    server = start()
    run = lambda *more: subprocess.run([server.binary, "inspect", "--memory", *more], capture_output=True, text=True)
    done = run(server.url)
    assert done.returncode == 0 and "budget" in done.stdout and "pinned" in done.stdout, done
    assert json.loads(run(server.url, "--json").stdout)["object"] == "memory"
    assert run("http://127.0.0.1:1").returncode == 1
    locked = start("--api-key", "key")
    assert run(locked.url).returncode == 1 and run(locked.url, "--api-key", "key").returncode == 0


def test_what_changes_memory_is_not_there_unless_asked_for(start, server):
    for path in ("/sleep", "/wake_up", "/reset_prefix_cache", "/v1/memory/trim", "/v1/memory/resize"):
        assert change(server, path)[0] == 404
    locked = start(ADMIN, "--api-key", "key")
    assert change(locked, "/sleep")[0] == 401 and locked.get("/v1/memory")[0] == 401


def test_trim_reset_and_resize(start):
    server = start(ADMIN, "--kv-cache-memory", "16MiB", "--kv-idle-trim", "0")
    complete = lambda: server.post("/v1/completions", {"prompt": STORY, **SAMPLED})[1]
    wanted = complete()["choices"]
    assert complete()["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    server.wait_until_idle()
    status, shown = change(server, "/v1/memory/trim")
    assert status == 200 and shown["pages"]["cached"] > 0 and shown["pages"]["parked"] == 0
    assert shown["physical"]["bytes"] == shown["pages"]["cached"] * shown["page_bytes"]
    status, shown = change(server, "/reset_prefix_cache")
    assert status == 200 and shown["pages"]["cached"] == 0
    again = complete()
    assert again["choices"] == wanted and again["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    server.wait_until_idle()
    page = shown["page_bytes"]
    status, shown = change(server, "/v1/memory/resize", {"kv_bytes": 10 * page + 5})
    assert status == 200 and shown["budget"]["pages"] == 10 == sum(shown["pages"].values())
    assert complete()["choices"] == wanted
    status, answer = server.post("/v1/completions", {"prompt": STORY * 5, **SAMPLED})
    assert status == 400 and "KV cache" in answer["error"]["message"]
    for wrong in (b"", {}, {"kv_bytes": 1}, {"kv_bytes": "x"}, {"kv_bytes": 1 << 50}):
        assert change(server, "/v1/memory/resize", wrong)[0] == 400, wrong
    assert change(server, "/v1/memory/resize", {"kv_bytes": shown["budget"]["max_pages"] * page})[0] == 200


def test_nobody_is_lost_over_a_sleep(start):
    server = start(ADMIN, "--max-num-seqs", "2")
    prompts = [f"{i} {STORY}" for i in range(6)]
    ask = lambda prompt: server.post("/v1/completions", {"prompt": prompt, **SAMPLED})
    wanted = [ask(prompt)[1]["choices"] for prompt in prompts]
    for level in ("1", "2"):
        answers = [None] * len(prompts)

        def run(i):
            answers[i] = ask(prompts[i])

        threads = [threading.Thread(target=run, args=(i,)) for i in range(len(prompts))]
        for thread in threads:
            thread.start()
        server.wait_until("running", lambda m: m["vllm:num_requests_running"] > 0)
        status, shown = change(server, f"/sleep?level={level}")
        assert status == 200 and shown["asleep"] and shown["physical"]["bytes"] == 0, shown
        assert json.loads(server.get("/is_sleeping")[1]) == {"is_sleeping": True}
        assert server.get("/health")[0] == 200 and server.metrics()["causeway:asleep"] == 1
        assert change(server, "/sleep")[0] == 409
        assert change(server, "/wake_up")[0] == 200 and change(server, "/wake_up")[0] == 200
        for thread in threads:
            thread.join()
        assert [answer["choices"] for _, answer in answers] == wanted
    server.post("/v1/states", {"name": "a", "prompt": STORY})
    status, answer = change(server, "/sleep")
    assert status == 409 and "states" in answer["error"]["message"]
    assert server.request("DELETE", "/v1/states/a")[0] == 200
    assert change(server, "/sleep")[0] == 200  # what it kept has gone at once
    for path in ("/v1/memory/trim", "/reset_prefix_cache", "/v1/memory/resize"):
        status, answer = change(server, path, {"kv_bytes": shown["budget"]["bytes"]})
        assert status in (200, 409, 503), answer
    assert change(server, "/wake_up")[0] == 200
    assert ask(prompts[0])[1]["choices"] == wanted[0]
    for wrong in ("/sleep?level=3", "/sleep?level=", "/wake_up?tags=weights"):
        assert change(server, wrong)[0] == 400
