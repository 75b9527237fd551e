"""Which changes does the outbox know? Each is a function that runs inside one transaction."""

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from notifiers import ladder as steps
from notifiers.facts import Ask, Closing
from notifiers.ladder import Ladder, Rung
from notifiers.records import Effect

Change = Callable[[sqlite3.Connection], Any]
CLOSING_TRIED_FOR = 3600.0
CLOSING_WAITS = 1.0
TOLD_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class NewChallenge:
    """A question as it was read, and the rungs with their sealed addresses it goes out by."""

    ask: Ask
    language: str
    zone: str
    draw: int
    due_after: str
    rungs: tuple[tuple[Rung, str], ...]
    now: float


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


def new_challenge(connection: sqlite3.Connection, new: NewChallenge) -> Sequence[steps.Action]:
    """Store a question and its ladder, begun; nothing where it is known already."""
    stale = new.ask.half_life.timestamp()
    waiting = Ladder(tuple(rung for rung, _ in new.rungs), stale)
    begun, actions = steps.step(waiting, steps.Begun(), new.now)
    done = connection.execute(
        "INSERT OR IGNORE INTO challenges"
        " (id, entry, customer, ask, language, zone, draw, told, ends)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new.ask.id,
            new.ask.entry,
            new.ask.customer,
            orjson.dumps(new.ask),
            new.language,
            new.zone,
            new.draw,
            begun.given_up,
            new.ask.expires_at.timestamp(),
        ),
    )
    if done.rowcount == 0:
        return ()
    connection.executemany(
        "INSERT INTO messages (key, challenge, kind, channel, address, due_after, drop_at, state,"
        " starts, rung, wait, patience) VALUES (?, ?, 'ask', ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                f"{new.ask.id}/{rung.kind}/ask",
                new.ask.id,
                rung.kind,
                address,
                new.due_after,
                stale,
                rung.state,
                rung.starts,
                number,
                rung.wait,
                rung.patience,
            )
            for number, (rung, (_, address)) in enumerate(zip(begun.rungs, new.rungs, strict=True))
        ],
    )
    return actions


def climb(
    connection: sqlite3.Connection, challenge: str, fact: steps.Fact, now: float
) -> Sequence[steps.Action]:
    """Tell a question's ladder a fact, and keep what follows from it."""
    return _climb(connection, challenge, fact, now)[0]


def _climb(
    connection: sqlite3.Connection, challenge: str, fact: steps.Fact, now: float
) -> tuple[Sequence[steps.Action], Sequence[Rung], Sequence[Rung]]:
    """Give the rungs before and after it, too."""
    row = connection.execute(
        "SELECT closed IS NOT NULL, told, ends FROM challenges WHERE id = ?", (challenge,)
    ).fetchone()
    if row is None:
        return (), (), ()
    closed, told, stale = row
    found = connection.execute(
        "SELECT channel, wait, patience, state, starts, attempt, seen, drop_at FROM messages"
        " WHERE challenge = ? AND kind = 'ask' ORDER BY rung, seq",
        (challenge,),
    ).fetchall()
    if found:
        stale = found[0][7]
    before = tuple(
        Rung(kind, wait, patience, state, starts, shown=attempt > 0, seen=bool(seen))
        for kind, wait, patience, state, starts, attempt, seen, _ in found
    )
    was = Ladder(before, stale, closed=bool(closed), given_up=bool(told))
    became, actions = steps.step(was, fact, now)
    for old, new in zip(before, became.rungs, strict=True):
        if old != new:
            connection.execute(
                "UPDATE messages SET state = ?, starts = ?, seen = ?"
                " WHERE challenge = ? AND kind = 'ask' AND channel = ?",
                (new.state, new.starts, new.seen, challenge, new.kind),
            )
    if became.given_up and not told:
        connection.execute("UPDATE challenges SET told = 1 WHERE id = ?", (challenge,))
    return actions, before, became.rungs


