"""What a stranger's page, a preview, a frame and a stolen cookie can do to a question: nothing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from risk import names
from tests.gateway.asking import ask, end, link_token
from tests.gateway.bank import Bank, running
from tests.gateway.chromium import FITS, SPILT, Page, chromium
from tests.gateway.test_challenges import BASE, Browser
from tests.gateway.test_pages_in_a_browser import _shown

_BOXES = """
(ids => ids.map(id => {
  const button = document.getElementById(id), style = getComputedStyle(button);
  const box = button.getBoundingClientRect();
  const all = Object.fromEntries([...style].map(name => [name, style.getPropertyValue(name)]));
  return {box: [box.width, box.height, box.top], all, plain: [button.disabled, button.autofocus,
    button.tabIndex, button.type, button.className, button === document.activeElement]};
}))
"""


class Stranger:
    """A page on another port: of the same site to the browser, and of another origin."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[web.Request] = []


@contextlib.asynccontextmanager
async def stranger() -> AsyncIterator[Stranger]:
    page = b"<!doctype html><title>A prize for you</title><body></body>"
    found = Stranger("")

    async def serve(request: web.Request) -> web.Response:
        found.seen.append(request)
        return web.Response(body=page, content_type="text/html")

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found.url = f"http://localhost:{runner.addresses[0][1]}"
        yield found
    finally:
        await runner.cleanup()


async def _opened(page: Page, origin: str) -> None:
    await page.open(f"{origin}/c/ch_1#{link_token()}")
    await page.until(_shown("confirm"))


def _localhost(bank: Bank) -> str:
    return bank.url.replace("127.0.0.1", "localhost")


@pytest.mark.parametrize("media", ["application/json", "text/plain"])
def test_a_stranger_s_page_answers_nothing_with_the_customer_s_own_cookie(
    redis_url: str, tmp_path: Path, media: str
) -> None:
    async def story() -> None:
        async with (
            running(redis_url, tmp_path) as bank,
            stranger() as evil,
            chromium(tmp_path) as page,
        ):
            await ask(bank)
            await _opened(page, _localhost(bank))
            await page.open(evil.url)  # the cookie is still there, and of the same site
            await page.until("document.title === 'A prize for you'")
            told = await page.run(
                f"fetch('{_localhost(bank)}{BASE}/answer', {{method: 'POST', mode: 'no-cors',"
                f" credentials: 'include', headers: {{'Content-Type': '{media}'}},"
                """ body: '{"decision":"confirm"}'}).then(a => a.type, () => 'failed')"""
            )
            assert told in ("opaque", "failed")  # sent perhaps, and read by nobody
            await page.run(
                f"""(() => {{ const form = document.createElement('form'); form.method = 'POST';
                form.action = '{_localhost(bank)}{BASE}/answer'; form.enctype = 'text/plain';
                const part = document.createElement('input');
                part.name = '{{"decision":"confirm","x":"'; part.value = '"}}'; form.append(part);
                document.body.append(form); form.submit(); }})()"""
            )
            await page.until("document.body.textContent.includes('urn:ringback:problem')")
            assert await bank.entries(names.ANSWERS) == []
            assert await bank.records() == []

    asyncio.run(story())


def test_no_page_may_frame_the_question(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            running(redis_url, tmp_path) as bank,
            stranger() as evil,
            chromium(tmp_path) as page,
        ):
            await ask(bank)
            await page.open(evil.url)
            await page.until("document.title === 'A prize for you'")
            where = f"{_localhost(bank)}/c/ch_1#{link_token()}"
            await page.run(
                "new Promise(done => { const frame = document.createElement('iframe');"
                f" frame.onload = () => done(1); frame.src = '{where}';"
                " document.body.append(frame); })"
            )
            assert any("frame-ancestors" in one or "X-Frame" in one for one in page.complaints)
            assert await bank.redis.get("rb:web:ch_1") is None  # nobody has opened it

    asyncio.run(story())


