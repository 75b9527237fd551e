"""What does the model say, and what does it learn? One stage, one key, in order of arrival.

Score before learn: a label that comes in never changes a score that was asked for before it. The
champion lies in the cut whole. Snapshots are files named by the SHA-256 of their bytes;
``version`` is ``<first 12 digits>+<n>``: load the file, learn the n lessons since, and you have it.
Which lessons, in which order: ``taught`` is a hash over them, a link for each, and each link is on
record (flows/model_then.py walks them back).

Challengers (flows/shadows.py) say beside it what they would have said. Which model's word counts
changes where an `Appointed` walks by, here in the stream: a crash reads it again at its place
(docs/decisions/0010-a-promotion-is-an-event.md).
"""

import hashlib
import heapq
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson
from bytewax.operators import StatefulBatchLogic

from flows.describe import Ticker
from flows.shadows import Dumped, Model, Shadow, ShadowKept, dumped
from flows.walk import Appointed, Described, ModelMark, Scored, Values
from risk.labels import Known

LESSONS_A_SNAPSHOT = 5_000
EVENTS_AN_OPINION = 5_000
PUBLISH_EVERY_NS = 1_000_000_000
_LINK = 20  # hex digits: 80 bits
log = logging.getLogger("ringback.model")


class Opinion(Protocol):
    """A model that needs no label: how unlike everything before is this?"""

    @property
    def id(self) -> str: ...
    def meet_one(self, features: Values) -> float:
        """What it says of this (0 to 1); from now on it has seen it."""
        ...

    def dump(self) -> bytes: ...


class Watch(Protocol):
    """Looks on: has what comes in become something else? Changes nothing."""

    def watch_one(self, features: Values, score: int, time_us: int) -> list[Any]: ...
    def forget_score(self, time_us: int) -> None: ...
    def board(self) -> dict[str, dict[str, Any]]: ...
    def dump(self) -> bytes: ...


class Promoted(NamedTuple):
    """Another model's word counts now; or it doesn't, and why (``refused``)."""

    order: Appointed
    model: ModelMark
    retired: ModelMark | None
    refused: str | None


class Drifted(NamedTuple):
    """A watched value became something else: seen by which test, how far, at which event."""

    event: str
    series: str
    test: str
    size: float
    at_us: int


class Learnt(NamedTuple):
    """One lesson, for the journal: what the model had been taught ``before`` it, and with it."""

    label: Known
    model: ModelMark
    before: str
    taught: str


class Kept(NamedTuple):
    """The model stage in the cut."""

    model: bytes
    sha256: str
    since: int
    next_position: int
    opinion_sha256: str | None = None
    shadows: tuple[ShadowKept, ...] = ()
    watch: bytes | None = None
    former: str | None = None
    taught: str = ""


def untaught(sha256: str) -> str:
    """What a model has been taught since a snapshot, before the first lesson: the chain's start."""
    return sha256[:_LINK]


def taught_by(before: str, event: str, source: str, known_us: int, *, fraud: bool) -> str:
    """What a model has been taught after one more lesson: the next link of the chain."""
    told = f"{before}\n{event}\n{source}\n{known_us}\n{int(fraud)}"
    return hashlib.sha256(told.encode()).hexdigest()[:_LINK]


def score_of(probability: float) -> int:
    """A probability as a score from 0 to 1000."""
    return min(1000, max(0, round(probability * 1000)))


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


def nobody(_: Any) -> None:
    """Tell nobody."""


