"""What leaves the bank proves itself, and nobody reads another's payment unseen."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from audit.verify import SELF_CONSISTENT
from tests.audit.tools import build_go
from tests.journeys.house import Bank, House, bank_of, tell
from tests.patience import PATIENCE, until


async def receipt_of(bank: Bank, event: str) -> dict[str, Any]:
    async def durable() -> dict[str, Any]:
        told: dict[str, Any] = (await bank.decision(event)).get("receipt") or {}
        return told

    return await until(durable, f"the receipt of {event}")


async def fetched(bank: Bank, path: str, role: str) -> tuple[int, bytes]:
    async with bank.http.get(path, headers=bank._as(role)) as answer:
        return answer.status, await answer.read()


def test_a_caller_keeps_a_proof_that_holds_without_the_bank(
    shared_house: House, tmp_path: Path
) -> None:
    log = shared_house.data / "ledger"

    async def story() -> None:
        async with bank_of(shared_house) as bank:
            event = (await bank.pay("ines", amount="20.00", payee={"account": "SHOP"}))["event"]
            receipt = await receipt_of(bank, event)
            for part in ("proof", "leaf"):
                where = f"/v1/decisions/{event}/proof?part={part}"
                status, data = await fetched(bank, where, "bank")
                assert status == 200
                (tmp_path / part).write_bytes(data)
            leaf = json.loads((tmp_path / "leaf").read_bytes())
            assert (leaf["kind"], leaf["event"]) == ("decision", event)
            assert f"index {receipt['index']}\n" in (tmp_path / "proof").read_text()
            key = log.joinpath(*receipt["origin"].split("/")[-3:]) / "keys"
            (tmp_path / "policy").write_text(f"log {key.read_text()}quorum none\n")

    tell(story())
    files = [str(tmp_path / name) for name in ("proof", "leaf")]
    ours = subprocess.run(
        [sys.executable, "-m", "audit", "check-proof", *files, "--policy", tmp_path / "policy"],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert ours.returncode == SELF_CONSISTENT, ours.stdout + ours.stderr
    go = build_go(tmp_path / "go")
    assert go("-proof", *files, tmp_path / "policy") == 0
    (tmp_path / "leaf").write_bytes(
        (tmp_path / "leaf").read_bytes().replace(b"approve", b"decline")
    )
    assert go("-proof", *files, tmp_path / "policy") == 1


def test_without_its_writer_nothing_is_read_and_decisions_go_on(battered_house: House) -> None:
    async def story() -> None:
        async with bank_of(battered_house) as bank:
            event = (await bank.pay("jon", amount="20.00", payee={"account": "SHOP"}))["event"]
            await receipt_of(bank, event)
            where = f"/v1/decisions/{event}"
            asked = 0

            async def shown() -> bool:
                """Whether an officer is shown it: a busy writer may have let one wait in vain."""
                nonlocal asked
                asked += 1
                status, _ = await fetched(bank, where, "officer")
                assert status in (200, 503)
                return status == 200

            await until(shown, "a reading on record")
            battered_house.signal("ledger", signal.SIGSTOP)
            try:
                refused, bought = await asyncio.gather(
                    fetched(bank, where, "officer"),
                    bank.pay("jon", amount="21.00", payee={"account": "SHOP"}),
                )
                assert refused[0] == 503, refused
                assert b"could not be put on record" in refused[1]
                assert bought["decision"] == "approve"
                assert (await fetched(bank, where, "bank"))[0] == 200  # its own
            finally:
                battered_house.signal("ledger", signal.SIGCONT)
            await receipt_of(bank, bought["event"])
            await until(shown, "a reading on record")
            read = [one for one in battered_house.records(event) if one["kind"] == "access.read"]
            # Two that were answered, and the one that was refused and came on record late.
            assert len(read) == asked + 1 >= 3

    tell(story())
    shown = subprocess.run(
        [sys.executable, "-m", "flows.cli", "case", "show", "case-nobody",
         "--data", str(battered_house.data)],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert shown.returncode == 2
    assert "there is no case" in shown.stderr


def test_the_review_runs_beside_the_rest(shared_house: House) -> None:
    assert shared_house.pid("review") > 0
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "audit", "review", "--data", str(shared_house.data),
         "--json"],
        capture_output=True, text=True, timeout=2 * PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [told] = json.loads(done.stdout)["logs"]
    assert told["status"] == "ok"
    log = shared_house.data.joinpath("ledger", *told["origin"].split("/")[-3:])
    assert json.loads((log / "verified.json").read_text()) == told
