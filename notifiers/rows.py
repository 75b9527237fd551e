"""Which changes does the outbox know? Each is a function that runs inside one transaction."""

import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from notifiers.facts import Ask, Closing
from notifiers.records import Effect

Change = Callable[[sqlite3.Connection], Any]


@dataclass(frozen=True, slots=True)
class NewChallenge:
    """A question as it was read, and the channels (kind, sealed address) it goes out by."""

    ask: Ask
    language: str
    zone: str
    draw: int
    due_after: str
    channels: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class KnownChallenge:
    """A question as the outbox keeps it."""

    ask: Ask
    language: str
    zone: str
    draw: int
    closed: Closing | None
    repeated: bool
    wrong: int
    channels: tuple[tuple[str, str, bool], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One message that was claimed, or that is given up."""

    key: str
    challenge: str
    kind: str
    channel: str
    address: str
    attempt: int


def new_challenge(connection: sqlite3.Connection, new: NewChallenge) -> bool:
    """Store a question and its messages; False when it is known already."""
    done = connection.execute(
        "INSERT OR IGNORE INTO challenges (id, entry, customer, ask, language, zone, draw, ends)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new.ask.id,
            new.ask.entry,
            new.ask.customer,
            orjson.dumps(asdict(new.ask)),
            new.language,
            new.zone,
            new.draw,
            new.ask.expires_at.timestamp(),
        ),
    )
    if done.rowcount == 0:
        return False
    for channel, address in new.channels:
        connection.execute(
            "INSERT INTO messages (key, challenge, kind, channel, address, due_after, drop_at)"
            " VALUES (?, ?, 'ask', ?, ?, ?, ?)",
            (
                f"{new.ask.id}/{channel}/ask",
                new.ask.id,
                channel,
                address,
                new.due_after,
                new.ask.half_life.timestamp(),
            ),
        )
    return True


def close_challenge(connection: sqlite3.Connection, closing: Closing, drop_at: float) -> bool:
    """Close a question: unsent messages are withdrawn, sent ones get their correction, once."""
    done = connection.execute(
        "UPDATE challenges SET closed = ? WHERE id = ? AND closed IS NULL",
        (orjson.dumps(asdict(closing)), closing.challenge),
    )
    if done.rowcount == 0:
        return False
    connection.execute(
        "INSERT OR IGNORE INTO messages"
        " (key, challenge, kind, channel, address, due_after, drop_at)"
        " SELECT challenge || '/' || channel || '/close', challenge, 'close', channel, address,"
        " '', ? FROM messages WHERE challenge = ? AND kind = 'ask' AND attempt > 0"
        " AND state <> 'bounced' ORDER BY seq",
        (drop_at, closing.challenge),
    )
    connection.execute(
        "UPDATE messages SET state = 'withdrawn'"
        " WHERE challenge = ? AND kind = 'ask' AND state = 'due'",
        (closing.challenge,),
    )
    return True


def position(connection: sqlite3.Connection, key: str = "position") -> str:
    """Give the place in a stream up to which it is stored."""
    (value,) = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return str(value)


def move(connection: sqlite3.Connection, entry: str, key: str = "position") -> None:
    """Move that place."""
    connection.execute("UPDATE meta SET value = ? WHERE key = ?", (entry, key))


def newest_fence(connection: sqlite3.Connection) -> int:
    """Give the highest number that a leader has had here."""
    (value,) = connection.execute("SELECT value FROM meta WHERE key = 'fence'").fetchone()
    return int(value)


def holder(connection: sqlite3.Connection) -> str:
    """Name the process that led last."""
    (value,) = connection.execute("SELECT value FROM meta WHERE key = 'holder'").fetchone()
    return str(value)


def known(connection: sqlite3.Connection) -> list[KnownChallenge]:
    """Read every kept question, oldest first."""
    channels: dict[str, list[tuple[str, str, bool]]] = {}
    for challenge, channel, address, attempt in connection.execute(
        "SELECT challenge, channel, address, attempt FROM messages WHERE kind = 'ask' ORDER BY seq"
    ):
        channels.setdefault(challenge, []).append((channel, address, attempt > 0))
    found = []
    for one, ask, language, zone, draw, closed, repeated, wrong in connection.execute(
        "SELECT id, ask, language, zone, draw, closed, repeated, wrong FROM challenges"
        " ORDER BY entry"
    ):
        fields = orjson.loads(ask)
        fields["reasons"] = tuple(fields["reasons"])
        found.append(
            KnownChallenge(
                ask=Ask(**fields),
                language=language,
                zone=zone,
                draw=draw,
                closed=Closing(**orjson.loads(closed)) if closed else None,
                repeated=bool(repeated),
                wrong=wrong,
                channels=tuple(channels.get(one, ())),
            )
        )
    return found


def claim(
    connection: sqlite3.Connection,
    fence: int,
    durable: str,
    channels: Collection[str],
    room: int,
    at: str,
) -> list[Row]:
    """Claim what is due on these channels, oldest first, under this leader's number."""
    marks = ",".join("?" * len(channels))
    rows = connection.execute(
        "SELECT key, challenge, kind, channel, address, attempt FROM messages"  # noqa: S608 - only marks
        f" WHERE state = 'due' AND due_after <= ? AND channel IN ({marks}) ORDER BY seq LIMIT ?",
        (durable, *channels, room),
    ).fetchall()
    claimed = [Row(key, one, kind, by, to, n + 1) for key, one, kind, by, to, n in rows]
    for row in claimed:
        connection.execute(
            "UPDATE messages SET state = 'written', fence = ?, attempt = ? WHERE key = ?",
            (fence, row.attempt, row.key),
        )
        connection.execute(
            "INSERT INTO claims VALUES (?, ?, ?, ?)", (row.key, row.attempt, fence, at)
        )
    return claimed


def anything_due(connection: sqlite3.Connection) -> bool:
    """Say whether any message waits to go out."""
    found = connection.execute("SELECT 1 FROM messages WHERE state = 'due' LIMIT 1").fetchone()
    return found is not None


def overdue(connection: sqlite3.Connection, now: float) -> list[Row]:
    """Give up what is past its time and not proved taken."""
    rows = connection.execute(
        "SELECT key, challenge, kind, channel, address, attempt FROM messages"
        " WHERE state = 'due' AND drop_at <= ? ORDER BY seq LIMIT 500",
        (now,),
    ).fetchall()
    connection.executemany(
        "UPDATE messages SET state = 'dropped' WHERE key = ?", [(row[0],) for row in rows]
    )
    return [Row(*row) for row in rows]


def settle(connection: sqlite3.Connection, keys: Sequence[str], state: str) -> list[Row]:
    """Mark claimed messages as taken or bounced; gives those that were not so before."""
    rows = []
    for key in keys:
        row = connection.execute(
            "SELECT key, challenge, kind, channel, address, attempt, state FROM messages"
            " WHERE key = ?",
            (key,),
        ).fetchone()
        if row is None or row[6] not in ({"written"} if state == "taken" else {"written", "taken"}):
            continue
        connection.execute("UPDATE messages SET state = ? WHERE key = ?", (state, key))
        rows.append(Row(*row[:6]))
    return rows


def unproved(connection: sqlite3.Connection, channel: str) -> int:
    """A new session: what was written without proof is due again."""
    done = connection.execute(
        "UPDATE messages SET state = 'due' WHERE channel = ? AND state = 'written'", (channel,)
    )
    return done.rowcount


def hopeless(connection: sqlite3.Connection, challenge: str) -> bool:
    """Say whether no channel is left that may still carry the question."""
    (left,) = connection.execute(
        "SELECT count(*) FROM messages WHERE challenge = ? AND kind = 'ask'"
        " AND state IN ('due', 'written', 'taken')",
        (challenge,),
    ).fetchone()
    return bool(left == 0)


def tell_once(connection: sqlite3.Connection, challenge: str) -> bool:
    """True for the first who tells the flow that a question is unreachable."""
    done = connection.execute(
        "UPDATE challenges SET told = 1 WHERE id = ? AND told = 0 AND closed IS NULL", (challenge,)
    )
    return done.rowcount == 1


def add_effects(connection: sqlite3.Connection, effects: Sequence[Effect]) -> None:
    """Store what Redis must still be told."""
    connection.executemany(
        "INSERT INTO effects (effect) VALUES (?)", [(effect.dump(),) for effect in effects]
    )


def some_effects(connection: sqlite3.Connection, after: int) -> list[tuple[int, Effect]]:
    """Give the next effects in order, with their numbers."""
    rows = connection.execute(
        "SELECT id, effect FROM effects WHERE id > ? ORDER BY id LIMIT 256", (after,)
    )
    return [(number, Effect.load(effect)) for number, effect in rows]


def remove_effects(connection: sqlite3.Connection, upto: int) -> None:
    """Redis has them up to this number."""
    connection.execute("DELETE FROM effects WHERE id <= ?", (upto,))


def note_repeated(connection: sqlite3.Connection, challenge: str) -> None:
    """A question was asked again: that happens once."""
    connection.execute("UPDATE challenges SET repeated = 1 WHERE id = ?", (challenge,))


def note_wrong(connection: sqlite3.Connection, challenges: Sequence[str]) -> None:
    """A wrong code came from the bound address."""
    connection.executemany(
        "UPDATE challenges SET wrong = wrong + 1 WHERE id = ?", [(one,) for one in challenges]
    )


def forget(connection: sqlite3.Connection, challenges: Sequence[str]) -> None:
    """Remove closed questions that are old."""
    for table, column in (("messages", "challenge"), ("challenges", "id")):
        connection.executemany(
            f"DELETE FROM {table} WHERE {column} = ?",  # noqa: S608 - two fixed pairs
            [(one,) for one in challenges],
        )
    connection.executemany(
        "DELETE FROM claims WHERE key LIKE ? || '/%'", [(one,) for one in challenges]
    )


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    """Count messages by state, and what is still to be told."""
    found = dict(connection.execute("SELECT state, count(*) FROM messages GROUP BY state"))
    (found["effects"],) = connection.execute("SELECT count(*) FROM effects").fetchone()
    return found
