"""Who may bind what to a customer, who is told, and what an attacker at the bank can't do alone."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from joserfc.jwk import ECKey, OKPKey

from risk import events, names, signed
from risk.privacy import Tokens, canonical, open_sealed
from tests.gateway.bank import Bank, running

TOKENS = Tokens(b"r" * 32, "main")
ANNA = TOKENS.token("customer", "C-1")
HOME = "/v1/customers/C-1"
FIRST: dict[str, Any] = {
    "language": "en",
    "zone": "Asia/Shanghai",
    "channels": [{"kind": "xmpp", "address": "anna@bank.example", "verified": True}],
}


async def _call(
    bank: Bank, method: str, path: str, body: Any = None, role: str | None = "bank"
) -> Any:
    status, told, _ = await bank.call(method, path, body, role=role)
    return status, told


async def _told(bank: Bank) -> list[dict[str, Any]]:
    return await bank.entries(names.TELLINGS)


async def _kinds(bank: Bank) -> list[str]:
    return [record["kind"] for record in await bank.records()]


def _device(made: Any, **other: Any) -> dict[str, Any]:
    return {"kind": "device", "key": made.as_dict(private=False), "name": "phone", **other}


def test_what_the_bank_says_first_waits_for_nothing_and_tells_nobody(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            _, said = await _call(bank, "PUT", HOME, FIRST)
            assert [one["waits"] for one in said["channels"]] == [False]
            assert await _told(bank) == []
            assert await bank.events() == []

    asyncio.run(story())


def test_a_later_channel_waits_is_an_event_and_is_told_to_the_older_ones(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            await _call(bank, "PUT", HOME, FIRST)
            wanted = {"kind": "xmpp", "address": "anna2@bank.example", "factor": "app_login"}
            status, said = await _call(bank, "POST", HOME + "/bindings", wanted)
            assert (status, said["state"], said["waits"]) == (201, "bound", True)
            kept = orjson.loads(await bank.redis.get(names.customer(ANNA)))
            assert [one["waits"] for one in kept["channels"]] == [False, True]
            assert kept["channels"][1]["token"] == said["token"]
            [telling] = await _told(bank)
            assert (telling["added"], telling["removed"]) == (["xmpp"], [])
            [to] = telling["to"]  # the older one, and not the new one
            assert open_sealed(b"e" * 32, to["address"], b"address") == b"anna@bank.example"
            [event] = await bank.events()
            assert (event["event"]["type"], event["event"]["change"]) == ("account_change", "jid")
            assert event["event"]["customer"] == ANNA

    asyncio.run(story())


def test_the_bank_s_word_for_how_long_it_knows_a_channel_counts(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            await _call(bank, "PUT", HOME, FIRST)
            long_ago = (datetime.now(UTC) - timedelta(days=400)).isoformat()
            ahead = (datetime.now(UTC) + timedelta(days=4)).isoformat()
            for since in (long_ago, ahead):
                more = {"kind": "web", "verified": True, "since": since}
                body = {**FIRST, "channels": [*FIRST["channels"], more]}
                _, said = await _call(bank, "PUT", HOME, body)
                bound = events.parse_us(said["channels"][1]["bound"])
                assert bound == min(events.parse_us(since), bound)
                assert bound <= events.micros(datetime.now(UTC))  # never ahead of now
                await _call(bank, "PUT", HOME, FIRST)

    asyncio.run(story())


def test_an_officer_binds_nothing_alone(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            await _call(bank, "PUT", HOME, FIRST)
            wanted = {"kind": "xmpp", "address": "eve@bank.example", "staff": "S-1"}
            status, said = await _call(bank, "POST", HOME + "/bindings", wanted, role="officer")
            assert (status, said["state"]) == (202, "waiting")
            approve = f"/v1/bindings/{said['id']}/approve"
            status, problem = await _call(bank, "POST", approve, {"staff": "S-1"}, role="officer")
            assert (status, problem["type"]) == (403, "urn:ringback:problem:not_enough")
            assert problem["needs"] == "another person or an existing factor"
            kept = orjson.loads(await bank.redis.get(names.customer(ANNA)))
            assert len(kept["channels"]) == 1
            denied = [r for r in await bank.records() if r["kind"] == "access.denied"]
            assert [r["body"]["what"] for r in denied] == ["same_person"]

            status, said = await _call(bank, "POST", approve, {"staff": "S-2"}, role="officer")
            assert (status, said["state"], said["waits"]) == (201, "bound", True)
            added = [r for r in await bank.records() if r["kind"] == "binding.added"][-1]
            assert added["actor"] == {"type": "person", "id": "S-2", "role": "officer"}
            again, _ = await _call(bank, "POST", approve, {"staff": "S-3"}, role="officer")
            assert again == 409

    asyncio.run(story())


@pytest.mark.parametrize(
    ("role", "wanted", "field"),
    [
        ("bank", {"kind": "web"}, "factor"),
        ("officer", {"kind": "web", "factor": "app_login"}, "staff"),
        ("officer", {"kind": "web", "staff": "two words"}, "staff"),
        ("bank", {"kind": "pigeon", "factor": "app"}, "kind"),
        ("bank", {"kind": "xmpp", "address": "nobody", "factor": "app"}, "address"),
        ("bank", {"kind": "device", "key": {"kty": "oct", "k": "AA"}, "factor": "app"}, "key"),
        ("bank", {"kind": "push", "address": "https://push.example/1", "factor": "a"}, "address"),
        (
            "bank",
            {
                "kind": "push",
                "address": "https://127.0.0.1/inside",
                "keys": {"p256dh": "A" * 87, "auth": "A" * 22},
                "factor": "app",
            },
            "address",
        ),
    ],
)
def test_a_binding_without_a_word_for_it_is_refused_by_field(
    redis_url: str, tmp_path: Path, role: str, wanted: dict[str, Any], field: str
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            status, problem = await _call(bank, "POST", HOME + "/bindings", wanted, role=role)
            assert (status, problem["errors"][0]["field"]) == (422, field)
            assert await bank.records() == []

    asyncio.run(story())


def test_machines_that_send_events_bind_nothing(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            wanted = {"kind": "web", "factor": "x"}
            for role, status in (("ingest", 403), (None, 401)):
                assert (await _call(bank, "POST", HOME + "/bindings", wanted, role))[0] == status
                assert (await _call(bank, "GET", HOME + "/bindings", None, role))[0] == status
                assert (await _call(bank, "PUT", HOME + "/duress", {"word": "bird"}, role))[
                    0
                ] == status
            assert (await _call(bank, "POST", HOME + "/unfreeze", {}, "officer"))[0] == 403

    asyncio.run(story())


def test_a_device_key_is_enrolled_and_old_enough_it_stands_for_a_second_person(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        now = [events.micros(datetime.now(UTC))]
        async with running(redis_url, tmp_path, ports={"clock": lambda: now[0]}) as bank:
            await _call(bank, "PUT", HOME, FIRST)
            made = OKPKey.generate_key("Ed25519")
            wanted = _device(made, factor="app_login")
            status, said = await _call(bank, "POST", HOME + "/bindings", wanted)
            assert (status, said["state"], said["waits"]) == (201, "bound", True)
            key = said["token"]
            enrolled = [r for r in await bank.records() if r["kind"] == "credential.enrolled"]
            assert enrolled[0]["body"]["credential"] == key
            assert [one["added"] for one in await _told(bank)] == [["device"]]
            again, problem = await _call(bank, "POST", HOME + "/bindings", wanted)
            assert (again, problem["type"]) == (409, "urn:ringback:problem:bound_elsewhere")

            asked = {"kind": "web", "staff": "S-1"}
            _, said = await _call(bank, "POST", HOME + "/bindings", asked, role="officer")
            approve = f"/v1/bindings/{said['id']}/approve"
            right = canonical({"approve": said["id"], "kind": "web"})
            stranger = signed.sign_jws(OKPKey.generate_key("Ed25519"), key, right)
            for compact, why in (
                (signed.sign_jws(made, "dk_other", right), "credential"),
                (stranger, "edited"),
                (
                    signed.sign_jws(made, key, canonical({"approve": "bn_1", "kind": "web"})),
                    "edited",
                ),
            ):
                status, problem = await _call(bank, "POST", approve, {"jws": compact}, role=None)
                assert (status, problem["why"]) == (403, why)
            good = {"jws": signed.sign_jws(made, key, right)}
            status, problem = await _call(bank, "POST", approve, good, role=None)
            assert (status, problem["type"]) == (403, "urn:ringback:problem:fresh_binding")
            now[0] += 24 * 3_600_000_000
            await bank.redis.expire(f"rb:binding:{said['id']}", 600)
            status, said = await _call(bank, "POST", approve, good, role=None)
            assert (status, said["state"]) == (201, "bound")

    asyncio.run(story())


def test_unbinding_is_on_record_told_to_what_goes_too_and_shown_no_more(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            await _call(bank, "PUT", HOME, FIRST)
            wanted = _device(ECKey.generate_key("P-256"), factor="app_login")
            await _call(bank, "POST", HOME + "/bindings", wanted)
            _, shown = await _call(bank, "GET", HOME + "/bindings")
            assert [one["kind"] for one in shown["bindings"]] == ["xmpp", "device"]
            for one in reversed(shown["bindings"]):
                where = f"{HOME}/bindings/{one['kind']}/{one['token']}"
                assert (await _call(bank, "DELETE", where, role="officer"))[0] == 422
                assert (await _call(bank, "DELETE", where + "?staff=S-9", role="officer"))[0] == 200
                assert (await _call(bank, "DELETE", where))[0] == 404
            _, shown = await _call(bank, "GET", HOME + "/bindings", role="officer")
            assert shown == {"bindings": []}
            assert (await _kinds(bank)).count("binding.removed") == 2
            assert (await _kinds(bank))[-1] == "access.read"
            told = await _told(bank)
            assert [one["removed"] for one in told] == [[], ["device"], ["xmpp"]]
            assert all(one["to"] for one in told)  # the chat address hears that it goes
            changes = [one["event"]["change"] for one in await bank.events()]
            assert sorted(changes) == ["credential", "credential", "jid"]
            jid = names.jid(TOKENS.token("jid", "anna@bank.example"))
            assert await bank.redis.get(jid) is None

    asyncio.run(story())


def test_a_duress_word_is_kept_as_a_keyed_hash_alone(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            assert (await _call(bank, "PUT", HOME + "/duress", {"word": "Bluebird"}))[0] == 200
            kept = await bank.redis.get(names.duress(ANNA))
            assert kept.decode() == TOKENS.token("duress", f"{ANNA}\0bluebird")
            keys = await bank.redis.keys("*")
            for key in keys:
                assert b"luebird" not in await bank.redis.dump(key)
            assert (await _call(bank, "PUT", HOME + "/duress", {"word": "two words"}))[0] == 422
            await _call(bank, "DELETE", HOME + "/duress")
            assert await bank.redis.get(names.duress(ANNA)) is None

    asyncio.run(story())


def test_anybody_at_the_bank_freezes_and_its_system_lifts_it(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            assert (await _call(bank, "POST", HOME + "/freeze", {}, "officer"))[0] == 202
            assert (await _call(bank, "POST", HOME + "/unfreeze", {}))[0] == 202
            said = await bank.entries(names.ANSWERS)
            assert [(one["kind"], one["customer"]) for one in said] == [
                ("freeze", ANNA),
                ("unfreeze", ANNA),
            ]

    asyncio.run(story())
