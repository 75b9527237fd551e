"""Which values does Ringback run with? One typed object, read once, handed in everywhere.

Read from ``ringback.yaml`` beside this file, then from ``<data>/ringback.yaml`` where there is
one; a later file overrides a former one key by key. An unknown key is refused with the nearest
known one: a setting that never acts and never complains is a defect.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from risk.money import EXPONENTS, Rates

HERE = Path(__file__).parent


class BadConfig(ValueError):
    """A configuration file that can't be used: which, where, what was needed, what was got."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Institution(_Part):
    """How the bank names itself, and the number a customer may call back.

    ``hosts`` are the bank's own hosts that a text to a customer may link to.
    """

    name: dict[str, str] = {"en": "Example Bank", "zh-CN": "示例银行"}
    callback: str = "+86 10 5550 0199"
    hosts: tuple[str, ...] = ()


class Engine(_Part):
    """The flow: partitions and shards are fixed at the first start of a data directory.

    The judging stage has few shards, at least one a process: each writes its decisions of a batch
    at once, and waits for the disk once.
    """

    partitions: Annotated[int, Field(ge=1, le=64)] = 4
    shards: Annotated[int, Field(ge=1, le=64)] = 16
    judge_shards: Annotated[int, Field(ge=1, le=64)] = 2
    processes: Annotated[int, Field(ge=1, le=16)] = 1
    epoch_seconds: Annotated[float, Field(gt=0, le=10)] = 0.25
    cache_entities: Annotated[int, Field(ge=100)] = 50_000
    batch: Annotated[int, Field(ge=1, le=10_000)] = 200
    anomaly: bool = True
    silence_seconds: Annotated[float, Field(gt=0)] = 3.0
    spares: bool = True  # keep a process ready for each of the flow's; about 150 MB each


class Models(_Part):
    """What runs beside the champion: challengers by id (features/models.py), each scored on every
    event; those off the path in a process of their own. ``factors`` explains each decision,
    ``drift`` watches what comes in.
    """

    challengers: tuple[str, ...] = ()
    factors: bool = True
    drift: bool = True


class SeekingOut(_Part):
    """How many customers may be asked about payments made already; 0 a day asks nobody.

    ``reviews`` and ``follow_ups`` (after a denial) are parts of ``per_day``, ``payments`` the most
    that one is asked about. Nobody is asked twice within ``rest_days``, nor outside of these hours
    (UTC).
    """

    per_day: Annotated[int, Field(ge=0)] = 0
    follow_ups: Annotated[int, Field(ge=0)] = 30
    reviews: Annotated[int, Field(ge=0)] = 0
    after_denial: Annotated[int, Field(ge=1, le=10)] = 3
    payments: Annotated[int, Field(ge=1, le=20)] = 10
    look_back_days: Annotated[int, Field(ge=1, le=7)] = 7
    rest_days: Annotated[int, Field(ge=1)] = 7
    answer_within_hours: Annotated[float, Field(gt=0, le=72)] = 24.0
    from_hour: Annotated[int, Field(ge=0, le=23)] = 1
    until_hour: Annotated[int, Field(ge=1, le=24)] = 13
    popular: Annotated[int, Field(ge=1)] = 500  # a place with more payments is left alone
    remembered: Annotated[int, Field(ge=1000)] = 50_000  # payments; once a day all are looked at


class Xmpp(_Part):
    """Whether Ringback's own Prosody is started, or where the bank's server is.

    ``links`` puts the address of the customer's page into the question; ``officers`` are the bare
    JIDs that may enter the alert room.
    """

    domain: str = "localhost"
    component: str = "challenge.localhost"
    host: str = "127.0.0.1"
    port: int = 0
    secret: str = ""
    embedded: bool = True
    links: bool = False
    officers: tuple[str, ...] = ()


class Webhook(_Part):
    """Where outcomes are told, and which hosts may be private: ``host:port`` each."""

    url: str | None = None
    allow: tuple[str, ...] = ()


