"""Why this score? A model's factors, with what is usual and in words.

A factor tells what a value does to the log odds of fraud, against the value not being known. What
is usual comes from the same features as scored, so that nothing else is looked up: of counts and
sums over a short window it is the share of the longest that falls to such a window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypedDict

from features import catalogue
from features.moment import DAY, SECOND, Value, span

if TYPE_CHECKING:
    from features.model import Factor  # River takes a second to import, words need none

#: The window that says what is usual.
LONG: Final = "30d"

_LONG_US: Final = span(LONG)
_Usual = Callable[[Mapping[str, Value]], Value]

#: What is usual of comparisons: an amount like the others is once their mean, no flag is set.
_ALWAYS: Final[Mapping[str, Value]] = {
    "ratio": 1.0,
    "median_ratio": 1.0,
    "max_ratio": 1.0,
    "mean_ratio": 1.0,
    "zscore": 0.0,
    "outliers": 0,
    "new_payee": 0,
    "new_device": 0,
    "new_country": 0,
    "fraud_count": 0,
    "fraud_risk": 0.0,
    "fraud_run": 0,
    "quiet_frauds": 0,
}


class Reason(TypedDict):
    """A factor as a decision carries it; numbers rounded, ``usual`` null where nobody knows."""

    feature: str
    weight: float
    share: float
    value: Value
    usual: Value


@lru_cache(maxsize=4096)
def _usual(name: str) -> _Usual | None:
    """How the usual value of a feature is found among the others of its event."""
    key, _, rest = name.partition(".")
    aggregate, *more = rest.split(".")
    if name == "event.amount":
        return lambda features: features.get(f"customer.mean.amount.{LONG}")
    if aggregate in _ALWAYS:
        always = _ALWAYS[aggregate]
        return lambda features: always
    if aggregate in ("count", "sum") and more:
        return _portion(f"{key}.{'.'.join([aggregate, *more[:-1]])}.{LONG}", more[-1])
    if aggregate == "mean" and more:
        long = f"{key}.{'.'.join([aggregate, *more[:-1]])}.{LONG}"
        return lambda features: features.get(long)
    if aggregate == "since_last":
        return _gap(f"{key}.count.{LONG}")
    return None


def _portion(long: str, window: str) -> _Usual:
    part = min(1.0, span(window) / _LONG_US)

    def of(features: Mapping[str, Value]) -> Value:
        whole = features.get(long)
        return None if whole is None else round(whole * part, 2)

    return of


def _gap(long: str) -> _Usual:
    def of(features: Mapping[str, Value]) -> Value:
        count = features.get(long)
        return round(_LONG_US / SECOND / count) if count else None

    return of


def usual(name: str, features: Mapping[str, Value]) -> Value:
    """What the value of this feature usually is, for the customer or payee it tells of."""
    found = _usual(name)
    return None if found is None else found(features)


def reasons(factors: Iterable[Factor], features: Mapping[str, Value]) -> list[Reason]:
    """Factors as they go on record. Runs for every event: no words yet."""
    return [
        {
            "feature": name,
            "weight": round(weight, 4),
            "share": round(share, 4),
            "value": value,
            "usual": usual(name, features),
        }
        for name, weight, share, value in factors
    ]


_OWNERS: Final = {"event": "this event", "customer": "the customer's", "payee": "the payee's"}


def in_words(reason: Mapping[str, Any]) -> str:
    """A reason for a person.

    >>> in_words({"feature": "customer.count.1h", "weight": 1.2, "share": 0.31, "value": 7,
    ...           "usual": 0.1})
    "the customer's payments within 1h: 7, usually 0.1; speaks for fraud (31 % of all factors)"
    """
    name = str(reason["feature"])
    feature = catalogue.BY_NAME.get(name)
    key = name.partition(".")[0]
    meaning = feature.meaning.partition(";")[0].partition(" (")[0] if feature else name
    unit = feature.unit if feature else "other"
    whose = "" if key == "event" else _OWNERS.get(key, f"the {key}'s") + " "
    told = f"{whose}{meaning}: {_shown(reason['value'], unit)}"
    if reason.get("usual") is not None:
        told += f", usually {_shown(reason['usual'], unit)}"
    way = "for" if float(reason["weight"]) > 0 else "against"
    return f"{told}; speaks {way} fraud ({float(reason['share']):.0%} of all factors)".replace(
        "%", " %"
    )


def _shown(value: Any, unit: str) -> str:
    if value is None:
        return "not known"
    number = float(value)
    if unit == "money":
        return f"{number / 100:,.2f}"
    if unit == "flag":
        return "yes" if number else "no"
    if unit == "seconds":
        days = number * SECOND / DAY
        return f"{days:,.1f} days" if days >= 1 else f"{number / 60:,.1f} minutes"
    return f"{number:,.2f}".rstrip("0").rstrip(".")
