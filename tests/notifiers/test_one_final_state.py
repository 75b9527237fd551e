"""Whatever order things happen in, a question ends once, is put once, and no answer is lost.

The ladder, the outbox and the customer's shard are the real ones; the chat server, the network and
the clock are played, so that any step may come before any other and a crash at any place. What is
drawn is the order alone; a story is told again by its seed.
"""

import itertools
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from notifiers import outbox, records, rows
from notifiers.facts import Ask, Closing, write_time
from notifiers.ladder import Rung
from notifiers.records import Effect
from risk.challenge import Answer, Asked, Conversation, Outcome
from tests.notifiers import stage

KINDS = ("xmpp", "push", "sms")
WAITS = {"xmpp": 2.0, "push": 5.0, "sms": 5.0}
BEGAN = 1_790_000_000.0
LIFE = 120.0
CUSTOMER = "cus_1"
MOST_ASKED = 5
STORIES, STEPS = 40, 120


class Story:
    """One customer, three channels, a notifier that may die, and the flow's shard."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "outbox.db"
        self.numbers = itertools.count(1)
        self.now = BEGAN
        self.fence = 0
        self.asks: dict[str, Ask] = {}
        # What the servers have: under way, arrived and not proved, and what the customer sees.
        self.wire: dict[str, list[rows.Row]] = {kind: [] for kind in KINDS}
        self.unproved: dict[str, list[str]] = {kind: [] for kind in KINDS}
        self.seen: Counter[str] = Counter()
        self.closings_seen: Counter[str] = Counter()
        self.may_repeat: Counter[str] = Counter()
        self.proved: set[str] = set()
        # Redis: streams, and which effects were told.
        self.told: set[str] = set()
        self.stream: list[dict[str, Any]] = []
        self.read = 0
        self.closed: list[Closing] = []
        self.closed_read = 0
        # The flow.
        self.conversation = Conversation()
        self.outcomes: Counter[str] = Counter()
        self.ended: dict[str, Outcome] = {}
        self.heard: Counter[str] = Counter()
        self.lead()

    # -- the notifier ----------------------------------------------------------------------

    def lead(self) -> None:
        self.connection = outbox._open(self.path)
        self.connection.execute("PRAGMA synchronous = OFF")  # a crash is played, the disk is not
        self.fence += 1
        self.change(outbox.take_over(self.fence, "story", self.now))

    def change(self, change: rows.Change, *, dies: bool = False) -> Any:
        """Run a change in its transaction; where it dies, nothing of it was done."""
        self.connection.execute("BEGIN IMMEDIATE")
        result = change(self.connection)
        self.connection.execute("ROLLBACK" if dies else "COMMIT")
        if dies:
            self.die()
        return result

    def die(self) -> None:
        self.connection.close()
        for kind in KINDS:
            self.cut(kind)
        self.lead()

    def cut(self, kind: str) -> None:
        """A session ends: what arrived and was not proved may be put again."""
        self.wire[kind].clear()
        self.may_repeat.update(self.unproved[kind])
        self.unproved[kind].clear()

    def at(self) -> str:
        return write_time(datetime.fromtimestamp(self.now, UTC))

    def give_up(self, connection: Any, challenge: str) -> None:
        states = connection.execute(
            "SELECT state FROM messages WHERE challenge = ? AND kind = 'ask'", (challenge,)
        ).fetchall()
        assert {state for (state,) in states} <= {"bounced", "dropped", "withdrawn"}
        rows.add_effects(connection, [records.gave_up(self.asks[challenge], self.at(), "played")])

    def ask(self) -> None:
        if len(self.asks) >= MOST_ASKED:
            return
        number = next(self.numbers)
        made = stage.make_ask(CUSTOMER, life=LIFE)
        made |= {"id": f"ch_{number}", "created": self.at()}
        self.now += LIFE
        made["expires"] = self.at()
        self.now -= LIFE
        ask = Ask.from_stream(f"{number}-0", made)
        self.asks[ask.id] = ask
        us = int(self.now * 1e6)
        self.conversation.ask(Asked(ask.id, ask.event, us, us + int(LIFE * 1e6), 1))
        rungs = tuple((Rung(kind, WAITS[kind], 10.0), "s1.x") for kind in KINDS)
        new = rows.NewChallenge(ask, "en", "UTC", 0, "", rungs, self.now)
        for _ in range(2):  # an entry that is read again after a crash is known
            self.change(lambda connection: rows.new_challenge(connection, new))

    def send(self, free: int, dies: bool) -> None:
        room = dict.fromkeys(KINDS, free)

        def change(connection: Any) -> list[rows.Row]:
            return rows.claim(connection, self.fence, "~", room, self.at(), self.now)

        for row in self.change(change, dies=dies):
            if not dies:
                self.wire[row.channel].append(row)

    def arrive(self, kind: str) -> None:
        """The channel's server takes what is under way, in order; the customer sees it."""
        for row in self.wire[kind]:
            if row.kind == "ask":
                assert row.challenge not in self.ended or row.attempt >= 1
                self.seen[row.key] += 1
            else:
                self.closings_seen[row.key] += 1
            self.unproved[kind].append(row.key)
        self.wire[kind].clear()

    def prove(self, kind: str, dies: bool) -> None:
        keys = list(self.unproved[kind])
        self.change(lambda c: rows.settle(c, keys, "taken", self.now), dies=dies)
        if not dies:
            self.proved.update(keys)
            self.unproved[kind].clear()

    def reconnect(self, kind: str) -> None:
        self.cut(kind)
        self.change(lambda connection: rows.unproved(connection, kind, self.now))

    def crash(self) -> None:
        self.die()

    def bounce(self, kind: str, pick: int, dies: bool) -> None:
        challenge = sorted(self.asks)[pick % len(self.asks)]
        key = f"{challenge}/{kind}/ask"

        def change(connection: Any) -> None:
            for row, lost in rows.settle(connection, [key], "bounced", self.now):
                if lost:
                    self.give_up(connection, row.challenge)

        self.change(change, dies=dies)

    def nobody(self, pick: int) -> None:
        """All of a customer's channels say, one after the other, that nobody is there."""
        for kind in KINDS:
            self.send(5, dies=False)
            self.bounce(kind, pick, dies=False)

    def receipt(self, kind: str, pick: int) -> None:
        visible = [one for one in sorted(self.asks) if self.seen[f"{one}/{kind}/ask"]]
        if visible:
            challenge = visible[pick % len(visible)]
            self.change(lambda c: rows.see(c, challenge, kind, self.now))

    def pass_time(self, seconds: float, dies: bool) -> None:
        self.now += seconds

        def change(connection: Any) -> None:
            lost = [row.challenge for row, lost in rows.overdue(connection, self.now) if lost]
            for one in [*lost, *rows.tick(connection, self.now)]:
                self.give_up(connection, one)

        self.change(change, dies=dies)

    def go_on(self, upto: int, kinds: set[str]) -> None:
        """So much of the whole way, in its usual order."""
        steps_of_it: list[Callable[[], None]] = [partial(self.send, 5, dies=False)]
        for kind in sorted(kinds):
            steps_of_it += [partial(self.arrive, kind), partial(self.prove, kind, dies=False)]
        steps_of_it += [partial(self.tell, dies=False), self.judge]
        steps_of_it += [partial(self.read_closings, dies=False)]
        for each in steps_of_it[: 1 + upto * len(steps_of_it) // 6]:
            each()

    # -- the customer ----------------------------------------------------------------------

    def answer(self, kind: str, pick: int, decision: str, dies: bool) -> None:
        """What is seen may be answered, also twice, also late; heard is what is committed."""
        visible = [one for one in sorted(self.asks) if self.seen[f"{one}/{kind}/ask"]]
        if not visible:
            return
        challenge = visible[pick % len(visible)]
        uid = f"answer/{next(self.numbers)}"
        said = {"challenge": challenge, "decision": decision, "at": self.now, "uid": uid}
        effect = Effect(uid, (("rb:answers", "answer", orjson.dumps(said)),))
        self.change(lambda connection: rows.add_effects(connection, [effect]), dies=dies)
        if not dies:
            self.heard[uid] += 1

    # -- Redis and the flow ----------------------------------------------------------------

    def tell(self, dies: bool) -> None:
        """Effects go out in order; dying between telling and noting it tells them once more."""
        effects = self.change(lambda connection: rows.some_effects(connection, 0))
        for number, effect in effects:
            if effect.uid not in self.told:
                self.told.add(effect.uid)
                self.stream += [orjson.loads(value) for _, _, value in effect.entries]
            if not dies:
                self.change(partial(rows.remove_effects, upto=number))
        if dies:
            self.die()

    def judge(self) -> None:
        """The customer's shard reads on; timers fire once all was read."""
        for entry in self.stream[self.read :]:
            self.read += 1
            us = int(entry.get("at", 0) * 1e6)
            if entry.get("kind") == "unreachable":
                self.end(self.conversation.give_up(entry["challenge"], int(self.now * 1e6), "x"))
                continue
            challenge, decision, at = entry["challenge"], entry["decision"], str(self.read)
            answer = Answer(challenge, decision, None, "E", "claimed", us, False, at)
            self.end(self.conversation.hear(answer).outcome)
        waiting = self.connection.execute("SELECT count(*) FROM effects").fetchone()[0]
        if not waiting:
            for outcome in list(self.conversation.expire(int(self.now * 1e6))):
                lost = self.connection.execute(
                    "SELECT min(state IN ('bounced', 'dropped')) FROM messages"
                    " WHERE challenge = ? AND kind = 'ask'",
                    (outcome.challenge,),
                ).fetchone()[0]
                assert not lost, "nobody was reached: that is unreachable, not expired"
                self.end(outcome)

    def end(self, outcome: Outcome | None) -> None:
        if outcome is not None:
            self.outcomes[outcome.challenge] += 1
            self.ended[outcome.challenge] = outcome
            self.closed.append(
                Closing(outcome.challenge, outcome.state, outcome.decision, self.at())
            )

    def read_closings(self, dies: bool) -> None:
        fresh = self.closed[self.closed_read :]

        def change(connection: Any) -> None:
            for closing in fresh:
                rows.close_challenge(connection, closing, self.now)

        self.change(change, dies=dies)
        if not dies:
            self.closed_read += len(fresh)

    # -- the end ---------------------------------------------------------------------------

    def settle_everything(self) -> None:
        """All is up, all is read, time goes on: what must come, comes."""
        for second in range(150):
            if second == 3:  # what is proved stays so
                self.die()
                for kind in KINDS:
                    self.reconnect(kind)
            self.pass_time(1.0, dies=False)
            self.send(5, dies=False)
            for kind in KINDS:
                self.arrive(kind)
                self.prove(kind, dies=False)
            self.tell(dies=False)
            self.judge()
            self.read_closings(dies=False)

    def check_the_end(self) -> None:
        assert self.outcomes == Counter(dict.fromkeys(self.asks, 1)), "one final state each"
        on_stream = Counter(entry["uid"] for entry in self.stream if "uid" in entry)
        assert on_stream == self.heard, "every answer that was taken is told, once"
        for key, times in self.seen.items():
            assert times <= 1 + self.may_repeat[key], f"{key} was put twice without a reason"
        for key in self.proved:
            assert self.seen[key] + self.closings_seen[key] >= 1
        states = self.connection.execute(
            "SELECT challenge, channel, kind, state, attempt FROM messages"
        ).fetchall()
        assert {state for *_, state, _ in states} <= {"taken", "bounced", "dropped", "withdrawn"}
        closings = {(one, by) for one, by, kind, *_ in states if kind == "close"}
        for challenge, channel, kind, state, attempt in states:
            if kind == "ask" and attempt and state != "bounced":
                assert (challenge, channel) in closings, "what was shown is corrected"
        for challenge, outcome in self.ended.items():
            if outcome.state == "unreachable":
                asks = [row for row in states if row[0] == challenge and row[2] == "ask"]
                assert {row[3] for row in asks} <= {"bounced", "dropped", "withdrawn", "taken"}


def step_of(story: Story, chance: random.Random) -> tuple[str, dict[str, Any]]:
    """Draw what happens next: mostly the usual way, with what goes wrong strewn in."""
    dies = chance.random() < 0.1
    kind, pick = chance.choice(KINDS), chance.randrange(MOST_ASKED)
    drawn: list[tuple[int, str, dict[str, Any]]] = [
        (4, "ask", {}),
        (10, "go_on", {"upto": chance.randrange(7), "kinds": {kind, chance.choice(KINDS)}}),
        (6, "send", {"free": chance.randrange(1, 6), "dies": dies}),
        (8, "arrive", {"kind": kind}),
        (6, "prove", {"kind": kind, "dies": dies}),
        (3, "reconnect", {"kind": kind}),
        (2, "crash", {}),
        (4, "bounce", {"kind": kind, "pick": pick, "dies": dies}),
        (2, "nobody", {"pick": pick}),
        (5, "receipt", {"kind": kind, "pick": pick}),
        (6, "pass_time", {"seconds": chance.choice([0.1, 1.0, 2.5, 6.0, 35.0]), "dies": dies}),
        (
            6,
            "answer",
            {
                "kind": kind,
                "pick": pick,
                "decision": chance.choice(["confirm", "deny"]),
                "dies": dies,
            },
        ),
        (6, "tell", {"dies": dies}),
        (6, "judge", {}),
        (6, "read_closings", {"dies": dies}),
    ]
    ((_, name, values),) = chance.choices(drawn, [weight for weight, _, _ in drawn])
    return name, values


@pytest.mark.parametrize("seed", range(STORIES))
def test_in_any_order_a_question_ends_once_is_put_once_and_every_answer_is_told(
    seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    story = Story(tmp_path)
    story.ask()
    happened = []
    try:
        for _ in range(STEPS):
            name, values = step_of(story, chance)
            happened.append((name, values))
            getattr(story, name)(**values)
        story.settle_everything()
        story.check_the_end()
    except AssertionError as wrong:
        wrong.add_note("\n".join(f"{name} {values}" for name, values in happened))
        raise
    finally:
        story.connection.close()


@pytest.mark.parametrize("formats", [1, 2])
def test_an_outbox_of_an_older_format_is_read_and_goes_on(tmp_path: Path, formats: int) -> None:
    """What was under way when an older version stopped is sent by this one."""
    path = tmp_path / "outbox.db"
    old = sqlite3.connect(path)
    for one in (FIRST_FORMAT, SECOND_FORMAT)[:formats]:
        old.executescript(one)
    old.commit()
    old.close()
    connection = outbox._open(path)
    assert outbox._version(connection) == outbox.SCHEMA_VERSION
    connection.execute("BEGIN IMMEDIATE")
    outbox.take_over(8, "new", BEGAN)(connection)
    claimed = rows.claim(connection, 8, "~", {"xmpp": 10}, "t", BEGAN)
    assert [(row.key, row.attempt) for row in claimed] == [("ch_1/xmpp/ask", 2)]
    ((row, lost),) = rows.settle(connection, ["ch_1/xmpp/ask"], "bounced", BEGAN)
    assert (row.challenge, lost) == ("ch_1", True)
    connection.execute("COMMIT")
    connection.close()


FIRST_FORMAT = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO meta VALUES ('position', '5-0'), ('alerts', '0-0'), ('fence', 7), ('holder', '');
CREATE TABLE challenges (
    id TEXT PRIMARY KEY, entry TEXT NOT NULL, customer TEXT NOT NULL, ask BLOB NOT NULL,
    language TEXT NOT NULL, zone TEXT NOT NULL, draw INTEGER NOT NULL, closed BLOB,
    repeated INTEGER NOT NULL DEFAULT 0, wrong INTEGER NOT NULL DEFAULT 0,
    told INTEGER NOT NULL DEFAULT 0, ends REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, challenge TEXT NOT NULL,
    kind TEXT NOT NULL, channel TEXT NOT NULL, address TEXT NOT NULL, due_after TEXT NOT NULL,
    drop_at REAL NOT NULL, state TEXT NOT NULL DEFAULT 'due',
    fence INTEGER NOT NULL DEFAULT 0, attempt INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX waiting ON messages (state, seq) WHERE state IN ('due', 'written');
CREATE INDEX of_challenge ON messages (challenge);
CREATE TABLE claims (
    key TEXT NOT NULL, attempt INTEGER NOT NULL, fence INTEGER NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (key, attempt)
) WITHOUT ROWID;
CREATE TABLE effects (id INTEGER PRIMARY KEY AUTOINCREMENT, effect BLOB NOT NULL);
INSERT INTO challenges (id, entry, customer, ask, language, zone, draw, ends)
    VALUES ('ch_1', '5-0', 'cus_1', '{}', 'en', 'UTC', 0, 1790000120.0);
INSERT INTO messages (key, challenge, kind, channel, address, due_after, drop_at, state, attempt)
    VALUES ('ch_1/xmpp/ask', 'ch_1', 'ask', 'xmpp', 's1.x', '', 1790000060.0, 'written', 1);
PRAGMA user_version = 1;
"""

# What the second format added to the first.
SECOND_FORMAT = """
ALTER TABLE messages ADD COLUMN rung INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN wait REAL NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN patience REAL NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN starts REAL;
ALTER TABLE messages ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
CREATE INDEX climbing ON messages (starts) WHERE state = 'waiting';
PRAGMA user_version = 2;
"""
