"""The supervisor is killed, and its parts go on alone; the next start ends them and takes over."""

import os
import signal
import subprocess
import sys

import psutil

from tests.journeys.house import House, bank_of, tell
from tests.patience import PATIENCE


def test_a_house_has_one_supervisor_and_the_next_takes_over_what_a_killed_one_left(
    battered_house: House,
) -> None:
    house = battered_house

    async def pay(amount: str, kept: str = "") -> str:
        async with bank_of(house) as bank:
            await bank.introduce("ulla", "web")
            decision = await bank.pay("ulla", amount=amount, payee={"account": "SHOP"})
            assert (decision["decision"], decision["degraded"]) == ("approve", None)
            if kept:
                assert (await bank.decision(kept))["decision"] == "approve"
            return str(decision["event"])

    first = tell(pay("20.00"))
    before = house.run["pids"]

    # A second one is refused by name, and disturbs nothing.
    line = [sys.executable, "-m", "flows.cli", "run", "--data", str(house.data)]
    second = subprocess.run(
        [*line, "--http", "127.0.0.1:0"],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert second.returncode == 2
    assert f"is run by process {before['supervisor']}: end that one first" in second.stderr
    assert house.run["pids"] == before

    os.kill(house.pid("supervisor"), signal.SIGKILL)
    house.start()
    left = [name for name, pid in before.items() if name != "supervisor" and _runs(pid)]
    assert left == []
    tell(pay("21.00", kept=first))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
