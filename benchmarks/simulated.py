"""How much of each kind of fraud is found in the made-up bank, if 0.5 % of events may be asked?

The flow replays a simulated bank of a fresh seed. What it said of each payment is ranked: first
those that a live rule of high or critical severity stops, the gravest first, then by score. The
highest ``SHARE`` of all events are asked about, from day ``WARM`` on: by then each customer has
paid a rent. Customers answer at once and truly, and as in the flow one answer about a card payment
settles the next of the kind for a while (`risk.rest`); ``asked_each`` is what would be found were
each payment asked about by itself.

Beside it, at the same budget: the rule "amount > x", and gradient-boosted trees learnt offline
(scikit-learn's ``HistGradientBoostingClassifier``, in XGBoost's place) on all the same features,
from the payments before day ``SPLIT`` whose labels were known then. A scenario whose frauds
"amount > x" finds too, or that the trees find wholly, proves nothing.

A story is one fraud from its first event to its last. It is *found* with its first payment asked
about; what follows that payment is *stopped*, since the customer says no.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from config.settings import Settings
from features.habits import Place
from flows.assemble import read_rule_set
from flows.replay_command import replay_file
from flows.simulate import World, simulate, write
from risk.rest import RESTS, Word, rested

SHARE: Final = 0.005
WARM: Final = 31
SPLIT: Final = 40
DAYS: Final = 60
SMALL: Final = 10_000  # minor units; what card testing pays
FAR_KM: Final = 500.0  # from home: what a sign-in from far away is
TALKED_INTO_IT: Final = ("mule_payee",)  # here the customers sign in themselves, wherever they are
START: Final = datetime(2026, 1, 5, tzinfo=UTC)
_GAP_S: Final = 86_400.0

#: Rules of less than these severities hint, and leave the order to the score.
_GRAVE: Final = ("high", "critical")


@dataclass
class Seen:
    """One payment, as the flow saw it and as it was."""

    event: str
    customer: str
    at_s: float
    scenario: str
    fraud: bool
    ruled: int  # 2: by a critical rule, 1: by a high one, 0: by neither
    score: int
    values: Mapping[str, float | None]
    kind: str | None = None

    @property
    def amount(self) -> float:
        """In minor units of the base currency."""
        return self.values.get("event.amount") or 0.0


@dataclass
class Run:
    """What a replay left: all its payments, and the sign-ins of thieves."""

    events: int = 0
    before: list[Seen] = field(default_factory=list)  # for the trees to learn from
    payments: list[Seen] = field(default_factory=list)
    far_logins: list[bool] = field(default_factory=list)  # a thief's, who got in: was it flagged?
    honest_logins: list[bool] = field(default_factory=list)  # everybody else's who got in


def replayed(folder: Path, seed: int, customers: int) -> tuple[Run, dict[str, Any]]:
    """Simulate, replay, and read what was said from day ``WARM`` on; with the replay's report."""
    events, truth, out = folder / "events.ndjson", folder / "truth.ndjson", folder / "out"
    write(events, simulate(seed, customers, DAYS, START), truth)
    report = replay_file(
        events,
        data=None,
        over={"engine": {"anomaly": False}, "models": {"factors": False, "drift": False}},
        label_delay="7d",
        out=out,
        with_ledger=False,
        limit=None,
        quiet=True,
        truth=truth,
    )
    world = World(seed, customers, DAYS, START)
    return read(events, truth, out / "decisions.ndjson", world), report


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as lines:
        for line in lines:
            yield orjson.loads(line)


def _far(event: Mapping[str, Any], world: World) -> bool:
    """Whether this comes from farther from the customer's home than `FAR_KM`."""
    home, here = world.customer(int(event["customer"][1:])).home, event["geo"]
    return Place(0, home.lat, home.lon).distance_km(here["lat"], here["lon"]) > FAR_KM


