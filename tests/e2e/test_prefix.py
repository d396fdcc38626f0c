"""Prompts that begin alike share their KV; nobody can tell by the answer."""

STORY = "Once upon a time there lived a king who had three sons, and the youngest of them was called Simple. " * 8
SAMPLED = {"max_tokens": 40, "seed": 7, "temperature": 0.9, "logprobs": 2, "ignore_eos": True}


def complete(server, prompt, **more):
    status, answer = server.post("/v1/completions", {"prompt": prompt, **SAMPLED, **more})
    assert status == 200, answer
    return answer["choices"], answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_a_known_prefix_gives_the_same_answer(start):
    server = start()
    cold = start("--no-enable-prefix-caching")
    wanted = {prompt: complete(cold, prompt)[0] for prompt in (STORY, STORY + "He set out", STORY + "She stayed")}
    assert complete(server, STORY) == (wanted[STORY], 0)
    for prompt in wanted:
        choices, cached = complete(server, prompt)
        assert choices == wanted[prompt]
        assert cached >= 128  # two pages of 64 at least
    assert complete(cold, STORY)[1] == 0
    metrics = server.metrics()
    assert 0 < metrics["vllm:prefix_cache_hits_total"] < metrics["vllm:prefix_cache_queries_total"]


def test_salts_keep_prefixes_apart(start):
    server = start()
    assert complete(server, STORY, cache_salt="a")[1] == 0
    assert complete(server, STORY, cache_salt="b")[1] == 0
    assert complete(server, STORY, cache_salt="a")[1] >= 128
    status, answer = server.post("/v1/completions", {"prompt": STORY, "cache_salt": "x" * 257})
    assert status == 400 and answer["error"]["param"] == "cache_salt"


def test_n_answers_share_one_prompt(start):
    alone, together = start(), start()
    wanted = complete(alone, STORY, n=4)[0]
    assert complete(together, STORY, n=4, cache_salt="x")[0] == wanted
    count = together.post("/tokenize", {"prompt": STORY})[1]["count"]
    computed = together.metrics()["vllm:prompt_tokens_total"]
    assert count <= computed <= count + 8  # the others compute the last token of the prompt


def test_a_pool_so_small_that_it_evicts_always(start):
    small = start("--kv-cache-memory", "5MiB", "--max-num-seqs", "4")
    large = start()
    prompts = [STORY[: 200 + 60 * i] + f" Number {i}." for i in range(6)]
    wanted = [complete(large, prompt)[0] for prompt in prompts]
    for _ in range(3):
        assert [complete(small, prompt)[0] for prompt in prompts] == wanted
