"""Which features are there? The built-in ones stand here; a bank's own in its ``features.yaml``.

To add a built-in one: a line below, a test, and a note in ``docs/semantics.md`` if it is of a new
kind (``docs/adding.md``). A name is a promise: rules, models and records use it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from features import asks, surface
from features.declared import KEYS, Declarations, Sentence, declare, read, stamped
from features.describer import Describer, Feature
from features.filters import NAMED
from features.moment import Event, Label

CUSTOMER = Describer(
    "customer",
    (
        asks.count("1m"),
        asks.count("1h"),
        asks.count("24h"),
        asks.count("7d"),
        asks.count("30d"),
        asks.total("1m"),
        asks.total("1h"),
        asks.total("24h"),
        asks.total("7d"),
        asks.total("30d"),
        asks.mean("1m"),
        asks.mean("1h"),
        asks.mean("24h"),
        asks.mean("7d"),
        asks.mean("30d"),
        asks.ZScore("14d"),
        asks.Ratio("30d"),
        asks.MedianRatio("30d"),
        asks.MaxRatio("7d"),
        asks.Outliers("3d"),
        asks.Outliers("14d"),
        asks.MeanRatio("24h", "30d"),
        asks.MeanRatio("7d", "30d"),
        asks.SinceLast(),
        asks.SinceFirst(),
        asks.NewPayee(),
        asks.FraudCount("7d"),
        asks.FraudCount("30d"),
        asks.SinceFraud("30d"),
        asks.SmallPayments("1h", at_most=10_000),
        asks.NewPayees("1h"),
        asks.NewPayeeWithin("24h"),
        asks.NewDevice(),
        asks.NewDeviceWithin("24h"),
        asks.NewCountry(),
        asks.NewCountryLogins("24h"),
        asks.DistanceKm(),
        asks.SpeedKmh(),
        asks.UnusualHour(),
        asks.LoginFailures("1h"),
        asks.AccountChanges("24h"),
        asks.SinceAccountChange(),
    ),
    owner=lambda event: event.customer,
    labelled=lambda label: label.customer,
    meets=lambda event: event.payee,
    habits=True,
)

PAYEE = Describer(
    "payee",
    (
        asks.count("1m"),
        asks.count("1h"),
        asks.count("24h"),
        asks.count("7d"),
        asks.count("30d"),
        asks.total("1m"),
        asks.total("1h"),
        asks.total("24h"),
        asks.total("7d"),
        asks.total("30d"),
        asks.mean("1m"),
        asks.mean("1h"),
        asks.mean("24h"),
        asks.mean("7d"),
        asks.mean("30d"),
        asks.SinceLast(),
        asks.SinceFirst(),
        asks.FraudCount("7d"),
        asks.FraudCount("30d"),
        asks.FraudRisk("1d"),
        asks.FraudRisk("3d"),
        asks.FraudRisk("7d"),
        asks.FraudRisk("14d"),
        asks.FraudRisk("30d"),
        asks.SinceFraud("30d"),
        asks.FraudRun("30d"),
        asks.FraudRunAge("30d"),
        asks.HonestSinceFraud("30d"),
        asks.FraudAge("37d"),
        asks.QuietFrauds("37d"),
        asks.QuietFraudAge("37d"),
        asks.SinceQuietFraud("37d"),
    ),
    owner=lambda event: event.payee,
    labelled=lambda label: label.payee,
)

DEVICE = Describer(
    "device",
    (
        asks.count("1h"),
        asks.count("24h"),
        asks.total("1h"),
        asks.total("24h"),
        asks.FraudCount("30d"),
        asks.Customers("24h"),
    ),
    owner=lambda event: event.device,
    labelled=lambda label: label.device,
    visits=lambda event: event.customer,
)

IP = Describer(
    "ip",
    (
        asks.count("1h"),
        asks.count("24h"),
        asks.total("1h"),
        asks.total("24h"),
        asks.FraudCount("30d"),
        asks.Customers("24h"),
        asks.LoginFailures("1h"),
    ),
    owner=lambda event: event.ip,
    labelled=lambda label: label.ip,
    visits=lambda event: event.customer,
)

#: One describer a kind of key, in the order of the stages.
DESCRIBERS: tuple[Describer, ...] = (CUSTOMER, PAYEE, DEVICE, IP)

#: Every feature there is, the event's own first.
FEATURES: tuple[Feature, ...] = surface.FEATURES + tuple(
    feature for describer in DESCRIBERS for feature in describer.features
)

#: By name, for rules and views that refuse a name nobody describes.
BY_NAME: dict[str, Feature] = {feature.name: feature for feature in FEATURES}


_CLAIMED: frozenset[str] = frozenset(one.name for one in FEATURES if one.claimed)


def _nobody(_: Label) -> None:
    return None


_LABELLED: dict[str, Callable[[Label], str | None]] = {
    "card": lambda label: label.card,
    "terminal": lambda label: label.terminal,
}


def _owner(key: str) -> Callable[[Event], str | None]:
    return NAMED[key]


#: Kinds of key that have a stage only while a declared feature asks for one; nothing is built in.
FURTHER: tuple[Describer, ...] = tuple(
    Describer(key, (), owner=_owner(key), labelled=_LABELLED.get(key, _nobody))
    for key in KEYS
    if key not in {describer.key for describer in DESCRIBERS}
)


def _known() -> dict[str, tuple[str, ...]]:
    """Of each key the built-in features that are told by the time it describes an event."""
    so_far = [feature.name for feature in surface.FEATURES]
    known: dict[str, tuple[str, ...]] = {}
    for describer in (*DESCRIBERS, *FURTHER):
        so_far += [feature.name for feature in describer.features]
        known[describer.key] = tuple(so_far)
    return known


@dataclass(frozen=True)
class Catalogue:
    """Built-in and declared features together.

    ``describers`` are those of the features that are counted, in the order of the stages;
    ``features`` and ``by_name`` hold those on demand, too: a rule may name any of them.
    """

    declarations: Declarations
    describers: tuple[Describer, ...]
    features: tuple[Feature, ...]
    counted: frozenset[str]

    @property
    def by_name(self) -> Mapping[str, Feature]:
        """Of each name its feature."""
        return MappingProxyType({feature.name: feature for feature in self.features})

    @property
    def kinds(self) -> Mapping[str, str]:
        """Of each name what its values are: ``number``, or ``bool`` (0 or 1). Any may be null."""
        return {one.name: "bool" if one.unit == "flag" else "number" for one in self.features}

    @property
    def sentences(self) -> Mapping[str, Sentence]:
        """What was declared, by name."""
        return {one.name: one for one in self.declarations.sentences}

    @property
    def wordings(self) -> Mapping[str, str]:
        """Of each declared feature what it counts, in words: its line, and the filters it names."""
        return {one.name: _worded(one) for one in self.declarations.sentences}

    def needed(self, names: Collection[str]) -> Catalogue:
        """The same, counting of those on demand the named ones alone."""
        told = self.declarations.sentences
        active = [one for one in told if not one.demand or one.name in names]
        return self._counting(active, {})

    def stamped(self, since: Mapping[str, int]) -> Catalogue:
        """The same, with the stamps of its ``tracks``: when each began to count."""
        told = self.declarations.sentences
        return self._counting([one for one in told if one.name in self.counted], since)

    def tracks_of(self, name: str) -> frozenset[str]:
        """The tracks that a feature looks at; a built-in one at none."""
        one = self.sentences.get(name)
        return frozenset() if one is None else self._counting([one], {}).tracks

    def _counting(self, active: Sequence[Sentence], since: Mapping[str, int]) -> Catalogue:
        return replace(
            self,
            describers=_describers(active, self.declarations.forgotten_after, since),
            counted=frozenset(BY_NAME) | {one.name for one in active},
        )

    @property
    def tracks(self) -> frozenset[str]:
        """What each track that is counted is: a key and words, as stamps name it."""
        return frozenset(
            stamped(describer.key, track)
            for describer in self.describers
            for track in describer.tracks
        )


def _worded(one: Sentence) -> str:
    line = " ".join(one.text.split())
    filters = (f"{chosen.name}: {chosen.text}" for chosen in one.filters)
    return "; ".join(dict.fromkeys((line, *filters)))


def _describers(
    sentences: Sequence[Sentence], forgotten_after: int, since: Mapping[str, int]
) -> tuple[Describer, ...]:
    found = []
    for base in (*DESCRIBERS, *FURTHER):
        mine = [one for one in sentences if one.key == base.key]
        if mine or base in DESCRIBERS:
            found.append(declare(base, mine, since, forgotten_after, _CLAIMED))
    return tuple(found)


def catalogue(*files: tuple[str, str]) -> Catalogue:
    """The built-in features and those that these files declare, each a text and its name.

    A later file extends the former ones. Raises `BadDeclaration` with file and line. All that is
    declared counts, on demand or not; see `Catalogue.needed`.
    """
    known, told = _known(), Declarations()
    for text, source in files:
        told = read(text, source, known, told)
    describers = _describers(told.sentences, told.forgotten_after, {})
    features = surface.FEATURES + tuple(
        feature for describer in describers for feature in describer.features
    )
    return Catalogue(told, describers, features, frozenset(one.name for one in features))