def read(events: Path, truth: Path, decisions: Path, world: World) -> Run:
    """Join the events, their truth and the decisions on them, from day ``WARM`` on."""
    said = {one["event"]: one for one in _lines(decisions)}
    grave = {
        rule.id: _GRAVE.index(rule.severity) + 1
        for rule in read_rule_set(Settings()).rules
        if rule.severity in _GRAVE
    }
    true = {one["event"]: one for one in _lines(truth)}
    begins_s, run = START.timestamp() + WARM * 86_400, Run()
    for event in _lines(events):
        at_s = datetime.fromisoformat(event["time"]).timestamp()
        warm = at_s >= begins_s
        run.events += warm
        decision, fact = said[event["id"]], true.get(event["id"], {})
        fraud, scenario = bool(fact.get("fraud")), str(fact.get("scenario", ""))
        if event["type"] == "login" and warm and event["result"] == "success":
            flagged = decision["decision"] == "review"
            if not fraud or scenario in TALKED_INTO_IT:
                run.honest_logins.append(flagged)
            elif _far(event, world):
                run.far_logins.append(flagged)
        elif event["type"] == "transaction":
            stopped = decision["decision"] != "approve"
            codes = [reason["code"] for reason in decision["reasons"]] if stopped else []
            ruled = max((grave.get(code, 0) for code in codes), default=0)
            values = {
                name: float(value) if value is not None else None
                for name, value in decision["features"].items()
                if value is None or isinstance(value, int | float)
            }
            (run.payments if warm else run.before).append(
                Seen(
                    event["id"],
                    event["customer"],
                    at_s,
                    scenario,
                    fraud,
                    ruled,
                    decision["score"],
                    values,
                    event.get("kind"),
                )
            )
    return run


def asked(
    payments: Sequence[Seen], key: Callable[[Seen], Any], budget: int, rest_us: int = 0
) -> set[str]:
    """The payments that rank highest, as many as the budget bears; of equals the earlier.

    They are asked about in the order of time. Within ``rest_us`` of an answer about a card payment
    the customer is not asked about the next of the kind, so that the bar lies lower.
    """
    ranked = sorted(payments, key=lambda one: (key(one), -one.at_s), reverse=True)
    place = {one.event: at for at, one in enumerate(ranked)}
    in_time = sorted(payments, key=lambda one: one.at_s)

    def above(bar: int) -> set[str]:
        return _answered([one for one in in_time if place[one.event] < bar], rest_us)

    low, high = 0, len(ranked)
    while low < high:
        bar = (low + high + 1) // 2
        low, high = (bar, high) if len(above(bar)) <= budget else (low, bar - 1)
    return above(low)


def _answered(in_time: Iterable[Seen], rest_us: int) -> set[str]:
    """Which of these are asked about, if each customer answers each question truly."""
    words: dict[str, Word] = {}
    chosen = set()
    for one in in_time:
        at_us, amount = int(one.at_s * 1e6), int(one.amount)
        word = words.get(one.customer)
        passed = rested(word, one.kind, amount, at_us, rest_us)
        if passed == "approve" and word is not None:
            words[one.customer] = word.after(amount)
        if passed is None:
            chosen.add(one.event)
            if one.kind == RESTS:
                words[one.customer] = Word(at_us, amount, confirmed=not one.fraud)
    return chosen


def stories(payments: Sequence[Seen]) -> dict[str, list[list[Seen]]]:
    """scenario -> frauds of one customer that follow each other within a day."""
    told: dict[str, list[list[Seen]]] = {}
    last: dict[tuple[str, str], list[Seen]] = {}
    for one in sorted(payments, key=lambda one: one.at_s):
        if not one.fraud:
            continue
        key = (one.customer, one.scenario)
        story = last.get(key)
        if story is None or one.at_s - story[-1].at_s > _GAP_S:
            story = last[key] = []
            told.setdefault(one.scenario, []).append(story)
        story.append(one)
    return told


def recalls(payments: Sequence[Seen], chosen: set[str]) -> dict[str, dict[str, Any]]:
    """Of each scenario: stories, and the shares that were found, by story, payment and value."""
    told = {}
    for name, of_it in sorted(stories(payments).items()):
        rows = [one for story in of_it for one in story]
        found = [story for story in of_it if any(one.event in chosen for one in story)]
        row = {
            "stories": len(of_it),
            "payments": len(rows),
            "found": _share(len(found), len(of_it)),
            "payments_asked": _share(sum(one.event in chosen for one in rows), len(rows)),
            "value_stopped": _share(
                sum(_stopped(story, chosen) for story in of_it), sum(one.amount for one in rows)
            ),
        }
        if name == "card_testing":
            row["stopped_by_4th_small"] = _share(
                sum(_by_fourth(story, chosen) for story in of_it), len(of_it)
            )
        told[name] = row
    return told


