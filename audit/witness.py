"""Who else saw this head, and when? A C2SP witness: a small process with a key of its own.

    POST /add-checkpoint   old <size> \n proof… \n \n checkpoint   ->   — witness cosignature

It keeps the latest head of each log it knows, checks that a new one contains it, and cosigns.
Protocol: https://c2sp.org/tlog-witness. Danger: a witness that the bank runs itself binds nobody;
run it on another machine, under another user, best by another house.
"""

from __future__ import annotations

import base64
import http.client
import threading
import time
import urllib.parse
from collections.abc import Callable, Sequence
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from audit.errors import EvidenceMalformed, WitnessRefused
from audit.keys import read_or_make_secret
from audit.note import WITNESS_KEY, Checkpoint, Signer, Verifier, parse_checkpoint
from audit.tiles import write_atomically
from audit.tree import is_consistent

MOST_HASHES = 63
MOST_BYTES = 1 << 20
TIMEOUT = 2.0


class Answer(NamedTuple):
    """What the witness says: an HTTP status, a content type, a body."""

    status: int
    kind: str
    body: bytes


class Witness:
    """The state of one witness: its key, the logs it knows, the last head of each."""

    def __init__(
        self,
        folder: Path,
        name: str,
        logs: Sequence[Verifier],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._now = folder, now
        self._logs = list(logs)
        self._signer = Signer(name, read_or_make_secret(folder / "witness.key"), WITNESS_KEY)
        self._lock = threading.Lock()

    @property
    def verifier(self) -> Verifier:
        return self._signer.verifier

    @property
    def vkey(self) -> str:
        return self.verifier.vkey

    def add_checkpoint(self, request: bytes) -> Answer:
        """Check that the head continues what was seen before; cosign it, or say what is wrong."""
        try:
            old, path, head = parse_request(request)
        except EvidenceMalformed as error:
            return _text(400, str(error))
        keys = [key for key in self._logs if key.name == head.origin]
        if not keys:
            return _text(404, f"unknown log {head.origin}")
        if not any(head.signed_by(key) for key in keys):
            return _text(403, "no signature of a key known for this log")
        if old > head.size:
            return _text(400, "the old size lies beyond the checkpoint")
        with self._lock:
            last = self._last(head.origin)
            size = 0 if last is None else last.size
            if old != size:
                return Answer(409, "text/x.tlog.size", f"{size}\n".encode())
            if last is not None and last.size == head.size and last.root != head.root:
                return Answer(409, "text/x.tlog.size", f"{size}\n".encode())
            if last is None or size == 0:
                consistent = not path
            else:
                consistent = is_consistent(size, head.size, last.root, head.root, path)
            if not consistent:
                return _text(422, "the consistency proof does not hold")
            line = self._signer.cosign(head.text, int(self._now()))
            kept = (head.text + "\n" + line).encode()
            write_atomically(self._file(head.origin), kept, durable=True)
        return Answer(200, "text/plain; charset=utf-8", line.encode())

    def _last(self, origin: str) -> Checkpoint | None:
        try:
            return parse_checkpoint(self._file(origin).read_bytes())
        except FileNotFoundError:
            return None

    def _file(self, origin: str) -> Path:
        return self._folder / f"{sha256(origin.encode()).hexdigest()}.checkpoint"


class WitnessServer(ThreadingHTTPServer):
    """The HTTP face of a witness."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], witness: Witness) -> None:
        super().__init__(address, _Request)
        self.witness = witness


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    server: WitnessServer

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self.path != "/add-checkpoint":
            answer = _text(404, "there is /add-checkpoint")
        elif not length.isdigit() or int(length) > MOST_BYTES:
            answer = _text(400, "a request says its length, of at most 1 MiB")
        else:
            answer = self.server.witness.add_checkpoint(self.rfile.read(int(length)))
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Keep quiet; the cosigned heads are the log."""


def request_of(old: int, path: Sequence[bytes], checkpoint: bytes) -> bytes:
    """The body of an add-checkpoint request."""
    rows = [f"old {old}", *(base64.b64encode(hashed).decode() for hashed in path), "", ""]
    return "\n".join(rows).encode() + checkpoint


def ask_witness(url: str, old: int, path: Sequence[bytes], checkpoint: bytes) -> str:
    """One request; the cosignature lines. WitnessRefused carries the status and the answer."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        raise WitnessRefused(0, f"a witness has an http(s) URL, got {url!r}")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    link = kind(parts.hostname, parts.port, timeout=TIMEOUT)
    try:
        body = request_of(old, path, checkpoint)
        link.request("POST", parts.path.rstrip("/") + "/add-checkpoint", body)
        answer = link.getresponse()
        text = answer.read(MOST_BYTES).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise WitnessRefused(0, f"{url} is not there: {error}") from error
    finally:
        link.close()
    if answer.status != 200:
        raise WitnessRefused(answer.status, text.strip())
    return text


def parse_request(request: bytes) -> tuple[int, list[bytes], Checkpoint]:
    """(old size, consistency proof, checkpoint) of an add-checkpoint body; EvidenceMalformed."""
    front, mark, note = request.partition(b"\n\n")
    rows = front.decode(errors="replace").split("\n")
    number = rows[0].removeprefix("old ")
    if not mark or not rows[0].startswith("old ") or not number.isascii() or not number.isdigit():
        raise EvidenceMalformed("a request is 'old <size>', a proof, an empty line, a checkpoint")
    if str(int(number)) != number or len(rows) - 1 > MOST_HASHES:
        raise EvidenceMalformed("no leading zeros, and at most 63 hashes")
    try:
        path = [base64.b64decode(row, validate=True) for row in rows[1:]]
    except ValueError as error:
        raise EvidenceMalformed("a proof's hashes are base64") from error
    if any(len(hashed) != 32 for hashed in path):
        raise EvidenceMalformed("a proof's hashes have 32 bytes")
    return int(number), path, parse_checkpoint(note)


def _text(status: int, text: str) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", f"{text}\n".encode())
