"""Servers and notifiers die or freeze with questions open: nothing is lost or said twice."""

import asyncio
import contextlib
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from notifiers.client import CustomerClient
from notifiers.leader import FENCE
from notifiers.prosody import Prosody
from tests import servers
from tests.notifiers import process, stage
from tests.patience import PATIENCE, Watch, until_true


def run(story: Awaitable[None], seconds: float = 5 * PATIENCE) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(story, seconds)

    asyncio.run(bounded())


def shown(client: CustomerClient) -> Counter[str]:
    return Counter(message.challenge for message in client.messages if message.challenge)


def end(one: subprocess.Popen[bytes]) -> None:
    if one.poll() is None:
        one.send_signal(signal.SIGCONT)
        one.kill()
    one.wait(timeout=PATIENCE)


def test_a_killed_chat_server_loses_and_doubles_nothing(
    redis_url: str, prosody: Prosody, tmp_path: Path
) -> None:
    async def story() -> None:
        settings = stage.settings_for(redis_url, tmp_path / "data", xmpp=prosody.settings.address())
        async with stage.Flow(redis_url) as flow, stage.notifier(settings):
            customer = await flow.bind("ann")
            async with stage.chatting(prosody, "ann") as before:
                early = [await flow.ask(customer) for _ in range(20)]
                await until_true(lambda: len(shown(before)) == 20)

                async def proved() -> bool:
                    sent = await flow.records("outreach.sent")
                    return len([one for one in sent if one["body"]["delivery"] == "taken"]) == 20

                await flow.until(proved)
                prosody.kill()
            late = [await flow.ask(customer) for _ in range(20)]
            await asyncio.sleep(0.5)
            await asyncio.to_thread(prosody.start)
            async with stage.chatting(prosody, "ann") as after:
                await until_true(lambda: set(shown(after)) == {ask["id"] for ask in late})
                await asyncio.sleep(1.0)
                assert set(shown(after).values()) == {1}
                assert not set(shown(after)) & {ask["id"] for ask in early}
                # Both halves can still be answered: no open question was forgotten.
                code = after.messages[-1].buttons["Deny"]
                after.say(stage.BOT_FULL, code)
                await flow.until(flow.answers)
                after.say(stage.BOT_FULL, "NO")

                async def all_denied() -> bool:
                    denied = {answer["challenge"] for answer in await flow.answers()}
                    return denied == {ask["id"] for ask in early + late}

                await flow.until(all_denied)

    run(story())


def test_a_killed_server_under_load_loses_nothing(
    redis_url: str, prosody: Prosody, tmp_path: Path
) -> None:
    async def story() -> None:
        settings = stage.settings_for(redis_url, tmp_path / "data", xmpp=prosody.settings.address())
        async with stage.Flow(redis_url) as flow, stage.notifier(settings):
            customer = await flow.bind("ann")
            seen: Counter[str] = Counter()
            asked: list[dict[str, Any]] = []
            proved: set[str] = set()

            async def taken() -> list[dict[str, Any]]:
                """What is on record as taken by the server."""
                sent = await flow.records("outreach.sent")
                return [one for one in sent if one["body"]["delivery"] == "taken"]

            async with stage.chatting(prosody, "ann") as ann:
                for number in range(60):
                    asked.append(await flow.ask(customer))
                    if number == 30:
                        proved = {one["body"]["challenge"] for one in await taken()}
                        prosody.kill()
                    await asyncio.sleep(0.01)
                seen += shown(ann)
            await asyncio.to_thread(prosody.start)
            async with stage.chatting(prosody, "ann") as ann:

                async def all_proved() -> bool:
                    sent = {one["body"]["challenge"] for one in await taken()}
                    return sent == {ask["id"] for ask in asked}

                await flow.until(all_proved)
                await asyncio.sleep(0.5)
                seen += shown(ann)
            assert set(seen) == {ask["id"] for ask in asked}
            assert max(seen.values()) <= 2
            twice = {one for one, count in seen.items() if count > 1}
            assert not twice & proved, "only what was sent without a pong may be sent again"

    run(story())


def test_a_killed_notifier_goes_on_where_it_was(
    redis_url: str, prosody: Prosody, tmp_path: Path
) -> None:
    async def story() -> None:
        data, log = tmp_path / "data", tmp_path / "notifier.log"
        one = process.start(redis_url, data, prosody.settings, log)
        try:
            async with stage.Flow(redis_url) as flow, stage.chatting(prosody, "ann") as ann:
                customer = await flow.bind("ann")
                await until_true(lambda: process.leads(log))
                first = [await flow.ask(customer) for _ in range(5)]
                await until_true(lambda: len(shown(ann)) == 5)
                one.kill()
                one.wait(timeout=PATIENCE)
                second = [await flow.ask(customer) for _ in range(5)]
                log.unlink()
                one = process.start(redis_url, data, prosody.settings, log)
                await until_true(lambda: len(shown(ann)) == 10)
                assert set(shown(ann)) == {ask["id"] for ask in first + second}
                question = next(m for m in ann.messages if m.challenge == first[0]["id"])
                ann.say(stage.BOT_FULL, question.buttons["Confirm"])
                (answer,) = await flow.until(flow.answers)
                assert answer["challenge"] == first[0]["id"]
                await flow.close(first[0], "confirmed")
                await ann.wait_for(lambda m: m.replaces == first[0]["id"])
        finally:
            end(one)

    run(story())


