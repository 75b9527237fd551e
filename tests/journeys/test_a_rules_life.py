"""An analyst's rule: written, tried on the past, watched for a day, agreed on, braked, retired."""

import asyncio
import itertools
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from audit import read
from config.settings import HERE, read_rates
from flows.simulate_command import simulate_file
from risk import money
from tests.journeys.conftest import StartHouse
from tests.journeys.house import Bank, House, bank_of, tell
from tests.patience import PATIENCE, until

RULE = """\
version: 2
id: large_bill
title: Large bill
reason: {en: A bill far above the usual ones.}
severity: low
when: event.kind == "bill" && event.amount >= money("300.00")
action: challenge
state: draft
owner: ann
tests:
  - {name: large, events: [{kind: bill, amount: "300.00"}], hit: true}
  - {name: small, events: [{kind: bill, amount: "299.99"}], hit: false}
"""
RATES = read_rates(HERE / "rates.yaml", "CNY")
EARLIER = (datetime.now(UTC) - timedelta(days=3)).isoformat()  # before the day that is simulated
BRAKES = {
    "challenges_per_hour": {"rule": 20, "overall": 1000},
    "declines_per_hour": {"rule": 1000, "overall": 1000},
}


class Desk:
    """The analyst at a terminal: the commands as they are typed."""

    def __init__(self, house: House, folder: Path) -> None:
        self.house, self.folder = house, folder
        self.rule = folder / "large_bill.yaml"
        self.rule.write_text(RULE, encoding="utf-8")

    def types(self, *words: str, status: int = 0) -> str:
        """Run a command; gives what it says."""
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *words],
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def here(self, *words: str, status: int = 0) -> str:
        """Run a command over the house's directory."""
        return self.types(*words, "--data", str(self.house.data), status=status)

    def state(self) -> str | None:
        """The state of the rule."""
        rows = json.loads(self.here("rules", "list", "--json"))
        return {row["id"]: row["state"] for row in rows}.get("large_bill")


async def _bill(bank: Bank, customer: str, **over: Any) -> dict[str, Any]:
    payee = {"account": "POWER", "name": "Power and Light", "country": "CN"}
    return await bank.pay(customer, **{"kind": "bill", "amount": "800.00", "payee": payee, **over})


async def _follows(bank: Bank, set_before: str, customer: str) -> dict[str, Any]:
    """The first decision by another set than this one."""

    numbers = itertools.count()

    async def look() -> dict[str, Any]:
        decision = await _bill(bank, f"{customer}-{next(numbers)}", amount="1.00", time=EARLIER)
        return decision if decision["policy_sha256"] != set_before else {}

    return await until(look, "a decision by the new set")


def test_a_rule_is_drafted_tried_watched_agreed_on_braked_and_retired(
    start_house: StartHouse, tmp_path: Path
) -> None:
    house = start_house(brakes=BRAKES)
    desk = Desk(house, tmp_path)

    async def story() -> None:
        async with bank_of(house) as bank:
            for name in ("ann", "bob"):
                assert f"{name} may" in desk.here("staff", "add", name)
            before = await _drafted_and_tried(desk, bank, tmp_path)
            await _watched_for_a_day(desk, bank, before, tmp_path)
            acting = await _agreed_on(desk, bank)
            await _decided_again(desk, acting)
            await _braked(desk, bank)
            await _listed(desk, bank)
            _retired(desk)

    tell(story(), 400.0)
    house.end()
    assert house.verify() == 3


async def _drafted_and_tried(desk: Desk, bank: Bank, folder: Path) -> str:
    assert "1 rules are right" in desk.here("rules", "check", str(desk.rule))
    assert "2 of 2 tests passed" in desk.here("rules", "test", str(desk.rule))
    events, truth = folder / "events.ndjson", folder / "truth.ndjson"
    simulate_file(
        events, customers=30, days=3, seed=2, start="2026-01-05", scenarios=None, truth=truth,
        label_delay="",
    )  # fmt: skip
    said = desk.here(
        "rules", "backtest", str(desk.rule), "--events", str(events), "--truth", str(truth),
        "--html", str(folder / "backtest.html"), "--limit", "500", "--json",
    )  # fmt: skip
    assert "large_bill" in json.loads(said)["rules"]
    assert (folder / "backtest.html").exists()
    decision = await _bill(bank, "anna", time=EARLIER)
    assert decision["decision"] == "approve"
    return str(decision["policy_sha256"])


