"""A Redis is lost and put back from a real ledger: what was signed counts no second time."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import redis

from audit.writer import Ledger
from flows.parts import House, open_house
from flows.recover_bindings import bindings_back
from flows.recover_signatures import signatures_back
from risk import names
from tests.gateway.bank import Bank
from tests.gateway.customer import DAY_US, HOME, Customer, customer, play
from tests.gateway.test_pages_in_a_browser import _shown
from tests.gateway.test_signing_in_a_browser import ANNA
from tests.journeys.search import files

KEPT = b"rb:credential:*", b"rb:signed:*", b"rb:duress:*", b"rb:customer:*"


async def _written(bank: Bank, folder: Path) -> House:
    """The house of this gateway, with all its records in a real ledger."""
    made = open_house(folder / "house")
    secrets = replace(made.secrets, edge_key=b"e" * 32, transport_key=b"t" * 32)
    ledger = Ledger(made.data, origin_bank="bank.example", tenant="main", transport_key=b"t" * 32)
    try:
        ledger.append_many(await bank.records())
    finally:
        ledger.close()
    return replace(made, secrets=secrets)


async def _lose(bank: Bank) -> None:
    for pattern in KEPT:
        async for key in bank.redis.scan_iter(match=pattern):
            await bank.redis.delete(key)


def _put_back(house: House, url: str) -> tuple[int, int]:
    with redis.Redis.from_url(url) as client:
        return bindings_back(client, house), signatures_back(client, house)


async def _signed_for(anna: Customer, address: str) -> tuple[str, dict[str, Any]]:
    """A wish for a chat address, and the passkey's signature over it, not yet sent."""
    told = await anna.page.run(
        f"callOwn('/v1/bindings', {orjson.dumps({'kind': 'xmpp', 'address': address}).decode()})"
    )
    ident = told["body"]["id"]
    signature: dict[str, Any] = await anna.page.run(
        f"callOwn('/v1/bindings/{ident}/signing', {{}})"
        ".then((a) => signedOver(a.body.statement, a.body))"
    )
    return ident, signature


async def _send(anna: Customer, ident: str, signature: dict[str, Any]) -> dict[str, Any]:
    body = orjson.dumps({"assertion": signature}).decode()
    told = await anna.page.run(f"callOwn('/v1/bindings/{ident}/approve', {body})")
    found: dict[str, Any] = told["body"]
    return found


def test_after_a_recovery_an_older_counter_and_a_used_signature_are_refused_as_before(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with customer(redis_url, tmp_path) as anna:
            anna.ahead_us = DAY_US + 1_000_000
            await anna.open()
            await anna.page.until(_shown("xmpp"))
            older = await _signed_for(anna, "older@bank.example")
            used = await _signed_for(anna, "used@bank.example")
            waiting = await anna.bank.redis.get(f"rb:binding:{used[0]}")
            assert (await _send(anna, *used))["state"] == "bound"
            [credential] = [one for one in await anna.bound() if one["kind"] == "passkey"]
            before = await anna.bank.redis.hgetall(names.credential(credential["token"]))
            assert int(before[b"count"]) > 1

            house = await _written(anna.bank, tmp_path)
            await _lose(anna.bank)
            assert await anna.bound() == []
            back, signatures = _put_back(house, redis_url)
            assert (back, signatures) == (3, 1)
            after = await anna.bank.redis.hgetall(names.credential(credential["token"]))
            assert after[b"count"] == before[b"count"]
            assert _put_back(house, redis_url) == (0, 0)

            assert (await _send(anna, *older))["why"] == "counter"
            await anna.bank.redis.set(f"rb:binding:{used[0]}", waiting)
            assert (await _send(anna, *used))["why"] == "replayed"
            fresh = await _signed_for(anna, "fresh@bank.example")
            assert (await _send(anna, *fresh))["state"] == "bound"

    play(story)


def test_a_duress_word_comes_back_as_its_keyed_hash_and_a_forgotten_one_stays_forgotten(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with customer(redis_url, tmp_path) as anna:
            for word in ("Starling", "Bluebird", "Bluebird"):
                status, _, _ = await anna.bank.call(
                    "PUT", HOME + "/duress", {"word": word}, role="bank"
                )
                assert status == 200
            kept = await anna.bank.redis.get(names.duress(ANNA))
            said = await anna.said("duress.changed")
            assert [one["body"] for one in said] == [{"state": "set"}] * 2  # said twice: one change
            text = orjson.dumps(said).lower()
            assert b"bluebird" not in text
            assert kept not in text  # the hash is under a seal, for it can be guessed at

            house = await _written(anna.bank, tmp_path)
            await _lose(anna.bank)
            _put_back(house, redis_url)
            assert await anna.bank.redis.get(names.duress(ANNA)) == kept
            for file, held in files(house.data):
                assert b"luebird" not in held, file

            await anna.bank.call("DELETE", HOME + "/duress", role="bank")
            assert (await anna.said("duress.changed"))[-1]["body"] == {"state": "unset"}
            house = await _written(anna.bank, tmp_path)
            await anna.bank.redis.set(names.duress(ANNA), kept)  # a Redis of before
            _put_back(house, redis_url)
            assert await anna.bank.redis.get(names.duress(ANNA)) is None

    play(story)
