"""A question climbs over real channels: chat, a push service, the bank's own gateway."""

import asyncio
import base64
import gzip
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson

from notifiers.catalogue import KINDS
from notifiers.plan import read_plans
from risk import names
from risk.privacy import open_sealed
from tests.notifiers import peers, stage
from tests.notifiers.peers import Push, Sms
from tests.notifiers.sms_receiver import sign

LADDER = {
    "version": 1,
    "ladders": {
        "usual": {
            "normal": [
                {"channel": "xmpp", "wait": 1, "patience": 20},
                {"channel": "push", "wait": 1, "patience": 20},
                {"channel": "sms", "wait": 20},
            ]
        }
    },
}


def play(story: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(story, 90)

    asyncio.run(bounded())


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


def settings(url: str, tmp_path: Path, **changes: Any) -> Any:
    fields = {
        "secret": peers.SECRETS.__getitem__,
        "plans": read_plans(LADDER, KINDS),
        "page": "http://localhost:8080",
    }
    return stage.settings_for(url, tmp_path / "data", **(fields | changes))


async def states(flow: stage.Flow) -> list[tuple[str, str, str]]:
    """What became of what was sent: channel, message, delivery."""
    sent = await flow.records("outreach.sent")
    return [(b["channel"], b["message"], b["delivery"]) for b in (one["body"] for one in sent)]


def test_the_next_channel_starts_beside_a_silent_one_and_all_are_closed(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with AsyncExitStack() as stack:
            push = await stack.enter_async_context(Push(tmp_path, redis_url))
            prosody = await asyncio.to_thread(stage.make_prosody, tmp_path / "chat", ("ann",))
            stack.callback(prosody.stop)
            told = settings(
                redis_url,
                tmp_path,
                xmpp=prosody.settings.address(),
                channels={"push": push.settings},
            )
            flow = await stack.enter_async_context(stage.Flow(redis_url))
            await stack.enter_async_context(stage.notifier(told))
            # Ann is not at her chat: the server keeps the message, and nothing comes back.
            customer = await bind(
                flow, "ann", ("xmpp", f"ann@{stage.DOMAIN}"), ("push", push.address)
            )
            asked = time.monotonic()
            ask = await flow.ask(customer)

            async def pushed() -> bool:
                return await push.arrived() == [f"ask {ask['id']}"]

            await flow.until(pushed)
            assert time.monotonic() - asked >= 0.9
            (payload,) = await push.payloads()
            assert "9,800" not in payload["title"] + payload["body"]
            assert (payload["amount"], payload["currency"]) == ("9800.00", "CNY")
            assert payload["payee"] == "ACME Trading"
            assert payload["link"].startswith(f"http://localhost:8080/c/{ask['id']}#")
            assert not any(code in orjson.dumps(payload).decode() for code in ("YES ", "NO "))
            await flow.close(ask, "confirmed")

            async def closed() -> bool:
                return f"close {ask['id']}" in await push.arrived()

            await flow.until(closed)
            assert await push.arrived() == [f"ask {ask['id']}", f"close {ask['id']}"]

            async def corrected() -> bool:
                return ("xmpp", "close", "taken") in await states(flow)

            await flow.until(corrected)
            assert not await flow.answers()

    play(story())


def test_a_gone_endpoint_is_unbound_on_record_and_the_next_channel_goes_at_once(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with AsyncExitStack() as stack:
            push = await stack.enter_async_context(Push(tmp_path, redis_url))
            sms = await stack.enter_async_context(Sms(tmp_path, redis_url))
            told = settings(
                redis_url, tmp_path, channels={"push": push.settings, "sms": sms.settings}
            )
            flow = await stack.enter_async_context(stage.Flow(redis_url))
            await stack.enter_async_context(stage.notifier(told))
            customer = await bind(
                flow, "ann", ("push", push.nowhere), ("push", push.address), ("sms", sms.address)
            )
            first = await flow.ask(customer)

            async def pushed() -> bool:
                return await push.arrived() == [f"ask {first['id']}"]

            await flow.until(pushed)  # by the other subscription

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

            async def texted() -> bool:
                return f"ask {second['id']}" in await sms.arrived()

            await flow.until(texted)
            assert time.monotonic() - asked < 1.0, "an error needs no waiting"
            assert ("push", "ask", "bounced") in await states(flow)
            assert not await flow.answers()

    play(story())


def test_unreachable_is_told_once_when_the_last_channel_has_failed(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with AsyncExitStack() as stack:
            push = await stack.enter_async_context(Push(tmp_path, redis_url))
            sms = await stack.enter_async_context(Sms(tmp_path, redis_url))
            told = settings(
                redis_url, tmp_path, channels={"push": push.settings, "sms": sms.settings}
            )
            flow = await stack.enter_async_context(stage.Flow(redis_url))
            await stack.enter_async_context(stage.notifier(told))
            customer = await bind(flow, "ann", ("push", push.nowhere), ("sms", sms.nowhere))
            ask = await flow.ask(customer)
            (answer,) = await flow.until(flow.answers)
            assert (answer["kind"], answer["challenge"]) == ("unreachable", ask["id"])
            await asyncio.sleep(0.5)
            assert len(await flow.answers()) == 1
            assert await sms.arrived() == []

    play(story())


def test_a_busy_gateway_is_tried_again_and_gets_each_message_once(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with AsyncExitStack() as stack:
            sms = await stack.enter_async_context(Sms(tmp_path, redis_url))
            sms.receiver.busy = 3
            told = settings(redis_url, tmp_path, channels={"sms": sms.settings})
            flow = await stack.enter_async_context(stage.Flow(redis_url))
            await stack.enter_async_context(stage.notifier(told))
            customer = await bind(flow, "ann", ("sms", sms.address))
            ask = await flow.ask(customer)

            async def texted() -> bool:
                return await sms.arrived() == [f"ask {ask['id']}"]

            await flow.until(texted)
            assert sms.receiver.refused == [503, 503, 503]
            assert sms.receiver.calls == 4
            sms.receiver.busy = 10_000
            short = await flow.ask(customer, life=3.0)
            (answer,) = await flow.until(flow.answers)
            assert (answer["kind"], answer["challenge"]) == ("unreachable", short["id"])

    play(story())


def test_an_answer_by_short_message_is_heard_scrubbed_and_counted_once(
    redis_url: str, tmp_path: Path
) -> None:
    secret = "384920"

    async def story() -> None:
        async with AsyncExitStack() as stack:
            sms = await stack.enter_async_context(Sms(tmp_path, redis_url))
            told = settings(redis_url, tmp_path, channels={"sms": sms.settings})
            flow = await stack.enter_async_context(stage.Flow(redis_url))
            await stack.enter_async_context(stage.notifier(told))
            customer = await bind(flow, "ann", ("sms", sms.address))
            ask = await flow.ask(customer)

            async def texted() -> bool:
                return bool(sms.receiver.sent)

            await flow.until(texted)
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
            assert (answer["decision"], answer["layer"], answer["channel"]) == (
                "confirm",
                "E",
                "sms",
            )
            assert answer["challenge"] == ask["id"]
            await asyncio.sleep(0.3)
            assert len(await flow.answers()) == 1

    play(story())
    found_nowhere(secret, tmp_path)


def found_nowhere(secret: str, folder: Path) -> None:
    durable = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert len(durable) >= 2
    control = b"".join([*durable, *spellings(secret)])  # the search finds what is there
    for spelt in spellings(secret):
        assert spelt in control
        assert not any(spelt in one for one in durable), spelt


def spellings(secret: str) -> list[bytes]:
    plain = secret.encode()
    return [
        plain,
        secret.encode("utf-16-le"),
        secret.encode("utf-16-be"),
        base64.b64encode(plain),
        gzip.compress(plain, mtime=0)[10:-8],
    ]


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

    play(story())
