"""What does the model say, and what does it learn? One stage, one key, in order of arrival.

Score before learn: a label that comes in never changes a score that was asked for before it. The
model lies in the cut whole. Snapshots are files named by the SHA-256 of their bytes;
``version`` is ``<first 12 digits>+<n>``: load the file, learn the n lessons since, and you have it.
"""

import hashlib
import heapq
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson
from bytewax.operators import StatefulBatchLogic

from flows.describe import Ticker
from flows.walk import Described, ModelMark, Scored, Values
from risk.labels import Known

LESSONS_A_SNAPSHOT = 5_000
EVENTS_AN_OPINION = 5_000
log = logging.getLogger("ringback.model")


class Model(Protocol):
    """An incremental model: the pair that says it all, and its durable form."""

    @property
    def id(self) -> str: ...
    @property
    def lessons(self) -> int: ...
    def score_one(self, features: Values) -> float: ...
    def learn_one(self, features: Values, fraud: bool) -> None: ...
    def dump(self) -> bytes: ...


class Opinion(Protocol):
    """A model that needs no label: how unlike everything before is this?"""

    @property
    def id(self) -> str: ...
    def score_one(self, features: Values) -> float: ...
    def learn_one(self, features: Values) -> None: ...
    def dump(self) -> bytes: ...


class Learnt(NamedTuple):
    """One lesson, for the journal."""

    label: Known
    model: ModelMark


class Kept(NamedTuple):
    """The model stage in the cut."""

    model: bytes
    sha256: str
    since: int
    next_position: int
    opinion_sha256: str | None = None


