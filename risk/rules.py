"""What is a rule, and is this file full of them? Expressions over named values, nothing more.

A rule has an expression (`rule_language`, checked by `rule_check`), an action and a state; which
rules an event hits says `docket`:

::

    draft -----> shadow -----> live -----> retired
    (written)    (evaluated,   (acts)      (kept to read old decisions by)
                  recorded,
                  never acts)

Two formats of files are read: 2, with expressions, and 1, a list of comparisons.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from difflib import get_close_matches
from typing import Any

from risk.events import micros
from risk.rule_check import Known, Vocabulary, checked
from risk.rule_language import (
    BadExpression,
    Constant,
    Name,
    Node,
    Pair,
    Place,
    Source,
    names_in,
    read,
    words,
)
from risk.rule_truth import (
    HOLDS,
    lists_in,
)

OUTCOMES = ("approve", "challenge", "review", "decline")
MILD_TO_STRICT = {outcome: place for place, outcome in enumerate(OUTCOMES)}
STATES = ("draft", "shadow", "live", "retired")
SEVERITIES = ("low", "medium", "high", "critical")
DECIDED = ("transaction", "login", "account_change", "status")
MOST_POINTS = 1000

_CHANNELS = ("app", "web", "card", "atm", "branch", "api")
_PAYMENT, _LOGIN = frozenset({"transaction"}), frozenset({"login"})
#: What an event says of itself, beside the features that are named ``event.*``.
EVENT: Mapping[str, Known] = {
    "event.type": Known("text", choices=DECIDED),
    "event.amount": Known("number", "money", 0, of=_PAYMENT),
    "event.currency": Known("text", of=_PAYMENT),
    "event.channel": Known("text", choices=_CHANNELS),
    "event.kind": Known("text", choices=("transfer", "card", "cash", "bill"), of=_PAYMENT),
    "event.country": Known("text", claimed=True),
    "event.payee_country": Known("text", of=_PAYMENT),
    "event.change": Known(
        "text",
        choices=("phone", "password", "email", "device", "payee_added", "limit"),
        of=frozenset({"account_change"}),
    ),
    "event.state": Known(
        "text", choices=("executed", "cancelled", "reversed"), of=frozenset({"status"})
    ),
    "event.customer": Known("text"),
    "event.payee": Known("text", of=_PAYMENT),
    "event.card": Known("text", of=_PAYMENT),
    "event.terminal": Known("text", of=_PAYMENT),
    "event.mcc": Known("text", of=_PAYMENT),
    "event.device": Known("text", claimed=True),
    "event.ip": Known("text"),
    "event.late": Known("number", "flag", 0, 1),
}
EVENT_NAMES = frozenset(EVENT)
TEXT_NAMES = frozenset(name for name, known in EVENT.items() if known.kind == "text")
#: Whose values may stand on a list, with the kind of key that the list calls it.
KEYS: Mapping[str, str] = {
    "event.customer": "customer",
    "event.payee": "payee",
    "event.card": "card",
    "event.terminal": "terminal",
    "event.device": "device",
    "event.ip": "ip",
    "event.country": "country",
    "event.payee_country": "country",
    "event.channel": "channel",
    "event.currency": "currency",
}
_OPINIONS = {"score": Known("number", "", 0, 1000), "anomaly": Known("number", "", 0, 1000)}
#: Before a feature's name: what its value does to the log odds of fraud, by the model.
FACTOR = "factor."
_RANGES: Mapping[str, tuple[float, float]] = {
    "count": (0, math.inf),
    "money": (0, math.inf),
    "seconds": (0, math.inf),
    "km": (0, math.inf),
    "km/h": (0, math.inf),
    "flag": (0, 1),
}
_FEATURES_OF_ONE_TYPE = {"event.login_failed": _LOGIN}
_BOUNDED = {"event.hour": (0, 23)}

_NAMES_2 = (
    "id",
    "title",
    "reason",
    "severity",
    "applies_to",
    "when",
    "action",
    "state",
    "owner",
    "valid",
    "tests",
    "note",
)


class BadRules(ValueError):
    """A rule file that can't be used: which rule, what was needed, what was got.

    ``place`` is where in the file, when it is known.
    """

    def __init__(self, text: str, place: Place | None = None) -> None:
        self.place = place
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: when its expression holds, its action is the least that happens.

    ``action`` is as written; of it ``outcome`` is the outcome that it asks for, ``points`` what it
    adds to the score (-1000 to 1000), ``tag`` what it marks the decision with. ``since_us`` and
    ``until_us`` bound its validity in event time.
    """

    id: str
    applies_to: frozenset[str]
    when: Node
    action: str
    text: str
    outcome: str = "approve"
    points: int = 0
    tag: str = ""
    state: str = "live"
    title: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict, hash=False)
    severity: str = "medium"
    owner: str = ""
    since_us: int | None = None
    until_us: int | None = None
    tests: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)

    @property
    def names(self) -> frozenset[str]:
        """Every value that its expression looks at."""
        listed = {one.key for one in lists_in(self.when)}
        return frozenset(name.name for name in names_in(self.when)) | listed

    def valid_at(self, at_us: int) -> bool:
        """Whether the rule is of force at an event time."""
        after = self.since_us is None or at_us >= self.since_us
        return after and (self.until_us is None or at_us < self.until_us)


