"""How well does a score rank payments, by the protocol of the Fraud Detection Handbook?

Pure functions over arrays; numpy alone. The protocol (Le Borgne, Siblini, Lebichot, Bontempi:
Reproducible Machine Learning for Credit Card Fraud Detection, chapters 4 and 5): weeks of 7 days
from a Wednesday (UTC); a test week leaves out the cards that are known as compromised by then, day
by day; ROC AUC and average precision per payment; card precision@100 per day, found cards leaving
the pool, averaged over the days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

DAY_S: Final = 86_400
WEEK_S: Final = 7 * DAY_S

#: 1970-01-01 was a Thursday, so the Wednesdays begin 6 days after it.
_FIRST_WEDNESDAY: Final = 6 * DAY_S

#: The four test weeks of the handbook that means are taken over.
TEST_WEEKS: Final = ("2018-07-18", "2018-07-25", "2018-08-01", "2018-08-08")


@dataclass(frozen=True, slots=True)
class Week:
    """What a week's scores were worth; None where there was no fraud, or nothing else."""

    start: str
    events: int
    frauds: int
    roc_auc: float | None
    average_precision: float | None
    card_precision_at_100: float | None


def roc_auc(fraud: Bools, score: Floats) -> float | None:
    """Chance that a fraud scores higher than an honest payment, ties counting half."""
    positives = int(fraud.sum())
    negatives = len(fraud) - positives
    if not positives or not negatives:
        return None
    _, where, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    above = float(ranks[where][fraud].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def average_precision(fraud: Bools, score: Floats) -> float | None:
    """Sum over thresholds of (recall gained) x precision; equal scores are one threshold."""
    positives = int(fraud.sum())
    if not positives:
        return None
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    hits = np.cumsum(fraud[order])
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    found = hits[ends]
    precision = found / (ends + 1)
    gained = np.diff(found, prepend=0) / positives
    return float((gained * precision).sum())


def card_precision(
    time_s: Ints, card: Ints, fraud: Bools, score: Floats, *, top: int = 100
) -> float | None:
    """Mean over days of the share of compromised cards among the ``top`` that score highest.

    A card found on one day is out of the pool on the following.
    """
    days = time_s // DAY_S
    shares: list[float] = []
    found: Ints = np.empty(0, dtype=np.int64)
    for day in np.unique(days):
        today = (days == day) & ~np.isin(card, found)
        if not today.any():
            continue
        cards, where = np.unique(card[today], return_inverse=True)
        highest = np.full(len(cards), -np.inf)
        np.maximum.at(highest, where, score[today])
        compromised = np.zeros(len(cards), dtype=bool)
        np.logical_or.at(compromised, where, fraud[today])
        picked = np.argsort(-highest, kind="stable")[:top]
        shares.append(float(compromised[picked].sum()) / top)
        found = np.concatenate((found, cards[picked][compromised[picked]]))
    return float(np.mean(shares)) if shares else None


def known_compromised(
    time_s: Ints, card: Ints, fraud: Bools, *, start_s: int, delay_s: int = WEEK_S
) -> Bools:
    """Which payments of the week from ``start_s`` are of cards known as compromised by then.

    The training week ends ``delay_s`` before the test week. For test day d, cards are known from
    the training week's frauds and from those of the d-1 days after it, a day at a time. (The
    handbook's ``get_train_test_set``.)
    """
    out = np.zeros(len(time_s), dtype=bool)
    train_end = start_s - delay_s
    train_start = train_end - WEEK_S
    for day in range(7):
        known_until = train_end + day * DAY_S
        known = np.unique(card[fraud & (time_s >= train_start) & (time_s < known_until)])
        begin = start_s + day * DAY_S
        today = (time_s >= begin) & (time_s < begin + DAY_S)
        out |= today & np.isin(card, known)
    return out


def weeks(
    time_s: Ints, card: Ints, fraud: Bools, score: Floats, *, delay_s: int = WEEK_S
) -> list[Week]:
    """All whole 7-day weeks from a Wednesday, UTC, in the data. ``time_s`` is epoch seconds."""
    if not len(time_s):
        return []
    first, last = int(time_s.min()), int(time_s.max())
    first -= first % DAY_S
    start = first + (_FIRST_WEDNESDAY - first) % WEEK_S
    table: list[Week] = []
    while start + WEEK_S - DAY_S <= last:
        inside = (time_s >= start) & (time_s < start + WEEK_S)
        kept = inside & ~known_compromised(time_s, card, fraud, start_s=start, delay_s=delay_s)
        if kept.any():
            table.append(
                Week(
                    start=datetime.fromtimestamp(start, tz=UTC).date().isoformat(),
                    events=int(kept.sum()),
                    frauds=int(fraud[kept].sum()),
                    roc_auc=roc_auc(fraud[kept], score[kept]),
                    average_precision=average_precision(fraud[kept], score[kept]),
                    card_precision_at_100=card_precision(
                        time_s[kept], card[kept], fraud[kept], score[kept]
                    ),
                )
            )
        start += WEEK_S
    return table


def mean_of(table: Sequence[Week]) -> dict[str, float | None]:
    """Means over the handbook's four test weeks where they are all there, else over all weeks."""
    tested = [week for week in table if week.start in TEST_WEEKS]
    chosen = tested if len(tested) == len(TEST_WEEKS) else list(table)
    out: dict[str, float | None] = {}
    for figure in ("roc_auc", "average_precision", "card_precision_at_100"):
        values = [value for week in chosen if (value := getattr(week, figure)) is not None]
        out[figure] = sum(values) / len(values) if values else None
    return out


#: Bins of a reliability table; below the first edge nearly all payments lie.
EDGES: Final = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98)


def reliability(fraud: Bools, probability: Floats) -> dict[str, Any]:
    """Of payments with a probability of 0.3, were three in ten frauds?

    ``brier`` is the mean squared error, ``ece`` the expected calibration error over ten equal
    steps, ``ece_equal_mass`` over 20 bins of equally many payments (Naeini et al. 2015); ``bins``
    are finer where payments are many.
    """
    count = len(probability)
    if not count:
        return {"payments": 0, "brier": None, "ece": None, "ece_equal_mass": None, "bins": []}
    truth = fraud.astype(np.float64)
    tenths = np.minimum((probability * 10).astype(np.int64), 9)
    order = np.argsort(probability, kind="stable")
    bins = []
    places = np.searchsorted(np.array(EDGES), probability, side="right") - 1
    for at, low in enumerate(EDGES):
        inside = places == at
        if inside.any():
            bins.append(
                {
                    "from": low,
                    "payments": int(inside.sum()),
                    "said": round(float(probability[inside].mean()), 6),
                    "came": round(float(truth[inside].mean()), 6),
                }
            )
    gaps = [_gap(truth, probability, np.flatnonzero(tenths == step)) for step in range(10)]
    masses = [_gap(truth, probability, part) for part in np.array_split(order, 20)]
    return {
        "payments": count,
        "brier": round(float(((probability - truth) ** 2).mean()), 8),
        "ece": round(sum(gaps) / count, 8),
        "ece_equal_mass": round(sum(masses) / count, 8),
        "bins": bins,
    }


def _gap(truth: Floats, probability: Floats, rows: Ints) -> float:
    """How many more, or fewer, frauds there were than said."""
    return abs(float(truth[rows].sum() - probability[rows].sum()))


def report(table: Sequence[Week]) -> dict[str, Any]:
    """``{weeks: [...], mean: {...}}`` as ``replay --json`` prints it."""
    return {"weeks": [asdict(week) for week in table], "mean": mean_of(table)}
