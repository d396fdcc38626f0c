"""What clients send wrong: one clear error each, on a connection that goes on wherever the bytes allow it."""

import json
import socket
import time

import pytest

from harness import events_of, read_all, read_response, request_on

OK = {"prompt": "a", "max_tokens": 1}


def assert_error(status, body, wanted, param=None, code=None):
    assert status == wanted, body
    error = json.loads(body)["error"] if isinstance(body, bytes) else body["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"] and error["type"]
    if param is not None:
        assert error["param"] == param, error
    if code is not None:
        assert error["code"] == code, error
    return error


@pytest.fixture
def connection(server):
    """One connection for a whole test: every error in it must leave it usable."""
    each = server.connect()
    yield each
    assert request_on(each, "POST", "/v1/completions", OK)[0] == 200
    each.close()


# (field, values that must be refused) of /v1/completions
RANGES = {
    "temperature": [-0.1, 101, "1", [], True],
    "top_p": [0, -0.1, 1.1, "x"],
    "top_k": [-2, 1.5, 1 << 40, "x"],
    "min_p": [-0.1, 1.1],
    "presence_penalty": [-2.1, 2.1],
    "frequency_penalty": [-2.1, 2.1],
    "repetition_penalty": [0, -1, 1e6],
    "seed": [1.5, "1", 1 << 63, -(1 << 63) - 1],
    "n": [0, -1, 129, 1.0, 1 << 70],
    "max_tokens": [-1, 1.5, "16"],
    "min_tokens": [-1, 17],
    "logprobs": [-1, 21, True],
    "prompt_logprobs": [-1, 21],
    "stop": ["", [""], [1], {"a": 1}, ["x"] * 17, "y" * 1025],
    "stop_token_ids": ["x", [1.5], [-1], [1 << 40], [1 << 63], [1] * 129],
    "logit_bias": [[], {"x": 1}, {"1": "a"}, {"-1": 1}, {"999999": 1}, {"1": 101}, {str(i): 1 for i in range(1025)}],
    "ignore_eos": [1, "true"],
    "stream": [1, "true"],
    "stream_options": [{"include_usage": True}],
    "echo": ["yes"],
    "model": [1, "gpt-4"],
    "suffix": ["end"],
    "best_of": [2],
    "response_format": [{"type": "json_object"}, {"type": "json_schema"}, "json", {}],
    "guided_json": [{}],
    "prompt": [None, [], [[]], [None], {"a": 1}, 7, True, ["a", 1], ["a", ["b"]], [1.5], [-1], [4096], [1 << 63],
               [1 << 70], ["a"] * 129],
}


@pytest.mark.parametrize("field", sorted(RANGES))
def test_fields_out_of_range(connection, field):
    for value in RANGES[field]:
        status, _, body = request_on(connection, "POST", "/v1/completions", {"prompt": "a", field: value})
        assert_error(status, body, 404 if value == "gpt-4" else 400, param=field)


CHAT_RANGES = {
    "messages": [None, [], {}, "hello", [1], [{}], [{"role": 1, "content": "x"}], [{"role": "user", "content": 7}]],
    "top_logprobs": [3, -1],
    "tools": ["x", [{"type": "function", "function": {"name": "f"}}] * 129],
    "tool_choice": ["required", {"type": "function", "function": {"name": "f"}}],
    "functions": [[{"name": "f"}]],
    "max_completion_tokens": [-1, "x"],
    "modalities": [["audio"]],
    "chat_template": ["{{ messages }}"],
    "chat_template_kwargs": ["x"],
    "continue_final_message": ["x"],
}


@pytest.mark.parametrize("field", sorted(CHAT_RANGES))
def test_chat_fields_out_of_range(connection, field):
    messages = [{"role": "user", "content": "a"}]
    for value in CHAT_RANGES[field]:
        body = {"messages": messages, "max_tokens": 1, field: value}
        assert_error(*request_on(connection, "POST", "/v1/chat/completions", body)[::2], 400, param=field)
    assert_error(*request_on(connection, "POST", "/v1/chat/completions",
                             {"messages": messages, "logprobs": True, "top_logprobs": 21})[::2], 400,
                 param="top_logprobs")


def test_null_is_absent_for_every_optional_field(connection):
    names = (set(RANGES) | set(CHAT_RANGES)) - {"prompt", "messages", "max_tokens"}
    names |= {"user", "metadata", "store", "service_tier", "parallel_tool_calls", "reasoning_effort", "priority",
              "add_special_tokens", "skip_special_tokens", "include_stop_str_in_output", "return_token_ids", "audio"}
    nulls = dict.fromkeys(sorted(names))
    assert request_on(connection, "POST", "/v1/completions", {**nulls, **OK})[0] == 200
    message = {"role": "user", "content": "a", "name": None, "tool_calls": None, "tool_call_id": None}
    assert request_on(connection, "POST", "/v1/chat/completions",
                      {**nulls, "messages": [message], "max_tokens": 1})[0] == 200


