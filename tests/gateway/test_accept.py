"""What holds when an event is posted, against a real Redis and a flow that only decides."""

import asyncio
from pathlib import Path

import orjson

from gateway.ports import GatewaySettings
from risk import names
from risk.privacy import Tokens, open_sealed
from tests.gateway.bank import payment, running


def test_an_event_is_accepted_tokenised_and_decided(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            status, decision = await bank.post(payment())
            assert status == 200
            assert decision == {"event": "pay-1", "decision": "approve", "score": 7}
            [envelope] = await bank.events()
            event = envelope["event"]
            tokens = Tokens(b"r" * 32, "main")
            assert event["customer"] == tokens.token("customer", "C-1001")
            assert event["ip"] == tokens.token("ip", "203.0.113.7")
            assert event["device"]["id"] == tokens.token("device.id", "phone-1")
            assert event["payee"]["account"] == tokens.token("payee.account", "6222020000000000001")
            assert event["case"] == "case-pay-1"
            assert event["amount"] == "120.50"
            sealed = open_sealed(b"e" * 32, event["payee"]["sealed"], b"payee")
            assert orjson.loads(sealed) == {
                "name": "ACME Trading",
                "account": "6222020000000000001",
            }
            assert open_sealed(b"e" * 32, event["memo"], b"memo") == b"Invoice 17"
            assert await bank.redis.exists(names.reply(envelope["reply"]))

    asyncio.run(story())


def test_nothing_personal_stands_in_redis(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            await bank.post(payment("13812345678", session="4111111111111111"))
            streams = [names.AUDIT, names.DECISIONS, *map(names.events, range(4))]
            everything = b"".join([orjson.dumps(await bank.entries(s)) for s in streams])
            keys = b" ".join(await bank.redis.keys("*"))
            for clear in (
                b"C-1001",
                b"ACME",
                b"6222020000000000001",
                b"203.0.113.7",
                b"phone-1",
                b"Invoice",
                b"13812345678",
                b"4111111111111111",
            ):
                assert clear not in everything
                assert clear not in keys

    asyncio.run(story())


def test_the_caller_sees_its_own_id_where_that_was_tokenised(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            status, decision = await bank.post(payment("13812345678"))
            assert (status, decision["event"]) == (200, "13812345678")
            status, again, _ = await bank.call("GET", "/v1/decisions/13812345678")
            assert (status, again["event"]) == (200, "13812345678")

    asyncio.run(story())


def test_the_case_is_opened_and_the_event_is_on_record(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            await bank.post(payment())
            opened, came_in = (await bank.records())[:2]
            assert (opened["kind"], opened["class"], opened["case"]) == (
                "case.opened",
                "rc10y",
                "case-pay-1",
            )
            assert came_in["kind"] == "event.in"
            assert came_in["rid"] == "events/pay-1/event.in"
            assert came_in["body"]["geo"] == {"country": "CN", "lat": "31.23", "lon": "121.47"}
            assert set(came_in["personal"]) == {"payee.name", "payee.account", "memo"}
            name = came_in["personal"]["payee.name"]
            assert open_sealed(b"t" * 32, name["sealed"], b"payee.name") == b"ACME Trading"
            assert name["subject"] == came_in["body"]["payee"]["account"]

    asyncio.run(story())


def test_posted_three_times_at_once_it_is_accepted_once(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            event = payment()
            answers = await asyncio.gather(*(bank.post(event) for _ in range(3)))
            assert [status for status, _ in answers] == [200, 200, 200]
            assert len({orjson.dumps(body) for _, body in answers}) == 1
            assert len(await bank.events()) == 1
            assert len(await bank.records()) == 2
            assert (await bank.post(event))[0] == 200
            assert len(await bank.events()) == 1

    asyncio.run(story())


def test_the_same_id_with_another_amount_is_a_conflict(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            event = payment()
            await bank.post(event)
            status, problem = await bank.post({**event, "amount": "9120.50"})
            assert status == 409
            assert problem["type"] == "urn:ringback:problem:conflict"
            assert len(await bank.events()) == 1
            # The same money, written otherwise, and a field nobody knows: the same body.
            status, _ = await bank.post({**event, "amount": "120.5", "colour": "blue"})
            assert status == 200

    asyncio.run(story())


def test_who_prefers_not_to_wait_gets_202_and_finds_the_decision(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            status, body, headers = await bank.call(
                "POST", "/v1/events", payment(), headers={"Prefer": "respond-async"}
            )
            assert status == 202
            assert body == {"event": "pay-1", "status": "accepted"}
            status, decision, _ = await bank.call(
                "GET", headers["Location"] + "?wait=5&include=features"
            )
            assert (status, decision["decision"]) == (200, "approve")
            assert decision["features"] == {"customer.count.1h": 1}
            assert (await bank.call("GET", "/v1/decisions/other"))[0] == 404

    asyncio.run(story())


def test_settings_hide_their_secrets(tmp_path: Path) -> None:
    from tests.gateway.bank import settings_for

    shown = repr(settings_for("redis://127.0.0.1", tmp_path))
    assert isinstance(settings_for("redis://127.0.0.1", tmp_path), GatewaySettings)
    for secret in ("rrrr", "eeee", "tttt", "wwww", "token-for-tests"):
        assert secret not in shown
