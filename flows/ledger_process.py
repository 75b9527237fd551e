"""The ledger's writer as a process of its own, for a replay: it writes while the flow goes on.

Live, records travel by Redis; a replay has none, so they travel by a pipe. A thread carries them,
so that the flow goes on while the writer waits for its disk; how many bundles may wait is the
back-pressure. `close` returns when everything is durable.
"""

import contextlib
import multiprocessing
import queue
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import orjson

from flows.cycles import look_seldom
from flows.errors import FlowError

_BUNDLE = 1_000  # as many as go into one commit
_AHEAD = 8
_SECONDS = 30.0


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
        self._bundles: queue.Queue[bytes | None] = queue.Queue(_AHEAD)
        self._broken: OSError | None = None
        self._ended = False
        self._carrier = threading.Thread(target=self._carry, name="to the ledger", daemon=True)
        self._carrier.start()

    def keep(self, records: list[dict[str, Any]]) -> None:
        """Hand over records; they are durable when `close` has returned."""
        self._waiting += records
        while len(self._waiting) >= _BUNDLE:
            self._send(self._waiting[:_BUNDLE])
            del self._waiting[:_BUNDLE]

    def _send(self, records: list[dict[str, Any]]) -> None:
        self._bundles.put(orjson.dumps(records))
        self._check()

    def _check(self) -> None:
        if self._broken is not None:
            raise LedgerDied(
                "replay: the ledger's writer died; see what it printed"
            ) from self._broken

    def _carry(self) -> None:
        """Send bundle after bundle; once the pipe is broken, only take them out of the way."""
        while (bundle := self._bundles.get()) is not None:
            if self._broken is None and not self._ended:
                try:
                    self._ours.send_bytes(bundle)
                except OSError as broken:
                    self._broken = broken

    def close(self) -> None:
        """Wait until all is durable, then end the writer. Raises `LedgerDied` where it isn't."""
        try:
            if self._waiting:
                self._send(self._waiting)
            self._bundles.put(b"")
            self._bundles.put(None)
            self._carrier.join()
            self._check()
            self._ours.recv_bytes()
        except (OSError, EOFError) as broken:
            raise LedgerDied("replay: the ledger's writer died; see what it printed") from broken
        finally:
            self.end()

    def end(self) -> None:
        """End the writer, whatever it still has to do; harmless once it has ended."""
        self._ended = True
        if self._carrier.is_alive():
            with contextlib.suppress(queue.Full):
                self._bundles.put(None, timeout=_SECONDS)
            self._carrier.join(_SECONDS)
        self._ours.close()
        self._process.join(_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _write(pipe: Connection, data: Path, bank: str, tenant: str, transport_key: bytes) -> None:
    from audit.writer import Ledger

    ledger = Ledger(data, origin_bank=bank, tenant=tenant, transport_key=transport_key)
    look_seldom()
    try:
        while bundle := pipe.recv_bytes():
            ledger.append_many(orjson.loads(bundle))
    except EOFError:
        return  # the replay died: what came is durable, and the next start names the gap
    finally:
        ledger.close()
    pipe.send_bytes(b"durable")
