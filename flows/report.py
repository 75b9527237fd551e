"""What was a replay worth? Quality by week and by scenario, outcomes, time, friction and money.

Pure figures of a tally; docs/replay.md says what each of them means.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np

from features import quality
from flows.fairness import fairness
from flows.replay import Tally
from risk import events, money
from risk.policy import Policy

TOP_SHARE = 0.005
BINS = 50
_DAY_US = 86_400_000_000
_STOPPED = ("challenge", "decline")


def challenge_score(policy: Policy) -> int | None:
    """The lowest score at which the policy does more than approve; None where scores never act."""
    scores = [step.at_least for step in policy.steps if step.outcome != "approve"]
    return min(scores, default=None)


def report(
    tally: Tally,
    seconds: float,
    delay_us: int,
    *,
    base: str,
    policy: Policy,
    answers: Mapping[str, int] | None = None,
    groups: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """The one object that ``replay --json`` prints."""
    count = len(tally.event)
    places = _labelled(tally)
    times = sorted(tally.time_us)
    whole: dict[str, Any] = {
        "events": count,
        "payments": sum(tally.payment),
        "late": tally.late,
        "from": events.rfc3339(times[0]) if times else None,
        "to": events.rfc3339(times[-1]) if times else None,
        "seconds": round(seconds, 3),
        "events_per_second": round(count / seconds, 1) if seconds else None,
        "outcomes": dict(tally.outcomes),
        "stage_mean_us": {
            stage: round(sum(us * n for us, n in taken.items()) / max(1, count), 1)
            for stage, taken in tally.stages.items()
        },
        "stages_us": {stage: _percentiles(taken) for stage, taken in tally.stages.items()},
        "answers": dict(answers or {}),
        "days": _days(tally),
        "friction": friction(tally),
        "asked_a_day": asked_a_day(tally, policy),
        "groups": fairness(tally, groups or {}),
        "money": stopped(tally, base),
        "score": _scores(tally, places),
        "reliability": _reliability(tally, places, policy),
        "scenarios": scenarios(tally, places, policy),
    }
    return whole | _weeks(tally, places, delay_us)


def _labelled(tally: Tally) -> list[int]:
    """The places of payments whose truth is known: quality is measured on those."""
    return [
        place
        for place, event in enumerate(tally.event)
        if tally.payment[place] and event in tally.truth
    ]


def _weeks(tally: Tally, places: Sequence[int], delay_us: int) -> dict[str, Any]:
    cards = {customer: number for number, customer in enumerate(dict.fromkeys(tally.customer))}
    table = quality.weeks(
        np.array([tally.time_us[place] // 1_000_000 for place in places], dtype=np.int64),
        np.array([cards[tally.customer[place]] for place in places], dtype=np.int64),
        np.array([tally.truth[tally.event[place]].fraud for place in places], dtype=np.bool_),
        np.array([tally.probability[place] for place in places], dtype=np.float64),
        delay_s=max(delay_us // 1_000_000, 0),
    )
    return quality.report(table)


def _percentiles(taken: Mapping[int, int]) -> dict[str, int]:
    """Exact percentiles of counted microseconds, by the nearest rank."""
    total, told, seen = sum(taken.values()), {}, 0
    wanted = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)]
    for us in sorted(taken):
        seen += taken[us]
        while wanted and seen >= wanted[0][1] * total:
            told[wanted.pop(0)[0]] = us
    return told


def _days(tally: Tally) -> list[dict[str, Any]]:
    """Outcomes by day of the event, UTC; a day without events is there with none."""
    days: dict[int, Counter[str]] = {}
    for time_us, decision in zip(tally.time_us, tally.decision, strict=True):
        days.setdefault(time_us // _DAY_US, Counter())[decision] += 1
    if not days:
        return []
    span = range(min(days), max(days) + 1)
    if len(span) > 20 * 366:  # a file of a stray time: only the days that there are
        span_days: Sequence[int] = sorted(days)
    else:
        span_days = span
    return [
        {"day": (events.instant(0) + timedelta(days=day)).date().isoformat()}
        | dict(days.get(day, ()))
        for day in span_days
    ]


def friction(tally: Tally) -> dict[str, Any]:
    """How often customers were asked, and how many honest ones for each fraud that was found.

    Asked is who got a challenge. Found is a fraud that was challenged or declined. A payment
    without a known truth counts as asked and as neither honest nor fraud.
    """
    questions: dict[str, list[int]] = {}
    honest: set[str] = set()
    honest_questions = found = 0
    for place, decision in enumerate(tally.decision):
        truth = tally.truth.get(tally.event[place]) if tally.payment[place] else None
        if decision in _STOPPED and truth is not None and truth.fraud:
            found += 1
        if decision != "challenge":
            continue
        questions.setdefault(tally.customer[place], []).append(tally.time_us[place])
        if truth is not None and not truth.fraud:
            honest_questions += 1
            honest.add(tally.customer[place])
    asked = sum(map(len, questions.values()))
    payments = sum(tally.payment)
    return {
        "questions": asked,
        "questions_per_1000_payments": round(1000 * asked / payments, 3) if payments else None,
        "customers": len(set(tally.customer)),
        "customers_asked": len(questions),
        "customers_asked_twice_or_more": sum(1 for times in questions.values() if len(times) > 1),
        "customers_asked_twice_within_24h": sum(map(_twice_in_a_day, questions.values())),
        "most_questions_to_one_customer": max(map(len, questions.values()), default=0),
        "honest_questions": honest_questions,
        "honest_customers_asked": len(honest),
        "frauds_found": found,
        "honest_customers_asked_per_fraud_found": round(len(honest) / found, 3) if found else None,
    }


def asked_a_day(tally: Tally, policy: Policy) -> dict[str, Any]:
    """The share of a day's paying customers (UTC) who were asked, over all whole days on which the
    model was acted upon; beside the policy's budget, if it has one."""
    seen: dict[int, set[str]] = {}
    asked: dict[int, set[str]] = {}
    first = None
    for place, payment in enumerate(tally.payment):
        if not payment:
            continue
        day = tally.time_us[place] // _DAY_US
        if first is None and tally.lessons[place] >= policy.acts_after_lessons:
            first = day + 1
        seen.setdefault(day, set()).add(tally.customer[place])
        if tally.decision[place] == "challenge":
            asked.setdefault(day, set()).add(tally.customer[place])
    days = [] if first is None else [day for day in sorted(seen) if day >= first]
    shares = sorted(len(asked.get(day, ())) / len(seen[day]) for day in days)
    customers = sum(len(seen[day]) for day in days)
    share = sum(len(asked.get(day, ())) for day in days) / customers if customers else None
    return {
        "budget": policy.customers_share,
        "days": len(days),
        "share": None if share is None else round(share, 6),
        "p10": round(shares[len(shares) // 10], 6) if shares else None,
        "p90": round(shares[-1 - len(shares) // 10], 6) if shares else None,
    }


def _reliability(tally: Tally, places: Sequence[int], policy: Policy) -> dict[str, Any]:
    """Over the payments scored by a model that is acted upon."""
    acted = [place for place in places if tally.lessons[place] >= policy.acts_after_lessons]
    return quality.reliability(
        np.array([tally.truth[tally.event[place]].fraud for place in acted], dtype=np.bool_),
        np.array([tally.probability[place] for place in acted], dtype=np.float64),
    )


def _twice_in_a_day(times: list[int]) -> bool:
    times.sort()
    return any(second - first < _DAY_US for first, second in pairwise(times))


def stopped(tally: Tally, base: str) -> dict[str, Any]:
    """The value of frauds by what was done about them, and of honest payments that were stopped.

    Stopped is challenged or declined; ``held`` went to an officer; ``missed`` was approved.
    """
    values: Counter[str] = Counter()
    without_rate = 0
    for place in _labelled(tally):
        amount, decision = tally.amount[place], tally.decision[place]
        fraud = tally.truth[tally.event[place]].fraud
        if amount is None:
            without_rate += fraud
        elif fraud:
            kind = "stopped" if decision in _STOPPED else "held"
            values["fraud_missed" if decision == "approve" else f"fraud_{kind}"] += amount
        elif decision == "challenge":
            values["honest_asked"] += amount
        elif decision == "decline":
            values["honest_declined"] += amount
    names = ("fraud_stopped", "fraud_held", "fraud_missed", "honest_asked", "honest_declined")
    total = sum(values[name] for name in names[:3])
    return {
        "currency": base,
        **{name: money.plain(values[name], base) for name in names},
        "share_of_fraud_stopped": round(values["fraud_stopped"] / total, 4) if total else None,
        "frauds_without_rate": without_rate,
    }


def _scores(tally: Tally, places: Sequence[int]) -> dict[str, list[int]]:
    """How many honest and fraudulent payments scored how high, in equal steps from 0 to 1000."""
    told = {"honest": [0] * BINS, "fraud": [0] * BINS}
    for place in places:
        step = min(BINS - 1, int(tally.probability[place] * BINS))
        told["fraud" if tally.truth[tally.event[place]].fraud else "honest"][step] += 1
    return told


def scenarios(tally: Tally, places: Sequence[int], policy: Policy) -> dict[str, dict[str, Any]]:
    """For each fraud scenario, how much of it the score finds, and how much was stopped.

    ``stopped`` is what was decided about all of its frauds, by rules and within caps. The recalls
    are by score alone, over the payments scored by a model that the policy acts upon (`scored` of
    the frauds; before, all payments score alike): at the score from which the policy asks, and in
    the top `TOP_SHARE` of those payments; where scores are equal, the earlier one is higher.
    """
    acted = [place for place in places if tally.lessons[place] >= policy.acts_after_lessons]
    ranked = sorted(acted, key=lambda place: -tally.probability[place])
    top = set(ranked[: round(len(ranked) * TOP_SHARE)])
    threshold, scored = challenge_score(policy), set(acted)
    frauds: dict[str, list[int]] = {}
    for place in places:
        truth = tally.truth[tally.event[place]]
        if truth.fraud:
            frauds.setdefault(truth.scenario or "unnamed", []).append(place)
    told: dict[str, dict[str, Any]] = {}
    for name, all_of_it in sorted(frauds.items()):
        mine = [place for place in all_of_it if place in scored]
        high = [
            p for p in mine if threshold is not None and _score(tally.probability[p]) >= threshold
        ]
        told[name] = {
            "frauds": len(all_of_it),
            "scored": len(mine),
            "recall_at_challenge": None if threshold is None else _share(len(high), len(mine)),
            "recall_at_top": _share(sum(place in top for place in mine), len(mine)),
            "stopped": _share(
                sum(tally.decision[p] in _STOPPED for p in all_of_it), len(all_of_it)
            ),
        }
    return told


def _score(probability: float) -> int:
    return min(1000, max(0, round(probability * 1000)))


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
