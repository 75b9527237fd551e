"""The judgement changes under a thousand payments, then a file is broken: one set a decision."""

import asyncio
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

from flows.judgement import pointed
from flows.rules_command import changes_of
from flows.staff import person
from risk import names
from tests.journeys.conftest import StartHouse
from tests.journeys.house import Bank, House, bank_of, tell
from tests.patience import until

PAYMENTS, A_BATCH, SENDERS, SETS = 1_000, 40, 4, 6
BROKEN = """\
version: 2
id: broken
title: Broken
reason: {en: Broken.}
when: customer.cuont.1h >= 5
action: challenge
"""


def _tagging(number: int) -> dict[str, Any]:
    """Two rules that mark each decision with the number of their set; far apart in the set."""
    return {
        ident: {
            "version": 2, "id": ident, "title": "Marks", "reason": {"en": "Marks."},
            "when": 'event.amount >= money("0.00")', "action": f"tag {ident}-{number}",
            "state": "live",
        }
        for ident in ("first", "second")
    }  # fmt: skip


def _change(house: House, number: int) -> str:
    """Ann proposes another set and Bob agrees; gives its hash."""
    changes = changes_of(house.data)
    asked = changes.propose(person(house.data, "ann"), _tagging(number), f"set {number}")
    changes.approve(person(house.data, "bob"), asked.id)
    return str(changes.head())


async def _sent(bank: Bank, customer: str, count: int) -> list[str]:
    """Hand in so many small payments at once, to be decided in their own time; gives their ids."""
    payee = {"account": "SHOP", "name": "Shop", "country": "CN"}
    rows = [bank.payment(customer, amount="0.50", kind="card", payee=payee) for _ in range(count)]
    headers = {**bank.headers("ingest"), "Content-Type": "application/x-ndjson"}
    headers["Prefer"] = "respond-async"
    left = {row["id"]: row for row in rows}

    async def all_of_them() -> bool:
        sent = list(left.values())
        body = "\n".join(map(json.dumps, sent))
        async with bank.http.post("/v1/events:batch", data=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            told = [json.loads(line) for line in (await answer.text()).splitlines()]
        assert {one["status"] for one in told} <= {200, 202, 503}, told
        for row, one in zip(sent, told, strict=True):
            if one["status"] != 503:  # a busy house puts off: it is sent again
                del left[row["id"]]
        return not left

    await until(all_of_them, "a batch taken")
    return [row["id"] for row in rows]


async def _decided(bank: Bank, events: list[str]) -> list[dict[str, Any]]:
    """The decisions about these events, once there is one about each."""
    wished = set(events)

    async def all_of_them() -> list[dict[str, Any]]:
        told = await bank.stream(names.DECISIONS, "decision")
        found = {one["event"]: one for one in told if one["event"] in wished}
        return list(found.values()) if len(found) == len(wished) else []

    found: list[dict[str, Any]] = await until(all_of_them, "the decisions")
    return found


def test_a_thousand_concurrent_decisions_have_one_set_each_while_it_changes(
    start_house: StartHouse, tmp_path: Path
) -> None:
    house = start_house()
    for name in ("ann", "bob"):
        assert f"{name} may" in _types(house, "staff", "add", name)
    sets: dict[str, set[str]] = {str(pointed(house.data)): set()}

    async def changing() -> None:
        for number in range(SETS):
            sha256 = await asyncio.to_thread(_change, house, number)
            sets[sha256] = {f"first-{number}", f"second-{number}"}

    async def sending(bank: Bank, batches: "itertools.count[int]") -> list[str]:
        told: list[str] = []
        while (number := next(batches)) < PAYMENTS // A_BATCH:
            told += await _sent(bank, f"c-{number}", A_BATCH)
        return told

    async def story() -> list[dict[str, Any]]:
        async with bank_of(house) as bank:
            batches = itertools.count()
            senders = [sending(bank, batches) for _ in range(SENDERS)]
            changer = asyncio.create_task(changing())
            told = await asyncio.gather(*senders)
            await changer
            sent = [event for some in told for event in some]
            last = list(sets)[-1]

            async def by_the_last() -> bool:
                (one,) = await _decided(bank, await _sent(bank, "last", 1))
                return bool(one["policy_sha256"] == last)

            await until(by_the_last, "a decision by the last set")
            return await _decided(bank, sent)

    decisions = tell(story(), 400.0)
    assert len(decisions) == PAYMENTS
    judged = [one for one in decisions if not one.get("degraded")]
    assert len(judged) > PAYMENTS / 2
    seen = set()
    for one in judged:
        tags = {tag for tag in one.get("tags", ()) if tag.startswith(("first-", "second-"))}
        assert tags == sets[one["policy_sha256"]], one
        seen.add(one["policy_sha256"])
    assert len(seen) >= 2, "it changed while they were decided"
    _a_broken_file_changes_nothing(house, tmp_path, list(sets)[-1])


def _types(house: House, *words: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *words, "--data", str(house.data)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def _a_broken_file_changes_nothing(house: House, folder: Path, last: str) -> None:
    """Neither proposed nor laid where the files are, not even over a restart: the old set stays."""
    file = folder / "broken.yaml"
    file.write_text(BROKEN, encoding="utf-8")
    said = _types(house, "rules", "propose", str(file), "--as", "ann", "--why", "try", status=2)
    where = "line 5, column 7: needed a known name, got customer.cuont.1h"
    assert where in said.replace("\n", " ")
    (house.data / "rules").mkdir()
    (house.data / "rules" / "broken.yaml").write_text(BROKEN, encoding="utf-8")
    house.end()
    house.start()

    async def story() -> None:
        async with bank_of(house) as bank:
            (one,) = await _decided(bank, await _sent(bank, "after", 1))
            assert one["policy_sha256"] == last
            assert {"first-5", "second-5"} <= set(one["tags"])
            told = [one["text"] for one in await bank.stream("rb:alerts", "alert")]
            broken = [text for text in told if "The rule files can't be read" in text]
            assert len(broken) == 1, "told once"
            assert where in broken[0]
            assert broken[0].endswith("What counted before goes on.")
            count: Any = await bank.redis.hget(names.COUNTERS, "judgement_refused")
            assert orjson.loads(count) >= 1

    tell(story())