def test_a_stopped_leader_sends_nothing_when_it_goes_on(
    redis_server: servers.RedisServer, prosody: Prosody, tmp_path: Path
) -> None:
    async def story() -> None:
        data = tmp_path / "data"
        logs = [tmp_path / "one.log", tmp_path / "two.log"]
        redis_url, stood = redis_server.url, 0
        one = process.start(redis_url, data, prosody.settings, logs[0])
        two = None
        try:
            async with stage.Flow(redis_url) as flow, stage.chatting(prosody, "ann") as ann:
                customer = await flow.bind("ann")
                await until_true(lambda: process.leads(logs[0]))
                two = process.start(redis_url, data, prosody.settings, logs[1])
                asked = [await flow.ask(customer) for _ in range(3)]
                await until_true(lambda: len(shown(ann)) == 3)

                async def proved() -> bool:
                    return len(await flow.records("outreach.sent")) == 3

                await flow.until(proved)
                await until_true(lambda: process.stands_by(logs[1]))
                one.send_signal(signal.SIGSTOP)
                stood = int(await flow.redis.get(FENCE))  # a busy machine may have begun anew
                stopped, watch = time.monotonic(), Watch(two.pid, redis_server.pid, prosody.pid)
                asked += [await flow.ask(customer) for _ in range(5)]
                await until_true(lambda: len(shown(ann)) == 8)
                taken_over = watch.seconds()
                assert taken_over <= 5.0, f"the standby took {taken_over:.1f} s"
                await asyncio.sleep(max(0.0, 10.0 - (time.monotonic() - stopped)))
                asked += [await flow.ask(customer) for _ in range(5)]
                one.send_signal(signal.SIGCONT)
                asked += [await flow.ask(customer) for _ in range(5)]
                await until_true(lambda: len(shown(ann)) == 18)
                await asyncio.sleep(2.0)
                assert set(shown(ann).values()) == {1}
                # The newest leader still has the chat server.
                ann.say(stage.BOT_FULL, "NO")

                async def denied() -> bool:
                    return len(await flow.answers()) == 18

                await flow.until(denied)
        finally:
            for each in (one, two):
                if each is not None:
                    end(each)
        with sqlite3.connect(data / "notifier" / "outbox.db") as outbox:
            claims = outbox.execute("SELECT key, count(*) FROM claims GROUP BY key").fetchall()
            owners = outbox.execute(
                "SELECT fence, count(*) FROM claims GROUP BY fence ORDER BY fence"
            ).fetchall()
        assert len(claims) == 18
        assert {count for _, count in claims} == {1}, "a row had two owners"
        by_the_stopped = sum(count for fence, count in owners if fence <= stood)
        assert (by_the_stopped, sum(count for _, count in owners)) == (3, 18)

    run(story())


def test_a_restarted_redis_loses_no_answer(
    redis_server: servers.RedisServer, prosody: Prosody, tmp_path: Path
) -> None:
    async def story() -> None:
        url = redis_server.url
        settings = stage.settings_for(url, tmp_path / "data", xmpp=prosody.settings.address())
        async with stage.notifier(settings), stage.chatting(prosody, "ann") as ann:
            async with stage.Flow(url) as flow:
                customer = await flow.bind("ann")
                ask = await flow.ask(customer)
                question = await ann.wait_for(lambda m: m.challenge == ask["id"])
            await asyncio.to_thread(redis_server.kill)
            ann.say(stage.BOT_FULL, question.buttons["Confirm"])
            await asyncio.sleep(0.5)
            await asyncio.to_thread(redis_server.start)
            async with stage.Flow(url) as flow:
                (answer,) = await flow.until(flow.answers)
                assert answer["decision"] == "confirm"

    run(story())


def test_a_leader_that_freezes_with_the_outbox_locked_is_ended(
    redis_url: str, prosody: Prosody, tmp_path: Path
) -> None:
    async def story() -> None:
        data, log = tmp_path / "data", tmp_path / "one.log"
        one = process.start(redis_url, data, prosody.settings, log)
        two = None
        try:
            async with stage.Flow(redis_url) as flow, stage.chatting(prosody, "ann") as ann:
                customer = await flow.bind("ann")
                await until_true(lambda: process.leads(log))
                # Stop it again and again until it is caught with the lock in its hands.
                path = data / "notifier" / "outbox.db"
                caught = False
                for _ in range(200):
                    await flow.ask(customer)
                    one.send_signal(signal.SIGSTOP)
                    await asyncio.sleep(0.01)
                    caught = locked(path)
                    if caught:
                        break
                    one.send_signal(signal.SIGCONT)
                    await asyncio.sleep(0.005)
                assert caught, "it was never stopped inside a transaction"
                log_two = tmp_path / "two.log"
                two = process.start(redis_url, data, prosody.settings, log_two)
                last = await flow.ask(customer)
                await until_true(lambda: last["id"] in shown(ann))
                assert one.poll() == -signal.SIGKILL
        finally:
            for each in (one, two):
                if each is not None:
                    end(each)

    run(story())


def locked(path: Path) -> bool:
    """Whether someone holds the write lock of the outbox."""
    with contextlib.closing(sqlite3.connect(path, timeout=0.0, isolation_level=None)) as outbox:
        try:
            outbox.execute("BEGIN IMMEDIATE")
            outbox.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
        return False
