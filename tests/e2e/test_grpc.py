"""The gRPC spelling: the same answers, the right status codes, health and reflection."""

import json
import subprocess
import threading
import time

import grpc
import pytest
from causeway.v1 import causeway_pb2 as pb
from causeway.v1 import causeway_pb2_grpc as stubs
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from harness import PATIENCE, end

PROMPT = "Once upon a time"


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(server.grpc_target) as each:
        yield each


@pytest.fixture
def stub(channel):
    return stubs.CausewayStub(channel)


def generate(stub, **kwargs):
    return list(stub.Generate(pb.GenerateRequest(**kwargs), timeout=PATIENCE))


def texts(events):
    """Checks the order that the proto file promises; {index: (text, token ids, finish reason)}."""
    assert events[0].WhichOneof("event") == "started" and events[-1].WhichOneof("event") == "done"
    answers = {}
    for event in events[1:-1]:
        if event.WhichOneof("event") == "delta":
            text, ids, finish = answers.setdefault(event.delta.index, ("", [], None))
            assert finish is None, "a delta after the sequence's end"
            answers[event.delta.index] = (text + event.delta.text, ids + list(event.delta.token_ids), None)
        else:
            done = event.sequence_done
            text, ids, finish = answers.setdefault(done.index, ("", [], None))
            assert finish is None
            answers[done.index] = (text, ids, done.finish_reason)
    return answers


def fails(code, param=None):
    class Expectation:
        def __enter__(self):
            self.raises = pytest.raises(grpc.RpcError)
            self.info = self.raises.__enter__()

        def __exit__(self, *error):
            self.raises.__exit__(*error)
            assert self.info.value.code() == code, self.info.value
            if param is not None:
                assert dict(self.info.value.trailing_metadata())["causeway-param"] == param
            return True
    return Expectation()


def test_generate(stub):
    events = generate(stub, text=PROMPT, request_id="mine", sampling=pb.SamplingParams(max_tokens=12, seed=1, n=2))
    started, done = events[0].started, events[-1].done
    assert started.request_id == "mine" and started.model == "fable" and started.system_fingerprint
    answers = texts(events)
    assert sorted(answers) == [0, 1] and answers[0][0] != answers[1][0]
    assert all(len(ids) == 12 and finish == pb.FINISH_REASON_LENGTH for _, ids, finish in answers.values())
    assert done.usage.prompt_tokens == started.prompt_tokens and done.usage.completion_tokens == 24


def test_echo_and_logprobs(stub):
    events = generate(stub, text=PROMPT, echo=True, sampling=pb.SamplingParams(max_tokens=4, seed=1, n=2, logprobs=2,
                                                                               prompt_logprobs=1))
    assert all(text.startswith(PROMPT) for text, _, _ in texts(events).values())
    prompt = events[0].started.prompt_logprobs
    assert len(prompt) == events[0].started.prompt_tokens and not prompt[0].HasField("logprob")
    assert all(p.logprob < 0 and len(p.top) == 1 for p in prompt[1:])
    for event in events:
        for token in event.delta.logprobs:
            assert token.logprob < 0 and len(token.top) == 2 and token.top[0].logprob >= token.top[1].logprob


def test_stop_reasons(stub):
    free, ids, _ = texts(generate(stub, text=PROMPT, sampling=pb.SamplingParams(max_tokens=24, seed=3)))[0]
    stop = free[5:8]
    events = generate(stub, text=PROMPT, sampling=pb.SamplingParams(max_tokens=24, seed=3, stop=[stop]))
    assert texts(events)[0][0] == free[:free.index(stop)] and events[-2].sequence_done.stop_string == stop
    events = generate(stub, text=PROMPT, sampling=pb.SamplingParams(max_tokens=24, seed=3, stop_token_ids=[ids[4]]))
    assert texts(events)[0][1] == ids[:ids.index(ids[4]) + 1]
    assert events[-2].sequence_done.stop_token_id == ids[4]


