"""Which features did an analyst declare? One line each in ``features.yaml``, no engine touched.

    filters:
      small: amount <= 10000
    features:                                      # always counted
      - distinct customers per device in 24h
      - count per card in 10m where small
    on_demand:                                     # counted once a rule or a model names them
      - sequence arrived then changed then large per customer in 24h as takeover

A line is ``<aggregate> [<field>] per <key> [x <second key>] [in <window>] [where <filter>]``; its
name is ``<key>[_<second>].<aggregate>[.<field>][.<filter>].<window>``. ``docs/semantics.md`` says
what each means.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar, cast

import yaml

from features import asks
from features.describer import FORGOTTEN_AFTER, Ask, Describer, Feature, Sight
from features.filters import (
    CLAIMS,
    FIELDS,
    NAMED,
    PAYMENTS,
    BadDeclaration,
    Filter,
    near,
    read_filter,
)
from features.moment import DAY, LATENESS, SECOND, Value, span
from features.tracks import Amounts, Labels, Names, Steps, Track

SHORTEST: Final = 10 * SECOND
LONGEST: Final = 90 * DAY
STEPS: Final = 8

_PARTS: Final = ("filters", "features", "on_demand", "forget_after")
_WORD: Final = re.compile(r"[a-z][a-z0-9_]*")
_AMOUNT, _NAME, _NONE = "amount", "name", ""

#: What each aggregate is of: an amount, a name, nothing.
AGGREGATES: Final[Mapping[str, str]] = {
    "count": _NONE,
    "sum": _AMOUNT,
    "mean": _AMOUNT,
    "min": _AMOUNT,
    "max": _AMOUNT,
    "std": _AMOUNT,
    "distinct": _NAME,
    "first": _AMOUNT,
    "last": _AMOUNT,
    "nth": _AMOUNT,
    "since_last": _NONE,
    "since_first": _NONE,
    "none": _NONE,
    "new": _NAME,
    "share": _NAME,
    "zscore": _AMOUNT,
    "ratio": _AMOUNT,
    "median_ratio": _AMOUNT,
    "quantile": _AMOUNT,
    "outliers": _AMOUNT,
    "hour_share": _NONE,
    "fraud_count": _NONE,
    "fraud_risk": _NONE,
    "since_fraud": _NONE,
    "sequence": _NONE,
}
_EVER: Final = frozenset({"since_last", "since_first"})
_OF_LABELS: Final = frozenset({"fraud_count", "fraud_risk", "since_fraud"})
_ALIASES: Final[Mapping[str, str]] = {"account": "payee", "stddev": "std"}

#: Of whom labels say something.
LABELLED: Final = ("customer", "payee", "device", "ip", "card", "terminal")
#: A session is too short-lived to have a profile of its own.
_SECOND_ONLY: Final = frozenset({"session"})
KEYS: Final = tuple(name for name in NAMED if name not in _SECOND_ONLY)

_OVER_AMOUNTS: Final[Mapping[str, Callable[[str], Ask]]] = {
    "count": asks.Count,
    "sum": asks.Sum,
    "mean": asks.Mean,
    "min": asks.Least,
    "max": asks.Greatest,
    "std": asks.Deviation,
    "first": asks.First,
    "last": lambda window: asks.Nth(window, 1),
    "none": asks.Absent,
    "zscore": asks.ZScore,
    "ratio": asks.Ratio,
    "median_ratio": asks.MedianRatio,
    "quantile": asks.Quantile,
    "outliers": asks.Outliers,
    "hour_share": asks.HourShare,
}


T = TypeVar("T", bound=Track)


@dataclass(frozen=True, slots=True)
class Sentence:
    """One declared feature, understood. ``demand``: only if somebody needs it."""

    text: str
    place: str
    demand: bool
    name: str
    key: str
    second: str | None
    aggregate: str
    number: int
    of: str | None  # a field of the event, or the amount
    window: str | None
    chosen: Filter
    steps: tuple[Filter, ...] = ()

    @property
    def filters(self) -> tuple[Filter, ...]:
        """The named filters that it looks through."""
        return tuple(one for one in (self.chosen, *self.steps) if one.name)


@dataclass(frozen=True, slots=True)
class Declarations:
    """What is declared, by one file or by several; of each filter also where it stands."""

    sentences: tuple[Sentence, ...] = ()
    filters: Mapping[str, tuple[Filter, str]] = field(default_factory=dict)
    forgotten_after: int = FORGOTTEN_AFTER


# -- reading -----------------------------------------------------------------------------------


def read(
    text: str,
    source: str,
    known: Mapping[str, Collection[str]],
    before: Declarations | None = None,
) -> Declarations:
    """Read a file of format 1, or raise `BadDeclaration` with file and line.

    ``known`` gives of each key the names of features that a filter may compare; ``before`` is what
    another file declared, which this one extends: it may say of a feature there when it counts.
    """
    before = before or Declarations()
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as wrong:
        raise BadDeclaration(f"{source}: not YAML: {wrong}") from wrong
    if root is None:
        return before
    parts = _entries(root, source, "the file")
    version = parts.pop("version", None)
    if version is None or version.value != "1":
        got = "nothing" if version is None else repr(version.value)
        raise BadDeclaration(f"{_at(source, version or root)}: needed 'version: 1', got {got}")
    for name, node in parts.items():
        if name not in _PARTS:
            raise BadDeclaration(
                f"{_at(source, node)}: needed parts of {', '.join(_PARTS)}, got {name!r}"
                + near(name, _PARTS)
            )
    everything = sorted({one for names in known.values() for one in names})
    filters = _filters(parts.get("filters"), source, everything, before.filters)
    places: dict[str, str] = dict.fromkeys(everything, "the built-in catalogue")
    sentences = {one.name: one for one in before.sentences}
    for part in ("features", "on_demand"):
        for node in _items(parts.get(part), source, part):
            place = _at(source, node)
            try:
                found = sentence(str(node.value), filters, known)
            except BadDeclaration as wrong:
                raise BadDeclaration(f"{place}: {node.value!r}: {wrong}") from wrong
            if found.name in places:
                raise BadDeclaration(
                    f"{place}: {node.value!r}: {found.name} stands in {places[found.name]} "
                    "already; take one of them out"
                )
            places[found.name] = place
            sentences[found.name] = replace(found, place=place, demand=part == "on_demand")
    forget = parts.get("forget_after")
    after = before.forgotten_after if forget is None else _forgotten_after(forget, source)
    return Declarations(tuple(sentences.values()), filters, after)


def _at(source: str, node: yaml.Node) -> str:
    return f"{source}, line {node.start_mark.line + 1}"


def _entries(node: yaml.Node, source: str, what: str) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        raise BadDeclaration(f"{_at(source, node)}: needed names and values in {what}")
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if key.value in found:
            raise BadDeclaration(f"{_at(source, key)}: {key.value!r} stands in {what} already")
        found[str(key.value)] = value
    return found


def _items(node: yaml.Node | None, source: str, part: str) -> list[yaml.ScalarNode]:
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value in ("", "null", "~")):
        return []
    if not isinstance(node, yaml.SequenceNode):
        raise BadDeclaration(f"{_at(source, node)}: needed a list of lines in {part!r}")
    for one in node.value:
        if not isinstance(one, yaml.ScalarNode):
            raise BadDeclaration(
                f"{_at(source, one)}: needed one line such as 'count per card in 1h'"
            )
    return list(node.value)


def _filters(
    node: yaml.Node | None,
    source: str,
    features: Collection[str],
    before: Mapping[str, tuple[Filter, str]],
) -> dict[str, tuple[Filter, str]]:
    found = dict(before)
    for name, value in _entries(node, source, "'filters'").items() if node is not None else ():
        place = _at(source, value)
        if not _WORD.fullmatch(name) or name in FIELDS:
            raise BadDeclaration(
                f"{place}: needed a filter's name of its own in small letters, got {name!r}"
            )
        if name in found:
            raise BadDeclaration(
                f"{place}: filter {name} stands in {found[name][1]} already; take another name"
            )
        try:
            found[name] = read_filter(name, str(value.value), features), place
        except BadDeclaration as wrong:
            raise BadDeclaration(f"{place}: filter {name}: {wrong}") from wrong
    return found


def _forgotten_after(node: yaml.Node, source: str) -> int:
    try:
        after = span(str(node.value))
    except ValueError as wrong:
        raise BadDeclaration(f"{_at(source, node)}: forget_after: {wrong}") from wrong
    if after < LONGEST + 8 * DAY:
        raise BadDeclaration(
            f"{_at(source, node)}: forget_after: needed at least 98d, the longest window and "
            f"what labels need beyond, got {node.value}"
        )
    return after


class _Words:
    """The words of one line, taken one after the other."""

    def __init__(self, text: str) -> None:
        joined = re.sub(r"\b(\d+) +([smhd])\b", r"\1\2", text.replace("×", " x "))
        self._left = joined.split()

    def peek(self) -> str | None:
        return self._left[0] if self._left else None

    def take(self, needed: str) -> str:
        if not self._left:
            raise BadDeclaration(f"needed {needed}, got the end of the line")
        return self._left.pop(0)

    def takes(self, word: str) -> bool:
        """Take this word if it is the next."""
        if self.peek() != word:
            return False
        self._left.pop(0)
        return True

    def end(self) -> None:
        if self._left:
            raise BadDeclaration(
                f"needed 'x', 'in', 'where' or the end of the line, got {self._left[0]!r}"
            )


def _one_of(word: str, known: Collection[str], what: str) -> str:
    word = _ALIASES.get(word, word)
    if word in known:
        return word
    if word.endswith("s") and word[:-1] in known:  # customers
        return word[:-1]
    raise BadDeclaration(f"needed {what} of {', '.join(known)}, got {word!r}{near(word, known)}")


def sentence(
    text: str,
    filters: Mapping[str, tuple[Filter, str]],
    known: Mapping[str, Collection[str]],
) -> Sentence:
    """Understand one line, or raise `BadDeclaration`."""
    words = _Words(text)
    aggregate = _one_of(words.take("an aggregate"), AGGREGATES, "an aggregate")
    number = _number(words) if aggregate == "nth" else 0
    steps: list[Filter] = []
    of: str | None = None
    if aggregate == "sequence":
        steps = _steps(words, filters)
    elif AGGREGATES[aggregate] == _AMOUNT:
        of = _one_of(words.take("'amount'"), ("amount",), "a number")
    elif AGGREGATES[aggregate] == _NAME:
        of = _one_of(words.take("the name of a field"), tuple(NAMED), "a field")
    if not words.takes("per"):
        raise BadDeclaration(f"needed 'per' and a key, got {words.peek() or 'the end'!r}")
    key = _one_of(words.take("a key"), KEYS, "a key")
    second = None
    if words.takes("x"):
        second = _one_of(words.take("a second key"), tuple(NAMED), "a second key")
    window = chosen = word = None
    while (word := words.peek()) in ("in", "where"):
        words.take("")
        if word == "in" and window is None:
            window = words.take("a window such as 24h")
        elif word == "where" and chosen is None:
            chosen = _filter(words.take("the name of a filter"), filters)
        else:
            raise BadDeclaration(f"needed {word!r} once, got it again")
    label = _label(words, aggregate)
    words.end()
    _check(aggregate, key, second, of, window, chosen)
    for one in (*steps, *([chosen] if chosen else ())):
        _check_needs(one, key, known)
    parts = [
        key if second is None else f"{key}_{second}",
        aggregate if not number else f"{aggregate}_{number}",
        of,
        label,
        chosen.name if chosen else None,
        window,
    ]
    return Sentence(
        text=text,
        place="",
        demand=False,
        name=".".join(part for part in parts if part),
        key=key,
        second=second,
        aggregate=aggregate,
        number=number,
        of=of,
        window=window,
        chosen=chosen or PAYMENTS,
        steps=tuple(steps),
    )


def _number(words: _Words) -> int:
    word = words.take("a number from 1 to 64")
    if not word.isascii() or not word.isdigit() or not 1 <= int(word) <= 64:
        raise BadDeclaration(f"needed a number from 1 to 64 after 'nth', got {word!r}")
    return int(word)


def _filter(name: str, filters: Mapping[str, tuple[Filter, str]]) -> Filter:
    if name not in filters:
        known = ", ".join(filters) or "none: there are no 'filters'"
        raise BadDeclaration(f"needed a filter of {known}, got {name!r}{near(name, filters)}")
    return filters[name][0]


def _steps(words: _Words, filters: Mapping[str, tuple[Filter, str]]) -> list[Filter]:
    steps = [_filter(words.take("a filter as the first step"), filters)]
    while words.takes("then"):
        steps.append(_filter(words.take("a filter as the next step"), filters))
    if not 2 <= len(steps) <= STEPS:
        raise BadDeclaration(f"needed 2 to {STEPS} steps joined by 'then', got {len(steps)}")
    return steps


def _label(words: _Words, aggregate: str) -> str | None:
    if aggregate != "sequence":
        return None
    if not words.takes("as"):
        raise BadDeclaration(f"needed 'as' and a name, got {words.peek() or 'the end'!r}")
    label = words.take("a name for the sequence")
    if not _WORD.fullmatch(label):
        raise BadDeclaration(f"needed a name in small letters after 'as', got {label!r}")
    return label


def _check(
    aggregate: str,
    key: str,
    second: str | None,
    of: str | None,
    window: str | None,
    chosen: Filter | None,
) -> None:
    if (window is None) != (aggregate in _EVER):
        needed = "no window" if window else f"'in' and a window from 10s to 90d for {aggregate}"
        raise BadDeclaration(f"needed {needed}, got {window or 'none'}")
    if window is not None:
        try:
            width = span(window)
        except ValueError as wrong:
            raise BadDeclaration(str(wrong)) from wrong
        if not SHORTEST <= width <= LONGEST:
            raise BadDeclaration(f"needed a window from 10s to 90d, got {window}")
    named = [one for one in (key, second, of) if one is not None]
    if len(set(named)) < len(named):
        raise BadDeclaration(f"needed keys and a field that differ, got {' and '.join(named)}")
    if aggregate == "share" and second is not None:
        raise BadDeclaration("needed one key for a share: it makes a pair with its field itself")
    if aggregate == "sequence" and chosen is not None:
        raise BadDeclaration("needed no 'where' for a sequence: its steps are filters themselves")
    if aggregate in _OF_LABELS and (second or chosen or key not in LABELLED):
        raise BadDeclaration(
            f"needed one key of {', '.join(LABELLED)} and no 'where' for {aggregate}: labels are "
            "known of these alone"
        )


def _check_needs(chosen: Filter, key: str, known: Mapping[str, Collection[str]]) -> None:
    for name in sorted(chosen.needs):
        if name not in known.get(key, ()):
            raise BadDeclaration(
                f"needed a filter whose features are known when a {key} describes an event; "
                f"{chosen.name} looks at {name}"
            )


# -- building ----------------------------------------------------------------------------------


def stamped(key: str, track: Track) -> str:
    """The name by which a track's stamp is kept."""
    return f"{key}: {track.what}"


