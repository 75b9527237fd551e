"""What walks the flow? Facts, named in the order in which they come about.

``Moment`` (an accepted event) becomes ``Described``, then ``Scored``; a ``Known`` label, a
``Spoken`` answer, a ``Heard`` mark of time and an ``Appointed`` model walk beside them. A shard is
a share of the entities of one kind; its number is the key that Bytewax routes by.
"""

from typing import Any, NamedTuple
from zlib import crc32

from risk.events import Moment
from risk.labels import Known
from risk.seek import Paid

Values = dict[str, int | float | None]


class Described(NamedTuple):
    """A moment with what is usual; ``stages_us`` tells how long each stage took."""

    moment: Moment
    features: Values
    stages_us: dict[str, int]


class ModelMark(NamedTuple):
    """Which model spoke: id, ``<snapshot>+<lessons since>``, SHA-256 of the snapshot's bytes."""

    id: str
    version: str
    sha256: str


class Scored(NamedTuple):
    """A described moment with the model's word: a score 0-1000 and the exact probability.

    ``lessons`` is how many the model had learnt by then; ``anomaly`` (0-1000) the second,
    unlabelled opinion: how unlike everything before; ``scores`` what each model said, by id, the
    champion's among them; ``factors`` why (features/explain.py); ``taught`` names the lessons that
    the model had learnt since its snapshot (flows/score.py).
    """

    moment: Moment
    features: Values
    score: int
    probability: float
    model: ModelMark
    stages_us: dict[str, int]
    lessons: int
    anomaly: int | None = None
    scores: dict[str, float] | None = None
    factors: list[Any] | None = None
    taught: str = ""


class Appointed(NamedTuple):
    """One entry of ``rb:models``: from here on another model's score counts.

    ``position`` is the entry's id; two persons stand behind it. ``back`` is a rollback.
    """

    position: str
    proposal: str
    model: str
    proposed_by: str
    approved_by: str
    approved_us: int
    back: bool


class Spoken(NamedTuple):
    """One entry of ``rb:answers``: an answer, or word that no channel could carry the question."""

    customer: str
    position: str
    received_us: int
    entry: dict[str, Any]


class HeardUntil(NamedTuple):
    """The answers' stream was read to its end as of this time; one for each shard.

    Over a file it stands before the fact of ``position``.
    """

    shard: int
    until_us: int
    position: int = -1


class Wished(NamedTuple):
    """A customer should be asked whether these payments are theirs.

    ``why`` is ``after_denial`` (of the event ``about``) or ``review``.
    """

    customer: str
    payments: tuple[Paid, ...]
    why: str
    about: str | None
    at_us: int


def shard_of(token: str, shards: int) -> int:
    """The shard of an entity: CRC-32 of its token, modulo the count of shards."""
    return crc32(token.encode()) % shards


def shard_key(shard: int) -> str:
    """The key that Bytewax routes a shard by."""
    return f"{shard:03d}"


def in_order(fact: Described | Known) -> tuple[int, int, int]:
    """Event time, then position: order is not kept when a batch is regrouped by key."""
    if isinstance(fact, Known):
        return fact.known_us, fact.partition, fact.position
    return fact.moment.time_us, fact.moment.partition, fact.moment.position