def _stopped(story: Sequence[Seen], chosen: set[str]) -> float:
    """The value from the first payment asked about on."""
    for at, one in enumerate(story):
        if one.event in chosen:
            return sum(later.amount for later in story[at:])
    return 0.0


def _by_fourth(story: Sequence[Seen], chosen: set[str]) -> bool:
    small = [one for one in story if one.amount <= SMALL][:4]
    return any(one.event in chosen for one in small)


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


def trees(run: Run, seed: int) -> dict[str, float]:
    """What offline trees say of payments from day ``SPLIT`` on; without scikit-learn nothing."""
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
    except ImportError:
        return {}

    split_s = START.timestamp() + SPLIT * 86_400
    payments = run.before + run.payments
    past = [one for one in payments if one.at_s < split_s - 7 * 86_400]
    to_come = [one for one in run.payments if one.at_s >= split_s]
    counts = Counter(
        name for one in past for name, value in one.values.items() if value is not None
    )
    names = sorted(name for name, count in counts.items() if count > len(past) // 1000)

    def matrix(rows: Sequence[Seen]) -> NDArray[np.float64]:
        table = [[one.values.get(name) for name in names] for one in rows]
        return np.array(table, dtype=np.float64)

    model = HistGradientBoostingClassifier(
        max_iter=200,
        learning_rate=0.05,
        max_leaf_nodes=15,
        l2_regularization=1.0,
        random_state=seed,
    )
    model.fit(matrix(past), [one.fraud for one in past])
    said = model.predict_proba(matrix(to_come))[:, 1]
    return {one.event: float(value) for one, value in zip(to_come, said, strict=True)}


def _trees_by() -> str | None:
    try:
        return f"scikit-learn {version('scikit-learn')}"
    except PackageNotFoundError:
        return None


def _rank(one: Seen) -> tuple[int, int]:
    """The gravest rule that stops it, then the score."""
    return one.ruled, one.score


def measured(run: Run, seed: int) -> dict[str, Any]:
    """All figures of one run."""
    budget = round(run.events * SHARE)
    rest_us = read_rule_set(Settings()).policy.rest_us
    ours = asked(run.payments, _rank, budget, rest_us)
    by_amount = asked(run.payments, lambda one: one.amount, budget, rest_us)
    split_s = START.timestamp() + SPLIT * 86_400
    late = [one for one in run.payments if one.at_s >= split_s]
    late_budget = round(budget * len(late) / len(run.payments))
    by_trees = trees(run, seed)
    frauds = [one for one in run.payments if one.fraud]
    of_all = stories(run.payments)
    told = [story for of_it in of_all.values() for story in of_it]
    found = [story for story in told if any(one.event in ours for one in story)]
    kept = [story for story in told if story[0].event in ours]
    return {
        "seed": seed,
        "events": run.events,
        "payments": len(run.payments),
        "frauds": len(frauds),
        "asked": len(ours),
        "asked_by_rules": sum(one.ruled > 0 for one in run.payments if one.event in ours),
        "honest_asked": sum(not one.fraud for one in run.payments if one.event in ours),
        "scenarios": recalls(run.payments, ours),
        "asked_each": recalls(run.payments, asked(run.payments, _rank, budget)),
        "amount_alone": recalls(run.payments, by_amount),
        "trees_offline": recalls(
            late, asked(late, lambda one: by_trees[one.event], late_budget, rest_us)
        )
        if by_trees
        else {},
        "trees_by": _trees_by(),
        "far_logins_flagged": _share(sum(run.far_logins), len(run.far_logins)),
        "far_logins": len(run.far_logins),
        "honest_logins_flagged": _share(sum(run.honest_logins), len(run.honest_logins)),
        "value_stopped": _share(
            sum(_stopped(story, ours) for story in told),
            sum(one.amount for one in frauds),
        ),
        "stories_found": _share(len(found), len(told)),
        "stories_with_nothing_lost": _share(len(kept), len(told)),
        "honest_asked_in": dict(
            Counter(
                one.scenario or "everyday"
                for one in run.payments
                if one.event in ours and not one.fraud
            ).most_common()
        ),
    }
