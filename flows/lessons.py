"""What did each model say of what became known later? The lessons, kept for the figures.

A lesson is an event's label with what every model said when the event was scored: a model is
measured on what it had not learnt yet (prequential). SQLite files of the flow, one a process, by
the as-scored store; a lesson that a replay after a crash tells again replaces itself.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson

from flows.score import Learnt

FORMAT = 1
_DAY_US = 86_400_000_000


class Lesson(NamedTuple):
    """One label of one source, and what was said before it was known. Times in microseconds."""

    event: str
    source: str
    known_us: int
    time_us: int
    fraud: bool
    scenario: str
    scores: dict[str, float]


def lesson_of(learnt: Learnt, scenario: str = "") -> Lesson | None:
    """The lesson of a label; None of one whose event was scored before scores were kept."""
    label = learnt.label
    if not label.scores:
        return None
    return Lesson(
        label.event,
        label.source,
        label.known_us,
        label.event_time_us,
        label.fraud,
        scenario,
        label.scores,
    )


class Lessons:
    """Rows in ``<folder>/lessons-<name>.db``, forgotten after so many days."""

    def __init__(self, folder: Path, name: str, now_us: Callable[[], int], days: int = 180) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._now_us, self._keep_us = now_us, days * _DAY_US
        path = folder / f"lessons-{name}.db"
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS lesson (event TEXT NOT NULL, source TEXT NOT NULL,"
            " known_us INTEGER NOT NULL, time_us INTEGER NOT NULL, fraud INTEGER NOT NULL,"
            " scenario TEXT NOT NULL, scores BLOB NOT NULL,"
            " PRIMARY KEY (event, source, known_us)) WITHOUT ROWID"
        )
        self._db.execute("CREATE INDEX IF NOT EXISTS by_time ON lesson (time_us)")
        self._db.execute(f"PRAGMA user_version={FORMAT}")
        self._batches = 0

    def keep(self, learnt: Iterable[Learnt]) -> None:
        """Keep what was learnt."""
        self.write([one for one in map(lesson_of, learnt) if one is not None])

    def write(self, lessons: Sequence[Lesson]) -> None:
        """Write lessons, in one transaction."""
        if not lessons:
            return
        rows = [(*one[:6], orjson.dumps(one.scores)) for one in lessons]
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT OR REPLACE INTO lesson VALUES (?,?,?,?,?,?,?)", rows)
        self._batches += 1
        if self._batches % 1000 == 0:
            oldest = self._now_us() - self._keep_us
            self._db.execute("DELETE FROM lesson WHERE time_us < ?", (oldest,))
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def kept_lessons(folder: Path, since_us: int = 0) -> Iterator[Lesson]:
    """All lessons of the folder's files about events since a time, in no order."""
    for path in sorted(folder.glob("lessons-*.db")):
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            rows = db.execute("SELECT * FROM lesson WHERE time_us >= ?", (since_us,))
            for event, source, known_us, time_us, fraud, scenario, scores in rows:
                said = orjson.loads(scores)
                yield Lesson(event, source, known_us, time_us, bool(fraud), scenario, said)
        finally:
            db.close()
