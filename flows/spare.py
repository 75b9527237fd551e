"""Who steps in when a flow process dies? A spare that has read all its code and waits to be told.

Importing River and the rest takes a second or more, and nobody is decided about meanwhile. So the
supervisor keeps as many spares as there are flow processes; each waits for one line on its standard
input, and ends when that is closed.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Call(NamedTuple):
    """What a spare is told to become: a process of a cluster, of a generation."""

    process: int
    generation: int
    addresses: str

    def line(self) -> bytes:
        """As it goes over the pipe."""
        return json.dumps(self._asdict()).encode() + b"\n"


def waited_for() -> Call | None:
    """Read the code of the flow, then wait for the call; None when nobody will call any more."""
    import features.models  # noqa: F401  read now, so that nothing is left to read
    import flows.live
    import flows.parts  # noqa: F401  the same

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    line = sys.stdin.buffer.readline()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return Call(**json.loads(line)) if line else None


def spawn_spare(line: Sequence[str], log_file: Path) -> "subprocess.Popen[bytes]":
    """Start a spare with its log appended to a file."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as out:
        return subprocess.Popen(
            list(line), stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT
        )


def called(spare: "subprocess.Popen[bytes]", call: Call) -> bool:
    """Tell a spare what to become; False where it is no more."""
    if spare.poll() is not None or spare.stdin is None:
        return False
    try:
        spare.stdin.write(call.line())
        spare.stdin.close()
    except OSError:
        return False
    return True