def close_challenge(
    connection: sqlite3.Connection, closing: Closing, now: float, due_after: str = ""
) -> bool:
    """Close a question: unsent messages are withdrawn, sent ones get their correction, once.

    A correction waits until the ledger's mark has passed `due_after`, but no longer than
    `CLOSING_WAITS`: it carries the hash of its record where that is known in time.
    """
    (found,) = connection.execute(
        "SELECT count(*) FROM challenges WHERE id = ? AND closed IS NULL", (closing.challenge,)
    ).fetchone()
    if not found:
        return False
    actions = climb(connection, closing.challenge, steps.Closed(), now)
    connection.execute(
        "UPDATE challenges SET closed = ? WHERE id = ?",
        (orjson.dumps(asdict(closing)), closing.challenge),
    )
    for action in actions:
        if isinstance(action, steps.Correct):
            connection.execute(
                "INSERT OR IGNORE INTO messages"
                " (key, challenge, kind, channel, address, due_after, drop_at, rung)"
                " SELECT challenge || '/' || channel || '/close', challenge, 'close', channel,"
                " address, ?, ?, rung FROM messages"
                " WHERE challenge = ? AND kind = 'ask' AND channel = ?",
                (due_after, now + CLOSING_TRIED_FOR, closing.challenge, action.kind),
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
        "SELECT challenge, channel, address, attempt FROM messages WHERE kind = 'ask'"
        " ORDER BY rung, seq"
    ):
        channels.setdefault(challenge, []).append((channel, address, attempt > 0))
    found = []
    for one, ask, language, zone, draw, closed, repeated, wrong in connection.execute(
        "SELECT id, ask, language, zone, draw, closed, repeated, wrong FROM challenges"
        " ORDER BY entry"
    ):
        fields = orjson.loads(ask)
        fields["reasons"] = tuple(fields["reasons"])
        fields["about"] = tuple(fields.get("about", ()))  # the first programs knew no inquiries
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
    free: Mapping[str, int],
    at: str,
    now: float,
) -> list[Row]:
    """Claim what is due, oldest first, under this leader's number; so much of each channel."""
    claimed: list[Row] = []
    for channel, room in free.items():
        found = connection.execute(
            "SELECT key, challenge, kind, channel, address, attempt FROM messages"
            " WHERE state = 'due' AND channel = ?"
            " AND (due_after <= ? OR (kind = 'close' AND drop_at <= ?)) ORDER BY seq LIMIT ?",
            (channel, durable, now + CLOSING_TRIED_FOR - CLOSING_WAITS, room),
        ).fetchall()
        claimed += [Row(key, one, kind, by, to, n + 1) for key, one, kind, by, to, n in found]
    for row in claimed:
        if row.kind == "ask":
            climb(connection, row.challenge, steps.Written(row.channel), now)
        connection.execute(
            "UPDATE messages SET state = 'written', fence = ?, attempt = ? WHERE key = ?",
            (fence, row.attempt, row.key),
        )
        connection.execute(
            "INSERT INTO claims VALUES (?, ?, ?, ?)", (row.key, row.attempt, fence, at)
        )
    return claimed


def written_at(connection: sqlite3.Connection, row: Row) -> str:
    """Say when this attempt was handed to its channel; nothing where it never was."""
    found = connection.execute(
        "SELECT at FROM claims WHERE key = ? AND attempt = ?", (row.key, row.attempt)
    ).fetchone()
    return str(found[0]) if found else ""


@dataclass(frozen=True, slots=True)
class Coming:
    """What there is to do: the least mark that a due message waits for, and the next times.

    ``gate`` is None where nothing is due; ``starts`` (of the next rung) and ``given_up`` (a due
    message is too old then, or a correction waits no longer) are in seconds since 1970.
    """

    gate: str | None
    starts: float | None
    given_up: float | None

    def at(self, durable: str) -> float | None:
        """Say when there is something to do: 0 for now, seconds since 1970, or None."""
        if self.gate is not None and self.gate <= durable:
            return 0.0
        return min((at for at in (self.starts, self.given_up) if at is not None), default=None)


def coming(connection: sqlite3.Connection, free: Collection[str]) -> Coming:
    """Say what there is to do next, where these channels have room."""
    gate, given_up = None, None
    for channel, after, drop, close in connection.execute(
        "SELECT channel, min(due_after), min(drop_at), min(CASE kind WHEN 'close' THEN drop_at END)"
        " FROM messages WHERE state = 'due' GROUP BY channel"
    ):
        given_up = min(drop, given_up or drop)
        if channel in free:
            gate = min(after, gate or after)
            if close is not None:
                given_up = min(given_up, close - CLOSING_TRIED_FOR + CLOSING_WAITS)
    (starts,) = connection.execute(
        "SELECT min(starts) FROM messages WHERE state = 'waiting'"
    ).fetchone()
    return Coming(gate, starts, given_up)


