#!/usr/bin/env python3
"""House rules that a compiler does not check. Run from anywhere; prints each finding as file:line: text.

  layers    an include that goes up the layer table, or a third-party header outside its home
  banned    calls that have a better spelling here
  size      files over 600 lines, headers over 200, functions over 70 (too_long.txt lists the ones that remain, with
            their length; it may only shrink: --update rewrites it and refuses growth)
  readme    dead links, module READMEs over 80 lines
  machine   absolute paths of somebody's machine
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOO_LONG = Path(__file__).with_name("too_long.txt")

MAX_FILE_LINES, MAX_HEADER_LINES, MAX_FUNCTION_LINES, MAX_README_LINES = 600, 200, 70, 80

# What a folder's files may include of ours, by prefix. The first matching row holds.
LAYERS = [
    ("base/", ["base/"]),
    ("kernels/", ["base/", "kernels/"]),
    ("memory/", ["base/", "kernels/", "memory/"]),
    ("scheduler/", ["base/", "memory/", "scheduler/"]),
    # The runner implements the scheduler's Executor; it sees that seam and nothing else of the scheduler.
    ("model/", ["base/", "kernels/", "memory/", "model/",
                "scheduler/adapter.h", "scheduler/plan.h", "scheduler/executor.h", "scheduler/request.h"]),
    ("server/", ["base/", "kernels/", "memory/", "scheduler/", "model/", "server/", "proto/", "causeway/v1/"]),
]
OURS = tuple(prefix for prefix, _ in LAYERS) + ("proto/", "causeway/v1/")

# Third-party headers and the only folders that may include them.
HOMES = [
    (r"nlohmann/", ["base/"]),
    (r"base/json\.h", ["base/", "model/", "server/"]),
    (r"boost/|google/protobuf|grpc|prometheus/|CLI/", ["server/"]),
    (r"openssl/", ["base/", "server/"]),
    (r"pcre2|utf8proc", ["model/tokenizer/", "server/template/"]),
    (r"immintrin|simde|x86intrin|arm_neon", ["kernels/"]),
    (r"cuda|cooperative_groups|cub/|cublas|nccl", ["kernels/cuda/", "kernels/cuda_stub/",
                                                   "memory/vm/cuda_driver_load.cc"]),
    (r"liburing|xxhash", ["memory/tier/"]),
    (r"sys/mman\.h", ["memory/vm/", "memory/tier/", "model/", "base/", "kernels/"]),
    (r"regex$", []),
    (r"coroutine|source_location", []),
]

# pattern, folders where it is allowed, what to do instead. Comments and literals are blanked before the search.
BANNED = [
    (r"\b(?:secure_)?getenv\s*\(", ["server/config/"], "only server/config reads the environment"),
    (r"(?<![\w.>:])(?:std::)?(?:v|f|s|sn|vsn|vf|vs|d)?printf\s*\(", [], "fmt or LOG_*"),
    (r"\bstd::regex\b", [], "PCRE2 with limits, or a hand-written scan"),
    (r"\bnew\s+(?!\()[A-Za-z_:]", [], "make_unique (unique_ptr<T>(new T) where the constructor is private)"),
    (r"(?<!operator )\bdelete\b(?!\s*;)(?<!= delete)", [], "an owner"),
    (r"\b(?:malloc|calloc|realloc|free)\s*\(", ["kernels/"], "an owner"),
    (r"\b(?:strcpy|strcat|gets|strtok|system|popen|alloca|atoi|atof)\s*\(", [], "a bounded or checked call"),
    (r"\bstd::(?:mt19937|random_device|rand)\b|(?<![\w.>:])s?rand\s*\(", ["server/"], "base/rng.h"),
    (r"\bstd::(?:cout|cerr|endl)\b", ["server/"], "LOG_*"),
    (r"\bsystem_clock\b", ["server/", "base/"], "steady time is passed in as an Instant"),
    (r"\busing namespace\b", [], "a name"),
    (r"\bNULL\b", [], "nullptr"),
    (r"-ffast-math|#pragma\s+(?:GCC|clang)\s+optimize", [], "fixed float rules"),
]

MACHINE_PATH = re.compile(r"(?<![\w.])/(?:wo" r"rk|ho" r"me/\w+|ro" r"ot|Us" r"ers/\w+)/[\w.]")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def tracked_files():
    """Files that git knows or would add; every file but build output where there is no git."""
    try:
        out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                             capture_output=True, text=True).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        out = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*")
               if p.is_file() and p.relative_to(ROOT).parts[0] not in ("build", ".git")]
    return sorted(f for f in out if f and (ROOT / f).is_file())


def blank_comments_and_literals(text):
    """Keeps the line structure, so that positions still name lines."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<![0-9A-Fa-f])\'(?:\\.|[^\'\\\n])+\'', re.S)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def check_layers(name, text):
    allowed = next((rule for prefix, rule in LAYERS if name.startswith(prefix)), None)
    for match in re.finditer(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', text, re.M):
        header = match.group(1)
        where = f"{name}:{line_of(text, match.start())}"
        if allowed and header.startswith(OURS) and not header.startswith(tuple(allowed)):
            yield f"{where}: {header} is above this layer"
        for pattern, homes in HOMES:
            if allowed and re.match(pattern, header) and not name.startswith(tuple(homes)):
                yield f"{where}: {header} may be included only in {', '.join(homes) or 'no file of ours'}"
    if name.endswith(".h") and "#pragma once" not in text:
        yield f"{name}:1: no #pragma once"


def check_banned(name, code):
    lines = code.split("\n")
    for pattern, allowed, instead in BANNED:
        if allowed and name.startswith(tuple(allowed)):
            continue
        for match in re.finditer(pattern, code):
            line = line_of(code, match.start())
            if "new" in match.group() and re.search(r"(?:unique|shared)_ptr<", " ".join(lines[max(0, line - 2):line])):
                continue  # the constructor is private
            yield f"{name}:{line}: {match.group().strip()}: use {instead}"


def long_files(names):
    """{file: lines} of every file over its limit."""
    result = {}
    for name in names:
        lines = (ROOT / name).read_text(errors="replace").count("\n")
        if lines > (MAX_HEADER_LINES if name.endswith(".h") else MAX_FILE_LINES):
            result[name] = lines
    return result


def long_functions(names):
    """{file:function: lines} of every function over the limit, by ctags; overloads in one file keep the longest."""
    result = {}
    out = subprocess.run(["ctags", "-x", "--language-force=C++", "--c++-kinds=f",
                          "--_xformat=%{input}\t%{name}\t%{line}\t%{end}", "-L", "-"],
                         input="\n".join(names), cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for row in out.splitlines():
        name, function, first, last = row.split("\t")
        if last.isdigit() and int(last) - int(first) + 1 > MAX_FUNCTION_LINES:
            key = f"{name}:{function}"
            result[key] = max(result.get(key, 0), int(last) - int(first) + 1)
    return result


def compare_with_ratchet(now, allowed):
    for key, lines in sorted(now.items()):
        if key not in allowed:
            yield f"{key}: {lines} lines are too many"
        elif lines > allowed[key]:
            yield f"{key}: {lines} lines, and it had {allowed[key]}"
    for key in sorted(set(allowed) - set(now)):
        yield f"tests/tidy/too_long.txt: {key} is short now; run tests/tidy/check_tidy.py --update"


def read_ratchet():
    rows = TOO_LONG.read_text().splitlines() if TOO_LONG.exists() else []
    return {key: int(lines) for key, lines in (row.rsplit(" ", 1) for row in rows if row and not row.startswith("#"))}


def write_ratchet(now, allowed):
    grown = [key for key in now if now[key] > allowed.get(key, 0)] if allowed else []
    if grown:
        sys.exit(f"these grew, shorten them: {', '.join(grown)}")
    TOO_LONG.write_text("# Files and functions over the limits that remain. This list may only shrink.\n"
                        + "".join(f"{key} {now[key]}\n" for key in sorted(now)))


def check_lengths(names, update):
    now = long_files(names)
    if shutil.which("ctags"):
        now.update(long_functions([name for name in names if not name.startswith("tests/")]))
    else:
        print("functions are not measured: ctags is not installed (Debian: universal-ctags)")
        return []
    if update:
        write_ratchet(now, read_ratchet())
    return list(compare_with_ratchet(now, read_ratchet()))


def check_readme(name, text):
    folder = (ROOT / name).parent
    for match in LINK.finditer(text):
        target = match.group(1).split("#")[0]
        if target and not re.match(r"[a-z]+:", target) and not (folder / target).exists():
            yield f"{name}:{line_of(text, match.start())}: dead link {target}"
    lines = text.count("\n")
    if name != "README.md" and name.split("/")[0] in ("base", "kernels", "memory", "model", "scheduler", "server") \
            and not name.startswith("model/builtin/") and lines > MAX_README_LINES:
        yield f"{name}:{lines}: {lines} lines, over {MAX_README_LINES}"


def check_machine(name, text):
    for match in MACHINE_PATH.finditer(text):
        yield f"{name}:{line_of(text, match.start())}: path of one machine"


def check_file(name):
    path = ROOT / name
    is_code = name.endswith((".cc", ".h", ".cu", ".cuh"))
    is_text = is_code or name.endswith((".md", ".txt", ".cmake", ".py", ".sh", ".yaml", ".yml")) or "." not in path.name
    if not is_text or path.stat().st_size > 2_000_000 or name.startswith("model/builtin/"):
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    yield from check_machine(name, text)
    if name.endswith(".md"):
        yield from check_readme(name, text)
    if is_code:
        yield from check_layers(name, text)
        if not name.startswith("tests/"):
            yield from check_banned(name, blank_comments_and_literals(text))


def main():
    names = tracked_files()
    findings = [finding for name in names for finding in check_file(name)]
    code = [name for name in names if name.endswith((".cc", ".h", ".cu", ".cuh"))]
    findings += check_lengths(code, "--update" in sys.argv)
    for finding in findings:
        print(finding)
    print(f"{len(names)} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