def vocabulary(
    features: Collection[str],
    base: str = "CNY",
    lists: Collection[str] | None = None,
    factors: Collection[str] = (),
    wordings: Mapping[str, str] | None = None,
) -> Vocabulary:
    """The names that expressions may use: the event's, every feature's, the model's opinions.

    ``features`` are names, or a mapping from names to something with a ``unit``; ``factors`` those
    of them that a model may look at; ``wordings`` what the declared ones count.
    """
    names: dict[str, Known] = {}
    for name in features:
        unit = getattr(features[name], "unit", "") if isinstance(features, Mapping) else ""
        low, high = _BOUNDED.get(name, _RANGES.get(unit, (-math.inf, math.inf)))
        of = _FEATURES_OF_ONE_TYPE.get(name, frozenset())
        claimed = isinstance(features, Mapping) and getattr(features[name], "claimed", False)
        names[name] = Known("number", unit, low, high, of=of, claimed=claimed)
        if name in factors:
            names[FACTOR + name] = Known("number", claimed=claimed)
    return Vocabulary({**names, **EVENT, **_OPINIONS}, base, lists, KEYS, wordings or {})


# --- reading format 1 -----------------------------------------------------------------------


def _comparison(rule: str, row: Mapping[str, Any], names: Collection[str]) -> Node:
    nowhere = Place(1, 1)
    name = row.get("value")
    if not isinstance(name, str) or name not in names:
        near = get_close_matches(str(name), names, n=1)
        hint = f"; the nearest known name is {near[0]}" if near else ""
        raise BadRules(f"rule {rule}: needed a known name in 'value', got {name!r}{hint}")
    symbol = row.get("operator")
    if not isinstance(symbol, str) or symbol not in HOLDS:
        known = " ".join(HOLDS)
        raise BadRules(f"rule {rule}: needed an operator of {known}, got {symbol!r}")
    threshold = row.get("threshold")
    if isinstance(threshold, bool) or not isinstance(threshold, int | float | str):
        raise BadRules(f"rule {rule}: needed a number or a text in 'threshold', got {threshold!r}")
    if isinstance(threshold, str) != (name in TEXT_NAMES):
        needed = "a text" if name in TEXT_NAMES else "a number"
        raise BadRules(f"rule {rule}: needed {needed} in 'threshold' of {name}, got {threshold!r}")
    if not isinstance(threshold, str) and not abs(threshold) < 2**63:
        raise BadRules(f"rule {rule}: needed a finite number in 'threshold', got {threshold!r}")
    constant = Constant(nowhere, threshold, "", str(threshold))
    return Pair(nowhere, symbol, Name(nowhere, name), constant)


def _applies(rule: str, kinds: Any) -> frozenset[str]:
    if not isinstance(kinds, list) or not kinds or not set(map(str, kinds)) <= set(DECIDED):
        needed = f"a list of {', '.join(DECIDED)}"
        raise BadRules(f"rule {rule}: needed {needed} in 'applies_to', got {kinds!r}")
    return frozenset(kinds)


