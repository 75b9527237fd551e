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


def with_phone(**more: Any) -> dict[str, Any]:
    return {**ANNA, "channels": [{**ANNA["channels"][0], **more}]}


def test_an_own_clients_key_is_kept_and_another_one_is_a_new_binding(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            where, one, other = "/v1/customers/C-1", "A" * 42 + "E", "B" * 42 + "E"
            _, first, _ = await bank.call("PUT", where, with_phone(seal_to=one), role="bank")
            _, again, _ = await bank.call("PUT", where, with_phone(seal_to=one), role="bank")
            assert first == again
            (added,) = await bank.records()
            assert added["body"]["seal_to"] == one
            await bank.call("PUT", where, with_phone(seal_to=other), role="bank")
            added = [r for r in await bank.records() if r["kind"].startswith("binding.")][-1]
            assert (added["kind"], added["body"]["seal_to"]) == ("binding.added", other)
            assert added["body"]["waits"], "a new key denies at once and confirms nothing yet"
            kept = orjson.loads(
                await bank.redis.get(names.customer(TOKENS.token("customer", "C-1")))
            )
            assert kept["channels"][0]["seal_to"] == other
            for channel in (
                {"seal_to": "short"},
                {"seal_to": "!" * 43},
                {"kind": "web", "seal_to": one},
            ):
                status, said, _ = await bank.call("PUT", where, with_phone(**channel), role="bank")
                assert status == 422, said

    asyncio.run(story())


def test_a_withdrawn_consent_is_kept_and_on_record_and_binds_nothing_anew(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            where, agreed = "/v1/customers/C-1", {"id": "agreement-7"}
            _, first, _ = await bank.call("PUT", where, with_phone(consent=agreed), role="bank")
            gone = with_phone(consent={**agreed, "state": "withdrawn"})
            _, second, _ = await bank.call("PUT", where, gone, role="bank")
            assert first == second, "it is bound since the same time"
            records = await bank.records()
            assert [record["kind"] for record in records] == [
                "binding.added",
                "consent.changed",
                "consent.changed",
            ]
            assert records[-1]["body"]["consent"] == {"id": "agreement-7", "state": "withdrawn"}
            kept = orjson.loads(
                await bank.redis.get(names.customer(TOKENS.token("customer", "C-1")))
            )
            assert kept["channels"][0]["consent"]["state"] == "withdrawn"

    asyncio.run(story())
