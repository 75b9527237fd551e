"""A hundred questions a second while chat server and notifier are killed: all are put and answered.

What counts as asked twice is two ids, or a second line of one id without a reason: a line may come
again only where the server died before it had proved that it took the first.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
from slixmpp.xmlstream.xmlstream import NotConnectedError

from notifiers import ending
from notifiers.client import CustomerClient, Message
from notifiers.prosody import Prosody
from risk import names
from tests import servers
from tests.notifiers import process, stage
from tests.notifiers.test_crash import end
from tests.patience import PATIENCE, Watch, until_true

USERS = ("ann", "bob", "cid", "dan")
RATE = 100
SECONDS = 6 if servers.in_ci() else 16
REPEATS_AFTER = 4.0
REPEATS_AT_ONCE = 10
TAKES_OVER_WITHIN = 5.0
STANDS_STILL_FOR = PATIENCE


class Customer:
    """One person at a client that comes back by itself, and answers until told that it ended."""

    def __init__(self, prosody: Prosody, user: str) -> None:
        self._prosody, self._user = prosody, user
        self.lines: Counter[str] = Counter()
        self.open: dict[str, Message] = {}
        self.closed: set[str] = set()
        self._asked: dict[str, float] = {}
        self._client: CustomerClient | None = None

    async def live(self) -> None:
        """Be there until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError, OSError, ConnectionError):
                await self._sit()

    async def _sit(self) -> None:
        client = CustomerClient(
            f"{self._user}@{stage.DOMAIN}/phone",
            f"pw-{self._user}",
            "127.0.0.1",
            self._prosody.settings.client_port,
            on_message=self._read,
        )
        try:
            await client.connect(5.0)
            self._client = client
            while client.connected:
                await asyncio.sleep(0.5)
                self._answer_again(client)
        finally:
            self._client = None
            await client.disconnect()

    def _read(self, message: Message) -> None:
        if message.challenge:
            self.lines[message.challenge] += 1
            if message.challenge not in self.closed:
                self.open[message.challenge] = message
                self._answer(message)
        elif message.replaces:
            self.closed.add(message.replaces)
            self.open.pop(message.replaces, None)

    def _answer_again(self, client: CustomerClient) -> None:
        late = time.monotonic() - REPEATS_AFTER
        for one in [m for c, m in self.open.items() if self._asked.get(c, 0.0) < late][
            :REPEATS_AT_ONCE
        ]:
            self._answer(one)

    def _answer(self, message: Message) -> None:
        self._asked[message.challenge] = time.monotonic()
        if self._client is not None and self._client.connected:
            decision = "deny" if message.challenge[-1] in "02468" else "confirm"
            with contextlib.suppress(NotConnectedError):
                self._client.answer(message.sender, message.challenge, decision, message.bind)


class Shard:
    """The flow, as far as it ends a question by the first answer that it reads."""

    def __init__(self, flow: stage.Flow, asked: dict[str, dict[str, Any]]) -> None:
        self._flow, self._asked = flow, asked
        self.ended: dict[str, str] = {}
        self.answers: list[dict[str, Any]] = []

    async def run(self) -> None:
        position = "0-0"
        while True:
            got: Any = await self._flow.redis.xread({names.ANSWERS: position}, block=100)
            for _, entries in got or ():
                for entry, fields in entries:
                    position = entry.decode()
                    answer = orjson.loads(fields[b"answer"])
                    self.answers.append(answer)
                    await self._end(answer)

    async def _end(self, answer: dict[str, Any]) -> None:
        challenge, decision = answer["challenge"], answer.get("decision")
        assert decision is not None, f"nobody was reached: {answer}"
        if self.ended.setdefault(challenge, decision) is decision:
            state = "confirmed" if decision == "confirm" else "denied"
            await self._flow.close(self._asked[challenge], state)


