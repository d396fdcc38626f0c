#!/usr/bin/env python3
"""Runs the end-to-end tests: run.py BINARY [PYTEST ARGS].

Makes a virtual environment under build/ with the pinned clients of requirements.txt, and generates the gRPC client
from proto/. Exits 77 (skipped) where the clients are not there and cannot be fetched.
"""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ENVIRONMENT = ROOT / "build" / "e2e-venv"
SKIPPED = 77


def stamp(paths):
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def up_to_date(marker, value):
    return marker.exists() and marker.read_text() == value


def ensure_clients():
    """The interpreter of an environment that holds the requirements; None if they cannot be had."""
    python = ENVIRONMENT / "bin" / "python"
    marker = ENVIRONMENT / "requirements.sha256"
    wanted = stamp([HERE / "requirements.txt"])
    if up_to_date(marker, wanted):
        return python
    print("e2e: installing the clients of tests/e2e/requirements.txt into build/e2e-venv", flush=True)
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    done = subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                           "--requirement", HERE / "requirements.txt"], capture_output=True, text=True)
    if done.returncode != 0:
        print("e2e: skipped: the clients could not be installed:\n" + done.stderr[-2000:], flush=True)
        return None
    marker.write_text(wanted)
    return python


def generate_stubs(python):
    proto = ROOT / "proto" / "causeway" / "v1" / "causeway.proto"
    out = ENVIRONMENT / "stubs"
    marker = out / "proto.sha256"
    wanted = stamp([proto])
    if not up_to_date(marker, wanted):
        out.mkdir(exist_ok=True)
        subprocess.run([python, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", f"--python_out={out}",
                        f"--grpc_python_out={out}", proto], check=True)
        marker.write_text(wanted)
    return out


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    python = ensure_clients()
    if python is None:
        sys.exit(SKIPPED)
    stubs = generate_stubs(python)
    environment = dict(os.environ, PYTHONPATH=str(stubs), PYTHONDONTWRITEBYTECODE="1", NO_PROXY="127.0.0.1")
    command = [python, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--durations=5", HERE,
               f"--causeway={Path(sys.argv[1]).resolve()}", *sys.argv[2:]]
    sys.exit(subprocess.run(command, env=environment, cwd=ROOT).returncode)


if __name__ == "__main__":
    main()