def test_the_page_tells_nobody_where_it_was_and_runs_nothing_but_its_own(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with (
            running(redis_url, tmp_path) as bank,
            stranger() as evil,
            chromium(tmp_path) as page,
        ):
            await ask(bank)
            await _opened(page, _localhost(bank))
            addresses = await page.run("performance.getEntries().map(e => e.name).join(' ')")
            assert link_token() not in addresses.replace(f"#{link_token()}", "")
            assert (
                await page.run(f"fetch('{evil.url}/x').then(() => 'went', () => 'kept')") == "kept"
            )
            await page.run(
                "(() => { const one = document.createElement('script');"
                " one.text = 'window.owned = 1'; document.body.append(one);"
                " document.body.insertAdjacentHTML('beforeend',"
                """ '<img src=x onerror="window.owned = 2">'); })()"""
            )
            assert await page.run("window.owned === undefined")
            assert await page.run("document.cookie") == ""  # HttpOnly: no script reads it
            await page.run(f"location.href = '{evil.url}/left'")
            await page.until("document.title === 'A prize for you'")
            assert [one.headers.get("Referer") for one in evil.seen if one.path == "/left"] == [
                None
            ]

    asyncio.run(story())


def test_a_preview_that_fetches_the_link_changes_and_learns_nothing(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank, Browser(bank) as browser:
            await ask(bank)
            for method in ("GET", "HEAD", "OPTIONS"):
                for path in ("/session", "/answer", "/signing", "/signed"):
                    where = bank.url + BASE + path
                    async with browser.http.request(method, where) as told:
                        assert told.status == 405
            async with browser.http.get(f"{bank.url}/c/ch_1?token={link_token()}") as told:
                shown = await told.text()
                assert (told.status, "ACME" in shown, "9800" in shown) == (200, False, False)
                assert not told.cookies
            assert (await browser.get())[0] == 401
            assert await bank.redis.get("rb:web:ch_1") is None
            assert (await browser.open())[0] == 201  # the link still works for its customer

    asyncio.run(story())


def test_a_token_and_a_cookie_are_of_one_question_alone(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank, Browser(bank) as browser:
            first = await ask(bank)
            await ask(bank, "ch_2", event="pay-2")
            other = "/v1/challenges/ch_2"
            status, _ = await browser.post(other + "/session", {"token": link_token("ch_1")})
            assert status == 401
            own = {"Origin": bank.url, "Sec-Fetch-Site": "same-origin"}
            where = bank.url + BASE + "/session"
            token = {"token": link_token()}
            async with browser.http.post(where, json=token, headers=own) as told:
                cookie = told.cookies["rb_challenge"]
            assert cookie["httponly"]
            assert (cookie["samesite"], cookie["path"]) == ("Strict", BASE)
            stolen = {"rb_challenge": cookie.value}
            deny = {"decision": "deny"}
            for path, body in (("/answer", deny), ("/signing", {})):
                async with browser.http.post(
                    bank.url + other + path, json=body, headers=own, cookies=stolen
                ) as told:
                    assert told.status == 401
            await end(bank, first, "withdrawn", "decline")
            for path, body in (("/session", token), ("/signing", {})):
                async with browser.http.post(
                    bank.url + BASE + path, json=body, headers=own, cookies=stolen
                ) as told:
                    assert told.status == 410  # dead with its question
            assert await bank.entries(names.ANSWERS) == []

    asyncio.run(story())


@pytest.mark.parametrize("path", ["/session", "/answer", "/signing"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ],
)
def test_each_call_of_the_page_is_refused_to_every_other_page(
    redis_url: str, tmp_path: Path, path: str, headers: dict[str, str]
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank, Browser(bank) as browser:
            await ask(bank)
            await browser.open()
            body: Any = {"decision": "deny", "token": link_token()}
            assert (await browser.post(BASE + path, body, **headers))[0] == 403
            async with browser.http.post(bank.url + BASE + path, json=body) as told:
                assert told.status == 403  # neither header at all
            assert await bank.entries(names.ANSWERS) == []

    asyncio.run(story())


@pytest.mark.parametrize(("width", "dark"), [(420, False), (300, True), (1200, False)])
@pytest.mark.parametrize("must_sign", [False, True])
def test_confirm_and_deny_weigh_the_same_in_box_and_style(
    redis_url: str, tmp_path: Path, width: int, dark: bool, must_sign: bool
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank, chromium(tmp_path) as page:
            await ask(bank, must_sign=must_sign)
            await page.shape(width, 800, dark=dark)
            await _opened(page, bank.url)
            for _ in range(2):  # in both languages
                one, other = await page.run(_BOXES + "(['confirm', 'deny'])")
                assert one["box"][:2] == other["box"][:2]
                assert (one["box"][2] == other["box"][2]) or width < 320
                assert one["all"] == other["all"]
                assert one["plain"] == other["plain"]
                assert one["plain"][0] is False  # neither chosen beforehand, nor out of reach
                assert one["plain"][5] is False
                assert await page.run(FITS)
                assert await page.run(SPILT) == []
                await page.run("document.getElementById('language').click()")
            await page.run("document.getElementById('deny').click()")
            why, instead = await page.run(_BOXES + "(['not-me', 'cancel'])")
            assert why["box"][:2] == instead["box"][:2]

    asyncio.run(story())


def test_time_that_runs_out_is_never_a_yes(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank, chromium(tmp_path) as page:
            question = await ask(bank, seconds=2)
            await _opened(page, bank.url)
            await end(bank, question, "expired", "decline")
            await page.until("document.title === 'Time is up'")
            assert await bank.entries(names.ANSWERS) == []
            kept = orjson.loads(await bank.redis.get(names.outcome("pay-1")))
            assert kept["state"] == "expired"

    asyncio.run(story())
