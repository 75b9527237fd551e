"""What a declared feature means, read off its name: brute force, no state at all.

The filters of ``tests/assets/features.yaml`` stand here again, as plain functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from features.moment import Value
from tests.features.reference import (
    MEANINGS,
    UNITS,
    Paid,
    Past,
    Said,
    _acted,
    _new_country,
)

ASSET = Path(__file__).parent.parent / "assets" / "features.yaml"
#: Aggregates that the names of fields, or the steps of a sequence, give a meaning to.
OF_NAMES = ("distinct", "new", "share", "sequence")
KEYS = (
    "customer",
    "payee_country",
    "payee",
    "device",
    "ip",
    "card",
    "terminal",
    "country",
    "kind",
    "channel",
    "mcc",
)

_Test = Callable[[Paid, list[Paid]], bool]


def _payment(event: Paid) -> bool:
    return event.type == "transaction"


def _amount(event: Paid, holds: Callable[[int], bool]) -> bool:
    return _payment(event) and event.amount_base is not None and holds(event.amount_base)


def _act(event: Paid) -> bool:
    return event.type in ("transaction", "login", "account_change")


def _new_payee(event: Paid, before: list[Paid]) -> bool:
    if not _payment(event) or event.payee is None:
        return False
    return all(
        one.payee != event.payee for one in before if _payment(one) and one.time_us <= event.time_us
    )


FILTERS: dict[str, _Test] = {
    "small": lambda event, _: _amount(event, lambda amount: amount <= 10_000),
    "large": lambda event, _: _amount(event, lambda amount: amount > 50_000),
    "by_card": lambda event, _: _payment(event) and event.kind == "card",
    "not_by_card": lambda event, _: _payment(event) and event.kind not in (None, "card"),
    "signed_in": lambda event, _: event.type == "login" and event.result == "success",
    "failed": lambda event, _: event.type == "login" and event.result == "failure",
    "anything": lambda event, _: _act(event),
    "outside": lambda event, _: _act(event) and event.session is None,
    "phone": lambda event, _: event.type == "account_change" and event.change == "phone",
    "unknown_payee": _new_payee,
    "arrived": lambda event, before: (
        event.type == "login" and _acted(event) and _new_country(event, before) == 1
    ),
}
#: Filters of the shipped `config/features.yaml` that its live rules look at.
SHIPPED: dict[str, _Test] = {
    "unknown_shop": lambda event, before: event.kind == "card" and _new_payee(event, before),
    "transfers": lambda event, _: _payment(event) and event.kind == "transfer",
}
_FILTERS = FILTERS | SHIPPED
SEQUENCES = {
    "takeover": ("arrived", "phone", "large"),
    "slowly": ("arrived", "phone", "unknown_payee", "large"),
    "guessed": ("failed", "signed_in"),
}


class _Declared:
    """A name, taken apart."""

    def __init__(self, name: str) -> None:
        head, self.aggregate, *rest = name.split(".")
        self.key = next(key for key in KEYS if head == key or head.startswith(f"{key}_"))
        self.second = head[len(self.key) + 1 :] or None
        self.window = rest.pop() if rest and rest[-1][0].isdigit() else None
        if self.aggregate.startswith("nth_"):
            self.aggregate, self.number = "nth", int(self.aggregate[4:])
        self.chosen = rest.pop() if rest and rest[-1] in _FILTERS else None
        self.of = rest.pop() if rest else None
        assert not rest, name

    @property
    def width(self) -> int:
        return int(self.window[:-1]) * UNITS[self.window[-1]] if self.window else 0


def answer(name: str, event: Paid, before: list[Paid], heard: list[Said]) -> Value:
    """One declared feature of ``event``; the rest as for `tests.features.reference.answers`."""
    said, past = _Declared(name), Past(event, before, heard)
    if said.second is not None and getattr(event, said.second) is None:
        return 1 if said.aggregate == "none" else None
    mine = [
        one
        for one in past.everything
        if said.second is None or getattr(one, said.second) == getattr(event, said.second)
    ]
    if said.aggregate == "sequence":
        return _sequence(SEQUENCES[said.of or ""], mine, past, said.width)
    chosen: _Test = _FILTERS[said.chosen] if said.chosen else lambda one, _: _payment(one)
    rows = [one for one in mine if chosen(one, _observed_before(one, before))]
    here = chosen(event, before)
    lately = [one for one in rows if past.time - said.width < one.time_us]
    if said.aggregate in OF_NAMES:
        return _of_names(said, lately, event, here)
    seen = past.of(rows, here).over(name)
    if said.aggregate == "nth":
        return seen.amounts[-said.number] if len(seen.amounts) >= said.number else None
    return MEANINGS[said.aggregate](seen)


def _observed_before(event: Paid, before: list[Paid]) -> list[Paid]:
    return before[: next(at for at, one in enumerate(before) if one is event)]


def _of_names(said: _Declared, lately: list[Paid], event: Paid, here: bool) -> Value:
    def named(one: Paid) -> object:
        return getattr(one, said.of or "")

    if said.aggregate == "distinct":
        return len({named(one) for one in [*lately, *[event] * here]} - {None})
    if named(event) is None:
        return None
    same = [one for one in lately if named(one) == named(event)]
    if said.aggregate == "new":
        return int(not same)
    return len(same) / len(lately) if lately else None


def _sequence(names: tuple[str, ...], mine: list[Paid], past: Past, width: int) -> int:
    """Greedy is longest: whatever can be the next step is taken as it comes."""
    done = 0
    for one in [*mine, past.event]:
        if one is not past.event and one.time_us <= past.time - width:
            continue
        before = past.before if one is past.event else _observed_before(one, past.before)
        if done < len(names) and FILTERS[names[done]](one, before):
            done += 1
    return done


def answers(
    names: Iterable[str], event: Paid, before: list[Paid], heard: list[Said]
) -> dict[str, Value]:
    """Several of them."""
    return {name: answer(name, event, before, heard) for name in names}
