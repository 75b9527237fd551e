"""What would another model have said? Challengers in the stage, and the rules of a promotion.

A challenger scores each event and learns each lesson beside the champion and decides nothing. Its
bytes lie in a file, written at the first cut after `LESSONS_A_FILE` lessons; the cut holds the
file's hash and the lessons since, so that a resumed flow learns those again and has it, to the bit.
"""

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from flows.errors import Unregistered
from flows.walk import ModelMark, Values
from risk.labels import Known

LESSONS_A_FILE = 128
LESSONS_AT_MOST = 4_096  # without a cut: a replay makes none
_CUTS_KEPT = 40  # so far back a resume may reach
log = logging.getLogger("ringback.model")


class Model(Protocol):
    """An incremental model: the pair that says it all, and its durable form."""

    @property
    def id(self) -> str: ...
    @property
    def lessons(self) -> int: ...
    @property
    def inputs(self) -> tuple[str, ...]: ...
    def score_one(self, features: Values) -> float: ...
    def tell_one(self, features: Values) -> tuple[float, list[Any]]: ...
    def learn_one(self, features: Values, fraud: bool) -> None: ...
    def dump(self) -> bytes: ...


class Files(Protocol):
    """Where snapshots lie, by model and SHA-256."""

    def keep(self, model: str, raw: bytes) -> str: ...
    def find(self, model: str, digest: str) -> bytes | None: ...
    def drop(self, model: str, digest: str) -> None: ...


Lesson = tuple[tuple[int | float | None, ...], bool]


class ShadowKept(NamedTuple):
    """A challenger in the cut: its last file, the lessons since, and files still to be dropped."""

    id: str
    sha256: str
    lessons: tuple[Lesson, ...]
    files: tuple[str, ...]


class Dumped(NamedTuple):
    """How large a model is, and how long its dump took."""

    bytes: int
    us: int


def dumped(model: Model, tick_ns: Callable[[], int]) -> tuple[bytes, Dumped]:
    """A model's bytes, measured."""
    began = tick_ns()
    raw = model.dump()
    return raw, Dumped(len(raw), (tick_ns() - began) // 1000)


class Shadow:
    """One challenger. ``spare`` is a file that is another's too, and never dropped."""

    def __init__(
        self,
        model: Any,
        files: Files,
        tick_ns: Callable[[], int],
        *,
        kept: ShadowKept | None = None,
        spare: str = "",
    ) -> None:
        self.model, self._files, self._tick_ns, self._spare = model, files, tick_ns, spare
        self._lessons: list[Lesson] = []
        self._stored: list[str] = []
        self._named: deque[str] = deque(maxlen=_CUTS_KEPT)
        self.dumped = Dumped(0, 0)
        if kept is None:
            self.store()
            return
        self.sha256, self._stored = kept.sha256, list(kept.files)
        self._named.extend(kept.files)
        self._lessons = list(kept.lessons)
        for values, fraud in kept.lessons:
            model.learn_one(dict(zip(model.inputs, values, strict=True)), fraud)

    def store(self) -> bytes:
        """Write a file of it as it is, and drop those that no cut in reach names."""
        raw, self.dumped = dumped(self.model, self._tick_ns)
        self.sha256 = self._files.keep(self.model.id, raw)
        self._lessons.clear()
        needed = {self.sha256, self._spare, *self._named}
        for digest in self._stored:
            if digest not in needed:
                self._files.drop(self.model.id, digest)
        self._stored = [digest for digest in self._stored if digest in needed]
        if self.sha256 not in (self._spare, *self._stored):
            self._stored.append(self.sha256)
        return raw

    def learn(self, label: Known) -> None:
        """The same lesson as the champion's."""
        values, model = label.features, self.model
        model.learn_one(values, label.fraud)
        self._lessons.append((tuple(map(values.get, model.inputs)), label.fraud))
        if len(self._lessons) >= LESSONS_AT_MOST:
            self.store()

    @property
    def mark(self) -> ModelMark:
        """Which model it is now."""
        version = f"{self.sha256[:12]}+{len(self._lessons)}"
        return ModelMark(self.model.id, version, self.sha256)

    def kept(self) -> ShadowKept:
        """For the cut."""
        if len(self._lessons) >= LESSONS_A_FILE:
            self.store()
        self._named.append(self.sha256)
        return ShadowKept(self.model.id, self.sha256, tuple(self._lessons), tuple(self._stored))

    @classmethod
    def resumed(
        cls,
        kept: ShadowKept,
        load: Callable[[bytes], Any],
        files: Files,
        tick_ns: Callable[[], int],
    ) -> "Shadow | None":
        """As the cut has it; None where its file is gone or can't be read: it must learn anew."""
        raw = files.find(kept.id, kept.sha256)
        if raw is None:
            log.warning("%s: snapshot %s is gone; it learns anew", kept.id, kept.sha256[:12])
            return None
        try:
            model = load(raw)
        except (ValueError, Unregistered) as wrong:
            log.warning("%s: %s; it learns anew", kept.id, wrong)
            return None
        found = cls(model, files, tick_ns, kept=kept)
        found.dumped = Dumped(len(raw), 0)
        return found