async def _watched_for_a_day(desk: Desk, bank: Bank, before: str, folder: Path) -> None:
    desk.rule.write_text(RULE.replace("state: draft", "state: shadow"), encoding="utf-8")
    said = desk.here("rules", "propose", str(desk.rule), "--as", "ann", "--why", "watch it")
    assert "applied by ann" in said
    assert desk.state() == "shadow"
    await _follows(bank, before, "anna")
    sent = _a_day(folder)
    payments = [one for one in sent if one["type"] == "transaction"]
    bills = {one["id"] for one in payments if one["kind"] == "bill" and _minor(one) >= 30_000}
    assert len(payments) > 500
    assert bills
    decisions: list[dict[str, Any]] = []
    for at in range(0, len(sent), 40):
        decisions += await _batch(bank, sent[at : at + 40])
    assert len(decisions) == len(sent)
    for one in decisions:
        assert "large_bill" not in str(one["reasons"])
    event = next(iter(bills))
    told = [one for one in decisions if one["event"] == event]
    assert told[0]["decision"] == "approve"
    ids = {one["id"] for one in sent}

    async def on_record() -> bool:
        return ids <= {str(one["event"]) for one in read.decisions(desk.house.data)}

    await until(on_record, "the day's decisions on record")
    hit = set()
    for _, of, _, leaf in read.steps(desk.house.data, ("rule.hits",)):
        body = json.loads(leaf)["body"]
        assert "large_bill" not in [one["rule"] for one in body["hits"]]
        if of in ids and "large_bill" in [one["rule"] for one in body.get("shadow", ())]:
            hit.add(of)
    assert hit == bills, "in shadow on just those that anybody would count by hand"
    await _told_honest(bank, event)


