"""How a server starts, drains and ends."""

import json
import signal
import socket
import subprocess
import threading
import time

from harness import PATIENCE, Server, events_of, read_all, read_response

LONG = {"prompt": "a", "max_tokens": 700, "ignore_eos": True, "stream": True}


def send(server, body):
    raw = server.socket()
    text = json.dumps(body).encode()
    raw.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
    return raw


def events(raw):
    """The events of a chunked stream that the server ends by closing."""
    head, rest = read_all(raw).split(b"\r\n\r\n", 1)
    assert b" 200 " in head
    text = b""
    while rest:
        size, rest = rest.split(b"\r\n", 1)
        size = int(size, 16)
        text, rest = text + rest[:size], rest[size + 2:]
        if size == 0:
            break
    return events_of(text.decode())


def begun(server, raws):
    server.wait_until("running", lambda m: m["vllm:num_requests_running"] == len(raws))


def test_sigterm_drains(start):
    server = start("--shutdown-timeout", "5m")  # slow where a sanitizer watches
    idle = server.socket()
    idle.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert read_response(idle)[0] == 200
    streams = [send(server, LONG) for _ in range(8)]
    whole = send(server, {**LONG, "stream": False})
    begun(server, streams + [whole])
    server.signal(signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while server.get("/health/ready")[0] == 200:
        assert time.monotonic() < deadline
    assert server.get("/health")[0] == 503 and server.get("/health/live")[0] == 200
    while True:  # not ready a moment before it refuses
        status, headers, body = server.request("POST", "/v1/completions", {"prompt": "a", "max_tokens": 1})
        if status == 503:
            break
        assert time.monotonic() < deadline
    assert headers["Retry-After"] and headers["Connection"] == "close"
    assert json.loads(body)["error"]["type"] == "server_error"
    for raw in streams:
        data = events(raw)
        assert data[-1] == "[DONE]" and json.loads(data[-2])["choices"][0]["finish_reason"] == "length"
    status, _, body, _ = read_response(whole)
    assert status == 200 and json.loads(body)["usage"]["completion_tokens"] == 700
    assert server.wait() == 0
    assert idle.recv(1) == b""
    assert "stopped" in server.log_text()


def test_the_deadline_ends_a_drain(start):
    server = start("--shutdown-timeout", "100ms")
    raw = send(server, {**LONG, "max_tokens": 2000})
    begun(server, [raw])
    server.signal(signal.SIGTERM)
    data = events(raw)
    assert data[-1] == "[DONE]" and json.loads(data[-2])["error"]["code"] == "unavailable"
    assert server.wait() == 0


def test_a_second_signal_ends_it_at_once(start):
    server = start()
    raw = send(server, {**LONG, "max_tokens": 2000})
    begun(server, [raw])
    server.signal(signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while "draining" not in server.log_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    while server.running() and time.monotonic() < deadline:
        server.signal(signal.SIGTERM)
        time.sleep(0.05)
    assert server.wait() == -signal.SIGTERM
    raw.close()


def test_sigint_ends_an_idle_server(start):
    server = start()
    server.signal(signal.SIGINT)
    assert server.wait() == 0


def test_start_up_says_what_an_operator_asks(start):
    text = start().log_text()
    for wanted in ("kernels:", "model: fable", "context 2048", "computed by", "KV cache:", "ready: http://",
                   "no API key"):
        assert wanted in text, text


def test_a_taken_port_is_said(start, binary):
    server = start()
    other = subprocess.run([binary, "serve", "--host", "127.0.0.1", "--port", str(server.port), "--grpc-port", "0"],
                           capture_output=True, text=True, timeout=PATIENCE)
    assert other.returncode not in (0, -6, -11) and f"port {server.port}" in other.stderr


def test_requests_are_logged_at_debug_level(start):
    server = start("--log-level", "debug")
    connection = server.connect()
    connection.request("GET", "/v1/models", headers={"X-Request-Id": "seen-in-the-log"})
    connection.getresponse().read()
    deadline = time.monotonic() + PATIENCE
    while not any("request_id=seen-in-the-log" in line and "status=200" in line for line in server.log):
        assert time.monotonic() < deadline, server.log_text()
        time.sleep(0.01)
    connection.close()


def test_garbage_from_many_does_not_end_the_engine(start):
    """A little of everything at once, and then it still answers as before."""
    server = start()
    ask = lambda: server.post("/v1/completions", {"prompt": "a", "max_tokens": 12, "seed": 1})[1]["choices"]
    wanted = ask()

    def vandal(number):
        for turn in range(10):
            with socket.create_connection(("127.0.0.1", (server.port, server.grpc_port)[turn % 2]), PATIENCE) as raw:
                raw.sendall(bytes((number * 37 + turn * 11 + i * i) % 256 for i in range(2000)))

    threads = [threading.Thread(target=vandal, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    assert ask() == wanted
    for thread in threads:
        thread.join()
    assert ask() == wanted
    server.wait_until_idle()
    assert isinstance(server, Server) and server.running()
