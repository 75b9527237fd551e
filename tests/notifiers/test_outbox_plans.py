"""Does the outbox find what it needs, however many questions it keeps? By an index, each time."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from notifiers import ladder as steps
from notifiers import outbox, rows
from notifiers.facts import Ask, Closing
from notifiers.ladder import Rung
from notifiers.records import Effect

NOW = 1_790_000_000.0
ASK = Ask(
    id="ch_1",
    entry="1-0",
    event="evt-1",
    case="case-1",
    customer="cus_1",
    amount="9800.00",
    currency="CNY",
    payee="",
    kind="transfer",
    nonce="00",
    created="2026-09-21T13:33:20Z",
    expires="2026-09-21T13:43:20Z",
)
UNDER_WAY = ("USING INDEX leaving", "USING INDEX unproved")  # what is due or written now
RUNGS = (
    (Rung("xmpp", 20.0, 60.0), "s1.x"),
    (Rung("sms", 20.0, 60.0), "s1.y"),
)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    made = outbox._open(tmp_path / "outbox.db")
    yield made
    made.close()


def _live(connection: sqlite3.Connection) -> None:
    """All that is asked of the outbox while questions come, go out, are seen and end."""
    outbox.take_over(1, "me", NOW)(connection)
    for number in range(3):
        ask = replace(ASK, id=f"ch_{number}")
        new = rows.NewChallenge(ask, "en", "UTC", 0, "a", RUNGS, NOW)
        rows.new_challenge(connection, new)
    rows.coming(connection, {"xmpp"})
    claimed = rows.claim(connection, 1, "b", {"xmpp": 10}, "t", NOW)
    assert len(claimed) == 3
    rows.written_at(connection, claimed[0])
    rows.settle(connection, [claimed[0].key], "taken", NOW)
    rows.settle(connection, [claimed[1].key], "bounced", NOW)
    rows.see(connection, "ch_0", "xmpp", NOW)
    rows.again(connection, claimed[2].key)
    rows.tick(connection, NOW + 30.0)
    rows.overdue(connection, NOW + 1_000.0)
    rows.close_challenge(connection, Closing("ch_0", "confirmed", "approve", "t"), NOW)
    rows.add_effects(connection, [Effect("uid", (("rb:audit", "records", b"[]"),))])
    rows.some_effects(connection, 0)
    rows.remove_effects(connection, 1)
    rows.note_repeated(connection, "ch_0")
    rows.note_wrong(connection, ["ch_0"])
    rows.move(connection, "2-0")
    rows.position(connection)
    rows.newest_fence(connection)
    rows.climb(connection, "ch_2", steps.Ticked(), NOW)
    rows.forget(connection, ["ch_0"])


def test_nothing_of_a_question_looks_through_all_the_others(
    connection: sqlite3.Connection,
) -> None:
    """A day's questions are kept; what one costs must not grow with their number."""
    said: list[str] = []
    connection.set_trace_callback(said.append)
    _live(connection)
    connection.set_trace_callback(None)
    asked = {one for one in said if one.startswith(("SELECT", "UPDATE", "DELETE"))}
    assert len(asked) > 20
    slow = {
        one: plan
        for one in sorted(asked)
        for *_, plan in connection.execute(f"EXPLAIN QUERY PLAN {one}")
        if plan.startswith("SCAN") and not plan.endswith(UNDER_WAY)
    }
    assert slow == {}


def test_forgetting_one_question_leaves_those_whose_name_begins_alike(
    connection: sqlite3.Connection,
) -> None:
    outbox.take_over(1, "me", NOW)(connection)
    for one in ("ch_1", "ch_10", "ch_1x"):
        new = rows.NewChallenge(replace(ASK, id=one), "en", "UTC", 0, "a", RUNGS[:1], NOW)
        rows.new_challenge(connection, new)
    rows.claim(connection, 1, "b", {"xmpp": 10}, "t", NOW)
    rows.forget(connection, ["ch_1"])
    kept = [key for (key,) in connection.execute("SELECT key FROM claims ORDER BY key")]
    assert kept == ["ch_10/xmpp/ask", "ch_1x/xmpp/ask"]