def test_killed_servers_and_notifiers_lose_and_double_nothing_at_a_hundred_a_second(
    redis_server: servers.RedisServer, tmp_path: Path
) -> None:
    data, redis_url = tmp_path / "data", redis_server.url
    prosody = stage.make_prosody(tmp_path / "prosody", USERS)
    running: list[Any] = []
    took: list[float] = []

    def begin() -> Path:
        log = tmp_path / f"notifier-{len(running)}.log"
        running.append(process.start(redis_url, data, prosody.settings, log))
        return log

    async def kill_leader(standby: Path) -> Path:
        await until_true(lambda: process.stands_by(standby))
        running[-2].kill()
        watch = Watch(running[-1].pid, redis_server.pid, prosody.pid)
        running[-2].wait(timeout=PATIENCE)
        await until_true(lambda: process.leads(standby))
        took.append(watch.seconds())
        return begin()

    async def kill_server() -> None:
        prosody.kill()
        await asyncio.sleep(0.3)
        await asyncio.to_thread(prosody.start)

    async def trouble() -> None:
        standby = logs[0]
        for number in range(4):
            await asyncio.sleep(SECONDS / 5)
            if number % 2:
                standby = await kill_leader(standby)
            else:
                await kill_server()

    async def story() -> None:
        async with stage.Flow(redis_url) as flow:
            bound = [await flow.bind(user) for user in USERS]
            asked: dict[str, dict[str, Any]] = {}
            customers = [Customer(prosody, user) for user in USERS]
            shard = Shard(flow, asked)
            tasks = [asyncio.create_task(one.live()) for one in customers]
            tasks.append(asyncio.create_task(shard.run()))
            try:
                await until_true(lambda: process.leads(first))
                logs.append(begin())
                troubled = asyncio.create_task(trouble())
                tasks.append(troubled)
                began = time.monotonic()
                for number in range(RATE * SECONDS):
                    await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
                    made = stage.make_ask(bound[number % len(bound)], life=900.0)
                    asked[made["id"]] = made
                    await flow.put(made)
                await troubled
                await settled(asked, shard, customers, tasks)
                with contextlib.suppress(TimeoutError):  # the last proofs may be under way
                    await flow.until(lambda: all_proved(flow, asked))
                proved = await proofs(flow)
                assert proved.keys() == asked.keys()
                check(asked, customers, shard, data, proved)
                assert max(took) <= TAKES_OVER_WITHIN, took
            finally:
                await ending.end(tasks)

    first, logs = begin(), list[Path]()
    try:
        asyncio.run(asyncio.wait_for(story(), 10 * PATIENCE))
    finally:
        for one in running:
            end(one)
        prosody.stop()


async def proofs(flow: stage.Flow) -> dict[str, str]:
    """When the server had proved that it took each question."""
    return {
        sent["body"]["challenge"]: sent["at"]
        for sent in await flow.records("outreach.sent")
        if (sent["body"]["message"], sent["body"]["delivery"]) == ("ask", "taken")
    }


async def all_proved(flow: stage.Flow, asked: dict[str, Any]) -> bool:
    return (await proofs(flow)).keys() == asked.keys()


async def settled(
    asked: dict[str, Any],
    shard: Shard,
    customers: list[Customer],
    tasks: list["asyncio.Task[None]"],
) -> None:
    """Wait until all is answered and told; a busy machine may take long, but it must go on."""
    moved, was = time.monotonic(), -1
    while not (set(shard.ended) == all_told(customers) == set(asked)):
        fine(tasks)
        done = len(shard.ended) + len(all_told(customers))
        if done != was:
            moved, was = time.monotonic(), done
        assert time.monotonic() - moved < STANDS_STILL_FOR, f"{done} of {2 * len(asked)}"
        await asyncio.sleep(0.1)


def all_told(customers: list[Customer]) -> set[str]:
    return set().union(*(one.closed for one in customers))


def fine(tasks: list["asyncio.Task[None]"]) -> bool:
    """Raise what ended one of them."""
    for task in tasks:
        if task.done():
            task.result()
    return True


def check(
    asked: dict[str, dict[str, Any]],
    customers: list[Customer],
    shard: Shard,
    data: Path,
    proved: dict[str, str],
) -> None:
    lines: Counter[str] = sum((one.lines for one in customers), Counter())
    assert set(lines) == set(asked), "every question was seen, under its one id"
    with sqlite3.connect(data / "notifier" / "outbox.db") as outbox:
        last = dict(outbox.execute("SELECT key, max(at) FROM claims GROUP BY key"))
        claims = dict(
            outbox.execute("SELECT key, count(*) FROM claims WHERE key LIKE '%/ask' GROUP BY key")
        )
        states = Counter(dict(outbox.execute("SELECT state, count(*) FROM messages GROUP BY 1")))
    twice = {one for one, times in lines.items() if times > 1}
    again = {key.partition("/")[0] for key, times in claims.items() if times > 1}
    assert twice <= again, "a line came twice that was sent once"
    assert all(lines[one] <= claims[f"{one}/xmpp/ask"] for one in lines)
    for one in again:
        assert last[f"{one}/xmpp/ask"] <= proved[one], "what was proved taken was sent again"
    assert not states["bounced"]
    assert not states["dropped"]
    # Each answer that was taken was told once, and all of a question agree.
    told = Counter(answer["evidence"]["rid"] + answer["challenge"] for answer in shard.answers)
    assert set(told.values()) == {1}
    for answer in shard.answers:
        assert answer["decision"] == shard.ended[answer["challenge"]]
