"""A notifier as a process of its own, for tests: prints `stands by`, then `leading`."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import uvloop

from notifiers.notify import run_notifier
from notifiers.prosody import ProsodySettings
from tests.notifiers import stage


def start(
    redis_url: str, data: Path, prosody: ProsodySettings, log: Path
) -> subprocess.Popen[bytes]:
    """Start one; the caller ends it by its pid."""
    command = [sys.executable, "-m", "tests.notifiers.process", redis_url, str(data)]
    command += [str(prosody.component_port), prosody.secret]
    with log.open("ab") as output:
        return subprocess.Popen(
            command, stdout=output, stderr=output, cwd=Path(__file__).resolve().parents[2]
        )


def leads(log: Path) -> bool:
    """Whether the process that writes this log has begun to lead."""
    return log.exists() and "leading" in log.read_text()


def stands_by(log: Path) -> bool:
    """Whether the process that writes this log is up: it leads, or will as soon as it can."""
    return log.exists() and "stands by" in log.read_text()


async def main() -> None:
    url, data, port, secret = sys.argv[1:5]
    made = ProsodySettings(Path(data), stage.DOMAIN, secret, 0, int(port), 0)
    settings = stage.settings_for(url, Path(data), xmpp=made.address())
    sys.stdout.write("stands by\n")
    sys.stdout.flush()
    stop, leading = asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def tell() -> None:
        await leading.wait()
        sys.stdout.write("leading\n")
        sys.stdout.flush()

    telling = asyncio.create_task(tell())
    await run_notifier(settings, stop, leading)
    telling.cancel()


if __name__ == "__main__":
    uvloop.run(main())
