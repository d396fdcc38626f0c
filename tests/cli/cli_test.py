#!/usr/bin/env python3
"""The command line as a user meets it: exit codes, one clear line for a mistake, JSON that parses."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest

CAUSEWAY = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build/release/causeway")
os.chdir(os.path.dirname(os.path.abspath(__file__)) + "/../..")
GOLDEN = "tests/golden"


def run(*arguments, text="", **variables):
    """Runs causeway with a clean environment; nothing of the caller's CAUSEWAY_* leaks in."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
    return subprocess.run([CAUSEWAY, *arguments], input=text, capture_output=True, text=True, env=environment, timeout=100,
                          check=False)


class HelpTest(unittest.TestCase):
    COMMANDS = ["", "serve", "generate", "inspect", "eval", "eval perplexity", "eval retrieval", "quantize", "verify", "verify model",
                "verify tokenizer", "verify template", "bench", "bench engine", "bench kv", "bench serve", "bench make-model"]

    def test_every_command_has_help_that_fits_its_terminal(self):
        for command in self.COMMANDS:
            for columns in (80, 120):
                done = run(*command.split(), "--help", COLUMNS=str(columns))
                self.assertEqual((done.returncode, done.stderr), (0, ""), command)
                self.assertIn(f"Usage: causeway {command}".rstrip(), done.stdout)
                for line in done.stdout.split("\n"):
                    if not re.search(r"Usage:|^  causeway |^[A-Z`].*", line) and len(line.split()) > 2:
                        self.assertLessEqual(len(line), columns, f"{command}: {line}")

    def test_switches_and_defaults(self):
        text = run("serve", "--help").stdout
        self.assertIn("--grpc / --no-grpc", text)
        self.assertIn("[8000]", text)
        self.assertNotIn("{false}", text)

    def test_version(self):
        self.assertRegex(run("--version").stdout, r"^causeway \d+\.\d+\.\d+\n$")


class WrongUsageTest(unittest.TestCase):
    def expect(self, wanted, *arguments, code=2, **variables):
        done = run(*arguments, **variables)
        self.assertEqual(done.returncode, code, (arguments, done.stderr))
        self.assertEqual(done.stdout, "", arguments)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(wanted, done.stderr, arguments)

    def test_one_line_that_says_what_is_wrong(self):
        self.expect("a command is missing: serve, generate, inspect")
        self.expect("unknown command 'serv'; is it serve?", "serv")
        self.expect("unknown command 'modl'; is it model?", "verify", "modl", "x")
        self.expect("causeway serve: unknown option --prot; is it --port?", "serve", "--prot", "1")
        self.expect("causeway inspect: unexpected argument 'b'", "inspect", "a", "b")
        self.expect("PATH is required", "verify", "model")
        self.expect("not in range 0 to 1024", "bench", "engine", "--threads", "5000")
        self.expect("'x' is no list of CPUs", "bench", "engine", "--cpu-affinity", "x")
        self.expect("may not use CPU 8191", "generate", "--cpu-affinity", "8191", "x")
        self.expect("known:", "inspect", "--force-kernels", "nope")
        self.expect("--rounds", "bench", "kv", "--rounds", "0")
        self.expect("--page-tokens", "bench", "kv", "--page-tokens", "20")
        self.expect("CUDA", "bench", "kv", "--vm", "cuda", code=1, CUDA_VISIBLE_DEVICES="")  # none, or none that may be used
        self.expect("unknown format 'q9'; known: f32", "quantize", "fable", "/nonexistent/x.gguf", "--format", "q9")
        self.expect("--tensor a: PATTERN=FORMAT is wanted", "quantize", "fable", "x.gguf", "--format", "q8_0", "--tensor", "a")
        self.expect("--system goes with --chat", "generate", "--system", "x", "y")
        self.expect("'ftp://x'", "bench", "serve", "ftp://x")
        self.expect("no such bound 'foo'", "bench", "serve", "--slo", "foo:1")
        self.expect("known: tinyllama-1.1b", "bench", "make-model", "--shape", "x", "--out", "/nonexistent/x")
        self.expect("--port must be at least 0 and at most 65535, and is 99999", "serve", "--port", "99999")
        self.expect("CAUSEWAY_PORT: port must be a whole number", "serve", CAUSEWAY_PORT="http")
        self.expect("--dump writes the logits of one model", "verify", "model", GOLDEN + "/models", "--dump", "/nonexistent/x")

    def test_a_setting_in_a_file_is_checked_too(self):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write("prot = 1\n")
            file.flush()
            self.expect("unknown setting prot; is it port?", "serve", "--config", file.name)

    def test_what_the_world_does_wrong_is_1(self):
        self.expect("no model '/nonexistent/m'", "inspect", "/nonexistent/m", code=1)
        self.expect("cannot read /nonexistent/t", "eval", "perplexity", "--text", "/nonexistent/t", code=1)
        self.expect("there is no folder /nonexistent", "quantize", "fable", "/nonexistent/x.gguf", "--format", "q8_0", code=1)
        self.expect("cannot reach 127.0.0.1:1", "bench", "serve", "http://127.0.0.1:1", code=1)


