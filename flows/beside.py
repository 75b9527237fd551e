"""What would a model say that is too slow for the path? A process of its own, behind the flow.

::

    rb:decisions + rb:features:<event>  -->  score, kept until a label asks
    rb:labels + as-scored store         -->  a lesson, with what was said before it

It reads what has left the flow and writes nothing that the flow reads, at the lowest priority; the
flow doesn't wait for it and doesn't know it. Positions and the hash of the model's file are stored
together, so that a crash reads and learns again from there. Whoever is ten minutes behind misses
labels: their stream is trimmed. Such a model can't be champion.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import orjson
import redis

from flows.errors import Unregistered
from flows.lessons import Lesson, Lessons
from flows.score import Snapshots
from flows.scored import Row
from flows.shadows import Model, dumped
from risk import events, names

STORE_LESSONS = 500
STORE_SECONDS = 60.0
_READ = 200
_WAIT_SECONDS = 5.0
_KEPT_FILES = 2
log = logging.getLogger("ringback.beside")


class Rows(Protocol):
    """The as-scored store, read alone."""

    def get(self, event: str) -> Row | None: ...


class Beside:
    """Follows the streams for some models; ``step`` does what there is and says how much."""

    def __init__(
        self,
        client: "redis.Redis",
        folder: Path,
        make: Mapping[str, Callable[[], Model]],
        load: Callable[[bytes], Model],
        rows: Rows,
        now_us: Callable[[], int],
        days: int = 180,
    ) -> None:
        self._client, self._rows, self._now_us = client, rows, now_us
        self._snapshots = Snapshots(folder / "models")
        self._state = folder / "models" / "beside.json"
        self._lessons = Lessons(folder / "scored", "beside", now_us, days)
        self._keep_us = days * 86_400_000_000
        self._db = sqlite3.connect(folder / "scored" / "beside.db", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS said (event TEXT PRIMARY KEY, at_us INTEGER NOT NULL,"
            " scores BLOB NOT NULL) WITHOUT ROWID"
        )
        self._models: dict[str, Model] = {}
        self._files: dict[str, list[str]] = {}
        self._since = 0
        self._stored = time.monotonic()
        self._held: tuple[str, float] | None = None
        self._resume(make, load)

    def _resume(
        self, make: Mapping[str, Callable[[], Model]], load: Callable[[bytes], Model]
    ) -> None:
        kept: dict[str, Any] = {}
        if self._state.exists():
            kept = orjson.loads(self._state.read_bytes())
        self._decisions = str(kept.get("decisions", "0-0"))
        self._labels = str(kept.get("labels", "0-0"))
        for name, fresh in make.items():
            self._files[name] = list(kept.get("files", {}).get(name, []))
            raw = self._snapshots.find(name, self._files[name][-1]) if self._files[name] else None
            try:
                self._models[name] = fresh() if raw is None else load(raw)
            except (ValueError, Unregistered) as wrong:
                log.warning("%s: %s; it learns anew", name, wrong)
                self._models[name] = fresh()

    def step(self) -> int:
        """Score and learn what has come; gives how many entries were read."""
        done = self._score() + self._learn()
        calm = time.monotonic() - self._stored > STORE_SECONDS
        if self._since >= STORE_LESSONS or (self._since and calm):
            self.store()
        return done

    def _read(self, stream: str, last: str) -> list[tuple[str, dict[bytes, bytes]]]:
        told: Any = self._client.xread({stream: last}, count=_READ)
        return [(ident.decode(), fields) for _, rows in told or [] for ident, fields in rows]

    def _score(self) -> int:
        entries = self._read(names.DECISIONS, self._decisions)
        told = [orjson.loads(fields[b"decision"]) for _, fields in entries]
        asked = [one["event"] for one in told if "outcome" not in one]
        if asked:
            found: Any = self._client.mget([names.features(event) for event in asked])
            now_us, rows = self._now_us(), []
            for event, raw in zip(asked, found, strict=True):
                if raw is not None:
                    features = orjson.loads(raw)
                    scores = {n: model.score_one(features) for n, model in self._models.items()}
                    rows.append((event, now_us, orjson.dumps(scores)))
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR REPLACE INTO said VALUES (?, ?, ?)", rows)
            self._db.execute("COMMIT")
        if entries:
            self._decisions = entries[-1][0]
        return len(entries)

    def _learn(self) -> int:
        entries = self._read(names.LABELS, self._labels)
        lessons: list[Lesson] = []
        read = 0
        for ident, fields in entries:
            label = self._label(fields)
            if label is not None and not self._taught(ident, label, lessons):
                break
            self._labels = ident
            read += 1
        self._lessons.write(lessons)
        return read

    def _label(self, fields: Mapping[bytes, bytes]) -> dict[str, Any] | None:
        try:
            label: dict[str, Any] = orjson.loads(fields[b"label"])
            events.parse_us(label["known"])
        except (KeyError, ValueError, TypeError):
            return None  # the flow has put it among the dead letters
        return None if label.get("outranked") else label

    def _taught(self, ident: str, label: dict[str, Any], lessons: list[Lesson]) -> bool:
        """Learn from a label; False: its event is not stored yet, look again soon."""
        event, row = str(label["event"]), self._rows.get(str(label["event"]))
        said = self._db.execute("SELECT scores FROM said WHERE event = ?", (event,)).fetchone()
        if row is None or said is None:
            if self._held is None or self._held[0] != ident:
                self._held = (ident, time.monotonic())
            if time.monotonic() - self._held[1] < _WAIT_SECONDS:
                return False
            if row is None:
                return True  # nobody scored it; the flow waits for it longer, and says it again
        fraud = bool(label["fraud"])
        if said is not None:
            known_us = events.parse_us(label["known"])
            scores = orjson.loads(said[0])
            lessons.append(
                Lesson(event, str(label["source"]), known_us, row.time_us, fraud, "", scores)
            )
        for model in self._models.values():
            model.learn_one(row.features, fraud)
        self._since += 1
        return True

    def store(self) -> None:
        """Write the models, then where they stand: both or neither count after a crash."""
        standing = {}
        for name, model in self._models.items():
            raw, size = dumped(model, time.perf_counter_ns)
            digest = self._snapshots.keep(name, raw)
            files = self._files[name]
            if digest not in files:
                files.append(digest)
            standing[name] = {
                "role": "off the path",
                "version": f"{digest[:12]}+0",
                "sha256": digest,
                "lessons": model.lessons,
                "bytes": size.bytes,
                "dump_us": size.us,
            }
        kept = {name: files[-_KEPT_FILES:] for name, files in self._files.items()}
        state = {"v": 1, "decisions": self._decisions, "labels": self._labels, "files": kept}
        fresh = self._state.with_suffix(".new")
        fresh.write_bytes(orjson.dumps(state))
        fresh.replace(self._state)
        for name, files in self._files.items():
            for digest in files[:-_KEPT_FILES]:
                self._snapshots.drop(name, digest)
        self._files = kept
        self._client.set(names.MODELS_BESIDE, orjson.dumps({"v": 1, "models": standing}))
        self._db.execute("DELETE FROM said WHERE at_us < ?", (self._now_us() - self._keep_us,))
        self._since, self._stored = 0, time.monotonic()

    @property
    def models(self) -> Mapping[str, Model]:
        """The models as they are now."""
        return self._models


def follow(beside: Beside, stopped: Callable[[], bool]) -> None:
    """Step until told to stop, then store. The lowest priority: whoever decides goes first."""
    os.nice(19 - os.nice(0))
    while not stopped():
        try:
            if not beside.step():
                time.sleep(0.2)
        except redis.RedisError as away:
            log.warning("beside: Redis is away: %s", away)
            time.sleep(1.0)
    beside.store()
