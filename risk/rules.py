"""Which of the bank's own rules does an event hit? Expressions over named values, nothing more.

A rule has an expression (`rule_language`, checked by `rule_check`), an action and a state:

::

    draft -----> shadow -----> live -----> retired
    (written)    (evaluated,   (acts)      (kept to read old decisions by)
                  recorded,
                  never acts)

Two formats of files are read: 2, with expressions, and 1, a list of comparisons.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

from risk.events import micros
from risk.rule_check import (
    HIT,
    HOLDS,
    Cause,
    Known,
    Value,
    Vocabulary,
    as_cel,
    asks_for_null,
    because,
    checked,
    conjuncts,
    holds,
    lists_in,
    needs,
)
from risk.rule_language import (
    BadExpression,
    Constant,
    Listed,
    Name,
    Node,
    Pair,
    Place,
    Source,
    names_in,
    read,
    words,
)

if TYPE_CHECKING:
    import cel  # brings a command line along: only who runs rules pays for it

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
#: What the engine of expressions may raise over values that CEL does not know (NaN, for one).
_ENGINE_ERRORS = (TypeError, ValueError, RuntimeError, OverflowError, KeyError)


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


class Hit(NamedTuple):
    """A rule that held, with the comparisons that made it hold."""

    rule: Rule
    because: tuple[Cause, ...]

    @property
    def values(self) -> tuple[Value, ...]:
        """The values that made it hold."""
        return tuple(cause.value for cause in self.because)


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


# --- which rules hold -----------------------------------------------------------------------


class _Gate(NamedTuple):
    """One comparison of a value with a constant that a rule can't hold without."""

    name: str
    compare: Callable[[Any, Any], bool]
    threshold: Any


class _Ready(NamedTuple):
    """A rule ready to run; ``variables`` are what its program reads, by name."""

    rule: Rule
    program: "cel.Program"
    gate: _Gate | None
    needs: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]


class _OfType(NamedTuple):
    """The rules of one event type, and what about lists and hits they look at."""

    live: tuple[_Ready, ...]
    shadow: tuple[_Ready, ...]
    listed: tuple[Listed, ...]
    hits: tuple[str, ...]
    context: "Callable[[], cel.Context]"


OnList = Callable[[str, str, str, int], bool]


class Docket:
    """Rules made ready: each expression compiled once, each value handed over once an event.

    Most rules don't hold for most events. So one plain comparison of a rule is looked at first
    (its gate), and only where that holds are its values handed to the engine.

    Live rules see the hits of earlier live rules alone; shadow rules come after them and see all,
    so that nothing a shadow rule does can reach a decision.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self._of_type = {kind: self._prepare(kind) for kind in DECIDED}
        #: The model's factors that a live or shadow rule looks at, by the features' names.
        self.factors = frozenset(
            name.removeprefix(FACTOR) for name in self.names if name.startswith(FACTOR)
        )

    def _prepare(self, kind: str) -> _OfType:
        import cel

        mine = [rule for rule in self.rules if kind in rule.applies_to]
        acting = [rule for rule in mine if rule.state in ("live", "shadow")]
        numbers: dict[str, str] = {}

        def variable(name: str) -> str:
            return numbers.setdefault(name, f"v{len(numbers)}")

        ready: dict[str, list[_Ready]] = {"live": [], "shadow": []}
        for rule in acting:
            needed = needs(rule.when)
            program = cel.compile(as_cel(rule.when, variable, guarded=needed is None))
            looks = {name.name for name in names_in(rule.when)}
            looks |= {one.name for one in lists_in(rule.when)}
            reads = tuple((name, numbers[name]) for name in sorted(looks))
            one = _Ready(rule, program, _gate(rule.when), tuple(sorted(needed or ())), reads)
            ready[rule.state].append(one)
        listed = {one.name: one for rule in acting for one in lists_in(rule.when)}
        return _OfType(
            tuple(ready["live"]),
            tuple(ready["shadow"]),
            tuple(listed.values()),
            tuple(name for name in numbers if name.startswith(HIT)),
            cel.Context,
        )

    @property
    def names(self) -> frozenset[str]:
        """Every value that a live or shadow rule looks at."""
        acting = (rule for rule in self.rules if rule.state in ("live", "shadow"))
        return frozenset(name for rule in acting for name in rule.names)

    def hits(
        self,
        kind: str,
        values: Mapping[str, Any],
        at_us: int = 0,
        on_list: OnList | None = None,
    ) -> tuple[list[Hit], list[Hit]]:
        """The live rules that hold and the shadow rules that do, each in the order of the files.

        ``on_list(list, kind of key, value, at_us)`` says whether a value stands on a list.
        """
        mine = self._of_type.get(kind)
        if mine is None or not (mine.live or mine.shadow):
            return [], []
        facts: Any = dict(values) if mine.listed or mine.hits else values
        if facts is not values:
            for look in mine.listed:
                value = values.get(look.key)
                facts[look.name] = (
                    value is not None
                    and on_list is not None
                    and on_list(look.list, KEYS[look.key], str(value), at_us)
                )
            facts.update(dict.fromkeys(mine.hits, False))
        run = _Run(facts, at_us, frozenset(mine.hits), mine.context())
        live = run.held(mine.live)
        return live, run.held(mine.shadow) if mine.shadow else []


def _gate(node: Node) -> _Gate | None:
    for one in conjuncts(node):
        if not isinstance(one, Pair) or one.sign not in HOLDS or asks_for_null(one):
            continue
        if isinstance(one.left, Name) and isinstance(one.right, Constant):
            return _Gate(one.left.name, HOLDS[one.sign], one.right.value)
    return None


class _Run:
    """One event before its rules: what was handed to the engine already is not handed twice."""

    __slots__ = ("_at_us", "_context", "_facts", "_given", "_watched")

    def __init__(
        self, facts: Any, at_us: int, watched: frozenset[str], context: "cel.Context"
    ) -> None:
        self._facts, self._at_us, self._watched = facts, at_us, watched
        self._context = context
        self._given: set[str] = set()

    def held(self, ready: tuple[_Ready, ...]) -> list[Hit]:
        found: list[Hit] = []
        value_of = self._facts.get
        for one in ready:
            gate = one.gate
            if gate is not None:
                value = value_of(gate[0])
                if value is None or not gate[1](value, gate[2]):
                    continue
            if self._holds(one):
                rule = one.rule
                found.append(Hit(rule, tuple(because(rule.when, self._facts))))
                name = HIT + rule.id
                if name in self._watched:
                    self._facts[name] = True
                    self._given.discard(name)
        return found

    def _holds(self, one: _Ready) -> bool:
        facts, given = self._facts, self._given
        for name in one.needs:
            if facts.get(name) is None:
                return False
        for name, short in one.variables:
            if name not in given:
                self._context.add_variable(short, facts.get(name))
                given.add(name)
        try:
            held = one.program.execute(self._context)
        except _ENGINE_ERRORS:  # a value that CEL has no place for, such as NaN: the plain meaning
            held = holds(one.rule.when, facts)
        return held is True and one.rule.valid_at(self._at_us)


def hits(rules: Sequence[Rule], kind: str, values: Mapping[str, Value]) -> Iterator[Hit]:
    """Give each live rule that holds, in the order of the file."""
    yield from Docket(rules).hits(kind, values)[0]


def expression(rule: Rule) -> str:
    """The rule's expression in one spelling."""
    return words(rule.when)


def written(value: Value) -> str | int | None:
    """A value as a record writes it: a float as its string, the same bits back."""
    if isinstance(value, float):
        return repr(value)
    return value
