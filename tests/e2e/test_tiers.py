"""Pages that leave the pool come back from host memory and from disk, after a restart and a kill too; nobody can tell by
the answer."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import PATIENCE, Server

STORY = "Once upon a time there lived a king who had three sons, and the youngest of them was called Simple. " * 8
SAMPLED = {"max_tokens": 40, "seed": 7, "temperature": 0.9, "logprobs": 2, "ignore_eos": True}
SMALL = ("--kv-cache-memory", "5MiB", "--max-num-seqs", "4")


def complete(server, prompt, **more):
    status, answer = server.post("/v1/completions", {"prompt": prompt, **SAMPLED, **more})
    assert status == 200, answer
    return answer["choices"], answer["usage"]["prompt_tokens_details"]["cached_tokens"]


@pytest.fixture
def prompts():
    return [f"Number {i}. " + STORY[: 300 + 60 * i] for i in range(8)]


@pytest.fixture
def wanted(start, prompts):
    cold = start("--no-enable-prefix-caching")
    return [complete(cold, prompt)[0] for prompt in prompts]


def disk(folder):
    return "--kv-disk-dir", str(folder), "--kv-disk-size", "64MiB"


def wait_until_saved(server, folder, pages):
    """The log has a record for each page; a page is there a moment after its sequence ended."""
    deadline = time.monotonic() + PATIENCE
    size = -1
    while True:  # nothing more comes, and something came
        now = os.path.getsize(folder / "index.log")
        if now == size and now > 200 * pages:
            return
        size = now
        assert time.monotonic() < deadline, server.log_text()
        time.sleep(0.2)


@pytest.mark.parametrize("tier", ["host", "disk", "both"])
def test_a_pool_that_evicts_always_gets_its_pages_back(start, tmp_path, prompts, wanted, tier):
    flags = [] if tier == "disk" else ["--kv-host-memory", "32MiB"]
    flags += [] if tier == "host" else disk(tmp_path / "kv")
    server = start(*SMALL, *flags)
    for round_number in range(3):
        for prompt, choices in zip(prompts, wanted):
            answer, cached = complete(server, prompt)
            assert answer == choices
            if round_number > 0 and tier != "disk":
                assert cached >= 64


def test_prefixes_survive_a_restart_and_a_kill(start, tmp_path, prompts, wanted):
    folder = tmp_path / "kv"
    first = start(*disk(folder))
    assert [complete(first, prompt)[0] for prompt in prompts[:4]] == wanted[:4]
    first.signal(signal.SIGTERM)
    assert first.wait() == 0, first.log_text()
    second = start(*disk(folder))
    for prompt, choices in zip(prompts[:4], wanted):
        answer, cached = complete(second, prompt)
        assert answer == choices
        assert cached >= 64
    assert [complete(second, prompt)[0] for prompt in prompts[4:]] == wanted[4:]
    wait_until_saved(second, folder, 8)
    second.signal(signal.SIGKILL)
    assert second.wait() == -signal.SIGKILL
    third = start(*disk(folder))
    for prompt, choices in zip(prompts, wanted):
        answer, cached = complete(third, prompt)
        assert answer == choices
        assert cached >= 64


def test_a_corrupt_disk_is_computed_around(start, tmp_path, prompts, wanted):
    folder = tmp_path / "kv"
    first = start(*disk(folder))
    assert [complete(first, prompt)[0] for prompt in prompts] == wanted
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    with open(folder / "pages.data", "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        for at in range(1000, size, 50_000):
            file.seek(at)
            file.write(b"\x5a\xa5\x5a")
    second = start(*disk(folder))
    for prompt, choices in zip(prompts, wanted):
        assert complete(second, prompt) == (choices, 0)
    assert "corrupt" in second.log_text()


def test_a_folder_of_other_bits_is_begun_anew(start, tmp_path, prompts, wanted):
    folder = tmp_path / "kv"
    first = start(*disk(folder))
    assert complete(first, prompts[0])[0] == wanted[0]
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    other = start(*disk(folder), "--kv-cache-dtype", "f32")
    assert complete(other, prompts[0])[1] == 0


def test_one_server_owns_a_folder(start, binary, tmp_path):
    folder = tmp_path / "kv"
    start(*disk(folder))
    with pytest.raises(AssertionError, match="another process"):
        Server(binary, *disk(folder))


def test_requests_in_parallel_over_a_pool_that_is_too_small(start, prompts, wanted):
    server = start(*SMALL, "--kv-host-memory", "32MiB")
    with ThreadPoolExecutor(8) as clients:
        for _ in range(3):
            answers = list(clients.map(lambda prompt: complete(server, prompt)[0], prompts))
            assert answers == wanted
    server.wait_until_idle()
