"""Redis loses its file: Ringback won't start, says why, and puts back what the ledger knows."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from joserfc.jwk import ECKey

from risk import names
from risk.privacy import open_sealed
from tests.journeys.house import Bank, House, bank_of, tell
from tests.patience import PATIENCE

PEOPLE = ("kim", "leo")


def reconciled(house: House) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "audit", "reconcile", "--data", str(house.data),
         "--json"],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


async def bind_much(bank: Bank) -> None:
    """Kim changes languages, gets a key and two numbers and loses one, which is Leo's by now."""
    numbers = ["+8613800138001", "+8613800138002"]
    chat = {"kind": "xmpp", "address": "kim@localhost", "verified": True}
    texts = [{"kind": "sms", "address": number, "verified": True} for number in numbers]
    for language, channels in (("en", [chat, *texts]), ("zh-CN", [chat, texts[0]])):
        await put(bank, "kim", {"language": language, "zone": "Asia/Shanghai"}, channels)
    await put(bank, "kim", {"language": "zh-CN", "zone": "Europe/Paris"}, [chat, texts[0]])
    await put(bank, "leo", {"language": "en", "zone": "UTC"}, [texts[1]])
    key = ECKey.generate_key("P-256").as_dict(private=False)
    wanted = {"kind": "device", "key": key, "name": "phone", "factor": "app_login"}
    where = "/v1/customers/kim/bindings"
    async with bank.http.post(where, json=wanted, headers=bank.headers("bank")) as answer:
        assert answer.status == 201, await answer.text()


async def put(bank: Bank, name: str, said: dict[str, Any], channels: list[Any]) -> None:
    body = {**said, "channels": channels}
    where = f"/v1/customers/{name}"
    async with bank.http.put(where, json=body, headers=bank.headers("bank")) as answer:
        assert answer.status == 200, await answer.text()


async def bound(bank: Bank) -> dict[str, Any]:
    """What is bound to whom, as the bank is told."""
    found = {}
    for name in PEOPLE:
        where = f"/v1/customers/{name}/bindings"
        async with bank.http.get(where, headers=bank.headers("bank")) as answer:
            found[name] = (await answer.json())["bindings"]
    return found


async def reached(bank: Bank) -> dict[str, Any]:
    """How each is spoken to, at which addresses, and whose each address is."""
    secrets, found = bank.house.opened.secrets, {}
    for name in PEOPLE:
        kept = json.loads(await bank.redis.get(names.customer(bank.token(name))))
        for one in kept["channels"]:
            one["address"] = open_sealed(secrets.edge_key, one["address"], b"address").decode()
            owner = await bank.redis.get(names.jid(one["token"]))
            assert owner.decode() == bank.token(name)
        found[name] = kept
    return found


def test_a_lost_redis_is_refused_by_name_and_put_back_from_the_ledger(tmp_path: Path) -> None:
    house = House(tmp_path / "house", answer_within=600)
    events: dict[str, dict[str, Any]] = {}
    bindings: dict[str, Any] = {}
    customers: dict[str, Any] = {}

    async def before() -> None:
        async with bank_of(house) as bank:
            await bind_much(bank)
            bindings.update(await bound(bank))
            customers.update(await reached(bank))
            assert [len(bindings[one]) for one in PEOPLE] == [3, 1]
            await bank.introduce("dora", "web")
            events["small"] = await bank.pay("dora", amount="20.00", payee={"account": "SHOP"})
            events["asked"] = await bank.asked("dora")
            events["ended"] = await bank.asked("eli")
            outcome = await bank.outcome(events["ended"]["event"])  # nobody can be reached
            assert outcome["state"] == "unreachable"
            await bank.recorded(events["asked"]["event"], "challenge.created")
            await bank.recorded(events["small"]["event"], "case.closed")
        status, found = reconciled(house)
        assert found["missing"] == []
        assert status == 0
        assert found["counted"]["redis"]["decided"] == found["counted"]["ledger"]["decided"] == 5

    async def after() -> None:
        async with bank_of(house) as bank:
            assert await bound(bank) == bindings
            assert await reached(bank) == customers
            for name in ("small", "asked"):
                told = await bank.decision(events[name]["event"])
                for field in ("decision", "score", "reasons", "policy_sha256", "decided"):
                    assert told[field] == events[name][field]
            ended = await bank.decision(events["ended"]["event"])
            assert ended["outcome"]["state"] == "unreachable"
            # The question is open again; an answer counts, and the money does not move.
            page = await bank.page(events["asked"]["challenge"]["id"])
            status, shown = await page.look()
            assert (status, shown["payee"]["name"]) == (200, "ACME Trading")
            assert (await page.press("deny", "not_me"))[0] in (200, 202)
            outcome = await bank.outcome(events["asked"]["event"])
            assert (outcome["state"], outcome["decision"]) == ("denied", "decline")
            await bank.recorded(events["asked"]["event"], "case.closed")
            assert (await bank.pay("dora", amount="21.00"))["decision"] == "approve"
        status, found = reconciled(house)
        assert found["missing"] == []
        assert status == 0

    async def one_key_lost() -> None:
        async with bank_of(house) as bank:
            await bank.redis.delete(names.decision(events["small"]["event"]))
            await bank.redis.set(names.accepted("never-recorded"), "x")
        status, found = reconciled(house)
        assert status == 1
        assert [(one["step"], one["name"]) for one in found["missing"]] == [
            ("accepted", "never-recorded"),
            ("decided", events["small"]["event"]),
        ]

    try:
        house.start()
        tell(before())
        house.end()
        for file in (house.data / "redis").glob("*.aof*"):
            file.unlink()
        shutil.rmtree(house.data / "redis" / "appendonlydir", ignore_errors=True)
        line = [sys.executable, "-m", "flows.cli", "run", "--data", str(house.data)]
        refused = subprocess.run(
            [*line, "--http", "127.0.0.1:0"],
            capture_output=True, text=True, timeout=2 * PATIENCE, check=False,
        )  # fmt: skip
        assert refused.returncode == 2
        assert "RedisBehindLedger" in refused.stderr
        assert "--recover-from-ledger" in refused.stderr
        assert "Traceback" not in refused.stderr
        house.start("--recover-from-ledger")
        tell(after())
        tell(one_key_lost())
        assert (house.data / "cut.lost-1").is_dir()
    finally:
        house.end()
    assert house.verify() == 3
    # A start after that needs no help.
    try:
        house.start()
    finally:
        house.end()
