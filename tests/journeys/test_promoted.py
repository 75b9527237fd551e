"""Two people promote a challenger while payments run; a crash changes nothing; they go back."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows import staff
from risk import names
from tests.journeys.house import SELF_CONSISTENT, Bank, House, bank_of, tell
from tests.patience import PATIENCE, until

TAUGHT = 130


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Everything, with one challenger in shadow."""
    made = House(tmp_path / "house")
    (made.data / "ringback.yaml").write_text("models: {challengers: [binned_crossed]}\n")
    made.start()
    yield made
    made.end()


def _ringback(house: House, *words: str) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "flows.cli", *words, "--data", str(house.data)]
    return subprocess.run(line, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)


async def _says(house: House, *words: str) -> str:
    done = await asyncio.to_thread(_ringback, house, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _kinds(house: House) -> dict[str, int]:
    """How many records of each kind the ledger holds."""
    path = house.data / "ledger" / "ledger.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return dict(db.execute("SELECT kind, count(*) FROM records GROUP BY kind").fetchall())


async def _teach(bank: Bank) -> None:
    """Payments and what they were, by one batch each."""
    events = [
        bank.payment(f"c{number % 20}", amount=f"{20 + number}.00") for number in range(TAUGHT)
    ]
    labels = [
        {"type": "label", "event": event["id"], "fraud": at % 9 == 0, "source": "chargeback",
         "time": datetime.now(UTC).isoformat()}
        for at, event in enumerate(events)
    ]  # fmt: skip
    for rows in (events, labels):
        await _taken(bank, rows)


async def _taken(bank: Bank, rows: list[dict[str, Any]]) -> None:
    """Send rows until each is taken: a busy house puts off some."""
    headers = {"Authorization": f"Bearer {bank.bearers['bank']}",
               "Content-Type": "application/x-ndjson", "Prefer": "wait=30"}  # fmt: skip
    left = rows

    async def all_of_them() -> bool:
        nonlocal left
        body = "\n".join(map(json.dumps, left))
        async with bank.http.post("/v1/events:batch", data=body, headers=headers) as answer:
            told = [json.loads(line) for line in (await answer.text()).splitlines()]
        assert {row["status"] for row in told} <= {200, 202, 503}, told[:3]
        left = [row for row, one in zip(left, told, strict=True) if one["status"] == 503]
        return not left

    await until(all_of_them, "a batch taken")


async def _standing(bank: Bank) -> dict[str, Any]:
    raw = await bank.redis.get(names.MODEL_BOARD)
    found: dict[str, Any] = json.loads(raw)["models"] if raw else {}
    return found


async def _acts(bank: Bank, model: str) -> dict[str, Any]:
    """A decision of that model, as soon as it has one."""

    async def decided() -> dict[str, Any]:
        decision = await bank.pay("dora", amount="31.00")
        return decision if decision["model"]["id"] == model else {}

    return await until(decided, f"a decision by {model}")


def test_a_promotion_and_a_rollback_in_the_running_flow(house: House) -> None:
    async def story() -> None:
        for name in ("ana", "bo"):
            staff.add(house.data, name, staff.USUAL)
        async with bank_of(house) as bank:
            first = await bank.pay("dora", amount="30.00")
            assert first["model"]["id"] == "binned"
            assert "factors" not in first
            await _teach(bank)

            async def learnt() -> bool:
                await bank.pay("dora", amount="30.50")
                rows = await _standing(bank)
                return all(row["lessons"] >= TAUGHT for row in rows.values()) and len(rows) == 2

            await until(learnt, "the lessons")

            said = await _says(
                house, "models", "propose", "binned_crossed", "--as", "ana", "--why", "ranks better"
            )
            proposal = said.split(":")[0]
            refused = await asyncio.to_thread(
                _ringback, house, "models", "approve", proposal, "--as", "ana"
            )
            assert refused.returncode == 2
            assert "another person than ana" in refused.stderr
            assert (await bank.pay("dora", amount="30.60"))["model"]["id"] == "binned"
            await _says(house, "models", "approve", proposal, "--as", "bo")
            decision = await _acts(bank, "binned_crossed")
            assert decision["model"]["version"].startswith(decision["model"]["sha256"][:12])
            lessons = {name: row["lessons"] for name, row in (await _standing(bank)).items()}
            assert lessons["binned"] == lessons["binned_crossed"] >= TAUGHT

            # The word of before a crash holds after it.
            os.kill(house.pid("flow-0"), signal.SIGKILL)
            after = await _acts(bank, "binned_crossed")
            assert after["event"] != decision["event"]

            async def in_their_roles() -> bool:
                return {name: row["role"] for name, row in (await _standing(bank)).items()} == {
                    "binned_crossed": "champion", "binned": "former",
                }  # fmt: skip

            await until(in_their_roles, "both models in their roles")

            # Why, for who asks: by HTTP and by the command.
            where = f"/v1/decisions/{decision['event']}?include=factors"
            headers = {"Authorization": f"Bearer {bank.bearers['bank']}"}
            async with bank.http.get(where, headers=headers) as answer:
                factors = (await answer.json())["factors"]
            assert 0 < len(factors) <= 5
            assert all(factor["text"].endswith("of all factors)") for factor in factors)
            await bank.recorded(decision["event"], "score")
            told = json.loads(await _says(house, "case", "explain", decision["event"], "--json"))
            assert [one["text"] for one in told["factors"]] == [one["text"] for one in factors]
            assert told["model"] == decision["model"]
            assert set(told["challengers"]) == {"binned"}
            series = 'ringback_model{figure="lessons",model="binned_crossed",role="champion"}'

            async def told_in_metrics() -> bool:
                async with bank.http.get("/metrics") as answer:
                    return series in await answer.text()

            await until(told_in_metrics, series)

            said = await _says(house, "models", "rollback", "--as", "bo", "--why", "worse")
            await _says(house, "models", "approve", said.split(":")[0], "--as", "ana")
            await _acts(bank, "binned")

            async def shown_again() -> dict[str, Any]:
                told = json.loads(await _says(house, "models", "show", "binned", "--json"))
                return dict(told) if told["now"]["role"] == "champion" else {}

            shown = await until(shown_again, "the former model as the champion")
            assert shown["now"]["bytes"] > 0
            assert {row["source"] for row in shown["figures"]} == {"chargeback"}
            rows = [row for row in shown["figures"] if row["scenario"] == "all"]
            assert sum(row["events"] for row in rows) == TAUGHT
            listed = json.loads(await _says(house, "models", "list", "--json"))
            assert len(listed["models"]) >= 5
            assert listed["proposals"] == []
            alerts = await bank.stream(names.ALERTS, "alert")
            assert [one["text"].split()[0] for one in alerts if one["kind"] == "model"] == [
                "binned_crossed", "binned",
            ]  # fmt: skip

            wanted = ("model.registered", "model.approved", "model.promoted", "model.retired")
            kinds: dict[str, int] = {}

            async def on_record() -> bool:
                kinds.update(await asyncio.to_thread(_kinds, house))
                return all(kinds.get(kind, 0) >= 2 for kind in wanted)

            await until(on_record, "both changes in the ledger")
            assert {kind: kinds[kind] for kind in wanted} == dict.fromkeys(wanted, 2)

    tell(story(), 240)
    house.end()
    assert house.verify() == SELF_CONSISTENT