class SettingsTest(unittest.TestCase):
    def test_precedence(self):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write("port = 1\nmax-num-seqs = 2\nio-threads = 3\n")
            file.flush()
            text = run("serve", "some-model", "--config", file.name, "--io-threads", "5", "--dump-config",
                       CAUSEWAY_MAX_NUM_SEQS="4", CAUSEWAY_IO_THREADS="4", CAUSEWAY_API_KEY="secret").stdout
        for line in ("model = some-model", "port = 1", "max-num-seqs = 4", "io-threads = 5"):
            self.assertIn(f"\n{line}\n", text)
        self.assertNotIn("secret", text)

    def test_a_variable_that_is_nearly_a_setting_is_worth_a_warning(self):
        done = run("serve", "--dump-config", CAUSEWAY_MAX_NUM_SEQ="4", CAUSEWAY_SERVICE_HOST="10.0.0.1",
                   CAUSEWAY_PORT_8000_TCP="tcp://10.0.0.1:8000", CAUSEWAY_PORT="tcp://10.0.0.1:8000")
        self.assertEqual(done.returncode, 0)
        self.assertIn("CAUSEWAY_MAX_NUM_SEQ is no setting; is it CAUSEWAY_MAX_NUM_SEQS?", done.stderr)
        self.assertIn("is a Kubernetes service link and was ignored", done.stderr)
        self.assertEqual(done.stderr.count("\n"), 2, done.stderr)

    def test_the_example_is_the_dump(self):
        with open("configs/causeway.toml", encoding="utf-8") as file:
            self.assertEqual(run("serve", "--dump-config").stdout, file.read())


class ReloadTest(unittest.TestCase):
    def test_sighup_reads_the_file_again(self):
        with tempfile.TemporaryDirectory() as folder:
            config = folder + "/causeway.toml"

            def write(text):
                with open(config, "w", encoding="utf-8") as file:
                    file.write(text)

            write("log-level = info\n")
            server = subprocess.Popen([CAUSEWAY, "serve", "--config", config, "--host", "127.0.0.1", "--port", "0", "--no-grpc"],
                                      stderr=subprocess.PIPE, text=True)
            try:
                def wait_for(text):
                    for line in server.stderr:
                        if text in line:
                            return line
                    self.fail(f"the server ended without: {text}")

                wait_for("ready: http://127.0.0.1:")
                write("log-level = debug\nmax-num-seqs = 7\n")
                server.send_signal(signal.SIGHUP)
                wait_for("max-num-seqs has changed to 7, which takes a restart")
                wait_for("reloaded: log-level is debug")
                write("log-level = loud\n")
                server.send_signal(signal.SIGHUP)
                wait_for("log-level must be one of")
                server.send_signal(signal.SIGTERM)
                self.assertEqual(server.wait(timeout=60), 0)
            finally:
                server.kill()
                server.wait()
                server.stderr.close()


