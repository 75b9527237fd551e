"""The ledger's writer as a process of its own, for a replay: it writes while the flow goes on.

Live, records travel by Redis; a replay has none, so they travel by a pipe, whose bound is the
back-pressure. `close` returns when everything is durable.
"""

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import orjson

from flows.errors import FlowError

_BUNDLE = 1_000  # as many as go into one commit


class LedgerDied(FlowError):
    """The ledger's writer ended before everything was durable."""


class LedgerProcess:
    """A writer beside the replay; `keep` hands it records, in order."""

    def __init__(self, data: Path, bank: str, tenant: str, transport_key: bytes) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(
            target=_write, args=(theirs, data, bank, tenant, transport_key), name="ledger"
        )
        self._process.start()
        theirs.close()
        self._waiting: list[dict[str, Any]] = []

    def keep(self, records: list[dict[str, Any]]) -> None:
        """Hand over records; they are durable when `close` has returned."""
        self._waiting += records
        if len(self._waiting) >= _BUNDLE:
            self._send()

    def _send(self) -> None:
        try:
            self._ours.send_bytes(orjson.dumps(self._waiting))
        except OSError as broken:
            raise LedgerDied("replay: the ledger's writer died; see what it printed") from broken
        self._waiting = []

    def close(self) -> None:
        """Wait until all is durable, then end the writer. Raises `LedgerDied` where it isn't."""
        try:
            if self._waiting:
                self._send()
            self._ours.send_bytes(b"")
            self._ours.recv_bytes()
        except (OSError, EOFError) as broken:
            raise LedgerDied("replay: the ledger's writer died; see what it printed") from broken
        finally:
            self.end()

    def end(self) -> None:
        """End the writer, whatever it still has to do; harmless once it has ended."""
        self._ours.close()
        self._process.join(30)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _write(pipe: Connection, data: Path, bank: str, tenant: str, transport_key: bytes) -> None:
    from audit.writer import Ledger

    ledger = Ledger(data, origin_bank=bank, tenant=tenant, transport_key=transport_key)
    try:
        while bundle := pipe.recv_bytes():
            ledger.append_many(orjson.loads(bundle))
    except EOFError:
        return  # the replay died: what came is durable, and the next start names the gap
    finally:
        ledger.close()
    pipe.send_bytes(b"durable")
