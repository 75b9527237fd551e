"""The flow is killed while labels teach the model; each score is given again to its last digit."""

import asyncio
import json
import signal
from functools import partial
from typing import Any

from audit import read
from flows.assemble import known_names
from flows.case_replay import Kept, configured, differences, models_then, rebuilt
from risk import names
from tests.journeys.house import Bank, House, bank_of, tell
from tests.patience import until

ROUNDS, PAYMENTS = 4, 40


async def _paid(bank: Bank, number: int) -> list[str]:
    """A round of payments by people of very different habits, decided in their own time."""
    rows = [
        bank.payment(
            f"again-{place % 9}",
            amount=f"{10 + 97 * (place % 13) * (number + 1)}.00",
            payee={"account": f"again-{place % 5}", "name": "Shop", "country": "CN"},
            kind="card" if place % 3 else "transfer",
        )
        for place in range(PAYMENTS)
    ]
    headers = {**bank.headers("ingest"), "Content-Type": "application/x-ndjson"}
    headers["Prefer"] = "respond-async"
    left = {row["id"]: row for row in rows}

    async def all_of_them() -> bool:
        sent = list(left.values())
        body = "\n".join(map(json.dumps, sent))
        async with bank.http.post("/v1/events:batch", data=body, headers=headers) as answer:
            told = [json.loads(line) for line in (await answer.text()).splitlines()]
        for row, one in zip(sent, told, strict=True):
            if one["status"] in (200, 202):
                del left[row["id"]]
        return not left

    await until(all_of_them, "a round taken")
    events = [str(row["id"]) for row in rows]
    wished = set(events)

    async def decided() -> bool:
        told = await bank.stream(names.DECISIONS, "decision")
        return wished <= {one["event"] for one in told}

    await until(decided, "a round decided")
    return events


async def _labelled(bank: Bank, events: list[str]) -> None:
    headers = bank.headers("bank")

    async def label(place: int, event: str) -> None:
        body = {"event": event, "fraud": place % 4 == 0, "time": "2026-03-02T12:00:00+00:00"}
        async with bank.http.post("/v1/labels", json=body, headers=headers) as answer:
            assert answer.status == 202, await answer.text()

    await asyncio.gather(*(label(place, event) for place, event in enumerate(events)))


async def _has_learnt(bank: Bank, lessons: int) -> bool:
    """Whether the model that scores now has learnt so many."""
    status, decision = await bank.send(bank.payment("again-probe", amount="10.00"))
    if status != 200 or decision["degraded"] is not None:
        return False
    return int(decision["model"]["version"].partition("+")[2]) >= lessons


def test_every_score_is_the_same_again_though_the_flow_was_killed_between_its_lessons(
    battered_house: House,
) -> None:
    house = battered_house

    async def story() -> list[str]:
        told: list[str] = []

        async def on_record() -> bool:
            kinds = [set(await asyncio.to_thread(house.kinds, event)) for event in told]
            return all({"score", "decision", "learn"} <= found for found in kinds)

        async with bank_of(house) as bank:
            for number in range(ROUNDS):
                events = await _paid(bank, number)
                told += events
                await _labelled(bank, events)
                await bank.learnt(events[0])  # and of the others as many as came so far
                if number < ROUNDS - 1:
                    house.signal("flow-0", signal.SIGKILL)

                await until(on_record, "decisions and lessons on record")
                # A lesson on record may have to be learnt again after the kill.
                await until(partial(_has_learnt, bank, len(told)), "a model that has learnt all")
        return told

    events = tell(story(), 400.0)
    opened = house.opened
    kept = Kept(configured(house.data), known_names(opened.settings, house.data))
    taught: set[str] = set()
    weights: set[str] = set()
    again = 0
    with models_then(house.data) as models:
        for event in events:
            records: Any = read.event_records(house.data, event)
            decision = next(one["body"] for one in records if one["kind"] == "decision")
            if decision.get("degraded"):
                continue
            found = rebuilt(records, kept, models)
            assert found.spoken is not None
            assert differences(found) == [], event
            taught.add(found.score["taught"])
            weights.update(one["weight"] for one in found.spoken["factors"])
            again += 1
    assert again > len(events) / 2
    assert len(taught) >= ROUNDS - 1, "the model has learnt between them"
    assert len(weights) > 2
