"""What may a binding say, and who may make one?

A binding ties a channel or a key to a customer: a chat address, a browser, a push endpoint, a
passkey, a device key. It may deny at once; it confirms nothing until its wait is over, so that
whoever slips a channel of their own into a customer's life is told of before they can use it.

::

    the bank's system, that checked an existing factor ----+
    an existing factor that may itself confirm ------------+--> bound --wait--> may confirm
    two persons at the bank, or one and an existing factor-+      |
                                                                  +--> may deny, at once
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from risk.events import parse_us


@dataclass(frozen=True, slots=True)
class Binding:
    """One binding as an answer names it; times in microseconds since 1970.

    ``id`` is ``<kind>/<token>``. ``waits`` is False for those that the bank bound when nothing
    was bound before: then nobody could be told, and nobody's older word stands against it.
    """

    id: str
    bound_us: int
    waits: bool = True
    verified: bool = True


def may_confirm(binding: Binding | None, at_us: int, wait_us: int) -> bool:
    """True where a binding may confirm; None is an answer of before bindings were told."""
    if binding is None:
        return True
    if not binding.verified:
        return False
    return not binding.waits or at_us >= binding.bound_us + wait_us


def binding_from(told: Mapping[str, Any] | None) -> Binding | None:
    """Read a binding as it stands in an answer; what is missing is read in the strict way."""
    if not told:
        return None
    verified = bool(told.get("verified", False))
    try:
        bound_us = parse_us(str(told.get("bound")))
    except ValueError:
        bound_us, verified = 0, False
    return Binding(
        id=str(told.get("id") or "unknown"),
        bound_us=bound_us,
        waits=bool(told.get("waits", True)),
        verified=verified,
    )


@dataclass(frozen=True, slots=True)
class Approval:
    """One word for a binding: the bank's ``system``, a ``person`` there, or a ``factor``."""

    kind: str
    id: str


def lacks(approvals: Iterable[Approval]) -> str | None:
    """What is still needed for a binding; None where there is enough.

    A person at the bank is never enough alone, nor is one who says it twice.
    """
    given = set(approvals)
    if any(one.kind in ("system", "factor") for one in given):
        return None
    persons = {one.id for one in given if one.kind == "person"}
    if len(persons) >= 2:
        return None
    return "another person or an existing factor" if persons else "an approval"
