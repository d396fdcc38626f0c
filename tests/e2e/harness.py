"""A server process, and the plainest clients that can talk to it."""

import http.client
import json
import re
import signal
import socket
import subprocess
import threading
import time

PATIENCE = 60.0  # seconds after which something that must happen is taken as lost


class Server:
    """One compute thread unless `flags` say otherwise: threads that wait for each other are slow on a busy machine, and
    answers do not depend on their number."""

    def __init__(self, binary, *flags, env=None):
        self.binary = binary
        threads = [] if "--threads" in flags else ["--threads", "1"]
        command = [binary, "serve", "--host", "127.0.0.1", "--port", "0", "--grpc-port", "0", *threads, *flags]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                                        errors="replace", env=env)
        self.log = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        assert self._ready.wait(PATIENCE), self.log_text()
        match = re.search(r"ready: http://127\.0\.0\.1:(\d+), grpc 127\.0\.0\.1:(\d+)", self.log_text())
        assert match, self.log_text()
        self.port, self.grpc_port = int(match[1]), int(match[2])
        self.url = f"http://127.0.0.1:{self.port}"
        self.grpc_target = f"127.0.0.1:{self.grpc_port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))
            if " ready: " in line:
                self._ready.set()
        self._ready.set()

    def log_text(self):
        return "\n".join(self.log)

    def running(self):
        return self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=PATIENCE):
        """Exit code; negative for a signal."""
        code = self.process.wait(timeout)
        self._reader.join(timeout)
        return code

    def close(self):
        if self.running():
            self.process.kill()
        self.process.wait()
        self._reader.join()

    # ---- Plain HTTP

    def connect(self, timeout=PATIENCE):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None):
        """(status, headers, body as bytes) over a connection of its own."""
        connection = self.connect()
        try:
            return request_on(connection, method, path, body, headers)
        finally:
            connection.close()

    def get(self, path, **headers):
        status, _, body = self.request("GET", path, headers=headers)
        return status, body

    def post(self, path, body, headers=None):
        """(status, decoded JSON). `body` is a dict, or bytes to send as they are."""
        status, _, answer = self.request("POST", path, body, headers)
        return status, json.loads(answer)

    def socket(self, timeout=PATIENCE):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    # ---- Metrics

    def metrics(self):
        """{name: sum over labels}."""
        status, body = self.get("/metrics")
        assert status == 200
        values = {}
        for line in body.decode().splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                name = name.split("{")[0]
                values[name] = values.get(name, 0.0) + float(value)
        return values

    def wait_until(self, what, holds, timeout=PATIENCE):
        deadline = time.monotonic() + timeout
        while True:
            metrics = self.metrics()
            if holds(metrics):
                return metrics
            assert time.monotonic() < deadline, f"never {what}: {metrics}\n{self.log_text()}"
            time.sleep(0.01)

    def wait_until_idle(self):
        return self.wait_until("idle", lambda m: m["vllm:num_requests_running"] == 0 and
                               m["vllm:num_requests_waiting"] == 0 and m["vllm:kv_cache_usage_perc"] == 0)


def request_on(connection, method, path, body=None, headers=None):
    if isinstance(body, (dict, list)):
        body = json.dumps(body).encode()
    connection.request(method, path, body=body, headers=headers or {})
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def events_of(stream_text):
    """The data of each server-sent event, strictly: nothing but `data: X` and a blank line is allowed."""
    assert stream_text.endswith("\n\n"), stream_text[-100:]
    events = stream_text.split("\n\n")[:-1]
    for event in events:
        assert event.startswith("data: ") and "\n" not in event, event
    return [event[len("data: "):] for event in events]


def read_all(connection):
    parts = []
    while True:
        part = connection.recv(1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)


def read_response(connection, buffered=b""):
    """One response with a Content-Length from a raw socket: (status, head, body, what came after)."""
    while b"\r\n\r\n" not in buffered:
        part = connection.recv(1 << 16)
        assert part, f"closed after {buffered!r}"
        buffered += part
    head, rest = buffered.split(b"\r\n\r\n", 1)
    length = int(re.search(rb"content-length: (\d+)", head, re.I)[1])
    while len(rest) < length:
        part = connection.recv(1 << 16)
        assert part, f"closed after {len(rest)} of {length} bytes"
        rest += part
    return int(head.split()[1]), head, rest[:length], rest[length:]


def end(server, number=signal.SIGTERM):
    server.signal(number)
    return server.wait()