async def _batch(bank: Bank, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The decisions about a few events; those that a busy house puts off are sent again."""
    headers = {**bank.headers("ingest"), "Content-Type": "application/x-ndjson"}
    headers["Prefer"] = "wait=30"  # a busy house decides late, and no fail policy before it
    decided: dict[str, dict[str, Any]] = {}

    async def all_of_them() -> bool:
        body = "\n".join(json.dumps(row) for row in rows if row["id"] not in decided)
        async with bank.http.post("/v1/events:batch", data=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            told = [json.loads(line) for line in (await answer.text()).splitlines()]
        assert {one["status"] for one in told} <= {200, 503}, told
        decided.update(
            (one["decision"]["event"], one["decision"]) for one in told if one["status"] == 200
        )
        return len(decided) == len(rows)

    await until(all_of_them, "decisions about a batch")
    return list(decided.values())


async def _told_honest(bank: Bank, event: str) -> None:
    """A label comes back, so that the model has learnt before the rule acts."""
    body = {"event": event, "fraud": False, "time": datetime.now(UTC).isoformat()}
    async with bank.http.post("/v1/labels", json=body, headers=bank.headers("bank")) as answer:
        assert answer.status == 202, await answer.text()
    await bank.learnt(event)


def _a_day(folder: Path) -> list[dict[str, Any]]:
    """Yesterday, of a small bank, by its own simulator."""
    file = folder / "day.ndjson"
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    simulate_file(
        file, customers=300, days=1, seed=2, start=yesterday, scenarios=None, truth=None,
        label_delay="",
    )  # fmt: skip
    told = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [one for one in told if one["type"] != "label"]


def _minor(payment: dict[str, Any]) -> int:
    minor = money.minor_units(payment["amount"], payment["currency"])
    day = datetime.fromisoformat(payment["time"]).astimezone(UTC).date()
    return RATES.to_base(minor, payment["currency"], day) or 0


async def _agreed_on(desk: Desk, bank: Bank) -> dict[str, Any]:
    said = desk.here(
        "rules", "promote", "large_bill", "--to", "live", "--as", "ann", "--why", "7 in a day"
    )
    change = said.split(":")[0]
    assert f"waits for a second person: ringback rules approve {change}" in said
    said = desk.here("rules", "approve", change, "--as", "ann", status=2)
    assert "needed a second person, got ann, who proposed it" in said
    assert desk.state() == "shadow"
    assert "approved by bob" in desk.here("rules", "approve", change, "--as", "bob")
    numbers = itertools.count()

    async def asked() -> dict[str, Any]:
        decision = await _bill(bank, f"berta-{next(numbers)}")
        return decision if decision["decision"] == "challenge" else {}

    told = await until(asked, "the rule acting")
    assert [reason["code"] for reason in told["reasons"]] == ["large_bill"]
    assert f"{change}   applied" in desk.here("rules", "history")
    return told


async def _decided_again(desk: Desk, decision: dict[str, Any]) -> None:
    event = decision["event"]

    async def on_record() -> bool:
        return {"decision", "score"} <= set(await asyncio.to_thread(desk.house.kinds, event))

    await until(on_record, "the decision on record")
    said = desk.here("case", "replay", event)
    assert "The same again, from the record alone." in said
    assert said.startswith("challenge (large_bill)")
    assert re.search(r"rebuilt: score \(by binned [0-9a-f]{12}\+[1-9]\d*\); rules and policy", said)
    assert "recorded: features; customer; anomaly" in said
    told = json.loads(desk.here("case", "replay", event, "--recorded-score", "--json"))
    assert told["differences"] == []
    assert told["recorded"][-1].startswith("score (by binned ")
    assert [part.split()[0] for part in told["rebuilt"]] == ["rules", "lists"]
    said = desk.here("rules", "backtest", str(desk.rule), "--past", "--json")
    past = json.loads(said)
    assert past["rules"]["large_bill"]["hits"] >= 5
    assert past["changed"] == {}, "it acts already"


async def _braked(desk: Desk, bank: Bank) -> None:
    told = [await _bill(bank, f"many-{number}") for number in range(30)]
    outcomes = [one["decision"] for one in told]
    assert "review" in outcomes
    braked = [one for one in told if any(why["code"] == "brake" for why in one["reasons"])]
    assert braked

    async def demoted() -> bool:
        return await asyncio.to_thread(desk.state) == "shadow"

    await until(demoted, "the rule in shadow")

    async def alerted() -> bool:
        said = [one["text"] for one in await bank.stream("rb:alerts", "alert")]
        tripped = "A brake tripped: rule large_bill asked more than 10 times"
        return any(tripped in one for one in said)

    await until(alerted, "the officers' alert")


async def _listed(desk: Desk, bank: Bank) -> None:
    said = desk.here(
        "lists", "add", "block", "POWER", "--key-kind", "payee", "--as", "bob",
        "--why", "a mule, says the police", "--until", "30d",
    )  # fmt: skip
    assert "POWER" not in said

    numbers = itertools.count()

    async def blocked() -> bool:
        decision = await _bill(bank, f"listed-{next(numbers)}", amount="1.00")
        return bool(decision["decision"] == "decline")

    await until(blocked, "the payee on the list")
    said = desk.here(
        "lists", "add", "force.approve", "anna", "--key-kind", "customer", "--as", "ann",
        "--why", "please", "--until", "1h", status=2,
    )  # fmt: skip
    assert "ann: needed the right 'force'" in said
    assert "a mule, says the police" in desk.here("lists", "show", "block")


def _retired(desk: Desk) -> None:
    said = desk.here("rules", "retire", "large_bill", "--as", "ann", "--why", "too many asked")
    assert "applied by ann" in said
    assert desk.state() == "retired"
