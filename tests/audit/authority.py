"""A time-stamp authority of a test's own: openssl signs, a small HTTP server hands out."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

CONFIG = """
[req]
distinguished_name = none
prompt = no
[none]
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
[stamps]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
[tsa]
default_tsa = stamping
[stamping]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ordering = yes
tsa_name = yes
ess_cert_id_chain = no
"""


class Authority(NamedTuple):
    """Where to ask, and the certificate that says whose stamps they are."""

    url: str
    root: Path


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@contextmanager
def authority(folder: Path) -> Iterator[Authority]:
    """Make keys and certificates, serve stamps on a loopback port; ended with the block."""
    folder.mkdir(parents=True)
    (folder / "tsa.cnf").write_text(CONFIG.format(folder=folder))
    (folder / "serial").write_text("01\n")
    for name, issuer in (("root", "root"), ("stamps", "root")):
        key = ["-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-subj", f"/CN={name}"]
        made = ["req", "-x509", "-config", "tsa.cnf", *key, "-days", "30", "-out", f"{name}.pem"]
        if name != issuer:
            made += ["-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key"]
        _openssl(folder, *made, "-extensions", name)

    class Stamps(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            (folder / "query.tsq").write_bytes(asked)
            _openssl(
                folder, "ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query.tsq",
                "-inkey", "stamps.key", "-signer", "stamps.pem",
                "-out", "reply.tsr",
            )  # fmt: skip
            data = (folder / "reply.tsr").read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stamps)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Authority(f"http://127.0.0.1:{server.server_port}/", folder / "root.pem")
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
