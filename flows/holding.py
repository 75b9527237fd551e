"""Who runs this data directory? One `ringback run` at a time; what a killed one left is ended.

Two of them would take the flow's generation from each other for ever. And when a supervisor is
killed, its parts go on without anybody: the next start ends them, by their pids in ``run.json``,
before it starts its own.
"""

import contextlib
import fcntl
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from flows.errors import HouseTaken

log = logging.getLogger("ringback.supervisor")
_DRAIN_SECONDS = 8.0
_LAST = "redis"  # the others' last words are for it


@contextmanager
def held(data: Path) -> Iterator[None]:
    """Hold a data directory for as long as this lasts; `HouseTaken` where somebody else does."""
    with (data / "run.lock").open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise HouseTaken(
                f"{data} is run by process {lock.read().strip() or 'unknown'}: end that one first "
                "(SIGTERM lets it drain), or give another --data"
            ) from None
        lock.truncate(0)
        lock.write(f"{psutil.Process().pid}\n")
        lock.flush()
        end_leftovers(data)
        yield


def end_leftovers(data: Path) -> None:
    """End the parts of a supervisor that was killed: whatever of ``run.json`` is still there."""
    try:
        told = json.loads((data / "run.json").read_text(encoding="utf-8")).get("pids", {})
    except (OSError, ValueError):
        return
    told.pop("supervisor", None)
    left = {name: one for name, pid in told.items() if (one := _part(data, int(pid)))}
    for names in ([name for name in left if name != _LAST], [_LAST] if _LAST in left else []):
        for name in names:
            log.warning("%s (pid %s) was left by a killed run; ended", name, left[name].pid)
            with contextlib.suppress(psutil.Error):
                left[name].terminate()
        _, alive = psutil.wait_procs([left[name] for name in names], _DRAIN_SECONDS)
        for one in alive:
            with contextlib.suppress(psutil.Error):
                one.kill()
        psutil.wait_procs(alive, _DRAIN_SECONDS)


def _part(data: Path, pid: int) -> psutil.Process | None:
    """The process of that pid, if it is a part over this directory: a pid may be another's now."""
    try:
        process = psutil.Process(pid)
        words = map(Path, process.cmdline())
        # Redis names its port alone, and works where its file is.
        if any(word.is_relative_to(data) for word in (*words, Path(process.cwd()))):
            return process
    except psutil.Error:
        pass
    return None
