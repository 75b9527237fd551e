"""A passkey in a real Chromium, and what becomes of a signature that is not over this question.

The authenticator is Chromium's own virtual one; the page is opened as ``localhost``, because an IP
address is no RP id.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from risk import names, signed
from risk.privacy import Tokens, open_sealed, seal
from risk.signed import Unsigned
from tests.gateway.asking import ask, end, link_token
from tests.gateway.bank import Bank, running
from tests.gateway.chromium import Page, chromium
from tests.gateway.test_pages_in_a_browser import _picture, _shown, _text

ANNA = Tokens(b"r" * 32, "main").token("customer", "C-1")


class Signer:
    """A bank, and a customer with a passkey on the bank's page."""

    def __init__(self, bank: Bank, page: Page) -> None:
        self.bank, self.page = bank, page
        self.origin = bank.url.replace("127.0.0.1", "localhost")

    async def authenticator(self) -> None:
        """Plug the virtual authenticator in; its user is always there and verified."""
        await self.page.send("WebAuthn.enable", enableUI=False)
        await self.page.send(
            "WebAuthn.addVirtualAuthenticator",
            options={
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            },
        )

    async def enrol(self) -> dict[str, Any]:
        """Make a passkey by a link of the bank's; gives the link's answer."""
        wanted = {"kind": "passkey", "factor": "app_login"}
        where = "/v1/customers/C-1/bindings"
        status, told, _ = await self.bank.call("POST", where, wanted, role="bank")
        assert (status, told["state"]) == (201, "open")
        await self.page.open(self.origin + told["link"])
        await self.page.until(_shown("make"))
        await _picture(self.page, "enrol")
        await self.page.run("document.getElementById('make').click()")
        await self.page.until(f"{_text('title')} === 'Your passkey is ready'")
        assert await self.page.run("location.hash") == ""
        found: dict[str, Any] = told
        return found

    async def question(self, challenge: str = "ch_1", **other: Any) -> dict[str, Any]:
        """Ask a question that must be signed, and open its page."""
        known = {"customer": ANNA, "must_sign": True, "event": f"pay-{challenge}"}
        asked = await ask(self.bank, challenge, **{**known, **other})
        await self.page.open(f"{self.origin}/c/{challenge}#{link_token(challenge)}")
        await self.page.until(_shown("confirm"))
        return asked

    async def signature(self, decision: str = "confirm") -> dict[str, Any]:
        """What the page would send: the assertion alone, captured before it is sent."""
        found: dict[str, Any] = await self.page.run(f"signed('{decision}')")
        return found

    async def send(self, challenge: str = "ch_1", **body: Any) -> tuple[int, dict[str, Any]]:
        """Send an answer from within the page, as an attacker with its session would."""
        script = (
            f"fetch('/v1/challenges/{challenge}/answer', {{method: 'POST',"
            " headers: {'Content-Type': 'application/json'},"
            f" body: {orjson.dumps(orjson.dumps(body).decode()).decode()}}})"
            ".then(async (a) => [a.status, await a.json()])"
        )
        status, told = await self.page.run(script)
        return status, told

    async def refusals(self) -> list[str]:
        """Why answers were refused, as it stands on record."""
        return [
            record["body"]["why"]
            for record in await self.bank.records()
            if record["kind"] == "answer" and record["body"].get("taken") is False
        ]


@contextlib.asynccontextmanager
async def signer(redis_url: str, folder: Path) -> AsyncIterator[Signer]:
    async with running(redis_url, folder) as bank, chromium(folder) as page:
        one = Signer(bank, page)
        await page.open(one.origin + "/c/none")
        await one.authenticator()
        yield one


async def _end_after(bank: Bank, question: dict[str, Any], answers: int = 1) -> None:
    await bank.until(names.ANSWERS, answers)
    await end(bank, question, "confirmed", "approve")


