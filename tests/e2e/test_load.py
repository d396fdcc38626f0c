"""Many clients at once: nothing is lost or mixed up, and those who leave leave nothing behind."""

import asyncio
import json
import statistics
import struct
import subprocess
import sys
import textwrap
import time

from harness import events_of, read_response

STREAMS = 500
KINDS = 20      # different requests among them
TOKENS = 24
PROMPTS = ["Once upon a time", "The old king", "A fox and a crow", "In the forest", "She opened the door"]

# Its own process, so that the load's interpreter does not delay it: prints the seconds of each probe.
PROBE = textwrap.dedent("""
    import socket, sys, time
    while True:
        begun = time.monotonic()
        with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 60) as probe:
            probe.sendall(b"GET /health/live HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
            answer = probe.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        print(time.monotonic() - begun, flush=True)
        time.sleep(0.02)
""")


def body(kind, stream):
    return {"prompt": PROMPTS[kind % len(PROMPTS)], "max_tokens": TOKENS, "seed": kind, "stream": stream,
            "logprobs": 0, "ignore_eos": True, **({"stream_options": {"include_usage": True}} if stream else {})}


def request_bytes(kind, name, stream=True, **more):
    text = json.dumps({**body(kind, stream), **more}).encode()
    return (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nX-Request-Id: %s\r\nContent-Length: %d\r\n\r\n"
            % (name.encode(), len(text))) + text


async def one_stream(port, kind, name):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_bytes(kind, name))
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert head.startswith("http/1.1 200") and f"x-request-id: {name}" in head, head
    text = b""
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        chunk = await reader.readexactly(size + 2)
        if size == 0:
            break
        text += chunk[:-2]
    writer.close()
    events = events_of(text.decode())
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert {chunk["id"] for chunk in chunks} == {"cmpl-" + name}, "mixed up"
    assert chunks[-1]["usage"]["completion_tokens"] == TOKENS
    choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    return ("".join(c["text"] for c in choices),
            [p for c in choices if c["logprobs"] for p in c["logprobs"]["token_logprobs"]])


def test_500_streams(start):
    server = start("--threads", "2")
    alone = []
    for kind in range(KINDS):
        choice = server.post("/v1/completions", body(kind, False))[1]["choices"][0]
        alone.append((choice["text"], choice["logprobs"]["token_logprobs"]))

    async def all_of_them():
        return await asyncio.gather(*(one_stream(server.port, i % KINDS, f"stream-{i}") for i in range(STREAMS)))

    probe = subprocess.Popen([sys.executable, "-c", PROBE, str(server.port)], stdout=subprocess.PIPE, text=True,
                             stderr=subprocess.PIPE)
    begun = time.monotonic()
    answers = asyncio.run(all_of_them())
    seconds = time.monotonic() - begun
    assert probe.poll() is None, probe.stderr.read()
    probe.terminate()
    probes = [float(line) for line in probe.communicate()[0].split()]
    print(f"\n{STREAMS} streams in {seconds:.1f} s; /health/live: {len(probes)} probes, "
          f"median {statistics.median(probes) * 1e3:.1f} ms, longest {max(probes) * 1e3:.1f} ms")
    for i, answer in enumerate(answers):
        assert answer == alone[i % KINDS], f"stream {i} differs from its solitary answer"
    assert len(probes) > 3 and max(probes) < 10, "health starved"


def test_clients_that_vanish_free_their_pages(server):
    before = server.metrics()["vllm:generation_tokens_total"]
    aborted = server.metrics()["vllm:request_success_total"]
    clients = []
    for i in range(64):
        raw = server.socket()
        # Streams and whole answers, 1900 tokens each; polite ends and resets.
        raw.sendall(request_bytes(i, f"gone-{i}", stream=i % 2 == 0, max_tokens=1900, n=1))
        clients.append(raw)
    server.wait_until("all running", lambda m: m["vllm:num_requests_running"] == 64)
    for i, raw in enumerate(clients):
        if i % 4 < 2:
            raw.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER 0: a reset
        raw.close()
    after = server.wait_until_idle()
    assert after["vllm:generation_tokens_total"] - before < 64 * 1900 / 2, "they ran on"
    assert after["vllm:request_success_total"] - aborted == 64


def test_a_slow_reader_is_cut_off_and_hurts_nobody(start):
    server = start("--max-output-buffer", "4KiB")
    wanted = server.post("/v1/completions", body(1, False))[1]["choices"][0]["text"]
    slow = server.socket()
    slow.setsockopt(1, 8, 4096)  # SO_RCVBUF
    slow.sendall(request_bytes(1, "slow", max_tokens=2000, logprobs=20, n=8))  # far more than the kernel buffers
    for _ in range(3):
        assert server.post("/v1/completions", body(1, False))[1]["choices"][0]["text"] == wanted
    # It may be cut off before anyone sees it run.
    server.wait_until("cut off", lambda m: m.get("causeway:requests_rejected_total", 0) >= 1)
    server.wait_until_idle()
    assert "the client does not read its stream" in server.log_text()
    slow.close()
    assert server.running()


def test_a_pipelined_request_behind_a_stream(server):
    wanted = server.post("/v1/completions", body(3, False))[1]["choices"]
    with server.socket() as raw:
        raw.sendall(request_bytes(2, "first") + request_bytes(3, "second", stream=False))
        seen = b""
        while b"0\r\n\r\n" not in seen:
            seen += raw.recv(1 << 16)
        _, rest = seen.split(b"\r\n0\r\n\r\n", 1)
        status, _, answer, _ = read_response(raw, rest)
        assert status == 200 and json.loads(answer)["choices"] == wanted
