"""How the bank says by what a customer is reached."""

import asyncio
from pathlib import Path
from typing import Any

import orjson

from risk import names
from risk.privacy import Tokens, open_sealed
from tests.gateway.bank import running

ANNA: dict[str, Any] = {
    "language": "zh-CN",
    "zone": "Asia/Shanghai",
    "channels": [
        {"kind": "xmpp", "address": "Anna@bank.example", "verified": True},
        {"kind": "web", "verified": True},
    ],
}
TOKENS = Tokens(b"r" * 32, "main")


def test_a_binding_is_sealed_found_by_token_and_on_record(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            status, said, _ = await bank.call("PUT", "/v1/customers/C-1", ANNA, role="bank")
            assert status == 200
            assert [channel["kind"] for channel in said["channels"]] == ["xmpp", "web"]
            customer = TOKENS.token("customer", "C-1")
            kept = orjson.loads(await bank.redis.get(names.customer(customer)))
            assert (kept["language"], kept["zone"]) == ("zh-CN", "Asia/Shanghai")
            sealed = kept["channels"][0]["address"]
            assert open_sealed(b"e" * 32, sealed, b"address") == b"anna@bank.example"
            found = await bank.redis.get(names.jid(TOKENS.token("jid", "anna@bank.example")))
            assert found.decode() == customer
            records = await bank.records()
            assert [record["kind"] for record in records] == ["binding.added", "binding.added"]
            assert b"anna" not in orjson.dumps(records).lower()

    asyncio.run(story())


def test_the_same_again_binds_nothing_anew_and_what_is_not_named_goes(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            _, first, _ = await bank.call("PUT", "/v1/customers/C-1", ANNA, role="bank")
            _, again, _ = await bank.call("PUT", "/v1/customers/C-1", ANNA, role="bank")
            assert first == again  # also since when it is bound
            assert len(await bank.records()) == 2
            moved = {
                **ANNA,
                "channels": [{"kind": "xmpp", "address": "a@bank.example", "verified": True}],
            }
            await bank.call("PUT", "/v1/customers/C-1", moved, role="bank")
            old = names.jid(TOKENS.token("jid", "anna@bank.example"))
            assert await bank.redis.get(old) is None
            told = [r for r in await bank.records() if r["kind"].startswith("binding.")]
            assert sorted(record["kind"] for record in told) == (
                ["binding.added"] * 3 + ["binding.removed"] * 2
            )
            assert [record["body"]["waits"] for record in told] == [
                False,
                False,
                True,
                False,
                False,
            ]

    asyncio.run(story())


def test_an_address_belongs_to_one_customer(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            await bank.call("PUT", "/v1/customers/C-1", ANNA, role="bank")
            status, problem, _ = await bank.call("PUT", "/v1/customers/C-2", ANNA, role="bank")
            assert (status, problem["type"]) == (409, "urn:ringback:problem:bound_elsewhere")
            assert await bank.redis.get(names.customer(TOKENS.token("customer", "C-2"))) is None

    asyncio.run(story())


def test_only_the_bank_binds_and_a_bad_binding_is_refused_by_field(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            assert (await bank.call("PUT", "/v1/customers/C-1", ANNA))[0] == 403
            for change, field in (
                ({"language": "Chinese!"}, "language"),
                ({"zone": "../../etc/passwd"}, "zone"),
                ({"channels": [{"kind": "pigeon"}]}, "channels.0.kind"),
                ({"channels": [{"kind": "xmpp", "address": "a@b.example/phone"}]}, "channels.0"),
                ({"channels": None}, "channels"),
                ({"password": "x"}, "password"),
            ):
                status, problem, _ = await bank.call(
                    "PUT", "/v1/customers/C-1", {**ANNA, **change}, role="bank"
                )
                assert (status, problem["errors"][0]["field"]) == (422, field)
            assert not await bank.records()

    asyncio.run(story())