class _Tracks:
    """The tracks of one key: features that look at the same events share one."""

    def __init__(self, key: str, since: Mapping[str, int]) -> None:
        self._key, self._since = key, since
        self._tracks: dict[int, Track] = {}

    def of(self, like: T, reach: int) -> T:
        """This track, or the one like it; looked at so far back."""
        track = self._tracks.setdefault(like.mark, like)
        track.keep = max(track.keep, reach + LATENESS)
        track.since = self._since.get(stamped(self._key, track), 0)
        return cast("T", track)

    @property
    def all(self) -> tuple[Track, ...]:
        return tuple(self._tracks.values())


class _Through:
    """An ask before the past of a track, rather than the entity's payments."""

    def __init__(
        self, ask: Ask, payments: Track | None, frauds: Track | None, nobody: Value
    ) -> None:
        self.ask, self.payments, self.frauds, self.nobody = ask, payments, frauds, nobody

    def of(self, sight: Sight) -> Value:
        """``nobody`` where the event has nobody of the second key."""
        seen = sight.through(self.payments, self.frauds)
        return self.nobody if seen is None else self.ask.of(seen)


def declare(
    base: Describer,
    sentences: Sequence[Sentence],
    since: Mapping[str, int],
    forgotten_after: int = FORGOTTEN_AFTER,
    claimed: Collection[str] = (),
) -> Describer:
    """The describer of a key with these features; ``since``: the stamps of its tracks.

    ``claimed``: the built-in features that are made of what a client says of itself.
    """
    if not sentences and forgotten_after == base.forgotten_after:
        return base
    tracks = _Tracks(base.key, since)
    made = [_made(base, one, tracks, claimed) for one in sentences]
    return base.with_declared(made, tracks.all, forgotten_after)


