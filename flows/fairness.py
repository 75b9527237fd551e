"""Are some groups of customers asked, or wrongly stopped, more often than the others?

Groups come from a file of their own (``--groups``), after everything was decided: no feature, no
rule and no model ever sees them. For each group the report tells how often its payments were
questioned, how often its honest ones were stopped (the false positives), both against everybody
else, and flags what is both large and no chance: a rate more than ``TIMES`` that of the others, and
``SURE`` standard errors above it. The error counts customers, not payments (cluster-robust variance
of a ratio: Cochran 1977, 2.11), since one customer's payments are alike.
"""

import csv
from collections.abc import Callable, Mapping
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.columns import BadFile
from flows.replay import Tally

#: A rate this many times the others' and this many standard errors above it is flagged.
TIMES = 1.25
SURE = 3.0

#: Of a group with fewer customers the figures are shown and nothing is flagged.
FEWEST = 30

_STOPPED = ("challenge", "decline")
Groups = dict[str, dict[str, str]]


def read_groups(path: Path, token: Callable[[str], str]) -> Groups:
    """Read ``customer,<kind>,<kind>…`` (CSV with a header): kind -> customer's token -> group.

    An empty cell leaves the customer out of that kind. Raises `BadFile`.
    """
    groups: Groups = {}
    with path.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.DictReader(text, strict=True)
        kinds = [name for name in reader.fieldnames or () if name != "customer"]
        if "customer" not in (reader.fieldnames or ()) or not kinds:
            raise BadFile(
                f"{path.name}, line 1: needed the columns customer and at least one kind of group "
                f"such as age_band, got {', '.join(reader.fieldnames or ()) or 'nothing'}"
            )
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise BadFile(
                        f"{path.name}, line {reader.line_num}: needed {len(kinds) + 1} columns as "
                        "in the header"
                    )
                customer = token(row["customer"])
                for kind in kinds:
                    if row[kind]:
                        groups.setdefault(kind, {})[customer] = row[kind]
        except csv.Error as wrong:
            raise BadFile(f"{path.name}, line {reader.line_num}: {wrong}") from wrong
    return groups


def fairness(tally: Tally, groups: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """kind -> group -> its customers, payments, rates, and what is flagged.

    ``challenge_rate`` is of all its payments; ``false_positive_rate`` of its payments known to be
    honest, those that were challenged or declined.
    """
    sums: dict[str, NDArray[np.float64]] = {}
    for place, customer in enumerate(tally.customer):
        if not tally.payment[place]:
            continue
        row = sums.get(customer)
        if row is None:
            row = sums[customer] = np.zeros(4)
        decision, truth = tally.decision[place], tally.truth.get(tally.event[place])
        row[0] += decision == "challenge"
        row[1] += 1
        if truth is not None and not truth.fraud:
            row[2] += decision in _STOPPED
            row[3] += 1
    return {kind: _kind(sums, of) for kind, of in groups.items()}


def _kind(sums: Mapping[str, NDArray[np.float64]], of: Mapping[str, str]) -> dict[str, Any]:
    names = [name for name in sums if name in of]
    if not names:
        return {}
    table = np.array([sums[name] for name in names])
    where = np.array([of[name] for name in names])
    return {str(group): _group(table, where == group) for group in np.unique(where)}


def _group(table: NDArray[np.float64], mine: NDArray[np.bool_]) -> dict[str, Any]:
    told: dict[str, Any] = {"customers": int(mine.sum()), "payments": int(table[mine, 1].sum())}
    flags = []
    for name, column in (("challenge_rate", 0), ("false_positive_rate", 2)):
        rate, error = _rate(table[mine, column], table[mine, column + 1])
        others, their_error = _rate(table[~mine, column], table[~mine, column + 1])
        told[name] = None if rate is None else round(rate, 6)
        told[f"{name}_of_others"] = None if others is None else round(others, 6)
        if rate is None or others is None or min(mine.sum(), (~mine).sum()) < FEWEST:
            continue
        apart = rate - others
        if rate > TIMES * others and apart > SURE * sqrt(error**2 + their_error**2):
            flags.append(name)
    told["flagged"] = flags
    return told


def _rate(hits: NDArray[np.float64], of: NDArray[np.float64]) -> tuple[float | None, float]:
    """Sum over sum, and its standard error with one customer as one draw."""
    total = float(of.sum())
    if not total:
        return None, 0.0
    rate = float(hits.sum()) / total
    return rate, float(np.sqrt(((hits - rate * of) ** 2).sum())) / total
