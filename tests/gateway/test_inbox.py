"""What bulk producers write is accepted from the inbox, exactly once."""

import asyncio
from pathlib import Path

import orjson

from gateway.inbox import GROUP, may_be_kept
from risk import names
from tests.gateway.bank import Bank, payment, running


async def _empty(bank: Bank) -> None:
    await bank.until(names.INBOX, 0)


def test_the_inbox_is_emptied_into_acceptance(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            for n in range(300):
                event = orjson.dumps(payment(f"in-{n % 250}", time="2026-01-01T00:00:00Z"))
                await bank.redis.xadd(names.INBOX, {"event": event})
            label = {"type": "label", "event": "in-1", "fraud": True, "source": "chargeback"}
            label["time"] = "2026-02-01T00:00:00Z"
            await bank.redis.xadd(names.INBOX, {"event": orjson.dumps(label)})
            await _empty(bank)
            accepted = [envelope["event"]["id"] for envelope in await bank.events()]
            assert sorted(accepted) == sorted(f"in-{n}" for n in range(250))
            assert len(await bank.entries(names.LABELS)) == 1
            assert not await bank.redis.xlen(names.DEAD)

    asyncio.run(story())


def test_what_a_dead_gateway_left_is_claimed_and_doubles_nothing(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        event = orjson.dumps(payment("in-1", time="2026-01-01T00:00:00Z"))
        async with running(redis_url, tmp_path, inbox=False) as bank:
            await bank.redis.xgroup_create(names.INBOX, GROUP, id="0", mkstream=True)
            await bank.redis.xadd(names.INBOX, {"event": event})
            # A gateway that read it, accepted it, and died before it could say so.
            await bank.redis.xreadgroup(GROUP, "dead", {names.INBOX: ">"})
            assert (await bank.post(orjson.loads(event)))[0] == 200
        async with running(redis_url, tmp_path) as bank:
            await _empty(bank)
            assert len(await bank.events()) == 1

    asyncio.run(story())


def test_a_refused_entry_is_a_dead_letter_with_its_reason(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            bad = [
                orjson.dumps(payment(amount=12.5)),
                orjson.dumps(payment(memo="4111 1111 1111 1111")),
                orjson.dumps(payment(extra={"cvv": "123"})),
                b'{"pin": 1234',
                b"not json",
            ]
            for raw in bad:
                await bank.redis.xadd(names.INBOX, {"event": raw})
            await bank.redis.xadd(names.INBOX, {"other": "x"})
            await _empty(bank)
            dead = [row for _, row in await bank.redis.xrange(names.DEAD)]
            assert [row[b"reason"].decode() for row in dead] == [
                "refused",
                "refused",
                "refused",
                "malformed",
                "malformed",
                "refused",
            ]
            kept = [row[b"event"] for row in dead]
            assert kept[1:] == [b"", b"", b"", b"not json", b""]
            assert orjson.loads(dead[0][b"problem"])["errors"][0]["field"] == "amount"
            assert not await bank.events()

    asyncio.run(story())


def test_a_card_number_anywhere_keeps_a_dead_letter_from_being_kept() -> None:
    assert may_be_kept(b'{"a":"b"}')
    assert not may_be_kept(b'{"number":"4111111111111111"}')
    assert not may_be_kept(b"cvv = 123, and then some")
    assert not may_be_kept(b'{"deep":[{"PIN":1}]}')
