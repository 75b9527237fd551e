"""Nothing of another's is shown before the reading of it is durably on record."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from risk import names
from tests.gateway.bank import BEARERS, Bank, payment, running
from tests.patience import PATIENCE

SOME = ("pay-1", "pay-2", "pay-3")


class OnePlace:
    """A ledger that holds each decision at a place made of its name."""

    def head(self) -> None:
        return None

    def event_records(self, event: str) -> Sequence[dict[str, Any]]:
        return ()

    def proof(self, origin: str, index: int) -> str:
        return f"proof of {index}"

    def leaf_and_proof(self, origin: str, index: int) -> tuple[bytes, str]:
        return b'{"kind":"decision"}', self.proof(origin, index)

    def receipt(self, event: str) -> dict[str, Any]:
        return {"origin": "bank.example/ringback/main/rc10y/2026", "index": len(event)}


async def readings(bank: Bank) -> list[dict[str, Any]]:
    return [one for one in await bank.records() if one["kind"] == "access.read"]


def paths(name: str) -> dict[str, str]:
    """What an officer may ask for, and what the record of it is about."""
    return {
        f"/v1/decisions/{name}": "decision",
        f"/v1/decisions/{name}?include=features": "decision",
        f"/v1/decisions/{name}/proof": "proof",
        f"/v1/live/{name}": "decision",
        f"/v1/proof?origin=a&index={len(name)}": "proof",
    }


def test_there_are_as_many_records_of_reading_as_readings(redis_url: str, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)

    async def story() -> None:
        async with running(redis_url, tmp_path, ports={"ledger": OnePlace()}) as bank:
            for name in SOME:
                await bank.post(payment(name))
            wanted: dict[str, int] = {}
            for _ in range(120):
                which = chance.choice([*SOME, "never-was"])
                path, what = chance.choice(list(paths(which).items()))
                status, _, _ = await bank.call("GET", path, role="officer")
                assert status in (200, 404), f"seed {seed}: {path} {status}"
                if status == 200:
                    wanted[what] = wanted.get(what, 0) + 1
            # Own machines read what is theirs, and are not put on record for it.
            assert (await bank.call("GET", "/v1/decisions/pay-1", role="bank"))[0] == 200
            found: dict[str, int] = {}
            for one in await readings(bank):
                found[one["body"]["what"]] = found.get(one["body"]["what"], 0) + 1
                assert one["actor"] == {"type": "service", "id": "caller.officer",
                                        "role": "officer"}  # fmt: skip
            missed = found.pop("proof", 0) - wanted.pop("proof", 0)
            assert found == wanted, f"seed {seed}"
            # A proof that was asked for and was not there was on record all the same.
            assert missed >= 0, f"seed {seed}"

    asyncio.run(story())


def test_a_reading_waits_until_its_record_is_durable(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path, writes=False) as bank:
            await bank.post(payment("pay-1"))
            asked = asyncio.create_task(bank.call("GET", "/v1/live/pay-1", role="officer"))
            async with asyncio.timeout(PATIENCE):
                while not await readings(bank):  # noqa: ASYNC110 - a real Redis tells nobody
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            assert not asked.done()
            info = await bank.redis.xinfo_stream(names.AUDIT)
            await bank.redis.set(names.AUDIT_DURABLE, info["last-generated-id"])
            assert (await asked)[0] == 200

    asyncio.run(story())


def test_without_a_ledger_nothing_is_read_and_decisions_go_on(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path, writes=False, page=True) as bank:
            assert (await bank.post(payment("pay-1")))[0] == 200
            for role, path in (
                ("officer", "/v1/decisions/pay-1"),
                ("officer", "/v1/live/pay-1"),
                ("officer", "/v1/stream"),
                (None, "/v1/stream?view=page"),
            ):
                status, problem, _ = await bank.call("GET", path, role=role)
                assert status == 503, path
                assert problem["type"] == "urn:ringback:problem:away"
            assert (await bank.post(payment("pay-2")))[0] == 200
            assert (await bank.call("GET", "/v1/decisions/pay-2", role="bank"))[0] == 200

    asyncio.run(story())


def test_the_caller_gets_a_receipt_and_the_files_of_the_proof(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path, ports={"ledger": OnePlace()}) as bank:
            await bank.post(payment("pay-1"))
            _, decision, _ = await bank.call("GET", "/v1/decisions/pay-1")
            assert decision["receipt"] == {"origin": "bank.example/ringback/main/rc10y/2026",
                                           "index": 5}  # fmt: skip
            _, told, _ = await bank.call("GET", "/v1/decisions/pay-1/proof")
            assert told["receipt"] == decision["receipt"]
            headers = {"Authorization": f"Bearer {BEARERS['bank']}"}
            async with aiohttp.ClientSession(headers=headers) as http:
                for part, wanted in (("leaf", told["leaf"]), ("proof", told["proof"])):
                    url = f"{bank.url}/v1/decisions/pay-1/proof?part={part}"
                    async with http.get(url) as answer:
                        assert (answer.status, await answer.text()) == (200, wanted)
            assert (await bank.call("GET", "/v1/decisions/pay-1/proof?part=x"))[0] == 400
            assert (await bank.call("GET", "/v1/decisions/pay-1/proof", role=None))[0] == 401

    asyncio.run(story())
