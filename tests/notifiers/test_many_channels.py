"""A question climbs over real channels: chat, a push service, the bank's own gateway."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson

from notifiers.catalogue import KINDS
from notifiers.plan import read_plans
from risk import names
from risk.privacy import open_sealed
from tests.journeys.search import find
from tests.notifiers import peers, stage
from tests.notifiers.peers import Push, Sms
from tests.notifiers.sms_receiver import sign
from tests.patience import PATIENCE

PUSH_WAITS = 50
LADDER = {
    "version": 1,
    "ladders": {
        "usual": {
            "normal": [
                {"channel": "xmpp", "wait": 1, "patience": 20},
                {"channel": "push", "wait": PUSH_WAITS, "patience": 20},
                {"channel": "sms", "wait": 20},
            ]
        }
    },
}


class Scene:
    """A notifier with the channels that a story names, and what is on their other side."""

    push: Push
    sms: Sms

    def __init__(self, flow: stage.Flow) -> None:
        self.flow = flow

    async def pushed(self, *what: str) -> None:
        """Wait until just this was pushed of questions: `ask CHALLENGE` and the like, in order.

        What is told of a binding comes in between, whenever it comes.
        """

        async def there() -> bool:
            arrived = await self.push.arrived()
            return [one for one in arrived if not one.startswith("notice ")] == list(what)

        await self.flow.until(there)

    async def texted(self, what: str) -> None:
        """Wait until this was sent as a text."""

        async def there() -> bool:
            return what in await self.sms.arrived()

        await self.flow.until(there)

    async def states(self) -> list[tuple[str, str, str]]:
        """What became of what was sent: channel, message, delivery."""
        sent = await self.flow.records("outreach.sent")
        return [(b["channel"], b["message"], b["delivery"]) for b in (one["body"] for one in sent)]


def play(
    redis_url: str,
    tmp_path: Path,
    kinds: tuple[str, ...],
    story: Callable[[Scene], Awaitable[None]],
) -> None:
    """Set up the channels of these kinds, and run a story on them."""

    async def whole() -> None:
        async with asyncio.timeout(5 * PATIENCE), AsyncExitStack() as stack:
            changes: dict[str, Any] = {"channels": {}}
            made: dict[str, Any] = {}
            for kind, peer in (("push", Push), ("sms", Sms)):
                if kind in kinds:
                    made[kind] = await stack.enter_async_context(peer(tmp_path, redis_url))
                    changes["channels"][kind] = made[kind].settings
            if "xmpp" in kinds:
                prosody = await asyncio.to_thread(stage.make_prosody, tmp_path / "chat", ("ann",))
                stack.callback(prosody.stop)
                changes["xmpp"] = prosody.settings.address()
            told = stage.settings_for(
                redis_url,
                tmp_path / "data",
                secret=peers.SECRETS.__getitem__,
                plans=read_plans(LADDER, KINDS),
                page="http://localhost:8080",
                **changes,
            )
            scene = Scene(await stack.enter_async_context(stage.Flow(redis_url)))
            for kind, peer in made.items():
                setattr(scene, kind, peer)
            await stack.enter_async_context(stage.notifier(told))
            await story(scene)

    asyncio.run(whole())


async def bind(flow: stage.Flow, user: str, *channels: tuple[str, str]) -> str:
    customer = stage.TOKENS.token("customer", user)
    made = [
        {
            "kind": kind,
            "address": stage.sealed(address.encode(), b"address"),
            "token": stage.TOKENS.token("jid", address),
            "verified": True,
        }
        for kind, address in channels
    ]
    profile = {"language": "en", "zone": "Asia/Shanghai", "channels": made}
    await flow.redis.set(names.customer(customer), orjson.dumps(profile))
    for kind, address in channels:
        if kind in {"xmpp", "sms", "voice"}:
            await flow.redis.set(names.jid(stage.TOKENS.token("jid", address)), customer)
    return customer


def test_the_next_channel_starts_beside_a_silent_one_and_all_are_closed(
    redis_url: str, tmp_path: Path
) -> None:
    async def story(on: Scene) -> None:
        # Ann is not at her chat: the server keeps the message, and nothing comes back.
        customer = await bind(
            on.flow, "ann", ("xmpp", f"ann@{stage.DOMAIN}"), ("push", on.push.address)
        )
        asked = time.monotonic()
        ask = await on.flow.ask(customer)
        await on.pushed(f"ask {ask['id']}")
        assert time.monotonic() - asked >= 0.9
        (payload,) = await on.push.payloads()
        assert "9,800" not in payload["title"] + payload["body"]
        assert (payload["amount"], payload["currency"]) == ("9800.00", "CNY")
        assert payload["payee"] == "ACME Trading"
        assert payload["link"].startswith(f"http://localhost:8080/c/{ask['id']}#")
        assert not any(code in orjson.dumps(payload).decode() for code in ("YES ", "NO "))
        await on.flow.close(ask, "confirmed")
        await on.pushed(f"ask {ask['id']}", f"close {ask['id']}")

        async def corrected() -> bool:
            return ("xmpp", "close", "taken") in await on.states()

        await on.flow.until(corrected)
        assert not await on.flow.answers()

    play(redis_url, tmp_path, ("xmpp", "push"), story)


def test_a_gone_endpoint_is_unbound_on_record_and_the_next_channel_goes_at_once(
    redis_url: str, tmp_path: Path
) -> None:
    async def story(on: Scene) -> None:
        flow, push = on.flow, on.push
        customer = await bind(
            flow, "ann", ("push", push.nowhere), ("push", push.address), ("sms", on.sms.address)
        )
        first = await flow.ask(customer)
        await on.pushed(f"ask {first['id']}")  # by the other subscription

        async def unbound() -> bool:
            kept = orjson.loads(await flow.redis.get(names.customer(customer)))
            return [one["kind"] for one in kept["channels"]] == ["push", "sms"]

        await flow.until(unbound)
        kept = orjson.loads(await flow.redis.get(names.customer(customer)))
        left = open_sealed(stage.SEAL_KEY, kept["channels"][0]["address"], b"address")
        assert left.decode() == push.address
        (gone,) = await flow.records("binding.removed")
        assert gone["body"]["why"] == "gone"
        assert gone["subject"] == customer
        name = orjson.loads(push.address)["endpoint"].rpartition("/")[2]
        await push.expire(name)
        second = await flow.ask(customer)
        asked = time.monotonic()
        await on.texted(f"ask {second['id']}")
        assert time.monotonic() - asked < PUSH_WAITS / 2, "an error needs no waiting"
        assert ("push", "ask", "bounced") in await on.states()
        assert not await flow.answers()

    play(redis_url, tmp_path, ("push", "sms"), story)


def test_unreachable_is_told_once_when_the_last_channel_has_failed(
    redis_url: str, tmp_path: Path
) -> None:
    async def story(on: Scene) -> None:
        customer = await bind(on.flow, "ann", ("push", on.push.nowhere), ("sms", on.sms.nowhere))
        ask = await on.flow.ask(customer)
        (answer,) = await on.flow.until(on.flow.answers)
        assert (answer["kind"], answer["challenge"]) == ("unreachable", ask["id"])
        await asyncio.sleep(0.5)
        assert len(await on.flow.answers()) == 1
        assert await on.sms.arrived() == []

    play(redis_url, tmp_path, ("push", "sms"), story)


def test_a_busy_gateway_is_tried_again_and_gets_each_message_once(
    redis_url: str, tmp_path: Path
) -> None:
    async def story(on: Scene) -> None:
        flow, receiver = on.flow, on.sms.receiver
        receiver.busy = 3
        customer = await bind(flow, "ann", ("sms", on.sms.address))
        ask = await flow.ask(customer)
        await on.texted(f"ask {ask['id']}")
        assert await on.sms.arrived() == [f"ask {ask['id']}"]
        assert receiver.refused == [503, 503, 503]
        assert receiver.calls == 4
        receiver.busy = 10_000
        short = await flow.ask(customer, life=3.0)
        (answer,) = await flow.until(flow.answers)
        assert (answer["kind"], answer["challenge"]) == ("unreachable", short["id"])

    play(redis_url, tmp_path, ("sms",), story)


def test_an_answer_by_short_message_is_heard_scrubbed_and_counted_once(
    redis_url: str, tmp_path: Path
) -> None:
    secret = "38492017"  # so long that no hash holds it by chance

    async def story(on: Scene) -> None:
        flow, sms = on.flow, on.sms
        ask = await flow.ask(await bind(flow, "ann", ("sms", sms.address)))
        await on.texted(f"ask {ask['id']}")
        (sent,) = sms.receiver.sent.values()
        yes = sent["answers"][0]["say"]
        assert yes in sent["text"]

        assert secret not in yes
        status, said = await sms.pass_on({"text": f"我的验证码是 {secret}"}, "odd-1")
        assert status == 200
        assert "never" in said["reply"]
        assert (await sms.pass_on({"text": yes}, "in-1"))[0] == 200
        assert (await sms.pass_on({"text": yes}, "in-1"))[0] == 200
        (answer,) = await flow.until(flow.answers)
        assert (answer["decision"], answer["layer"], answer["channel"]) == ("confirm", "E", "sms")
        assert answer["challenge"] == ask["id"]
        await asyncio.sleep(0.3)
        assert len(await flow.answers()) == 1

    play(redis_url, tmp_path, ("sms",), story)
    # That the search finds such a text in every form is tests/journeys/test_secrets.py's to show.
    assert sum(path.is_file() for path in tmp_path.rglob("*")) >= 2
    assert find(tmp_path, secret) == []


def test_a_reply_that_is_not_signed_or_old_or_of_nobody_changes_nothing(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with Sms(tmp_path, redis_url) as sms:
            body = orjson.dumps({"channel": "sms", "from": sms.address, "text": "YES 384920"})
            good = sign(peers.SECRETS["sms-in"], "a", body)
            old = {**good, "webhook-timestamp": str(int(good["webhook-timestamp"]) - 600)}
            other = sign(peers.SECRETS["sms-out"], "a", body)
            bare = {"Content-Type": "application/json"}
            for headers in (old, other, {**good, "webhook-id": "b"}, bare):
                assert await sms.post_raw(body, headers) == 401
            assert await sms.post_raw(body + b" ", good) == 401
            # Signed, and nobody listens: not taken, so that the gateway says it again.
            assert await sms.post_raw(body, good) == 503

    asyncio.run(asyncio.wait_for(story(), 5 * PATIENCE))