def test_unknown_fields_are_ignored(connection):
    extra = {"frobnicate": {"deep": [1, {"er": None}]}, "user": "me", "metadata": {"a": "b"}, "store": False}
    assert request_on(connection, "POST", "/v1/completions", {**OK, **extra})[0] == 200


def test_a_prompt_over_the_context_names_both_numbers(connection, server):
    length = json.loads(request_on(connection, "GET", "/v1/models")[2])["data"][0]["max_model_len"]
    for body in ({"prompt": [5] * length, "max_tokens": 1}, {"prompt": [5] * 10, "max_tokens": length - 9},
                 {"prompt": "word " * (length + 50)}):
        error = assert_error(*request_on(connection, "POST", "/v1/completions", body)[::2], 400,
                             code="context_length_exceeded")
        assert str(length) in error["message"]
        used = len(body["prompt"]) + body["max_tokens"] if "max_tokens" in body else None
        assert used is None or str(used) in error["message"]
    chat = {"messages": [{"role": "user", "content": "word " * (length + 50)}]}
    assert_error(*request_on(connection, "POST", "/v1/chat/completions", chat)[::2], 400,
                 code="context_length_exceeded")
    full = {"prompt": [5] * (length - 2), "max_tokens": 2, "ignore_eos": True}
    status, _, body = request_on(connection, "POST", "/v1/completions", full)
    assert status == 200 and json.loads(body)["usage"]["total_tokens"] == length


@pytest.mark.parametrize("body", [
    b"", b"null", b"[]", b'"x"', b"{", b'{"prompt":"a"', b'{"prompt":"a"}x', b'{"prompt":NaN}', b'{"prompt":Infinity}',
    b'{"prompt":"a","temperature":1e400}', b'{"prompt":"a","temperature":-1e400}', b'{"prompt":"\xff\xfe"}',
    b'{"prompt":"\xc0\x80"}', b'{"prompt":"\xed\xa0\x80"}', b'{"prompt":"\\ud800"}', b"{'prompt':'a'}", b"\x00" * 100,
    b"[" * 100000, b'{"a":' * 100000 + b"1" + b"}" * 100000, b'{"prompt":[' + b"1," * 1100000 + b"1]}",
    b'{"prompt":"a","logit_bias":{' + b",".join(b'"%d":1' % i for i in range(200000)) + b"}}",
], ids=lambda body: repr(body[:24]))
def test_bodies_that_are_no_json_object(connection, body):
    for path in ("/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"):
        assert_error(*request_on(connection, "POST", path, body)[::2], 400)


def test_odd_prompts_are_answered(connection):
    for prompt in ("", "\x00", "a\x00b", "\U0010ffff", "<|bos|>", "\r\n\r\n", "🙂" * 50, "a" * 1500):
        status, _, body = request_on(connection, "POST", "/v1/completions", {"prompt": prompt, "max_tokens": 1})
        assert status in (200, 400) and (status == 200 or json.loads(body)["error"]["param"] == "prompt")
    assert_error(*request_on(connection, "POST", "/detokenize", {"tokens": [0, 99999]})[::2], 400, param="tokens")
    assert_error(*request_on(connection, "POST", "/tokenize", {})[::2], 400, param="prompt")


def test_paths_and_methods(connection):
    assert_error(*request_on(connection, "GET", "/v1/nothing")[::2], 404)
    assert_error(*request_on(connection, "GET", "/v1/models/")[::2], 404)
    assert_error(*request_on(connection, "GET", "/../../etc/passwd")[::2], 404)
    status, headers, body = request_on(connection, "GET", "/v1/completions")
    assert_error(status, body, 405)
    assert headers["Allow"] == "POST, OPTIONS"
    assert_error(*request_on(connection, "DELETE", "/v1/models")[::2], 405)
    assert request_on(connection, "POST", "/health", {})[0] == 405
    status, headers, body = request_on(connection, "HEAD", "/health")
    assert status == 200 and body == b"" and int(headers["Content-Length"]) > 0
    status, headers, _ = request_on(connection, "GET", "/health?probe=1#x")
    assert status == 200 and headers["Date"].endswith("GMT")


def test_browsers_may_ask_first(connection):
    status, headers, body = request_on(connection, "OPTIONS", "/v1/chat/completions", headers={
        "Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type"})
    assert status == 204 and body == b"" and "POST" in headers["Access-Control-Allow-Methods"]
    assert "Authorization" in headers["Access-Control-Allow-Headers"]
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert request_on(connection, "OPTIONS", "/nothing")[0] == 404