def tick(connection: sqlite3.Connection, now: float) -> list[str]:
    """Start the rungs whose time has come; gives the questions that no channel is left for."""
    found = connection.execute(
        "SELECT challenge FROM messages WHERE state = 'waiting' AND starts <= ?"
        " UNION SELECT challenge FROM messages WHERE state = 'waiting' AND drop_at <= ? LIMIT 500",
        (now, now),
    ).fetchall()
    return [
        one for (one,) in found if steps.GiveUp() in climb(connection, one, steps.Ticked(), now)
    ]


def overdue(connection: sqlite3.Connection, now: float) -> list[tuple[Row, bool]]:
    """Drop what is past its time and not proved taken; True where the question is given up."""
    found = connection.execute(
        "SELECT key, challenge, kind, channel, address, attempt FROM messages"
        " WHERE state = 'due' AND drop_at <= ? ORDER BY drop_at LIMIT 500",
        (now,),
    ).fetchall()
    return [(row, _end(connection, row, "dropped", now)) for row in (Row(*one) for one in found)]


def settle(
    connection: sqlite3.Connection, keys: Sequence[str], state: str, now: float
) -> list[tuple[Row, bool]]:
    """Mark claimed messages as taken or bounced; gives those that were not so before.

    With each goes True where the question is given up: the last rung has failed.
    """
    settled = []
    for key in keys:
        row = connection.execute(
            "SELECT key, challenge, kind, channel, address, attempt, state FROM messages"
            " WHERE key = ?",
            (key,),
        ).fetchone()
        if row is None or row[6] not in ({"written"} if state == "taken" else {"written", "taken"}):
            continue
        one = Row(*row[:6])
        settled.append((one, _end(connection, one, state, now)))
    return settled


def see(connection: sqlite3.Connection, challenge: str, channel: str, now: float) -> Row | None:
    """Note a sign of life; gives the message where that is the first proof that it was taken."""
    _, before, after = _climb(connection, challenge, steps.Seen(channel), now)
    for old, new in zip(before, after, strict=True):
        if old.kind == channel and old.state != "taken" and new.state == "taken":
            found = connection.execute(
                "SELECT key, challenge, kind, channel, address, attempt FROM messages"
                " WHERE key = ?",
                (f"{challenge}/{channel}/ask",),
            ).fetchone()
            return Row(*found)
    return None


def _end(connection: sqlite3.Connection, row: Row, state: str, now: float) -> bool:
    if row.kind != "ask":
        connection.execute("UPDATE messages SET state = ? WHERE key = ?", (state, row.key))
        return False
    fact: steps.Fact = steps.Taken(row.channel)
    if state != "taken":
        fact = steps.Failed(row.channel, "dropped" if state == "dropped" else "bounced")
    return steps.GiveUp() in climb(connection, row.challenge, fact, now)


def again(connection: sqlite3.Connection, key: str) -> bool:
    """Let one written message go again; False when it is not under way any more."""
    done = connection.execute(
        "UPDATE messages SET state = 'due' WHERE key = ? AND state IN ('written', 'taken')", (key,)
    )
    return done.rowcount == 1


def unproved(connection: sqlite3.Connection, channel: str | None, now: float) -> int:
    """A new session (of all channels: a new term): what lacks proof is due again."""
    found = connection.execute(
        "SELECT key, challenge, kind, channel FROM messages WHERE state = 'written'"
        " AND (? IS NULL OR channel = ?) ORDER BY seq",
        (channel, channel),
    ).fetchall()
    for key, challenge, kind, by in found:
        if kind == "ask":
            climb(connection, challenge, steps.Unproved(by), now)
        else:
            connection.execute("UPDATE messages SET state = 'due' WHERE key = ?", (key,))
    return len(found)


def add_effects(connection: sqlite3.Connection, effects: Sequence[Effect]) -> None:
    """Store what Redis must still be told."""
    connection.executemany(
        "INSERT INTO effects (effect) VALUES (?)", [(effect.dump(),) for effect in effects]
    )


def some_effects(connection: sqlite3.Connection, after: int) -> list[tuple[int, Effect]]:
    """Give the next effects in order, with their numbers."""
    rows = connection.execute(
        "SELECT id, effect FROM effects WHERE id > ? ORDER BY id LIMIT ?", (after, TOLD_AT_ONCE)
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
        "DELETE FROM claims WHERE key > ? || '/' AND key < ? || '0'",  # all that begin with "id/"
        [(one, one) for one in challenges],
    )


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    """Count messages by state, and what is still to be told."""
    found = dict(connection.execute("SELECT state, count(*) FROM messages GROUP BY state"))
    (found["effects"],) = connection.execute("SELECT count(*) FROM effects").fetchone()
    return found