def _made(
    base: Describer, one: Sentence, tracks: _Tracks, claimed: Collection[str]
) -> tuple[Feature, Callable[[Sight], Value]]:
    ask = _ask(base, one, tracks)
    about = f" of {one.of}" if AGGREGATES[one.aggregate] == _NAME else ""
    where = f", {one.chosen.name}" if one.chosen.name else ""
    steps = ": " + ", ".join(step.name for step in one.steps) if one.steps else ""
    meaning = f"{ask.meaning}{about}{steps}{where}, per {one.key}"
    if one.second:
        meaning += f" and {one.second}"
    says = {one.key, one.second, one.of}
    for chosen in (one.chosen, *one.steps):
        says |= chosen.fields | (chosen.needs & set(claimed))
    by_client = not says.isdisjoint(CLAIMS | set(claimed))
    return Feature(one.name, ask.unit, ask.grade, meaning, by_client), ask.of


@dataclass(frozen=True, slots=True)
class _Asked:
    unit: str
    grade: int
    meaning: str
    of: Callable[[Sight], Value]


def _ask(base: Describer, one: Sentence, tracks: _Tracks) -> _Asked:
    window, second = one.window or "", NAMED[one.second] if one.second else None
    reach = span(window) if window else 0
    about = one.second or ""

    def amounts(reach: int) -> Track | None:
        """What the describer keeps anyway, where that is enough."""
        if one.chosen is PAYMENTS and second is None and _kept(base, reach):
            return None
        return tracks.of(Amounts(one.chosen, second, about), reach)

    ask: Ask
    if one.aggregate in ("distinct", "new"):
        field = NAMED[one.of or ""]
        names = tracks.of(Names(one.chosen, second, f"{about}|{one.of}", field), reach)
        of_names = asks.Distinct if one.aggregate == "distinct" else asks.New
        return _plain(of_names(window, names))
    if one.aggregate == "share":
        field = NAMED[one.of or ""]
        same = tracks.of(Amounts(one.chosen, field, one.of or ""), reach)
        return _plain(asks.Share(window, same, amounts(reach)))
    if one.aggregate == "sequence":
        text = "|".join(step.text for step in one.steps)
        types = frozenset[str]().union(*(step.types for step in one.steps))
        chain = Steps(Filter("", "", types), second, f"{about}|{text}", one.steps)
        return _plain(asks.Reached(window, tracks.of(chain, reach)))
    if one.aggregate in _OF_LABELS:
        return _of_labels(base, one, tracks, amounts)
    if one.aggregate == "since_last":
        ask = asks.SinceLast()
    elif one.aggregate == "since_first":
        ask = asks.SinceFirst()
    elif one.aggregate == "nth":
        ask = asks.Nth(window, one.number)
    else:
        ask = _OVER_AMOUNTS[one.aggregate](window)
    nobody = 1 if one.aggregate == "none" else None
    through = _Through(ask, amounts(ask.reach), None, nobody)
    return _Asked(ask.unit, ask.grade, ask.meaning, through.of)


def _plain(ask: Ask) -> _Asked:
    return _Asked(ask.unit, ask.grade, ask.meaning, ask.of)


def _of_labels(
    base: Describer,
    one: Sentence,
    tracks: _Tracks,
    amounts: Callable[[int], Track | None],
) -> _Asked:
    window = one.window or ""
    ask: Ask
    if one.aggregate == "fraud_risk":
        ask = asks.FraudRisk(window)
        line = amounts(ask.reach)
    else:
        ask = asks.FraudCount(window) if one.aggregate == "fraud_count" else asks.SinceFraud(window)
        line = None
    frauds = None
    if not _kept(base, ask.reach):
        frauds = tracks.of(Labels(PAYMENTS, None, ""), ask.reach)
    return _Asked(ask.unit, ask.grade, ask.meaning, _Through(ask, line, frauds, None).of)


def _kept(base: Describer, reach: int) -> bool:
    """Whether the describer's own past of payments and labels reaches so far back."""
    return not base.bare and reach + LATENESS <= base.keep
