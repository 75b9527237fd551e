"""Golden vectors: small histories and every feature of each event in them, in plain JSON.

Made by the brute-force reference, so that an engine in any language can be held against them:

    python -m tests.features.golden        writes tests/assets/windows/*.json anew

A file has ``key`` and ``steps``; a step is a ``label`` that is heard (``oddness``: the feature
``customer.median_ratio.amount.30d`` of its event, as scored), or an ``event`` with the
``features`` it is described by; unless it is ``late`` it is history from then on. Times are
microseconds, amounts minor units of the base currency; a field that is not there is null. Of the
vectors called ``declared`` the features are those of ``tests/assets/features.yaml``.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from features.catalogue import DESCRIBERS, catalogue
from features.describer import Describer
from tests.features import declared_reference, reference
from tests.features.reference import DAY, SECOND, Paid, Said

HERE = Path(__file__).parent.parent / "assets" / "windows"
T = 1_700_000_000 * SECOND
MINUTE, HOUR = 60 * SECOND, 3600 * SECOND

Step = tuple[Paid | Said, bool]


def _paid(
    at: int,
    amount: int | None = 1_000,
    *,
    payee: str | None = "p",
    late: bool = False,
    kind: str = "transaction",
) -> Step:
    return Paid(f"e{at}", T + at, amount, payee=payee, type=kind), late


def _did(
    at: int,
    what: str,
    *,
    where: tuple[str, float, float] | None = None,
    device: str | None = "d1",
    who: str = "c",
) -> Step:
    """A sign-in or a change of the account: ``login/failure``, ``account_change/phone``."""
    kind, _, which = what.partition("/")
    event = Paid(f"e{at}", T + at, None, customer=who, payee=None, type=kind, device=device)
    if kind == "login":
        event = replace(event, result=which)
    elif kind == "account_change":
        event = replace(event, change=which)
    if where is not None:
        event = replace(event, country=where[0], lat=where[1], lon=where[2])
    return event, False


def _at(step: Step, where: tuple[str, float, float], device: str) -> Step:
    """The same from a place, with a device."""
    country, lat, lon = where
    paid = replace(cast("Paid", step[0]), country=country, lat=lat, lon=lon, device=device)
    return paid, step[1]


SHANGHAI, BEIJING = ("CN", 31.23, 121.47), ("CN", 39.9, 116.4)
BERLIN, FIJI = ("DE", 52.52, 13.405), ("FJ", -17.71, 178.06)
SAMOA = ("WS", -13.76, -172.1)


def _said(at: int, fraud: bool, source: str, known: int, odd: float | None = None) -> Step:
    return Said(f"e{at}", fraud, source, T + known, T + at, oddness=odd), False


STORIES: dict[str, list[Step]] = {
    "boundaries": [
        _paid(0, 100),
        _paid(MINUTE - 1, 200),
        _paid(MINUTE, 400),
        _paid(HOUR, 800),
        _paid(DAY, 1_600),
        _paid(7 * DAY, 3_200),
        _paid(30 * DAY, 6_400),
        _paid(30 * DAY + 1, 12_800),
    ],
    "equal-times": [_paid(0, 100), _paid(0, 300), _paid(0, 500), _paid(SECOND, 700)],
    "out-of-order": [
        _paid(2 * HOUR, 100),
        _paid(HOUR, 200),
        _paid(HOUR + 30 * MINUTE, 300),
        _paid(2 * HOUR, 400),
        _paid(2 * HOUR + 1, 500),
    ],
    "late": [
        _paid(0, 100),
        _paid(5 * HOUR, 200),
        _paid(HOUR, 9_900, late=True),
        _paid(5 * HOUR + 1, 300),
    ],
    "nulls": [
        _paid(0, None),
        _paid(1, None),
        _paid(2, 500),
        _paid(3, None),
        _paid(4, 700, payee=None),
        _paid(5, None, kind="login", payee=None),
        _paid(6, 0),
        _paid(7, -300),
    ],
    "silence": [_paid(0, 100), _paid(400 * DAY, 200), _paid(400 * DAY + HOUR, 300)],
    "new-payees": [
        _paid(0, payee="a"),
        _paid(1, payee="b"),
        _paid(2, payee="a"),
        _paid(200 * DAY, payee="b"),
    ],
    "own-normal": [
        *[_paid(day * DAY, 1_000 + 10 * day) for day in range(20)],
        _paid(20 * DAY, 50_000),
        _paid(20 * DAY + HOUR, 60_000),
        _paid(21 * DAY, 1_000),
    ],
    "frauds-as-they-become-known": [
        _paid(0),
        _paid(DAY),
        _said(DAY, True, "customer", DAY + HOUR),
        _paid(DAY + HOUR - 1),
        _paid(DAY + HOUR),
        _said(DAY + HOUR, True, "chargeback", 8 * DAY + HOUR),
        _paid(8 * DAY),
        _paid(9 * DAY),
        _paid(16 * DAY),
        _paid(40 * DAY),
    ],
    "labels-corrected": [
        _paid(0),
        _said(0, True, "customer", HOUR),
        _paid(2 * HOUR),
        _said(0, False, "customer", 3 * HOUR),
        _paid(4 * HOUR),
        _said(0, True, "chargeback", 5 * HOUR),
        _paid(6 * HOUR),
        _said(0, False, "officer", 7 * HOUR),
        _paid(8 * HOUR),
        _said(0, True, "chargeback", 9 * HOUR),
        _paid(10 * HOUR),
        _paid(10 * HOUR - 30 * MINUTE),
    ],
    "fraud-runs": [
        *[_paid(day * DAY) for day in range(12)],
        *[_said(day * DAY, True, "chargeback", (day + 7) * DAY, day - 3.0) for day in range(4, 8)],
        _paid(13 * DAY),
        _paid(14 * DAY + 1),
        _paid(18 * DAY + 1),
        _paid(20 * DAY),
        _paid(50 * DAY),
    ],
    "sign-ins-that-fail": [
        _did(0, "login/failure"),
        _did(1, "login/failure"),
        _did(MINUTE, "login/success"),
        _did(HOUR, "login/failure", where=BERLIN, device="d2"),
        _did(HOUR + 1, "login/success"),
        _did(2 * HOUR, "login/success", device=None),
    ],
    "places": [
        _did(0, "login/success", where=SHANGHAI),
        _did(0, "login/success", where=SHANGHAI),
        _did(SECOND // 2, "login/success", where=BEIJING),
        _did(2 * HOUR, "login/success", where=BERLIN, device="d2"),
        _did(2 * HOUR, "login/failure", where=FIJI, device="d3"),
        _did(HOUR, "login/success", where=SHANGHAI),
        _at(_paid(3 * HOUR, payee="p2"), BERLIN, "d2"),
        _paid(4 * HOUR),
        _did(26 * HOUR - 1, "login/success", where=FIJI),
        _did(26 * HOUR, "login/success", where=SAMOA),
        _did(50 * HOUR, "account_change/phone", where=SAMOA),
    ],
    "account-changes": [
        _did(0, "login/success"),
        _did(1, "account_change/payee_added"),
        _did(2, "account_change/phone"),
        _paid(HOUR),
        _did(2 * HOUR, "account_change/password"),
        _paid(DAY + 2),
        _paid(DAY + 2 * HOUR),
        _paid(90 * DAY),
    ],
    "hours": [
        *[_paid(day * DAY + day % 4 * HOUR) for day in range(20)],
        *[_did(20 * DAY + hour * HOUR, "login/success") for hour in range(0, 24, 3)],
        *[_paid(day * DAY + 12 * HOUR) for day in range(21, 90)],
        _paid(90 * DAY),
    ],
    "small-sums-to-many": [
        *[_paid(at * 10 * SECOND, 500 + at, payee=f"p{at}") for at in range(5)],
        _paid(2 * MINUTE, 10_000, payee="p1"),
        _paid(3 * MINUTE, 10_001, payee="q"),
        _paid(3 * MINUTE + 1, None, payee="r"),
        _paid(HOUR + 20 * SECOND, 9_000, payee="p0"),
        _paid(HOUR - 1, 9_000, payee="s"),
    ],
    "many-customers": [
        *[_did(at * HOUR, "login/success", who=f"c{at % 6}") for at in range(9)],
        _did(9 * HOUR, "login/failure", who="c9"),
        _did(8 * HOUR + 30 * MINUTE, "login/success", who="c0"),
        _did(8 * HOUR + MINUTE, "login/success", who="c10"),
        _did(9 * HOUR + 1, "account_change/email", who="c9"),
        _did(26 * HOUR, "login/success", who="c1"),
        _did(27 * HOUR, "login/success", who="c1"),
        _did(31 * HOUR, "status", who="c7"),
        _did(31 * HOUR, "login/success", who="c7"),
        _did(60 * HOUR, "login/success", who="c7"),
    ],
}

#: Stories of what one customer, or one payee, can't live through.
ONLY: dict[str, tuple[str, ...]] = {"many-customers": ("device", "ip")}


#: The catalogue of the declared vectors.
TESTED = catalogue((declared_reference.ASSET.read_text(), "features.yaml"))


def _busy(key: str) -> list[Step]:
    """Thirty days of one entity of a key: a little of everything."""
    chance, now, story = random.Random(f"declared {key}"), T, list[Step]()

    def one_of(*words: str | None) -> str | None:
        return chance.choice(words)

    for at in range(60):
        now += chance.choice([SECOND, MINUTE, HOUR, 9 * HOUR, DAY])
        does = chance.choice(["transaction"] * 4 + ["login", "login", "account_change"])
        names = {
            "payee": one_of("p1", "p2", None),
            "device": one_of("d1", "d1", "d2", None),
            "ip": one_of("i1", "i2", None),
            "card": one_of("k1", "k2", None),
            "terminal": one_of("t1", "t2", None),
            "session": one_of("s1", "s2", "s3", None),
            "country": one_of("CN", "CN", "DE", "FJ", None),
            "payee_country": one_of("CN", "DE", None),
            "kind": one_of("card", "transfer", None),
            "channel": one_of("app", "web", None),
            "customer": one_of("c1", "c2", "c3"),
        }
        names["mcc"] = {"t1": "5411", "t2": "5944"}.get(names["terminal"] or "")
        event = Paid(
            f"e{at}",
            now - chance.choice([0, 0, 0, SECOND, 30 * MINUTE]),
            chance.choice([500, 10_000, 10_001, 60_000, None]) if does == "transaction" else None,
            type=does,
            result=one_of("success", "success", "failure") if does == "login" else None,
            change=one_of("phone", "email") if does == "account_change" else None,
            **{**names, key: names[key] or "one"},  # type: ignore[arg-type]
        )
        story.append((replace(event, **{key: "one"}), False))  # type: ignore[arg-type]
        if does == "transaction" and chance.random() < 0.2:
            known = now + chance.choice([0, HOUR])
            story.append((Said(event.id, chance.random() < 0.8, "chargeback", known, now), False))
    return story


def vectors() -> list[tuple[str, str]]:
    """Each key with each story that is one of its own."""
    return [
        (one.key, story)
        for one in DESCRIBERS
        for story in STORIES
        if one.key in ONLY.get(story, (one.key,))
    ] + [(one.key, "declared") for one in TESTED.describers if one.declared]


def described_by(key: str, name: str) -> Describer:
    """Whose features a vector has."""
    among = TESTED.describers if name == "declared" else DESCRIBERS
    return next(one for one in among if one.key == key)


def _set(fact: Paid | Said) -> dict[str, Any]:
    written = ("payee", "amount_base")  # null or not: who reads a payment looks there
    return {
        name: value for name, value in asdict(fact).items() if value is not None or name in written
    }


def told(key: str, name: str) -> dict[str, Any]:
    """A story with the answers of the reference."""
    describer = described_by(key, name)
    if name == "declared":
        names, story = [one for one, _ in describer.declared], _busy(key)
        answers = declared_reference.answers
    else:
        names, story = [one.name for one in describer.features], STORIES[name]
        answers = reference.answers
    before: list[Paid] = []
    heard: list[Said] = []
    steps: list[dict[str, Any]] = []
    for happened, late in story:
        if isinstance(happened, Said):
            heard.append(happened)
            steps.append({"label": _set(happened)})
            continue
        features = answers(names, happened, before, heard)
        steps.append({"event": _set(happened), "late": late, "features": features})
        if not late:
            before.append(happened)
    return {"key": key, "steps": steps}


def written(vector: dict[str, Any]) -> str:
    """One step a line, so that a change can be read."""
    lines = ",\n".join("  " + json.dumps(step, sort_keys=True) for step in vector["steps"])
    return f'{{"key": "{vector["key"]}", "steps": [\n{lines}\n]}}\n'


def main() -> None:
    """Write all vectors anew."""
    HERE.mkdir(parents=True, exist_ok=True)
    for key, name in vectors():
        (HERE / f"{key}-{name}.json").write_text(written(told(key, name)))


if __name__ == "__main__":
    main()