def test_a_confirm_is_signed_on_the_page_and_checked_again_from_the_record_alone(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with signer(redis_url, tmp_path) as anna:
            bank, page = anna.bank, anna.page
            await page.shape(420, 760)
            await anna.enrol()
            question = await anna.question()
            assert "passkey" in await page.run(_text("hint"))
            await _picture(page, "challenge-must-sign")
            ending = asyncio.create_task(_end_after(bank, question))
            await page.run("document.getElementById('confirm').click()")
            await page.until(f"{_text('message-title')} === 'Confirmed'")
            await ending
            [answer] = await bank.entries(names.ANSWERS)
            assert (answer["layer"], answer["strength"]) == ("A", "signed")
            assert (answer["decision"], answer["reason"]) == ("confirm", None)
            assert answer["binding"]["id"].startswith("passkey/")
            assert answer["binding"]["waits"] is False  # the first that was ever bound
            assert not [c for c in page.complaints if "Content Security Policy" in c]

            # Years later, with nothing but the two records and the statement:
            records = await bank.records()
            enrolled = next(r for r in records if r["kind"] == "credential.enrolled")["body"]
            record = next(r for r in records if r["kind"] == "answer")
            assert enrolled["credential"] == record["body"]["credential"]
            said = open_sealed(b"t" * 32, record["personal"]["statement"]["sealed"], b"statement")
            der = signed.unb64(enrolled["public_key"])
            load_der_public_key(der)
            known = {"origin": anna.origin, "rp_id": "localhost"}
            facts = signed.check_assertion(record["body"], said, der, **known)
            assert (facts["amount"], facts["payee"]) == ("9800.00", "ACME Trading")
            assert (facts["decision"], facts["id"]) == ("confirm", "ch_1")
            for lie in (
                signed.statement({**facts, "amount": "1.00"}, "confirm", None),
                signed.statement({**facts, "payee": "Eve"}, "confirm", None),
                signed.statement(facts, "deny", None),
            ):
                with pytest.raises(Unsigned):
                    signed.check_assertion(record["body"], lie, der, **known)

    asyncio.run(story())


@pytest.mark.usefixtures("settles")
def test_each_signature_that_is_not_one_over_this_question_is_refused_and_on_record(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with signer(redis_url, tmp_path) as anna:
            bank = anna.bank
            await anna.enrol()
            question = await anna.question()
            good = await anna.signature()

            async def refused(why: str, challenge: str = "ch_1", **body: Any) -> None:
                status, problem = await anna.send(challenge, **body)
                assert (status, problem.get("why")) == (403, why), problem
                assert (await anna.refusals())[-1] == why
                assert await bank.entries(names.ANSWERS) == []

            # Flipped: a signed deny, sent as a confirm; and the other way round.
            deny = await anna.signature("deny")
            await refused("decision", decision="confirm", assertion=deny)
            await refused("decision", decision="deny", assertion=good)
            await refused("reason", decision="deny", reason="not_me", assertion=deny)

            # Edited: a bit of the signature, of the authenticator's data, of the client's.
            for part in ("signature", "authenticatorData", "clientDataJSON"):
                bent = orjson.loads(orjson.dumps(good))
                raw = bytearray(signed.unb64(bent["response"][part]))
                raw[-2] ^= 1
                bent["response"][part] = signed.b64(bytes(raw))
                await refused("edited", decision="confirm", assertion=bent)
            for nothing in ({}, {"id": "x", "response": {}}, {**good, "id": 7}):
                await refused("edited", decision="confirm", assertion=nothing)
            await refused("credential", decision="confirm", assertion={**good, "id": "AAAA"})

            # Amount or payee changed after it was signed.
            key = names.challenge("ch_1")
            payee = orjson.dumps({"name": "ACME Trading", "account": "999"})
            for change, why in (
                ({"amount": "98000.00"}, "amount"),
                ({"payee": seal(b"e" * 32, payee, b"payee", b"m" * 12)}, "payee"),
                ({"currency": "USD"}, "currency"),
            ):
                await bank.redis.set(key, orjson.dumps({**question, **change}))
                await refused(why, decision="confirm", assertion=good)
            await bank.redis.set(key, orjson.dumps(question))

            # Captured for another challenge.
            await anna.question("ch_2")
            await refused("other_challenge", "ch_2", decision="confirm", assertion=good)

            # An old counter: the key was used elsewhere since, or was copied.
            credential = names.credential(good["id"])
            was = await bank.redis.hget(credential, "count")
            await bank.redis.hset(credential, "count", 10_000)
            fresh = await anna.signature()
            await refused("counter", "ch_2", decision="confirm", assertion=fresh)
            await bank.redis.hset(credential, "count", was)

            # Good once, and only once.
            ending = asyncio.create_task(
                _end_after(bank, {**question, "id": "ch_2", "event": "pay-ch_2"})
            )
            status, told = await anna.send("ch_2", decision="confirm", assertion=fresh)
            assert (status, told["state"]) == (200, "confirmed")
            await ending
            status, problem = await anna.send("ch_2", decision="confirm", assertion=fresh)
            assert (status, problem["why"]) == (403, "replayed")
            assert (await anna.refusals())[-1] == "replayed"
            assert len(await bank.entries(names.ANSWERS)) == 1
            marks = [r["rid"] for r in await bank.records()]
            assert len(set(marks)) == len(marks)

    asyncio.run(story())


def test_an_assertion_of_another_customer_s_passkey_is_refused(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with signer(redis_url, tmp_path) as anna:
            await anna.enrol()
            await anna.question()
            good = await anna.signature()
            await anna.question("ch_3", customer="cus_boris")
            status, problem = await anna.send("ch_3", decision="confirm", assertion=good)
            assert (status, problem["why"]) == (403, "credential")

    asyncio.run(story())


def test_who_has_no_passkey_is_told_and_denies_all_the_same(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with signer(redis_url, tmp_path) as anna:
            bank, page = anna.bank, anna.page
            question = await anna.question()
            assert "there is none of yours" in await page.run(_text("hint"))
            confirm = "document.getElementById('confirm')"
            assert not await page.run(f"{confirm}.disabled")  # two equal buttons, whatever follows
            await page.run(f"{confirm}.click()")
            await bank.until(names.ANSWERS, 1)
            notice = {"op": "notice", "id": "ch_1", "say": "unsigned", "channel": "web"}
            await bank.redis.xadd(names.CHALLENGES, {"challenge": orjson.dumps(notice)})
            await page.until(f"!{confirm}.disabled")
            assert "there is none of yours" in await page.run(_text("hint"))
            await page.run("document.getElementById('deny').click()")
            await page.run("document.getElementById('not-me').click()")
            await bank.until(names.ANSWERS, 2)
            await end(bank, question, "denied", "decline")
            await page.until(f"{_text('message-title')} === 'Denied'")

    asyncio.run(story())


@pytest.mark.parametrize(
    ("say", "hint"), [("fresh", "short while ago"), ("frozen", "until we have spoken")]
)
def test_who_may_not_confirm_yet_is_told_and_the_question_stands(
    redis_url: str, tmp_path: Path, say: str, hint: str
) -> None:
    async def story() -> None:
        async with signer(redis_url, tmp_path) as anna:
            await anna.question(must_sign=False)
            assert await anna.page.run("document.getElementById('hint').hidden")
            await anna.page.run("document.getElementById('confirm').click()")
            await anna.bank.until(names.ANSWERS, 1)
            other = {"op": "notice", "id": "ch_1", "say": "unsigned", "channel": "xmpp"}
            notice = {"op": "notice", "id": "ch_1", "say": say, "channel": "web"}
            for one in (other, notice):  # what is said of an answer in the chat is not the page's
                await anna.bank.redis.xadd(names.CHALLENGES, {"challenge": orjson.dumps(one)})
            await anna.page.until(f"{_text('hint')}.includes('{hint}')")
            assert not await anna.page.run("document.getElementById('confirm').disabled")

    asyncio.run(story())


def test_what_is_told_after_the_page_has_waited_is_shown_and_it_may_try_again(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with signer(redis_url, tmp_path) as anna:
            question = await anna.question(must_sign=False)
            page, redis = anna.page, anna.bank.redis
            await page.run("document.getElementById('confirm').click()")
            await page.until(f"{_text('message-title')} === 'Thank you'")  # nobody said anything
            await redis.set(names.notice("ch_1", "web"), "fresh")
            await page.until(f"{_text('hint')}.includes('short while ago')")
            await page.run("document.getElementById('confirm').click()")
            await anna.bank.until(names.ANSWERS, 2)  # passed on once more: time may have passed
            await end(anna.bank, question, "confirmed", "approve")
            await page.until(f"{_text('message-title')} === 'Confirmed'")
            marks = [r["rid"] for r in await anna.bank.records() if r["kind"] == "answer"]
            assert len(set(marks)) == 2

    asyncio.run(story())


def test_a_link_makes_one_passkey_and_not_without_its_token(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with signer(redis_url, tmp_path) as anna:
            link = (await anna.enrol())["link"]
            await anna.page.open("about:blank")
            await anna.page.open(anna.origin + link)
            await anna.page.until(_shown("make"))
            await anna.page.run("document.getElementById('make').click()")
            await anna.page.until(f"{_text('title')} === 'Already used'")
            await anna.page.open("about:blank")  # another fragment alone opens no page anew
            await anna.page.open(anna.origin + link.partition("#")[0] + "#guess")
            await anna.page.until(_shown("make"))
            await anna.page.run("document.getElementById('make').click()")
            await anna.page.until(f"{_text('title')} === 'This link is not complete'")
            enrolled = [r for r in await anna.bank.records() if r["kind"] == "credential.enrolled"]
            assert len(enrolled) == 1
            raw = await anna.bank.redis.smembers(names.credentials(ANNA))
            assert len(raw) == 1

    asyncio.run(story())


def test_the_page_signs_nothing_but_what_is_on_its_screen(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with signer(redis_url, tmp_path) as anna:
            await anna.enrol()
            await anna.question()
            await anna.page.run("asked.amount = '1.00'")
            lied = await anna.page.run("signed('confirm').then(() => 'signed', () => 'refused')")
            assert lied == "refused"

    asyncio.run(story())


def test_the_digest_that_is_signed_is_that_of_the_documents() -> None:
    ask = {"id": "ch_1", "amount": "1.00", "currency": "CNY"}
    question = signed.question(
        {**ask, "customer": "cus_1", "nonce": "00", "expires": "x"}, {"name": "A", "account": "1"}
    )
    said = (
        b'{"amount":"1.00","currency":"CNY","customer":"cus_1","decision":"deny","expires":"x",'
        b'"id":"ch_1","nonce":"00","payee":"A","payee_account":"1","reason":"not_me"}'
    )
    assert signed.statement(question, "deny", "not_me") == said
    expected = hashlib.sha256(b"ringback-challenge-v1\0" + said).digest()
    assert signed.challenge(said) == expected
