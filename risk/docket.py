"""Which of the bank's own rules does an event hit?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from risk.rule_check import HIT
from risk.rule_language import Constant, Listed, Name, Node, Pair, names_in
from risk.rule_truth import (
    HOLDS,
    Cause,
    Value,
    as_cel,
    asks_for_null,
    because,
    conjuncts,
    holds,
    lists_in,
    needs,
)
from risk.rules import DECIDED, FACTOR, KEYS, Rule

if TYPE_CHECKING:
    import cel  # brings a command line along: only who runs rules pays for it

#: What the engine of expressions may raise over values that CEL does not know (NaN, for one).
_ENGINE_ERRORS = (TypeError, ValueError, RuntimeError, OverflowError, KeyError)


class Hit(NamedTuple):
    """A rule that held, with the comparisons that made it hold."""

    rule: Rule
    because: tuple[Cause, ...]

    @property
    def values(self) -> tuple[Value, ...]:
        """The values that made it hold."""
        return tuple(cause.value for cause in self.because)


class _Gate(NamedTuple):
    """One comparison of a value with a constant that a rule can't hold without."""

    name: str
    compare: Callable[[Any, Any], bool]
    threshold: Any


class _Ready(NamedTuple):
    """A rule ready to run; ``variables`` are what its program reads, by name."""

    rule: Rule
    program: "cel.Program"
    gates: tuple[_Gate, ...]
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

    Most rules don't hold for most events. So the plain comparisons of a rule are looked at first
    (its gates), and only where they hold are its values handed to the engine.

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
            one = _Ready(rule, program, _gates(rule.when), tuple(sorted(needed or ())), reads)
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


def _gates(node: Node) -> tuple[_Gate, ...]:
    gates: list[_Gate] = []
    for one in conjuncts(node):
        if not isinstance(one, Pair) or one.sign not in HOLDS or asks_for_null(one):
            continue
        if isinstance(one.left, Name) and isinstance(one.right, Constant):
            gates.append(_Gate(one.left.name, HOLDS[one.sign], one.right.value))
    return tuple(gates)


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
            for name, compare, threshold in one.gates:
                value = value_of(name)
                if value is None or not compare(value, threshold):
                    break
            else:
                if self._holds(one):
                    found.append(self._hit(one.rule))
        return found

    def _hit(self, rule: Rule) -> Hit:
        name = HIT + rule.id
        hit = Hit(rule, tuple(because(rule.when, self._facts)))
        if name in self._watched:
            self._facts[name] = True
            self._given.discard(name)
        return hit

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


def written(value: Value) -> str | int | None:
    """A value as a record writes it: a float as its string, the same bits back."""
    if isinstance(value, float):
        return repr(value)
    return value