def _read_1(row: Mapping[str, Any], names: Collection[str]) -> Rule:
    ident = str(row.get("id"))
    if row.get("action") not in OUTCOMES:
        got = row.get("action")
        raise BadRules(f"rule {ident}: needed an action of {OUTCOMES}, got {got!r}")
    when = row.get("when")
    if not isinstance(when, list) or not all(isinstance(one, Mapping) for one in when):
        raise BadRules(f"rule {ident}: needed a list of comparisons in 'when', got {when!r}")
    if not when:
        raise BadRules(f"rule {ident}: needed at least one comparison in 'when', got none")
    tree = _comparison(ident, when[0], names)
    for one in when[1:]:
        tree = Pair(tree.place, "&&", tree, _comparison(ident, one, names))
    applies = _applies(ident, row.get("applies_to", ["transaction"]))
    text, action = str(row.get("text", ident)), row["action"]
    return Rule(ident, applies, tree, action, text, action, title=ident, reasons={"en": text})


# --- reading format 2 -----------------------------------------------------------------------


def _text(rule: str, row: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = row.get(name, default)
    if not isinstance(value, str) or (default is None and not value.strip()):
        raise BadRules(f"rule {rule}: needed a text in {name!r}, got {value!r}")
    return value


def _one_of(
    rule: str, row: Mapping[str, Any], name: str, known: Sequence[str], default: str
) -> str:
    value = row.get(name, default)
    if value not in known:
        near = get_close_matches(str(value), known, n=1)
        hint = f"; the nearest is {near[0]}" if near else ""
        raise BadRules(
            f"rule {rule}: needed one of {', '.join(known)} in {name!r}, got {value!r}{hint}"
        )
    return str(value)


def _action(rule: str, written: Any) -> tuple[str, int, str]:
    """An action as outcome, points and tag."""
    needed = "one of approve, challenge, review, decline, 'score +50', 'tag name' in 'action'"
    word, _, rest = str(written).partition(" ")
    if written in OUTCOMES:
        return str(written), 0, ""
    if word == "score" and rest[:1] in ("+", "-") and rest[1:].isdigit():
        points = int(rest)
        if 0 < abs(points) <= MOST_POINTS:
            return "approve", points, ""
        needed = f"points from 1 to {MOST_POINTS} in 'action'"
    if word == "tag" and rest.replace("_", "").replace("-", "").isalnum():
        return "approve", 0, rest
    raise BadRules(f"rule {rule}: needed {needed}, got {written!r}")


def _vouched_for(rule: str, tree: Node, known: Vocabulary) -> None:
    """Refuse to lower a score by what whoever holds the stolen phone can say of himself."""
    looked_at = {one.name for one in names_in(tree)} | {one.key for one in lists_in(tree)}
    for name in sorted(looked_at & known.names.keys()):
        if known.names[name].claimed:
            needed = "needed names that the bank vouches for where 'action' lowers the score"
            raise BadRules(f"rule {rule}: {needed}, got {name}, which a client says of itself")


def _reasons(rule: str, row: Mapping[str, Any]) -> dict[str, str]:
    told = row.get("reason")
    if isinstance(told, str):
        told = {"en": told}
    if not isinstance(told, Mapping) or not isinstance(told.get("en"), str):
        needed = "a sentence in each language, 'en' among them, in 'reason'"
        raise BadRules(f"rule {rule}: needed {needed}, got {told!r}")
    if not all(isinstance(text, str) for text in told.values()):
        raise BadRules(f"rule {rule}: needed texts in 'reason', got {told!r}")
    return {str(language): str(text) for language, text in told.items()}


def _day(rule: str, name: str, value: Any) -> int | None:
    if value is None:
        return None
    try:
        day = value if isinstance(value, date) else date.fromisoformat(str(value))
    except ValueError as wrong:
        raise BadRules(
            f"rule {rule}: needed a day such as 2026-12-31 in 'valid.{name}', got {value!r}"
        ) from wrong
    return micros(datetime.combine(day, time(), UTC))


def _valid(rule: str, row: Mapping[str, Any]) -> tuple[int | None, int | None]:
    told = row.get("valid") or {}
    if not isinstance(told, Mapping) or not set(told) <= {"from", "until"}:
        raise BadRules(f"rule {rule}: needed 'from' and 'until' in 'valid', got {told!r}")
    since, until = _day(rule, "from", told.get("from")), _day(rule, "until", told.get("until"))
    if since is not None and until is not None and since >= until:
        raise BadRules(f"rule {rule}: needed 'valid.from' before 'valid.until', got {told!r}")
    return since, until


def _read_2(row: Mapping[str, Any], known: Vocabulary, earlier: Collection[str]) -> Rule:
    ident = str(row.get("id"))
    for name in row:
        if name not in _NAMES_2:
            near = get_close_matches(str(name), _NAMES_2, n=1)
            hint = f"; the nearest known name is {near[0]}" if near else ""
            raise BadRules(f"rule {ident}: needed a known name, got {name!r}{hint}")
    applies = _applies(ident, row.get("applies_to", ["transaction"]))
    when = row.get("when")
    if not isinstance(when, str) or not when.strip():
        raise BadRules(f"rule {ident}: needed an expression in 'when', got {when!r}")
    try:
        tree = checked(read(when), known, applies, ident, earlier)
    except BadExpression as wrong:
        shown = wrong if isinstance(when, Source) else f"'when': {wrong}"
        raise BadRules(f"rule {ident}: {shown}", wrong.place) from wrong
    outcome, points, tag = _action(ident, row.get("action"))
    if points < 0:
        _vouched_for(ident, tree, known)
    reasons = _reasons(ident, row)
    since, until = _valid(ident, row)
    tests = row.get("tests") or []
    if not isinstance(tests, list) or not all(isinstance(one, Mapping) for one in tests):
        raise BadRules(f"rule {ident}: needed a list of tests in 'tests', got {tests!r}")
    return Rule(
        id=ident,
        applies_to=applies,
        when=tree,
        action=str(row["action"]),
        text=reasons["en"],
        outcome=outcome,
        points=points,
        tag=tag,
        state=_one_of(ident, row, "state", STATES, "draft"),
        title=_text(ident, row, "title"),
        reasons=reasons,
        severity=_one_of(ident, row, "severity", SEVERITIES, "medium"),
        owner=_text(ident, row, "owner", ""),
        since_us=since,
        until_us=until,
        tests=tuple(tests),
    )


def read_rules(
    document: Mapping[str, Any],
    known: Vocabulary | Collection[str],
    earlier: Sequence[Rule] = (),
) -> tuple[Rule, ...]:
    """Make rules of a parsed file (format 1 or 2), or raise `BadRules`.

    ``known`` is a `vocabulary`, or the names of features; ``earlier`` are the rules of the files
    before it, whose ids are taken and whose hits may be looked at. Format 2 may be one rule alone,
    without ``rules``.
    """
    version = document.get("version")
    if version not in (1, 2) or isinstance(version, bool):
        raise BadRules(f"rules: needed 'version: 1' or 'version: 2', got {version!r}")
    spoken = known if isinstance(known, Vocabulary) else vocabulary(known)
    rows = document.get("rules") or ()
    if version == 2 and "rules" not in document:
        rows = [{name: value for name, value in document.items() if name != "version"}]
    if not isinstance(rows, list | tuple) or not all(isinstance(row, Mapping) for row in rows):
        raise BadRules("rules: needed a list of rules, each with its 'id', 'when' and 'action'")
    rules: list[Rule] = []
    taken = {rule.id for rule in earlier}
    for row in rows:
        ident = str(row.get("id"))
        if ident in taken or ident == "None":
            raise BadRules(f"rules: needed an id of its own for each rule, got {ident!r} again")
        if version == 1:
            rules.append(_read_1(row, spoken.names))
        else:
            _fit_for_a_name(ident)
            seeing = ("live",) if row.get("state") == "live" else ("live", "shadow")
            seen = [rule.id for rule in (*earlier, *rules) if rule.state in seeing]
            try:
                rules.append(_read_2(row, spoken, seen))
            except BadRules as wrong:
                raise _placed(wrong, ident, row) from wrong
        taken.add(ident)
    return tuple(rules)


def _placed(wrong: BadRules, ident: str, row: Mapping[str, Any]) -> BadRules:
    """The same error with the place of the field that it names, where the file told places."""
    places: Mapping[str, Place] = getattr(row, "places", {})
    if wrong.place is not None or not places:
        return wrong
    named = [name for name in places if f"'{name}" in str(wrong)]
    place = places.get((named or ["id"])[0]) or next(iter(places.values()))
    start = f"rule {ident}: "
    return BadRules(f"{start}{place}: {str(wrong).removeprefix(start)}", place)


def _fit_for_a_name(ident: str) -> None:
    if not ident.replace("_", "a").isalnum() or not ident.isascii() or len(ident) > 64:
        needed = "needed an id of letters, digits and _, at most 64"
        raise BadRules(f"rules: {needed}, got {ident!r}")


def expression(rule: Rule) -> str:
    """The rule's expression in one spelling."""
    return words(rule.when)
