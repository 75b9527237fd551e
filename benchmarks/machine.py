"""On what machine was it measured? A description to stand at the head of a results file."""

import os
import platform
import shutil
import subprocess
import sys
from datetime import datetime
from importlib import metadata
from pathlib import Path

_PACKAGES = ("bytewax", "river", "redis", "aiohttp", "uvloop", "orjson", "pydantic", "slixmpp")


def describe(measured: datetime) -> dict[str, object]:
    """Cores, memory, load and versions; nothing that names the machine or its owner.

    `measured` (aware) is when the run began. `load` is the load average at the call: take it
    before the run, since neighbours on shared cores are part of what was measured.
    """
    if measured.tzinfo is None:
        raise ValueError(f"measured: needed a time with an offset; got {measured.isoformat()}")
    return {
        "measured": measured.isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_mib": _memory_mib(),
        "load": [str(round(load, 2)) for load in os.getloadavg()],
        "system": platform.system(),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "redis_server": _redis_server(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "changed_since": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def _processor() -> str | None:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or None


def _memory_mib() -> int | None:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return None


def _redis_server() -> str | None:
    program = shutil.which("redis-server")
    if program is None:
        return None
    words = _output(program, "--version").split()
    return next((word.removeprefix("v=") for word in words if word.startswith("v=")), None)


def _git(*arguments: str) -> str | None:
    return _output("git", "-C", str(Path(__file__).parent), *arguments) or None


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


if __name__ == "__main__":
    import json
    from datetime import UTC

    json.dump(describe(datetime.now(UTC)), sys.stdout, indent=2)
    sys.stdout.write("\n")
