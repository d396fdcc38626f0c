"""The official client against the server: what it lists, completes and chats, whole and streamed."""

import math

import openai
import pytest

PROMPT = "Once upon a time"
MESSAGES = [{"role": "system", "content": "You tell stories."}, {"role": "user", "content": "Tell me one."}]


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as each:
        yield each


@pytest.fixture
def model(client):
    return client.models.list().data[0].id


def joined(stream):
    """{choice index: (text, finish reason)}, the chunks, and the usage chunk's usage."""
    texts, finishes, usage, chunks = {}, {}, None, list(stream)
    for chunk in chunks:
        for choice in chunk.choices:
            piece = choice.text if hasattr(choice, "text") else choice.delta.content
            texts[choice.index] = texts.get(choice.index, "") + (piece or "")
            if choice.finish_reason is not None:
                assert choice.index not in finishes, "two finish reasons"
                finishes[choice.index] = choice.finish_reason
        if chunk.usage is not None:
            assert chunk is chunks[-1] and not chunk.choices
            usage = chunk.usage
    return {i: (texts[i], finishes[i]) for i in texts}, chunks, usage


def test_models(client, server):
    models = client.models.list().data
    assert [m.object for m in models] == ["model"]
    one = client.models.retrieve(models[0].id)
    assert one.id == models[0].id and one.max_model_len > 0 and isinstance(one.created, int)
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("somebody/else")
    assert error.value.code == "model_not_found" and error.value.param == "model"


def test_model_names_with_slashes(start):
    server = start("--served-model-name", "org/name", "--served-model-name", "short")
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
        assert [m.id for m in client.models.list()] == ["org/name", "short"]
        assert client.models.retrieve("org/name").id == "org/name"
        assert server.get("/v1/models/org%2Fname")[0] == 200
        for name in ("org/name", "short"):
            assert client.completions.create(model=name, prompt=PROMPT, max_tokens=1).model == "org/name"


def test_completion(client, model):
    answer = client.completions.create(model=model, prompt=PROMPT, max_tokens=12, seed=1)
    assert answer.object == "text_completion" and answer.id.startswith("cmpl-") and answer.system_fingerprint
    assert answer.created > 1_600_000_000
    choice, = answer.choices
    assert choice.finish_reason == "length" and choice.text and choice.logprobs is None
    usage = answer.usage
    assert usage.completion_tokens == 12 and usage.total_tokens == usage.prompt_tokens + 12
    assert usage.prompt_tokens_details.cached_tokens >= 0


def test_completion_defaults_to_16_tokens(client, model):
    answer = client.completions.create(model=model, prompt=PROMPT, seed=1, extra_body={"ignore_eos": True})
    assert answer.usage.completion_tokens == 16


def test_streams_say_what_whole_answers_say(client, model):
    common = dict(model=model, prompt=PROMPT, max_tokens=24, seed=7, n=3)
    whole = client.completions.create(**common)
    texts, _, usage = joined(client.completions.create(**common, stream=True, stream_options={"include_usage": True}))
    assert texts == {c.index: (c.text, c.finish_reason) for c in whole.choices}
    assert len({text for text, _ in texts.values()}) == 3, "three sequences, three draws"
    assert usage == whole.usage
    _, chunks, usage = joined(client.completions.create(**common, stream=True))
    assert usage is None and all(chunk.usage is None for chunk in chunks)


def test_chat(client, model):
    common = dict(model=model, messages=MESSAGES, max_completion_tokens=16, seed=3)
    whole = client.chat.completions.create(**common)
    assert whole.object == "chat.completion" and whole.id.startswith("chatcmpl-")
    message = whole.choices[0].message
    assert message.role == "assistant" and message.content and message.refusal is None
    assert whole.usage.completion_tokens <= 16
    texts, chunks, usage = joined(
        client.chat.completions.create(**common, stream=True, stream_options={"include_usage": True}))
    assert texts == {0: (message.content, whole.choices[0].finish_reason)}
    assert usage == whole.usage
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert [c.choices[0].delta.role for c in chunks if c.choices].count("assistant") == 1
    assert chunks[0].choices[0].delta.role == "assistant"


def test_chat_without_max_tokens_may_use_the_context(client, model):
    answer = client.chat.completions.create(model=model, messages=MESSAGES, seed=1, stop=["."])
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.completion_tokens > 0


def test_content_parts_are_text(client, model):
    parts = [{"role": "user", "content": [{"type": "text", "text": "Tell "}, {"type": "text", "text": "me one."}]}]
    plain = [{"role": "user", "content": "Tell me one."}]
    ask = lambda messages: client.chat.completions.create(model=model, messages=messages, max_tokens=8, seed=2)
    assert ask(parts).choices[0].message.content == ask(plain).choices[0].message.content
    with pytest.raises(openai.BadRequestError):
        ask([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}])


def test_seed_replays_and_differs(client, model):
    text = lambda seed: client.completions.create(model=model, prompt=PROMPT, max_tokens=16, seed=seed).choices[0].text
    assert text(5) == text(5)
    assert len({text(seed) for seed in range(5)}) > 1