class Settings(_Part):
    """Everything that is set; amounts of the policy stand in ``policy.yaml``."""

    version: Literal[1] = 1
    bank: str = "bank.example"
    tenant: str = "main"
    mode: Literal["act", "observe"] = "act"
    base_currency: str = "CNY"
    redis_url: str | None = None
    http: str = "127.0.0.1:8080"
    public_url: str | None = None
    geoip: Path | None = None  # a database in MaxMind's format; relative to the data directory
    wait_seconds: Annotated[float, Field(gt=0, le=30)] = 1.0
    idempotency_days: Annotated[int, Field(ge=1)] = 7
    scored_days: Annotated[int, Field(ge=1)] = 180
    review_minutes: Annotated[float, Field(gt=0)] = 15.0  # how often the ledger is verified
    review_readings: Annotated[int, Field(ge=1)] = 200  # more by one actor between two is told of
    witnesses: tuple[str, ...] = ()  # URLs; each cosigns the ledger's heads, see docs/ledger.md
    tsa_url: str | None = None  # an RFC 3161 authority that stamps the ledger's heads hourly
    ml_dsa: bool = False  # cosign the ledger's published heads with ML-DSA-44 as well
    institution: Institution = Institution()
    engine: Engine = Engine()
    models: Models = Models()
    seeking: SeekingOut = SeekingOut()
    xmpp: Xmpp = Xmpp()
    webhook: Webhook = Webhook()
    # Each channel's own settings under its kind, checked by the channel itself: docs/channels.md.
    channels: dict[str, dict[str, Any]] = {}


def read_yaml(path: Path) -> dict[str, Any]:
    """Parse one YAML file to an object, or raise `BadConfig` with line and column."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as wrong:
        raise BadConfig(f"{path.name}: not YAML: {wrong}") from wrong
    if not isinstance(document, dict):
        raise BadConfig(f"{path.name}: needed an object, got {type(document).__name__}")
    return document


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    whole = dict(below)
    for key, value in above.items():
        old = whole.get(key)
        nested = isinstance(old, dict) and isinstance(value, dict)
        whole[key] = _merged(old or {}, value) if nested else value
    return whole


def _known_keys(model: type[BaseModel]) -> list[str]:
    keys = list(model.model_fields)
    for field in model.model_fields.values():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys += _known_keys(kind)
    return keys


def read_settings(*paths: Path, over: Mapping[str, Any] | None = None) -> Settings:
    """Read settings from files, later over former, and ``over`` above all."""
    whole: dict[str, Any] = {}
    for path in paths:
        if path.exists():
            whole = _merged(whole, read_yaml(path))
    whole = _merged(whole, over or {})
    try:
        return Settings.model_validate(whole)
    except ValidationError as wrong:
        first = wrong.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        near = get_close_matches(str(first["loc"][-1]), _known_keys(Settings), n=1)
        hint = f"; did you mean {near[0]}?" if first["type"] == "extra_forbidden" and near else ""
        raise BadConfig(f"settings: {where}: {first['msg']}{hint}") from wrong


def _rate(where: str, written: Any) -> Decimal:
    try:
        rate = Decimal(str(written))
    except InvalidOperation:
        rate = Decimal(0)
    if not rate.is_finite() or rate <= 0:
        raise BadConfig(f"{where}: needed a positive rate such as '7.05', got {written!r}")
    return rate


def read_rates(path: Path, base: str) -> Rates:
    """Read the dated rate table: currency -> day -> units of the base currency for one."""
    document = read_yaml(path)
    if document.get("base") != base:
        raise BadConfig(f"{path.name}: needed base {base}, got {document.get('base')!r}")
    dated: dict[str, list[tuple[date, Decimal]]] = {}
    table = document.get("rates") or {}
    if not isinstance(table, dict):
        raise BadConfig(f"{path.name}: needed currencies under 'rates', got {table!r}")
    for currency, rows in table.items():
        where = f"{path.name}: {currency}"
        if currency not in EXPONENTS:
            raise BadConfig(f"{where}: needed an ISO 4217 currency in use, got {currency!r}")
        if not isinstance(rows, dict) or any(type(day) is not date for day in rows):
            raise BadConfig(f"{where}: needed days such as 2026-01-01 as keys, got {rows!r}")
        dated[currency] = sorted((day, _rate(where, rate)) for day, rate in rows.items())
    return Rates(base, dated)
