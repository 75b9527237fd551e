"""Which parts make the way? The same stages for the live flow and for a replay over a file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bytewax.inputs import Source
from bytewax.outputs import Sink

from config.rule_files import read_rule_file, rule_files
from config.settings import HERE, Settings, read_rates, read_yaml
from features import surface
from features.catalogue import BY_NAME, DESCRIBERS, Catalogue
from flows import judgement
from flows.catalogue import read_catalogue
from flows.describe import Profile, Ticker, Tier
from flows.due import Due, load_kept
from flows.effects import Effects
from flows.errors import BadSettings
from flows.fraud import Stages
from flows.inquire import Seeks
from flows.judge import Judging
from flows.records import Recorder
from flows.registry import Registry, read_registry
from flows.score import Drifted, Learnt, Promoted, Scoring, Snapshots, nobody
from flows.scored import Scoreds
from flows.seek import SeekStage
from flows.shards import Cabinet, Store
from flows.walk import Values
from risk.challenge import Conversation
from risk.events import Moment
from risk.policy import BadPolicy, RuleSet, rule_set
from risk.rule_check import Vocabulary
from risk.rules import BadRules, Rule, read_rules, vocabulary
from risk.seek import DAY_US, Seeking


def rule_places(data: Path | None = None) -> list[Path]:
    """The rule files that count: the data directory's ``rules/`` or ``rules.yaml``, else ours."""
    for name in ("rules", "rules.yaml"):
        there = None if data is None else data / name
        if there is not None and there.exists():
            return rule_files(there)
    return rule_files(HERE / "rules")


def own_file(name: str, data: Path | None = None) -> Path:
    """The shipped file of ``config/``, or the data directory's own where it has one."""
    there = None if data is None else data / name
    return there if there is not None and there.exists() else HERE / name


def known_names(settings: Settings, data: Path | None = None) -> Vocabulary:
    """The names that rules may use here."""
    known = read_catalogue(data)
    return vocabulary(
        known.by_name, settings.base_currency, factors=BY_NAME, wordings=known.wordings
    )


def read_rule_set(settings: Settings, data: Path | None = None) -> RuleSet:
    """The set that counts in a data directory: the one agreed on, before that the files'."""
    counts = None if data is None else judgement.pointed(data)
    if data is None or counts is None:
        return read_files(settings, data)
    return judgement.stored(data, counts, known_names(settings, data))


def read_files(settings: Settings, data: Path | None = None) -> RuleSet:
    """Read rules, policy and rates into one immutable set.

    Each is the shipped one of ``config/``, or the data directory's own where it has one.
    """
    places, policy = rule_places(data), own_file("policy.yaml", data)
    rates = read_rates(own_file("rates.yaml", data), settings.base_currency)
    known = known_names(settings, data)
    documents: list[dict[str, Any]] = []
    read: tuple[Rule, ...] = ()
    for path in places:
        documents.append(read_rule_file(path))
        try:
            read += read_rules(documents[-1], known, read)
        except BadRules as wrong:
            raise BadSettings(f"{path}: {wrong}") from wrong
    try:
        return rule_set(documents, read_yaml(policy), rates, known)
    except BadPolicy as wrong:
        raise BadSettings(f"{policy}: {wrong}") from wrong


def of_itself(moment: Moment) -> Values:
    """What an event says of itself, before anybody's past is asked."""
    return dict(surface.describe(moment))


def counted(rules: RuleSet, data: Path | None = None) -> Catalogue:
    """The features to count: built in, declared, and those on demand that a rule acts by."""
    return read_catalogue(data).needed(rules.docket.names)


@dataclass(frozen=True)
class Parts:
    """What differs between the live flow and a replay."""

    inlet: Source[Any]
    outlet: Sink[Any]
    store: Store
    effects: Effects
    scoreds: Scoreds
    snapshots: Snapshots
    journal: Callable[[list[Learnt]], None]
    now_us: Callable[[Moment | None], int]
    tick_ns: Ticker
    nonce_key: bytes
    sequenced: bool = False
    catalogue: Catalogue | None = None  # None: the built-in features alone
    registry: Registry | None = None
    told: Callable[[list[Promoted | Drifted]], None] = nobody
    publish: Callable[[dict[str, Any]], None] = nobody
    on_brake: Callable[[str, str], None] = lambda rule, why: None
    seek: SeekStage | None = None
    seeks: Seeks | None = None


def seeking_of(settings: Settings) -> Seeking | None:
    """What the seeking stage may ask; None where it asks nobody."""
    told = settings.seeking
    if not told.per_day or settings.mode != "act":
        return None
    hour_us = DAY_US // 24
    return Seeking(
        per_day=told.per_day,
        reviews=min(told.reviews, told.per_day),
        follow_ups=min(told.follow_ups, told.per_day),
        after_denial=told.after_denial,
        payments=told.payments,
        look_back_us=told.look_back_days * DAY_US,
        rest_us=told.rest_days * DAY_US,
        from_us=told.from_hour * hour_us,
        until_us=told.until_hour * hour_us,
        popular=told.popular,
        remembered=told.remembered,
    )


def registry_of(data: Path | None = None) -> Registry:
    """The models that may be loaded, by the data directory's cards or ours."""
    return read_registry(own_file("models.yaml", data))


def stages(settings: Settings, rules: RuleSet | Callable[[], RuleSet], parts: Parts) -> Stages:
    """Assemble the way from its parts."""
    from features import anomaly, drift, explain, models  # River alone takes a second to import

    registry = registry_of() if parts.registry is None else parts.registry
    first = models.MODELS[0].id
    registry.card(first)

    def explains() -> bool:
        """Whether a decision carries factors: wished for, or a rule looks at one."""
        return settings.models.factors or bool(bench().docket.factors)

    bench = rules if callable(rules) else lambda: rules
    engine = settings.engine
    tiers = []
    for describer in parts.catalogue.describers if parts.catalogue else DESCRIBERS:
        cabinet: Cabinet[Profile] = Cabinet(
            describer.key,
            parts.store,
            cast("Callable[[], Profile]", describer.new),
            cast("Callable[[bytes], Profile]", describer.load),
            engine.cache_entities,
            describer.expired,
        )
        tiers.append(
            Tier(
                describer.key,
                describer.entity,
                describer.entity_of_label,
                cabinet,
                engine.shards,
                parts.tick_ns,
            )
        )
    conversations: Cabinet[Conversation | Due] = Cabinet(
        "judge", parts.store, Conversation, load_kept, engine.cache_entities
    )
    return Stages(
        inlet=parts.inlet,
        tiers=tiers,
        model=Scoring(
            lambda: registry.make(first),
            registry.load,
            parts.snapshots,
            parts.journal,
            parts.tick_ns,
            parts.sequenced,
            (anomaly.HalfSpaceTrees, anomaly.HalfSpaceTrees.load) if engine.anomaly else None,
            challengers=registry.challengers(settings.models.challengers, off_path=False),
            reasons=explain.reasons,
            explains=explains,
            watch=drift.resumed if settings.models.drift else None,
            told=parts.told,
            publish=parts.publish,
        ),
        judge=Judging(
            bench,
            conversations,
            parts.effects,
            Recorder(settings.tenant),
            parts.scoreds,
            engine.judge_shards,
            parts.nonce_key,
            parts.now_us,
            parts.tick_ns,
            settings.mode,
            parts.on_brake,
            parts.seeks,
        ),
        outlet=parts.outlet,
        seek=parts.seek,
    )