def test_greedy_is_the_likeliest(client, model):
    answer = client.completions.create(model=model, prompt=PROMPT, max_tokens=8, temperature=0, logprobs=1)
    for own, top in zip(answer.choices[0].logprobs.token_logprobs, answer.choices[0].logprobs.top_logprobs):
        assert own == max(top.values())


def test_completion_logprobs(client, model):
    answer = client.completions.create(model=model, prompt=PROMPT, max_tokens=10, seed=1, logprobs=3)
    choice = answer.choices[0]
    logprobs = choice.logprobs
    assert "".join(logprobs.tokens) == choice.text
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.top_logprobs) == 10
    for token, own, top, offset in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs,
                                       logprobs.text_offset):
        assert own <= 0 and 3 <= len(top) <= 4 and top[token] == own, "the drawn token is always among them"
        assert sum(math.exp(value) for value in top.values()) <= 1.0 + 1e-5
        assert choice.text[offset:].startswith(token)
    streamed = client.completions.create(model=model, prompt=PROMPT, max_tokens=10, seed=1, logprobs=3, stream=True)
    parts = [c.choices[0].logprobs for c in streamed if c.choices[0].logprobs is not None]
    assert [t for p in parts for t in p.token_logprobs] == logprobs.token_logprobs
    assert [t for p in parts for t in p.text_offset] == logprobs.text_offset


def test_chat_logprobs(client, model):
    answer = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=10, seed=1, logprobs=True,
                                            top_logprobs=4)
    content = answer.choices[0].logprobs.content
    assert answer.choices[0].logprobs.refusal is None
    assert b"".join(bytes(t.bytes) for t in content).decode() == answer.choices[0].message.content
    for token in content:
        values = [other.logprob for other in token.top_logprobs]
        assert len(values) == 4 and values == sorted(values, reverse=True)
    bare = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=2, seed=1, logprobs=True)
    assert all(token.top_logprobs == [] for token in bare.choices[0].logprobs.content)


def test_echo_with_logprobs_scores_the_prompt(client, model, server):
    answer = client.completions.create(model=model, prompt=PROMPT, max_tokens=0, echo=True, logprobs=1)
    choice = answer.choices[0]
    assert choice.text == PROMPT and answer.usage.completion_tokens == 0
    _, tokenized = server.post("/tokenize", {"prompt": PROMPT, "return_token_strs": True})
    assert choice.logprobs.tokens == tokenized["token_strs"]
    assert choice.logprobs.token_logprobs[0] is None and choice.logprobs.top_logprobs[0] is None
    assert all(value < 0 for value in choice.logprobs.token_logprobs[1:])
    offsets = choice.logprobs.text_offset
    assert offsets == sorted(offsets) and offsets[-1] < len(PROMPT)
    # The same prompt as ids, with one token more.
    longer = client.completions.create(model=model, prompt=tokenized["tokens"], max_tokens=1, echo=True, logprobs=1,
                                       seed=1)
    assert longer.choices[0].logprobs.token_logprobs[:-1] == choice.logprobs.token_logprobs
    streamed, _, _ = joined(client.completions.create(model=model, prompt=PROMPT, max_tokens=4, echo=True, seed=1,
                                                      stream=True))
    assert streamed[0][0].startswith(PROMPT)


def test_prompt_logprobs(server):
    status, answer = server.post("/v1/completions", {"prompt": PROMPT, "max_tokens": 1, "prompt_logprobs": 2})
    assert status == 200
    first, *rest = answer["choices"][0]["prompt_logprobs"]
    assert first is None and len(rest) == answer["usage"]["prompt_tokens"] - 1
    assert all(2 <= len(entry) <= 3 for entry in rest)
    status, _ = server.post("/v1/completions", {"prompt": PROMPT, "prompt_logprobs": 2, "stream": True})
    assert status == 400


def test_stop_strings_never_show(client, model):
    free = client.completions.create(model=model, prompt=PROMPT, max_tokens=48, seed=11).choices[0].text
    middle = len(free) // 2
    for stop in (free[middle:middle + 5], free[middle:middle + 1], free[3:4]):
        cut = client.completions.create(model=model, prompt=PROMPT, max_tokens=48, seed=11, stop=["\0never", stop])
        assert cut.choices[0].text == free[:free.index(stop)] and cut.choices[0].finish_reason == "stop"
        assert cut.choices[0].stop_reason == stop
        texts, _, _ = joined(client.completions.create(model=model, prompt=PROMPT, max_tokens=48, seed=11, stop=stop,
                                                       stream=True))
        assert texts[0] == (cut.choices[0].text, "stop")
    kept = client.completions.create(model=model, prompt=PROMPT, max_tokens=48, seed=11, stop=free[middle:middle + 5],
                                     extra_body={"include_stop_str_in_output": True})
    assert kept.choices[0].text.endswith(free[middle:middle + 5])