# ---- Under HTTP: bytes on a socket

HOST = b"Host: x\r\n"


def raw_error(server, sent, wanted):
    with server.socket() as raw:
        raw.sendall(sent)
        status, _, body, _ = read_response(raw)
        assert_error(status, body, wanted)
        assert raw.recv(1) == b"", "the connection ends where the next request cannot be found"


def test_framing_errors(server):
    raw_error(server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n", 400)
    raw_error(server, b"nonsense\r\n\r\n", 400)
    raw_error(server, b"GET /health HTTP/9.9\r\n" + HOST + b"\r\n", 400)
    raw_error(server, b"GET /health HTTP/1.1\r\nbad header\r\n\r\n", 400)
    raw_error(server, b"GET /%zz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 400)
    raw_error(server, b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n", 400)
    raw_error(server, b"POST /tokenize HTTP/1.1\r\n" + HOST + b"Content-Length: -5\r\n\r\n", 400)
    raw_error(server, b"POST /tokenize HTTP/1.1\r\n" + HOST + b"Content-Length: 1x\r\n\r\n{}", 400)
    raw_error(server, b"POST /tokenize HTTP/1.1\r\n" + HOST +
              b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400)
    raw_error(server, b"POST /tokenize HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400)
    raw_error(server, b"POST /tokenize HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\nExpect: tea\r\n\r\n", 417)
    raw_error(server, b"POST /tokenize HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\nContent-Encoding: gzip\r\n\r\n",
              415)


def test_a_large_header_is_431(server):
    raw_error(server, b"GET /health HTTP/1.1\r\n" + HOST + b"X-Big: " + b"x" * (64 << 10), 431)
    raw_error(server, b"GET /health HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(10000)), 431)
    raw_error(server, b"GET /" + b"a" * (64 << 10), 431)


def test_a_large_body_is_413_and_is_read(start):
    server = start("--max-body-size", "64KiB")
    raw_error(server, b"POST /tokenize HTTP/1.1\r\n" + HOST + b"Content-Length: 300000000000\r\n\r\n", 413)
    # A client that sends all before it reads must still see the answer.
    assert server.request("POST", "/v1/completions", b"x" * (8 << 20))[0] == 413
    assert server.request("POST", "/v1/completions", b"x" * (64 << 10))[0] == 400
    chunk = b"4000\r\n" + b"y" * 0x4000 + b"\r\n"
    raw_error(server, b"POST /tokenize HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 5, 413)


def test_many_large_bodies_do_not_fill_the_memory(start):
    server = start()  # 16 MiB a body, 16 such bodies together
    size = 31 << 19
    held = []
    for _ in range(17):
        raw = server.socket()
        held.append(raw)
        raw.sendall(b"POST /tokenize HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % (16 << 20))
        raw.sendall(b"x" * size)
    status, head, body, _ = read_response(held[-1])
    assert_error(status, body, 429)
    assert b"retry-after" in head.lower()
    assert server.get("/health")[0] == 200
    for raw in held:
        raw.close()
    assert server.post("/v1/completions", OK)[0] == 200


def test_chunked_bodies_and_expectations(server):
    body = json.dumps(OK).encode()
    with server.socket() as raw:
        raw.sendall(b"POST /v1/completions HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
        for byte in body:  # a byte a chunk
            raw.sendall(b"1;ext=x\r\n%c\r\n" % byte)
        raw.sendall(b"0\r\nTrailer: y\r\n\r\n")
        assert read_response(raw)[0] == 200
        raw.sendall(b"POST /v1/completions HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
                    % len(body))
        interim = b""
        while not interim.endswith(b"\r\n\r\n"):
            interim += raw.recv(100)
        assert interim.startswith(b"HTTP/1.1 100 ")
        raw.sendall(body)
        assert read_response(raw)[0] == 200


def post(body, version=b"1.1", extra=b""):
    text = json.dumps(body).encode()
    return (b"POST /v1/completions HTTP/" + version + b"\r\n" + HOST + extra + b"Content-Length: %d\r\n\r\n" % len(text)
            + text)


def test_pipelined_requests_are_answered_in_order(server):
    wanted = [server.post("/v1/completions", {**OK, "max_tokens": n, "seed": n})[1]["choices"] for n in (5, 3, 1)]
    with server.socket() as raw:
        raw.sendall(b"\r\n" + b"".join(post({**OK, "max_tokens": n, "seed": n}) for n in (5, 3, 1)) +
                    b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\nGET /health/live HTTP/1.1\r\n" + HOST + b"\r\n")
        rest, answers = b"", []
        for _ in range(5):
            status, _, body, rest = read_response(raw, rest)
            answers.append((status, json.loads(body)))
    assert [a[1]["choices"] for a in answers[:3]] == wanted
    assert [a[0] for a in answers] == [200, 200, 200, 404, 200]


def test_http_1_0(server):
    with server.socket() as raw:
        raw.sendall(post(OK, b"1.0"))
        head, body = read_all(raw).split(b"\r\n\r\n", 1)  # closes by itself
        assert b"200" in head and json.loads(body)["choices"]
    with server.socket() as raw:
        raw.sendall(post({**OK, "max_tokens": 4, "stream": True}, b"1.0"))
        head, body = read_all(raw).split(b"\r\n\r\n", 1)
        assert b"chunked" not in head.lower() and events_of(body.decode())[-1] == "[DONE]"
    with server.socket() as raw:
        for _ in range(2):
            raw.sendall(post(OK, b"1.0", b"Connection: keep-alive\r\n"))
            assert read_response(raw)[0] == 200


def test_the_connection_goes_on_after_a_stream(server):
    connection = server.connect()
    for _ in range(3):
        status, headers, body = request_on(connection, "POST", "/v1/completions",
                                           {"prompt": "a", "max_tokens": 3, "stream": True})
        assert status == 200 and headers["Content-Type"] == "text/event-stream"
        assert events_of(body.decode())[-1] == "[DONE]"
    connection.close()


def test_a_client_that_closes_its_sending_side_is_still_answered_at_once(server):
    with server.socket() as raw:
        raw.sendall(b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n")
        raw.shutdown(socket.SHUT_WR)
        assert b'"ok"' in read_all(raw)


def test_slow_clients_are_not_waited_for(start):
    server = start("--header-timeout", "300ms", "--body-timeout", "300ms", "--keep-alive-timeout", "300ms")
    begun = time.monotonic()
    silent, header, drip, body = (server.socket() for _ in range(4))
    header.sendall(b"GET /health HTTP/1.1\r\nHost:")
    body.sendall(b"POST /tokenize HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n\r\n{")
    try:
        for _ in range(100):  # a byte at a time does not move the deadline
            drip.sendall(b"G")
            time.sleep(0.02)
    except ConnectionError:
        pass
    assert read_all(silent) == b""
    assert b" 408 " in read_all(header) and b" 408 " in read_all(body)
    drip.close()
    idle = server.socket()
    for path in (b"/health", b"/v1/models"):
        idle.sendall(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
        assert read_response(idle)[0] == 200
    idle.sendall(post(OK))  # a read was armed while this was answered: it is idle all the same
    assert read_response(idle)[0] == 200
    assert idle.recv(1) == b"", "an idle connection is closed"
    assert time.monotonic() - begun < 30
    assert server.get("/health")[0] == 200


def test_connections_over_the_limit_are_told(start):
    server = start("--max-connections", "4")
    held = [server.socket() for _ in range(4)]
    for raw in held:  # surely accepted
        raw.sendall(b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n")
        read_response(raw)
    with server.socket() as extra:
        extra.sendall(b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n")
        status, head, body, _ = read_response(extra)
        assert_error(status, body, 503)
        assert b"retry-after" in head.lower()
    held[0].close()
    for _ in range(1000):
        with server.socket() as again:
            again.sendall(b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n")
            if read_response(again)[0] == 200:
                break
        time.sleep(0.01)
    else:
        pytest.fail("a place that is free again was never given")


def test_a_full_queue_is_429_with_a_time_to_retry(start):
    server = start("--max-num-seqs", "1", "--max-queued-requests", "2")
    assert_error(*server.request("POST", "/v1/completions", {"prompt": "a", "n": 3})[::2], 400, param="n")
    status, headers, body = server.request("POST", "/v1/completions", {"prompt": ["a"] * 8, "max_tokens": 8})
    assert_error(status, body, 429, code="rate_limit_exceeded")
    assert 1 <= int(headers["Retry-After"]) <= 60
    server.wait_until_idle()
    for _ in range(200):  # what was given up holds its place until the engine has seen it
        if server.post("/v1/completions", OK)[0] == 200:
            break
        time.sleep(0.05)
    else:
        pytest.fail("a queue that is empty again refuses requests")


def test_deadlines_are_errors_and_not_short_answers(start):
    server = start("--request-timeout", "50ms")
    body = {"prompt": "a", "max_tokens": 2000, "ignore_eos": True}
    assert_error(*server.request("POST", "/v1/completions", body)[::2], 504, code="deadline_exceeded")
    status, _, stream = server.request("POST", "/v1/completions", {**body, "stream": True})
    events = events_of(stream.decode())
    assert status == 200 and events[-1] == "[DONE]" and json.loads(events[-2])["error"]["code"] == "deadline_exceeded"
    server.wait_until_idle()
