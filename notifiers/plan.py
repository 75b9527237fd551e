"""By which channels is this customer asked, in which order, with how much patience?

A file of ladders says it per severity; a customer may have a ladder of their own by name. What a
customer has and the ladder doesn't name comes last: a file never makes somebody unreachable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from notifiers.errors import BadLadder
from notifiers.facts import Ask
from notifiers.ladder import Rung

FORMAT = 1
USUAL, NORMAL = "usual", "normal"
SEVERITIES = ("low", "medium", "high", "critical")  # as rules say it (risk/rules.py)
WAIT, PATIENCE = 2.0, 30.0
_LONGEST = 600.0


@dataclass(frozen=True, slots=True)
class Severity:
    """When a question is that severe: a rule that hit says so, a reason, or an amount."""

    name: str
    reasons: frozenset[str]
    amounts: Mapping[str, Decimal]

    def fits(self, ask: Ask) -> bool:
        """Say whether a question is at least that severe."""
        if _rank(ask.severity) >= _rank(self.name) >= 0:
            return True
        bound = self.amounts.get(ask.currency)
        if bound is not None and Decimal(ask.amount) >= bound:
            return True
        return not self.reasons.isdisjoint(ask.reasons)


@dataclass(frozen=True, slots=True)
class Plans:
    """All ladders: by name, then by severity."""

    severities: tuple[Severity, ...] = ()
    ladders: Mapping[str, Mapping[str, tuple[Rung, ...]]] | None = None

    def severity(self, ask: Ask) -> str:
        """Name how severe a question is: the first that fits."""
        return next((one.name for one in self.severities if one.fits(ask)), NORMAL)

    def rungs(self, ask: Ask, ladder: str, kinds: Sequence[str]) -> tuple[Rung, ...]:
        """Give the channels for one question, of those that the customer has."""
        ladders = self.ladders or {}
        of_customer = ladders.get(ladder) or ladders.get(USUAL) or {}
        named = of_customer.get(self.severity(ask)) or of_customer.get(NORMAL) or ()
        chosen = [rung for rung in named if rung.kind in kinds]
        known = {rung.kind for rung in chosen}
        chosen += [Rung(kind, WAIT, PATIENCE) for kind in kinds if kind not in known]
        return tuple(chosen)


def _rank(severity: str) -> int:
    """A rule's severity as a number; -1 for a name that rules don't know."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else -1


def read_plans(document: Mapping[str, Any], kinds: Sequence[str]) -> Plans:
    """Check a parsed file of ladders (format 1); BadLadder says where, what was needed and got."""
    if document.get("version") != FORMAT:
        raise BadLadder(f"ladder: needed 'version: {FORMAT}', got {document.get('version')!r}")
    _known("ladder", document, ("version", "severities", "ladders"))
    severities = tuple(
        _severity(str(name), _object(f"severities.{name}", found))
        for name, found in _object("severities", document.get("severities") or {}).items()
    )
    names = (*(one.name for one in severities), NORMAL)
    ladders = {
        str(name): {
            str(severity): _rungs(f"ladders.{name}.{severity}", rows, kinds)
            for severity, rows in _known(f"ladders.{name}", found, names).items()
        }
        for name, found in _object("ladders", document.get("ladders")).items()
    }
    if NORMAL not in ladders.get(USUAL, {}):
        raise BadLadder(f"ladder: needed ladders.{USUAL}.{NORMAL}, got none")
    return Plans(severities, ladders)


def _severity(name: str, found: Mapping[str, Any]) -> Severity:
    where = f"severities.{name}"
    _known(where, found, ("reasons", "amounts"))
    reasons = found.get("reasons") or []
    if not isinstance(reasons, list):
        raise BadLadder(f"ladder: {where}.reasons: needed a list of codes, got {reasons!r}")
    amounts = {}
    for currency, written in _object(f"{where}.amounts", found.get("amounts") or {}).items():
        try:
            amounts[str(currency)] = Decimal(written if isinstance(written, str) else "")
        except InvalidOperation:
            raise BadLadder(
                f"ladder: {where}.amounts.{currency}: needed an amount as text, got {written!r}"
            ) from None
    return Severity(name, frozenset(map(str, reasons)), amounts)


def _rungs(where: str, rows: Any, kinds: Sequence[str]) -> tuple[Rung, ...]:
    if not isinstance(rows, list) or not rows:
        raise BadLadder(f"ladder: {where}: needed a list of channels, got {rows!r}")
    rungs: list[Rung] = []
    for number, row in enumerate(rows):
        here = f"{where}.{number}"
        found = _known(here, row, ("channel", "wait", "patience"))
        kind = str(found.get("channel"))
        if kind not in kinds or any(rung.kind == kind for rung in rungs):
            raise BadLadder(f"ladder: {here}.channel: needed one of {kinds}, once, got {kind!r}")
        wait = _seconds(here, "wait", found, WAIT)
        rungs.append(Rung(kind, wait, _seconds(here, "patience", found, PATIENCE)))
    return tuple(rungs)


def _seconds(where: str, name: str, found: Mapping[str, Any], usual: float) -> float:
    value = found.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LONGEST:
        raise BadLadder(
            f"ladder: {where}.{name}: needed seconds from 0 to {_LONGEST:.0f}, got {value!r}"
        )
    return float(value)


def _object(where: str, found: Any) -> Mapping[Any, Any]:
    if not isinstance(found, Mapping):
        raise BadLadder(f"ladder: {where}: needed an object, got {found!r}")
    return found


def _known(where: str, found: Any, names: Sequence[str]) -> Mapping[Any, Any]:
    for name in _object(where, found):
        if name not in names:
            raise BadLadder(f"ladder: {where}: needed one of {tuple(names)}, got {name!r}")
    return _object(where, found)