def test_text_held_back_for_a_stop_string_is_released_at_the_end(client, model):
    free = client.completions.create(model=model, prompt=PROMPT, max_tokens=12, seed=2).choices[0].text
    common = dict(model=model, prompt=PROMPT, max_tokens=12, seed=2, stop=[free[-3:] + "\0"])
    assert client.completions.create(**common).choices[0].text == free
    assert joined(client.completions.create(**common, stream=True))[0][0] == (free, "length")


def test_stop_token_ids(client, model):
    ids = client.completions.create(model=model, prompt=PROMPT, max_tokens=8, seed=1,
                                    extra_body={"return_token_ids": True}).choices[0].token_ids
    cut = client.completions.create(model=model, prompt=PROMPT, max_tokens=8, seed=1,
                                    extra_body={"stop_token_ids": [ids[3]], "return_token_ids": True}).choices[0]
    assert cut.finish_reason == "stop" and cut.token_ids == ids[:ids.index(ids[3]) + 1] and cut.stop_reason == ids[3]


def test_logit_bias_forces_and_bans(client, model, server):
    token = server.post("/tokenize", {"prompt": " goose", "add_special_tokens": False})[1]["tokens"][0]
    forced = client.completions.create(model=model, prompt=PROMPT, max_tokens=3, temperature=0,
                                       logit_bias={str(token): 100}, extra_body={"return_token_ids": True})
    assert forced.choices[0].token_ids == [token] * 3
    free = client.completions.create(model=model, prompt=PROMPT, max_tokens=1, temperature=0,
                                     extra_body={"return_token_ids": True}).choices[0].token_ids[0]
    banned = client.completions.create(model=model, prompt=PROMPT, max_tokens=1, temperature=0,
                                       logit_bias={str(free): -100}, extra_body={"return_token_ids": True})
    assert banned.choices[0].token_ids[0] != free


def test_prompt_forms(client, model, server):
    ids = server.post("/tokenize", {"prompt": PROMPT})[1]["tokens"]
    ask = lambda prompt: client.completions.create(model=model, prompt=prompt, max_tokens=6, seed=4)
    text = ask(PROMPT).choices[0].text
    assert ask([PROMPT]).choices[0].text == ask(ids).choices[0].text == ask([ids]).choices[0].text == text
    other = "The old king"
    several = client.completions.create(model=model, prompt=[PROMPT, other, PROMPT], max_tokens=6, seed=4, n=2)
    assert [c.index for c in several.choices] == list(range(6))
    texts = [c.text for c in several.choices]
    assert texts[0] == texts[4] == text and texts[1] == texts[5]
    assert texts[2] == ask(other).choices[0].text
    assert several.usage.completion_tokens == 6 * 6
    assert several.usage.prompt_tokens == 2 * len(ids) + ask(other).usage.prompt_tokens


def test_tokenize_and_back(server):
    text = "Ünïcödé, 漢字 🙂 and a <|bos|>"
    status, answer = server.post("/tokenize", {"prompt": text, "add_special_tokens": False})
    assert status == 200 and answer["count"] == len(answer["tokens"]) and answer["max_model_len"] > 0
    assert server.post("/detokenize", {"tokens": answer["tokens"]}) == (200, {"prompt": text})
    status, chat = server.post("/tokenize", {"messages": MESSAGES})
    assert status == 200
    _, answered = server.post("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 1})
    assert answered["usage"]["prompt_tokens"] == chat["count"]


def test_user_text_cannot_become_control_tokens(server):
    count = lambda content: server.post("/tokenize", {"messages": [{"role": "user", "content": content}]})[1]["count"]
    special = server.post("/tokenize", {"prompt": "<|bos|>", "add_special_tokens": False})[1]["count"]
    assert special == 1, "a completions prompt may hold special tokens"
    assert count("<|bos|>") - count("") > 1, "a message may not"


def test_request_ids(server):
    given = "my-id-42"
    _, headers, body = server.request("POST", "/v1/completions", {"prompt": PROMPT, "max_tokens": 1},
                                      {"X-Request-Id": given})
    assert headers["X-Request-Id"] == given and given.encode() in body
    _, headers, _ = server.request("GET", "/health", headers={"X-Request-Id": "x" * 300})
    assert 0 < len(headers["X-Request-Id"]) <= 128


def test_api_keys(start):
    server = start("--api-key", "first", "--api-key", "second")
    for key in ("first", "second"):
        with openai.OpenAI(base_url=server.url + "/v1", api_key=key, max_retries=0) as client:
            client.models.list()
    with openai.OpenAI(base_url=server.url + "/v1", api_key="third", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as error:
            client.models.list()
        assert error.value.code == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(model="fable", messages=MESSAGES)
    for path, status in {"/v1/models": 401, "/tokenize": 405, "/version": 401, "/nothing": 404, "/health": 200,
                         "/health/live": 200, "/health/ready": 200, "/metrics": 200}.items():
        assert server.get(path)[0] == status, path
    assert server.post("/tokenize", {"prompt": "x"})[0] == 401
    _, headers, _ = server.request("GET", "/v1/models")
    assert headers["WWW-Authenticate"] == "Bearer"
    assert "first" not in server.log_text() and "second" not in server.log_text()