class JsonTest(unittest.TestCase):
    def load(self, *arguments, code=0):
        done = run(*arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        return json.loads(done.stdout)

    def test_inspect(self):
        model = self.load("inspect", "--json")
        self.assertEqual((model["name"], model["family"], model["unsupported"]), ("fable", "llama", []))
        # 6 layers, keys and values, 2 heads of 64
        self.assertEqual(model["kv_bytes_per_token"], {"f32": 6144, "f16": 3072, "bf16": 3072})
        self.assertEqual(sum(part["parameters"] for part in model["parts"].values()), model["parameters"])
        self.assertEqual(model["blocks"][0]["layers"], [0, 5])
        self.assertIn(model["kernels"]["chosen"], model["kernels"]["available"])

    def test_every_golden_model_can_be_inspected(self):
        for name in sorted(os.listdir(GOLDEN + "/models")):
            model = self.load("inspect", f"{GOLDEN}/models/{name}", "--json")
            self.assertEqual(sum(part["parameters"] for part in model["parts"].values()), model["parameters"], name)

    def test_what_is_unsupported_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(folder + "/config.json", "w", encoding="utf-8") as file:
                file.write('{"model_type": "mamba"}')
            self.assertIn("mamba", self.load("inspect", folder, "--json", code=1)["unsupported"][0])

    def test_generate_repeats_itself(self):
        first = self.load("generate", "Once upon a time", "--max-tokens", "5", "--seed", "7", "--json")
        self.assertEqual((first["completion_tokens"], first["finish_reason"]), (5, "length"))
        self.assertEqual(first, self.load("generate", "--prompt", "Once upon a time", "--max-tokens", "5", "--seed", "7", "--json"))
        piped = run("generate", "--max-tokens", "5", "--seed", "7", text="Once upon a time\n")
        self.assertEqual(piped.stdout, first["text"] + "\n")

    def test_eval(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("Once upon a time there was a goose. " * 20)
            file.flush()
            score = self.load("eval", "perplexity", "--text", file.name, "--window", "64", "--stride", "32", "--json")
        self.assertEqual((score["window"], score["stride"]), (64, 32))
        self.assertGreater(score["perplexity"], 1)

    def test_bench_engine_says_where_the_time_goes(self):
        small = ("--prompt-tokens", "8", "--gen-tokens", "2", "--batch", "2", "--context", "40", "--threads", "1")
        report = self.load("bench", "engine", GOLDEN + "/models/llama", *small, "--ops", "--json")
        self.assertGreater(report["machine"]["fork_join_us"], 0)
        row = report["results"][0]
        self.assertEqual((row["batch"], row["context"]), (2, 40))
        for part in ("prefill_ops", "decode_ops"):
            ops = {op["op"]: op for op in row[part]["ops"]}
            self.assertLessEqual({"embed", "attention", "linear qkv", "linear o", "linear gate_up", "linear down",
                                  "linear head", "sample", "outside ops"}, set(ops))
            self.assertAlmostEqual(sum(op["ms"] for op in ops.values()), row[part]["step_ms"], places=6)
            self.assertGreater(ops["linear head"]["share_of_limit"], 0)
            self.assertNotIn("share_of_limit", ops["rms_norm"])
        self.assertIn("of its limit", run("bench", "engine", GOLDEN + "/models/llama", *small, "--ops").stdout)

    def test_bench_kv(self):
        small = ["--fork-tokens", "512", "--lookup-tokens", "2000", "--prompt-tokens", "256", "--requests", "50", "--pool-mib", "64",
                 "--rounds", "1"]
        figures = self.load("bench", "kv", GOLDEN + "/models/llama", *small, "--json")
        self.assertEqual(list(figures), [
            "alloc_free_16_pages_us", "prefix_lookup_50k_ms", "prefix_hash_50k_ms", "fork_8k_us", "copy_8k_us", "idle_pinned_ratio",
            "waste_pages_per_sequence", "map_calls_per_decode_step", "scan_contiguous_gb_s", "scan_ratio_slab", "scan_ratio_per_layer", "scan_ratio_sliced",
            "ttft_4k_cold_ms", "ttft_4k_warm_ms", "create_page_us", "release_page_us", "map_page_us", "unmap_page_us", "alias_page_us",
            "copy_page_us", "seal_page_us"])
        for name, figure in figures.items():
            self.assertEqual(list(figure), ["p50", "p99"], name)
            self.assertGreaterEqual(figure["p99"], figure["p50"], name)
        # What does not depend on the machine's speed.
        self.assertEqual(figures["map_calls_per_decode_step"], {"p50": 0.0, "p99": 0.0})
        self.assertEqual(figures["idle_pinned_ratio"], {"p50": 1.0, "p99": 1.0})
        self.assertLess(figures["waste_pages_per_sequence"]["p99"], 1)
        table = run("bench", "kv", GOLDEN + "/models/llama", *small, "--page-tokens", "32")
        self.assertIn(", 32 tokens: linux", table.stderr)
        self.assertIn("goal", table.stdout)
        self.assertIn("first tokens behind 256", table.stderr)

    def test_quantize(self):
        with tempfile.TemporaryDirectory() as folder:
            text = folder + "/text"
            with open(text, "w", encoding="utf-8") as file:
                file.write("Once upon a time there was a goose that laid a golden egg every day. " * 20)
            calibration = ["--method", "gptq", "--calibration", "model/builtin/fable/SOURCES.md", "--samples", "4",
                           "--sequence-length", "64"]
            for name, allowed, *flags in [
                    ("q8.gguf", 0.01, "--format", "q8_0"),
                    ("q4k.gguf", 0.08, "--format", "Q4_K", "--tensor", "blk.0.attn_v.weight=q8_0"),
                    ("w4a16", 0.15, "--format", "w4a16", *calibration),
            ]:
                report = self.load("quantize", "fable", f"{folder}/{name}", *flags, "--json")
                self.assertEqual(report["weights"], 5770496, name)
                self.assertEqual(sum(one["weights"] for one in report["formats"]), report["weights"])
                before, after = (self.load("eval", "perplexity", model, "--text", text, "--window", "128", "--stride", "64", "--json")
                                 for model in ("fable", f"{folder}/{name}"))
                self.assertLess(abs(after["nll_per_token"] - before["nll_per_token"]), allowed, name)
                chat = self.load("generate", "Tell me a story.", "--chat", "--model", f"{folder}/{name}", "--max-tokens", "4", "--json")
                self.assertGreater(len(chat["text"]), 0)
            again = run("quantize", "fable", folder + "/q8.gguf", "--format", "q8_0")
            self.assertEqual(again.returncode, 1)
            self.assertIn("is there already; --force replaces it", again.stderr)
            self.assertEqual(sorted(os.listdir(folder)), ["q4k.gguf", "q8.gguf", "text", "w4a16"])
            self.assertIn("--allow-requantize", run("quantize", folder + "/q8.gguf", folder + "/x.gguf", "--format", "q4_0").stderr)

    def test_verify(self):
        report = self.load("verify", "tokenizer", GOLDEN + "/tokenizers", "--json")
        self.assertTrue(report["passed"])
        self.assertGreater(len(report["results"]), 1)
        self.assertFalse(self.load("verify", "model", "/nonexistent", "--json", code=1)["passed"])

    def test_verify_dumps_logits_under_the_golden_names(self):
        with tempfile.TemporaryDirectory() as folder:
            path = folder + "/logits.safetensors"
            self.assertEqual(run("verify", "model", GOLDEN + "/models/llama", "--dump", path).returncode, 0)
            with open(path, "rb") as file:
                header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            self.assertEqual(header["logits.0"]["dtype"], "F32")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
