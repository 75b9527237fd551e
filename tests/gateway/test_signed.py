"""What a device key signs goes to the customer's shard; and who was handed an outcome is known."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from joserfc.jwk import ECKey

from risk import names, signed
from risk.privacy import Tokens, open_sealed
from tests.gateway.asking import ask, end
from tests.gateway.bank import Bank, payment, running

ANNA = Tokens(b"r" * 32, "main").token("customer", "C-1")
WHERE = "/v1/challenges/ch_1/signed"
PAYEE = {"name": "ACME Trading", "account": "6222020000000000001"}


async def _enrolled(bank: Bank, made: Any) -> str:
    wanted = {"kind": "device", "key": made.as_dict(private=False), "factor": "app_login"}
    where = "/v1/customers/C-1/bindings"
    status, told, _ = await bank.call("POST", where, wanted, role="bank")
    assert status == 201
    return str(told["token"])


async def _refusals(bank: Bank) -> list[str]:
    records = [r for r in await bank.records() if r["kind"] == "answer"]
    return [r["body"]["why"] for r in records if r["body"].get("taken") is False]


@pytest.mark.usefixtures("settles")
def test_a_device_s_signature_needs_no_cookie_and_is_used_once(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            made = ECKey.generate_key("P-256")
            kid = await _enrolled(bank, made)
            question = await ask(bank, customer=ANNA)
            facts = signed.question(question, PAYEE)
            said = signed.statement(facts, "confirm", None)
            compact = signed.sign_jws(made, kid, said)
            sending = asyncio.create_task(bank.call("POST", WHERE, {"jws": compact}, role=None))
            await bank.until(names.ANSWERS, 1)
            await end(bank, question, "confirmed", "approve")
            status, told, _ = await sending
            assert (status, told["state"]) == (200, "confirmed")
            [answer] = await bank.entries(names.ANSWERS)
            assert (answer["layer"], answer["channel"]) == ("A", "app")
            assert (answer["strength"], answer["decision"]) == ("signed", "confirm")
            assert answer["binding"]["id"] == f"device/{kid}"
            record = next(r for r in await bank.records() if r["kind"] == "answer")
            kept = open_sealed(b"t" * 32, record["personal"]["jws"]["sealed"], b"jws").decode()
            enrolled = next(r for r in await bank.records() if r["kind"] == "credential.enrolled")
            body = enrolled["body"]
            der = signed.unb64(body["public_key"])
            assert signed.check_jws(kept, body["algorithm"], der)[0] == said  # checked again
            head, _, tail = compact.split(".")
            for again in (compact, f"{head}..{tail}"):  # also without the statement
                status, problem, _ = await bank.call("POST", WHERE, {"jws": again}, role=None)
                assert (status, problem["why"]) == (403, "replayed")
            assert await _refusals(bank) == ["replayed"] * 2

    asyncio.run(story())


def test_each_way_to_bend_a_device_s_signature_is_refused_by_name(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            made, stranger = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
            kid = await _enrolled(bank, made)
            question = await ask(bank, customer=ANNA)
            facts = signed.question(question, PAYEE)

            def sign(decision: str = "confirm", key: Any = made, **changed: Any) -> str:
                said = signed.statement({**facts, **changed}, decision, None)
                return signed.sign_jws(key, kid, said)

            head, _, tail = sign().split(".")
            turned = signed.b64(signed.statement(facts, "deny", None))
            bent = (
                (sign(amount="1.00"), "amount"),
                (sign(payee="Eve"), "payee"),
                (sign(payee_account="0"), "payee"),
                (sign(id="ch_2"), "other_challenge"),
                (sign(nonce="ff"), "nonce"),
                (sign("maybe"), "decision"),
                (sign(extra="x"), "edited"),
                (f"{head}.{turned}.{tail}", "edited"),
                (f"{head}..{sign(amount='1.00').split('.')[2]}", "edited"),
                (sign(key=stranger), "edited"),
                (signed.sign_jws(made, "dk_none", b"{}"), "credential"),
                ("no jws", "edited"),
            )
            for compact, why in bent:
                status, problem, _ = await bank.call("POST", WHERE, {"jws": compact}, role=None)
                assert (status, problem["why"]) == (403, why)
            assert await _refusals(bank) == [why for _, why in bent]
            assert await bank.entries(names.ANSWERS) == []
            # Unbound, it signs nothing more.
            gone = f"/v1/customers/C-1/bindings/device/{kid}"
            assert (await bank.call("DELETE", gone, role="bank"))[0] == 200
            status, problem, _ = await bank.call("POST", WHERE, {"jws": sign()}, role=None)
            assert (status, problem["why"]) == (403, "credential")

    asyncio.run(story())


def test_what_floods_with_bad_signatures_fills_no_ledger(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            await ask(bank, customer=ANNA)
            for number in range(60):
                status, _, _ = await bank.call("POST", WHERE, {"jws": f"no{number}"}, role=None)
                assert status == 403
            assert len(await _refusals(bank)) == 50
            [alert] = await bank.entries(names.ALERTS)  # and wakes the officers once
            assert (alert["event"], alert["kind"]) == ("pay-1", "signature")

    asyncio.run(story())


def test_who_is_handed_an_outcome_is_marked_and_an_officer_s_look_is_not(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            bank.flow.decide = lambda event: {
                "event": event["id"],
                "decision": "challenge",
                "score": 900,
            }
            for name in ("pay-1", "pay-2", "pay-3"):
                await bank.post(payment(name))
            for name in ("pay-1", "pay-2"):
                question = await ask(bank, f"ch_{name}", event=name)
                await end(bank, question, "confirmed", "approve")
                where = f"/v1/decisions/{name}"
                _, told, _ = await bank.call("GET", where, role="officer")
                assert told["outcome"]["state"] == "confirmed"
                assert await bank.redis.get(names.fetched(name)) is None
            _, told, _ = await bank.call("GET", "/v1/decisions/pay-1", role="bank")
            assert told["outcome"]["state"] == "confirmed"
            _, again = await bank.post(payment("pay-2", time=await _time_of(bank, "pay-2")))
            assert again["outcome"]["state"] == "confirmed"
            await bank.call("GET", "/v1/decisions/pay-3", role="bank")  # has no outcome yet
            marks = [await bank.redis.get(names.fetched(f"pay-{number}")) for number in (1, 2, 3)]
            assert marks == [b"1", b"1", None]

    asyncio.run(story())


async def _time_of(bank: Bank, name: str) -> str:
    found = [one["event"]["time"] for one in await bank.events() if one["event"]["id"] == name]
    return str(found[0])


@pytest.mark.usefixtures("settles")
def test_under_duress_the_customer_s_calls_say_what_they_always_say(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        from tests.gateway.test_challenges import BASE, Browser

        async with running(redis_url, tmp_path) as bank:
            told = []
            for number, decision in enumerate(("approve", "review")):
                async with Browser(bank) as browser:
                    question = await ask(bank, event=f"pay-{number}")
                    await bank.redis.delete("rb:web:ch_1", "rb:web:given:ch_1")
                    await browser.open()
                    ending = asyncio.create_task(
                        browser.post(BASE + "/answer", {"decision": "confirm"})
                    )
                    await bank.until(names.ANSWERS, number + 1)
                    await end(bank, question, "confirmed", decision)
                    seen = [await ending, await browser.get()]
                    seen.append(await browser.post(BASE + "/answer", {"decision": "confirm"}))
                    for _, body in seen:
                        body["at"] = ""
                    told.append(orjson.dumps(seen))
            assert told[0] == told[1]
            assert b"review" not in told[0]

    asyncio.run(story())