class Scoring:
    """The model stage of one process: which model, and where its lessons are journalled.

    ``sequenced`` is for a replay over one file: facts are taken in the order of the file, however
    the engine batched them on the way. ``challengers`` are made by id; ``reasons`` turns a model's
    factors into what goes on record, wherever ``explains`` says so; ``watch`` makes or resumes what
    looks for drift. ``told`` gets promotions and drift, ``publish`` now and then how everything
    stands.
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
        *,
        challengers: Mapping[str, Callable[[], Model]] | None = None,
        reasons: Callable[[Any, Values], list[Any]] | None = None,
        explains: Callable[[], bool] = lambda: True,
        watch: Callable[[bytes | None], Watch] | None = None,
        told: "Callable[[list[Promoted | Drifted]], None]" = nobody,
        publish: Callable[[dict[str, Any]], None] = nobody,
        lessons_a_snapshot: int = LESSONS_A_SNAPSHOT,
    ) -> None:
        self.lessons_a_snapshot = lessons_a_snapshot
        self.new, self.load, self.snapshots = new, load, snapshots
        self.journal, self.tick_ns, self.sequenced = journal, tick_ns, sequenced
        self.opinion = opinion
        self.challengers = challengers or {}
        self.reasons, self.explains, self.watch = reasons, explains, watch
        self.told, self.publish = told, publish

    def logic(self, kept: Kept | None) -> "ModelLogic":
        """Build the model, or resume it from the cut."""
        return ModelLogic(self, kept)


Fact = Described | Known | Appointed


class ModelLogic(StatefulBatchLogic[Fact, Scored, Kept]):
    """The one model of the flow, and those beside it."""

    def __init__(self, stage: Scoring, kept: Kept | None) -> None:
        self._stage = stage
        self._raw: bytes | None
        if kept is None:
            self._model = stage.new()
            self._raw, self._dumped = dumped(self._model, stage.tick_ns)
            self._sha256 = stage.snapshots.keep(self._model.id, self._raw)
            self._since, self._next, self._taught = 0, 0, untaught(self._sha256)
        else:
            self._model = stage.load(kept.model)
            self._raw, self._sha256 = kept.model, kept.sha256
            self._since, self._next = kept.since, kept.next_position
            self._taught = kept.taught
            if not self._taught:  # a cut of before the chain: it begins here
                self._sha256 = stage.snapshots.keep(self._model.id, kept.model)
                self._since, self._taught = 0, untaught(self._sha256)
            self._dumped = Dumped(len(kept.model), 0)
        self._waiting: list[tuple[int, Any]] = []
        self._mark = self._marked()
        self._opinion_kept: list[str] = []
        self._seen = 0
        self._opinion = self._resumed_opinion(None if kept is None else kept.opinion_sha256)
        self._former = None if kept is None else kept.former
        self._shadows = self._cast_shadows(() if kept is None else kept.shadows)
        self._watch = None if stage.watch is None else stage.watch(kept.watch if kept else None)
        self._published_ns = -PUBLISH_EVERY_NS
        self._publish()

    def _marked(self) -> ModelMark:
        return ModelMark(self._model.id, f"{self._sha256[:12]}+{self._since}", self._sha256)

    def _cast_shadows(self, kept: tuple[ShadowKept, ...]) -> dict[str, Shadow]:
        """The challengers that are configured, and the champion before: each as the cut has it."""
        stage, stood = self._stage, {one.id: one for one in kept}
        wanted = dict.fromkeys(stage.challengers)
        if self._former is not None:
            wanted[self._former] = None
        shadows: dict[str, Shadow] = {}
        for name in wanted:
            if name == self._model.id:
                continue
            shadow = None
            if name in stood:
                shadow = Shadow.resumed(stood[name], stage.load, stage.snapshots, stage.tick_ns)
            if shadow is None and name in stage.challengers:
                shadow = Shadow(stage.challengers[name](), stage.snapshots, stage.tick_ns)
            if shadow is not None:
                shadows[name] = shadow
        return shadows

    def _resumed_opinion(self, sha256: str | None) -> Opinion | None:
        """The unlabelled opinion as it was stored last.

        Too large for each cut, it lies in a file of its own, written every `EVENTS_AN_OPINION`
        events and when the flow has drained: a crash makes it forget at most that many events, and
        no decision on record.
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
        anomaly = score_of(self._opinion.meet_one(features))
        self._seen += 1
        if self._seen == EVENTS_AN_OPINION:
            self._keep_opinion(self._opinion)
        return anomaly

    def _keep_opinion(self, opinion: Opinion) -> None:
        self._seen = 0
        self._opinion_kept.append(self._stage.snapshots.keep(opinion.id, opinion.dump()))
        # The cut may still name the former file; the one before that is named by nothing.
        for digest in self._opinion_kept[:-3]:
            self._stage.snapshots.drop(opinion.id, digest)
        del self._opinion_kept[:-3]

    def on_eof(self) -> tuple[list[Scored], bool]:
        """Drained: what ends in order forgets nothing."""
        if self._opinion is not None and self._seen:
            self._keep_opinion(self._opinion)
        return [], False

    def on_batch(self, values: list[Fact]) -> tuple[list[Scored], bool]:
        if self._stage.sequenced:
            values = self._sequence(values)
        scored: list[Scored] = []
        learnt: list[Learnt] = []
        for fact in values:
            if isinstance(fact, Known):
                if fact.teaches:
                    learnt.append(self._learn(fact))
            elif isinstance(fact, Appointed):
                self._appoint(fact)
            else:
                scored.append(self._score(fact))
        if learnt:
            self._stage.journal(learnt)
        return scored, StatefulBatchLogic.RETAIN

    def _sequence(self, values: list[Fact]) -> list[Fact]:
        ready: list[Fact] = []
        for fact in values:
            if isinstance(fact, Appointed):
                ready.append(fact)
                continue
            position = fact.position if isinstance(fact, Known) else fact.moment.position
            heapq.heappush(self._waiting, (position, fact))
        while self._waiting and self._waiting[0][0] == self._next:
            ready.append(heapq.heappop(self._waiting)[1])
            self._next += 1
        return ready

    def _score(self, fact: Described) -> Scored:
        stage, features = self._stage, fact.features
        began = stage.tick_ns()
        factors: list[Any] | None = None
        if stage.reasons is None or not stage.explains():
            probability = self._model.score_one(features)
        else:
            probability, found = self._model.tell_one(features)
            factors = stage.reasons(found, features)
        anomaly = self._unlike(features)
        score = score_of(probability)
        if self._watch is not None and fact.moment.type == "transaction" and not fact.moment.late:
            self._look(fact, score)
        scores = {self._model.id: probability}
        for name, shadow in self._shadows.items():
            scores[name] = shadow.model.score_one(features)
        fact.stages_us["model"] = (stage.tick_ns() - began) // 1000
        return Scored(
            fact.moment,
            features,
            score,
            probability,
            self._mark,
            fact.stages_us,
            self._model.lessons,
            anomaly,
            scores,
            factors,
            self._taught,
        )

    def _look(self, fact: Described, score: int) -> None:
        if self._watch is None:
            return
        alarms = self._watch.watch_one(fact.features, score, fact.moment.time_us)
        if alarms:
            self._stage.told([Drifted(fact.moment.id, *alarm) for alarm in alarms])

    def _appoint(self, order: Appointed) -> None:
        """From here on another model's word counts; the former goes on learning beside it.

        An order that can't be followed changes nothing and is told: it was approved when it could.
        """
        stage, retired = self._stage, self._mark
        shadow = self._shadows.get(order.model)
        if shadow is None:
            acts = order.model == self._model.id
            why = "acts already" if acts else "doesn't learn beside the champion"
            stage.told([Promoted(order, self._mark, None, f"{order.model} {why}")])
            return
        former = Shadow(self._model, stage.snapshots, stage.tick_ns, spare=self._sha256)
        del self._shadows[order.model]
        self._shadows[self._model.id], self._former = former, self._model.id
        self._model, self._raw = shadow.model, shadow.store()
        self._sha256, self._dumped, self._since = shadow.sha256, shadow.dumped, 0
        self._taught = untaught(self._sha256)
        self._mark = self._marked()
        if self._watch is not None:
            self._watch.forget_score(order.approved_us)
        stage.told([Promoted(order, self._mark, retired, None)])
        self._published_ns = -PUBLISH_EVERY_NS
        self._publish()

    def _learn(self, label: Known) -> Learnt:
        self._model.learn_one(label.features, label.fraud)
        for shadow in self._shadows.values():
            shadow.learn(label)
        before = self._taught
        self._taught = taught_by(
            before, label.event, label.source, label.known_us, fraud=label.fraud
        )
        learnt = self._taught
        self._since += 1
        self._raw = None
        if self._since >= self._stage.lessons_a_snapshot:
            self._raw, self._dumped = dumped(self._model, self._stage.tick_ns)
            self._sha256 = self._stage.snapshots.keep(self._model.id, self._raw)
            self._since, self._taught = 0, untaught(self._sha256)
        self._mark = self._marked()
        return Learnt(label, self._mark, before, learnt)

    def snapshot(self) -> Kept:
        if self._raw is None:
            self._raw, self._dumped = dumped(self._model, self._stage.tick_ns)
        opinion = self._opinion_kept[-1] if self._opinion_kept else None
        shadows = tuple(shadow.kept() for shadow in self._shadows.values())
        watch = None if self._watch is None else self._watch.dump()
        self._publish()
        return Kept(
            self._raw,
            self._sha256,
            self._since,
            self._next,
            opinion,
            shadows,
            watch,
            self._former,
            self._taught,
        )

    def _publish(self) -> None:
        """Say how everything stands, once a second at most."""
        now_ns = self._stage.tick_ns()
        if now_ns - self._published_ns < PUBLISH_EVERY_NS:
            return
        self._published_ns = now_ns
        models = [("champion", self._model, self._mark, self._dumped)]
        for name, shadow in self._shadows.items():
            role = "former" if name == self._former else "challenger"
            models.append((role, shadow.model, shadow.mark, shadow.dumped))
        self._stage.publish(
            {
                "v": 1,
                "models": {
                    model.id: {
                        "role": role,
                        "version": mark.version,
                        "sha256": mark.sha256,
                        "lessons": model.lessons,
                        "bytes": size.bytes,
                        "dump_us": size.us,
                    }
                    for role, model, mark, size in models
                },
                "drift": {} if self._watch is None else self._watch.board(),
            }
        )


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