class Snapshots:
    """Keeps model snapshots as files named by their hash; None as a folder keeps only hashes."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def keep(self, model: str, raw: bytes) -> str:
        """Store a snapshot durably and give its SHA-256."""
        digest = hashlib.sha256(raw).hexdigest()
        if self._folder is not None:
            folder = self._folder / model
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{digest}.model"
            if not path.exists():
                part = path.with_suffix(f".part{os.getpid()}")
                with part.open("wb") as file:
                    file.write(raw)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(path)
        return digest

    def find(self, model: str, digest: str) -> bytes | None:
        """The bytes of a stored snapshot; None where they are gone or are not the named ones."""
        if self._folder is None:
            return None
        path = self._folder / model / f"{digest}.model"
        raw = path.read_bytes() if path.exists() else b""
        return raw if hashlib.sha256(raw).hexdigest() == digest else None

    def drop(self, model: str, digest: str) -> None:
        """Delete a snapshot that nothing refers to any more."""
        if self._folder is not None:
            (self._folder / model / f"{digest}.model").unlink(missing_ok=True)


class Scoring:
    """The model stage of one process: which model, and where its lessons are journalled.

    ``sequenced`` is for a replay over one file: facts are taken in the order of the file, however
    the engine batched them on the way.
    """

    def __init__(
        self,
        new: Callable[[], Model],
        load: Callable[[bytes], Model],
        snapshots: Snapshots,
        journal: Callable[[list[Learnt]], None],
        tick_ns: Ticker,
        sequenced: bool = False,
        opinion: "tuple[Callable[[], Opinion], Callable[[bytes], Opinion]] | None" = None,
    ) -> None:
        self.new, self.load, self.snapshots = new, load, snapshots
        self.journal, self.tick_ns, self.sequenced = journal, tick_ns, sequenced
        self.opinion = opinion

    def logic(self, kept: Kept | None) -> "ModelLogic":
        """Build the model, or resume it from the cut."""
        return ModelLogic(self, kept)


class ModelLogic(StatefulBatchLogic[Described | Known, Scored, Kept]):
    """The one model of the flow."""

    def __init__(self, stage: Scoring, kept: Kept | None) -> None:
        self._stage = stage
        self._raw: bytes | None
        if kept is None:
            self._model = stage.new()
            self._raw = self._model.dump()
            self._sha256 = stage.snapshots.keep(self._model.id, self._raw)
            self._since, self._next = 0, 0
        else:
            self._model = stage.load(kept.model)
            self._raw, self._sha256 = kept.model, kept.sha256
            self._since, self._next = kept.since, kept.next_position
        self._waiting: list[tuple[int, Any]] = []
        self._mark = self._marked()
        self._opinion_kept: list[str] = []
        self._seen = 0
        self._opinion = self._resumed_opinion(None if kept is None else kept.opinion_sha256)

    def _marked(self) -> ModelMark:
        return ModelMark(self._model.id, f"{self._sha256[:12]}+{self._since}", self._sha256)

    def _resumed_opinion(self, sha256: str | None) -> Opinion | None:
        """The unlabelled opinion as it was stored last.

        Too large for each cut, it lies in a file of its own, written every `EVENTS_AN_OPINION`
        events: a crash makes it forget at most that many events, and no decision on record.
        """
        if self._stage.opinion is None:
            return None
        new, load = self._stage.opinion
        fresh = new()
        if sha256 is None:
            return fresh
        self._opinion_kept.append(sha256)
        raw = self._stage.snapshots.find(fresh.id, sha256)
        if raw is None:
            log.warning("%s: snapshot %s is gone; it begins anew", fresh.id, sha256[:12])
            return fresh
        return load(raw)

    def _unlike(self, features: Values) -> int | None:
        if self._opinion is None:
            return None
        anomaly = min(1000, max(0, round(self._opinion.score_one(features) * 1000)))
        self._opinion.learn_one(features)
        self._seen += 1
        if self._seen % EVENTS_AN_OPINION == 0:
            raw = self._opinion.dump()
            self._opinion_kept.append(self._stage.snapshots.keep(self._opinion.id, raw))
            # The cut may still name the former file; the one before that is named by nothing.
            for digest in self._opinion_kept[:-3]:
                self._stage.snapshots.drop(self._opinion.id, digest)
            del self._opinion_kept[:-3]
        return anomaly

    def on_batch(self, values: list[Described | Known]) -> tuple[list[Scored], bool]:
        if self._stage.sequenced:
            values = self._sequence(values)
        scored: list[Scored] = []
        learnt: list[Learnt] = []
        for fact in values:
            if isinstance(fact, Known):
                if fact.teaches:
                    learnt.append(self._learn(fact))
            else:
                scored.append(self._score(fact))
        if learnt:
            self._stage.journal(learnt)
        return scored, StatefulBatchLogic.RETAIN

    def _sequence(self, values: list[Described | Known]) -> list[Described | Known]:
        for fact in values:
            position = fact.position if isinstance(fact, Known) else fact.moment.position
            heapq.heappush(self._waiting, (position, fact))
        ready: list[Described | Known] = []
        while self._waiting and self._waiting[0][0] == self._next:
            ready.append(heapq.heappop(self._waiting)[1])
            self._next += 1
        return ready

    def _score(self, fact: Described) -> Scored:
        began = self._stage.tick_ns()
        probability = self._model.score_one(fact.features)
        anomaly = self._unlike(fact.features)
        fact.stages_us["model"] = (self._stage.tick_ns() - began) // 1000
        return Scored(
            fact.moment,
            fact.features,
            min(1000, max(0, round(probability * 1000))),
            probability,
            self._mark,
            fact.stages_us,
            self._model.lessons,
            anomaly,
        )

    def _learn(self, label: Known) -> Learnt:
        self._model.learn_one(label.features, label.fraud)
        self._since += 1
        self._raw = None
        if self._since >= LESSONS_A_SNAPSHOT:
            self._raw = self._model.dump()
            self._sha256 = self._stage.snapshots.keep(self._model.id, self._raw)
            self._since = 0
        self._mark = self._marked()
        return Learnt(label, self._mark)

    def snapshot(self) -> Kept:
        if self._raw is None:
            self._raw = self._model.dump()
        opinion = self._opinion_kept[-1] if self._opinion_kept else None
        return Kept(self._raw, self._sha256, self._since, self._next, opinion)


def lesson_json(learnt: Learnt) -> bytes:
    """A lesson as the journal's entry: which label, and the model after it."""
    label = learnt.label
    return orjson.dumps(
        {
            "label": label.id,
            "event": label.event,
            "fraud": label.fraud,
            "source": label.source,
            "model": learnt.model._asdict(),
        }
    )
