"""What the customer's page may do, and what it may not."""

import asyncio
from pathlib import Path
from typing import Any, Self

import aiohttp
import orjson
import pytest

from risk import names
from tests.gateway.asking import ask, end, link_token
from tests.gateway.bank import Bank, running

BASE = "/v1/challenges/ch_1"


class Browser:
    """A browser with cookies of its own, whose pages come from the gateway."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self.http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()

    async def get(self, path: str = BASE) -> tuple[int, Any]:
        async with self.http.get(self.bank.url + path) as answer:
            return answer.status, orjson.loads(await answer.read())

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        said = {"Origin": self.bank.url, "Sec-Fetch-Site": "same-origin"}
        said.update({key.replace("_", "-"): value for key, value in headers.items()})
        async with self.http.post(self.bank.url + path, json=body, headers=said) as answer:
            return answer.status, orjson.loads(await answer.read())

    async def open(self) -> tuple[int, Any]:
        return await self.post(BASE + "/session", {"token": link_token()})


@pytest.mark.usefixtures("settles")
def test_the_page_asks_and_passes_one_answer_on(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank, Browser(bank) as browser:
            question = await ask(bank)
            assert (await browser.open())[0] == 201
            status, shown = await browser.get()
            assert status == 200
            assert (shown["amount"], shown["currency"]) == ("9800.00", "CNY")
            assert shown["payee"] == {"name": "ACME Trading", "account": "…0001"}
            answering = asyncio.create_task(
                browser.post(BASE + "/answer", {"decision": "deny", "reason": "not_me"})
            )
            await bank.until(names.ANSWERS, 1)
            await end(bank, question, "denied", "decline")
            status, said = await answering
            assert (status, said["state"], said["decision"]) == (200, "denied", "decline")
            [answer] = await bank.entries(names.ANSWERS)
            assert {key: answer[key] for key in ("kind", "decision", "reason", "layer")} == {
                "kind": "answer",
                "decision": "deny",
                "reason": "not_me",
                "layer": "web",
            }
            assert (answer["challenge"], answer["event"]) == ("ch_1", "pay-1")
            [record] = await bank.records()
            assert (record["kind"], record["case"]) == ("answer", "case-pay-1")
            assert record["rid"].startswith("answers/ch_1/answer/web.deny:not_me.")

    asyncio.run(story())


def test_the_link_opens_once_and_dies_with_its_challenge(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            question = await ask(bank)
            async with Browser(bank) as one, Browser(bank) as other:
                assert (await one.get())[0] == 401
                assert (await one.open())[0] == 201
                status, problem = await other.open()
                assert (status, problem["type"]) == (409, "urn:ringback:problem:already_opened")
                assert (await other.get())[0] == 401
                await end(bank, question, "expired", "decline")
                status, problem = await one.get()
                assert (status, problem["state"]) == (410, "expired")
                status, problem = await one.post(BASE + "/answer", {"decision": "confirm"})
                assert (status, problem["state"]) == (410, "expired")
                assert len(await bank.entries(names.ANSWERS)) == 1  # late, but passed on
            async with Browser(bank) as late:
                assert (await late.open())[0] == 410

    asyncio.run(story())


def test_the_same_answer_again_changes_nothing(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank, Browser(bank) as browser:
            question = await ask(bank)
            await browser.open()
            status, said = await browser.post(BASE + "/answer", {"decision": "confirm"})
            assert (status, said["state"]) == (202, "received")  # the flow is slow to say
            await end(bank, question, "confirmed", "approve")
            status, said = await browser.post(BASE + "/answer", {"decision": "confirm"})
            assert (status, said["state"]) == (200, "confirmed")
            assert len(await bank.entries(names.ANSWERS)) == 1
            status, said = await browser.post(
                BASE + "/answer", {"decision": "deny", "reason": "not_me"}
            )
            assert (status, said["recorded"]) == (202, True)  # a deny is never turned away
            assert len(await bank.entries(names.ANSWERS)) == 2

    asyncio.run(story())


def test_an_own_client_s_page_may_say_that_its_customer_is_forced(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank, Browser(bank) as browser:
            await ask(bank)
            await browser.open()
            status, _ = await browser.post(
                BASE + "/answer", {"decision": "deny", "reason": "duress"}
            )
            assert status == 422
            told = {"decision": "confirm", "reason": "duress"}
            assert (await browser.post(BASE + "/answer", told))[0] == 202
            [answer] = await bank.entries(names.ANSWERS)
            assert (answer["decision"], answer["reason"]) == ("confirm", "duress")

    asyncio.run(story())


def test_only_the_own_page_can_answer(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank, Browser(bank) as browser:
            await ask(bank)
            token = {"token": link_token()}
            deny = {"decision": "deny"}
            for headers in (
                {"Origin": "https://evil.example"},
                {"Sec_Fetch_Site": "cross-site"},
                {"Host": "evil.example", "Origin": "http://evil.example"},
            ):
                assert (await browser.post(BASE + "/session", token, **headers))[0] == 403
            assert (await browser.open())[0] == 201
            status, _ = await browser.post(BASE + "/answer", deny, Origin="https://evil.example")
            assert status == 403
            form = {"Origin": bank.url, "Sec-Fetch-Site": "same-origin"}
            async with browser.http.post(
                bank.url + BASE + "/answer", data=deny, headers=form
            ) as answer:
                assert answer.status == 415
            for wrong in ({}, {"decision": "maybe"}, {"decision": "confirm", "reason": "cancel"}):
                assert (await browser.post(BASE + "/answer", wrong))[0] == 422
            assert (await browser.get(BASE + "/answer"))[0] == 405
            assert not await bank.entries(names.ANSWERS)
            assert not await bank.records()

    asyncio.run(story())


def test_a_payees_name_can_do_nothing_on_the_page(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank, Browser(bank) as browser:
            hostile = "<b>x</b>\u202eKNAB\n\u0007\u200b" + "y" * 90
            await ask(bank, payee={"name": hostile, "account": "A-1"})
            await browser.open()
            _, shown = await browser.get()
            name = shown["payee"]["name"]
            assert len(name) == 40
            assert name.startswith("<b>x</b>KNAB yyy")  # text, and the page shows it as text

    asyncio.run(story())


def test_pages_load_from_here_alone(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        public = "https://pay.bank.example"
        async with running(redis_url, tmp_path, public_url=public) as bank:
            pages = ("/c/ch_1", "/bind", "/bind/bn_1", "/e/bn_1", "/sw.js")
            files = ("challenge.js", "challenge.css", "bind.js", "keys.js", "enrol.js")
            for path in (*pages, *(f"/static/{name}" for name in files)):
                host = {"Host": "pay.bank.example"}
                status, body, headers = await bank.call("GET", path, role=None, headers=host)
                assert status == 200
                policy = headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "frame-ancestors 'none'" in policy
                assert "unsafe" not in policy
                assert headers["Referrer-Policy"] == "no-referrer"
                assert headers["X-Content-Type-Options"] == "nosniff"
                assert headers["Strict-Transport-Security"].startswith("max-age=")
                assert b"http://" not in body.replace(b"http://www.w3.org/", b"")
                assert b"https://" not in body
            for path in pages:
                foreign = {"Host": "evil.example"}
                assert (await bank.call("GET", path, role=None, headers=foreign))[0] == 403

    asyncio.run(story())