def test_tokenize_and_models(stub):
    tokens = stub.Tokenize(pb.TokenizeRequest(text=PROMPT, add_special_tokens=False, return_token_strs=True))
    assert b"".join(tokens.token_strs).decode() == PROMPT and tokens.max_model_len > 0
    assert stub.Detokenize(pb.DetokenizeRequest(token_ids=tokens.token_ids)).text == PROMPT
    chat = pb.ChatPrompt(messages=[pb.ChatMessage(role="user", content="Hello")])
    assert len(stub.Tokenize(pb.TokenizeRequest(chat=chat)).token_ids) > 2
    model, = stub.ListModels(pb.ListModelsRequest()).models
    assert model.id == "fable" and model.family and model.parameters > 0 and model.vocab_size > 0
    assert stub.GetModel(pb.GetModelRequest(model="fable")) == model


def test_one_answer_whichever_the_front_end(stub, server, binary):
    """HTTP, gRPC and the command line draw the same tokens for the same seed."""
    for seed in (1, 2):
        over_grpc, ids, _ = texts(generate(stub, text=PROMPT, sampling=pb.SamplingParams(max_tokens=20, seed=seed)))[0]
        _, answer = server.post("/v1/completions", {"prompt": PROMPT, "max_tokens": 20, "seed": seed,
                                                    "return_token_ids": True})
        assert answer["choices"][0]["text"] == over_grpc and answer["choices"][0]["token_ids"] == ids
        printed = subprocess.run([binary, "generate", "--prompt", PROMPT, "--max-tokens", "20", "--seed", str(seed)],
                                 capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
        assert printed == over_grpc + "\n"
    chat = pb.ChatPrompt(messages=[pb.ChatMessage(role="user", content="Tell me a story.")])
    over_grpc = texts(generate(stub, chat=chat, sampling=pb.SamplingParams(max_tokens=20, seed=3)))[0][0]
    _, answer = server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "Tell me a story."}],
                                                     "max_tokens": 20, "seed": 3})
    assert answer["choices"][0]["message"]["content"] == over_grpc
    printed = subprocess.run([binary, "generate", "--chat", "--prompt", "Tell me a story.", "--max-tokens", "20",
                              "--seed", "3"], capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    assert printed == over_grpc + "\n"


def test_status_codes(stub):
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    sampling = pb.SamplingParams
    with fails(invalid, "prompt"):
        generate(stub)
    with fails(invalid, "temperature"):
        generate(stub, text="a", sampling=sampling(temperature=-1))
    with fails(invalid, "temperature"):
        generate(stub, text="a", sampling=sampling(temperature=float("nan")))
    with fails(invalid, "top_p"):
        generate(stub, text="a", sampling=sampling(top_p=float("inf")))
    with fails(invalid, "prompt"):
        generate(stub, token_ids=pb.TokenIds(ids=[1, 1 << 30]))
    with fails(invalid, "prompt"):
        generate(stub, token_ids=pb.TokenIds(ids=[5] * 5000))
    with fails(invalid, "stop"):
        generate(stub, text="a", sampling=sampling(stop=["x"] * 100))
    with fails(invalid, "logit_bias"):
        generate(stub, text="a", sampling=sampling(logit_bias={-5: 1.0}))
    with fails(invalid, "request_id"):
        generate(stub, text="a", request_id="two\nlines")
    with fails(invalid, "messages"):
        generate(stub, chat=pb.ChatPrompt())
    for field, text in (("tools_json", "{}"), ("tools_json", "["), ("template_kwargs_json", "[]")):
        with fails(invalid, field):
            generate(stub, chat=pb.ChatPrompt(messages=[pb.ChatMessage(role="user")], **{field: text}))
    with fails(grpc.StatusCode.NOT_FOUND, "model"):
        generate(stub, text="a", model="gpt-4")
    with fails(grpc.StatusCode.NOT_FOUND, "model"):
        stub.GetModel(pb.GetModelRequest(model="gpt-4"))
    with fails(invalid, "token_ids"):
        stub.Detokenize(pb.DetokenizeRequest(token_ids=[-1]))
    with fails(grpc.StatusCode.RESOURCE_EXHAUSTED):
        generate(stub, text="a" * (17 << 20))
    assert texts(generate(stub, text="a", sampling=sampling(max_tokens=1)))


LONG = pb.SamplingParams(max_tokens=2000, ignore_eos=True)


def test_deadlines_and_cancelling_free_the_pages(stub, server):
    with fails(grpc.StatusCode.DEADLINE_EXCEEDED):
        list(stub.Generate(pb.GenerateRequest(text="a", sampling=LONG), timeout=0.1))
    server.wait_until_idle()
    before = server.metrics()["vllm:generation_tokens_total"]
    call = stub.Generate(pb.GenerateRequest(text="a", sampling=LONG))
    next(call), next(call)
    call.cancel()
    with fails(grpc.StatusCode.CANCELLED):
        list(call)
    after = server.wait_until_idle()["vllm:generation_tokens_total"]
    assert after - before < 2000, "it ran on after its client had left"


def test_a_client_that_does_not_read_is_cut_off(start):
    server = start("--max-output-buffer", "4KiB")
    options = [("grpc.http2.lookahead_bytes", 1), ("grpc.http2.bdp_probe", 0)]
    with grpc.insecure_channel(server.grpc_target, options=options) as channel:
        request = pb.GenerateRequest(text="a", sampling=pb.SamplingParams(max_tokens=2000, ignore_eos=True, logprobs=20))
        call = stubs.CausewayStub(channel).Generate(request)
        next(call)  # and no more: the flow-control window fills
        server.wait_until_idle()
    assert server.metrics()["causeway:requests_rejected_total"] >= 1


def test_keys_and_limits(start):
    server = start("--api-key", "secret", "--max-connections", "1")
    with grpc.insecure_channel(server.grpc_target) as channel:
        stub = stubs.CausewayStub(channel)
        with fails(grpc.StatusCode.UNAUTHENTICATED):
            generate(stub, text="a")
        with fails(grpc.StatusCode.UNAUTHENTICATED):
            stub.ListModels(pb.ListModelsRequest())
        key = [("authorization", "Bearer secret")]
        running = stub.Generate(pb.GenerateRequest(text="a", sampling=LONG), metadata=key)
        next(running)
        with fails(grpc.StatusCode.RESOURCE_EXHAUSTED):
            list(stub.Generate(pb.GenerateRequest(text="a"), metadata=key))
        running.cancel()


def test_health_and_reflection(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "causeway.v1.Causeway"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with fails(grpc.StatusCode.NOT_FOUND):
        health.Check(health_pb2.HealthCheckRequest(service="nobody"))
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    assert {"causeway.v1.Causeway", "grpc.health.v1.Health"} <= services
    file = database.FindFileContainingSymbol("causeway.v1.Causeway")
    assert [m.name for m in file.service[0].method] == ["Generate", "Tokenize", "Detokenize", "ListModels", "GetModel"]


def test_draining(start):
    server = start()
    with grpc.insecure_channel(server.grpc_target) as channel:
        stub = stubs.CausewayStub(channel)
        events = []
        call = stub.Generate(pb.GenerateRequest(text="a", sampling=pb.SamplingParams(max_tokens=600, ignore_eos=True)))
        events.append(next(call))
        codes = []
        thread = threading.Thread(target=lambda: codes.append(end(server)))
        thread.start()
        deadline = time.monotonic() + PATIENCE
        health = health_pb2_grpc.HealthStub(channel)
        while health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING:
            assert time.monotonic() < deadline
        with fails(grpc.StatusCode.UNAVAILABLE):
            while time.monotonic() < deadline:  # said not to serve a moment before it does not
                generate(stub, text="a", sampling=pb.SamplingParams(max_tokens=1))
        events += call
        thread.join()
    assert len(texts(events)[0][1]) == 600 and codes == [0]
