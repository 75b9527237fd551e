"""Who is forced holds Confirm down: the bank hears of it, and the screen shows nothing of it."""

import asyncio
import io
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from PIL import Image, ImageChops

from risk import names
from tests.gateway.asking import ask, end, link_token
from tests.gateway.bank import Bank, running
from tests.gateway.chromium import Page, chromium
from tests.gateway.test_pages_in_a_browser import _shown, _text
from tests.patience import PATIENCE

OLGA = "cus_olga"
LONG, SHORT = 2.3, 0.05
PAINT = 2  # of 255: Chromium paints a rounded corner one shade lighter, now and then


pytestmark = pytest.mark.usefixtures("settles")  # what both answers are told must be equal


def furthest_apart(one: bytes, other: bytes) -> int:
    """By how much a colour of any point of two pictures differs, of 255."""
    pictures = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in (one, other)]
    assert pictures[0].size == pictures[1].size
    of_colours: Any = ImageChops.difference(*pictures).getextrema()
    return int(max(high for _, high in of_colours))


async def still(page: Page) -> bytes:
    """A picture once nothing moves any more: a button under the pointer may still be painted."""
    before = b""
    async with asyncio.timeout(PATIENCE):
        while (now := await page.picture()) != before:
            before = now
            await asyncio.sleep(0.1)
    return before


async def held_down(page: Page, seconds: float, by: str) -> bytes:
    """Press Confirm for so long; gives what the screen shows while it is pressed.

    Who lets go of it says when, for a busy machine may take long over a picture.
    """
    down = time.time()
    down_at, up_at = {"timestamp": down}, {"timestamp": down + seconds}
    if by == "key":
        await page.run("document.getElementById('confirm').focus()")
        key = {"key": " ", "code": "Space", "windowsVirtualKeyCode": 32, "text": " "}
        await page.send("Input.dispatchKeyEvent", type="keyDown", **key, **down_at)
        await page.send("Input.dispatchKeyEvent", type="keyUp", **key, **up_at)
        return b""
    box = await page.run(
        "(() => { const box = document.getElementById('confirm').getBoundingClientRect();"
        " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    at = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}
    await page.send("Input.dispatchMouseEvent", **{**at, "type": "mouseMoved", "button": "none"})
    await page.send("Input.dispatchMouseEvent", type="mousePressed", **at, **down_at)
    # The clock runs on, whoever waits: all else must be the same.
    await page.run("document.getElementById('clock').style.visibility = 'hidden'")
    pressed = await still(page)
    await page.run("document.getElementById('clock').style.visibility = ''")
    await page.send("Input.dispatchMouseEvent", type="mouseReleased", **at, **up_at)
    return pressed


async def confirmed(
    bank: Bank, page: Page, challenge: str, seconds: float, by: str = "mouse"
) -> tuple[dict[str, Any], list[Any]]:
    """The answer that the bank heard, and all that the customer saw of it."""
    created = "2026-11-21T12:40:00+00:00"  # the same minute on both screens
    question = await ask(bank, challenge, customer=OLGA, event=f"pay-{challenge}", created=created)
    await page.open(f"{bank.url}/c/{challenge}#{link_token(challenge)}")
    await page.until(_shown("confirm"))
    before = len(await bank.entries(names.ANSWERS))
    await page.run(
        "window.told = []; const plain = window.fetch; window.fetch = async (...all) => {"
        " const got = await plain(...all);"
        " told.push([got.status, await got.clone().json()]); return got; }"
    )

    async def ending() -> None:
        await bank.until(names.ANSWERS, before + 1)
        answer = (await bank.entries(names.ANSWERS))[-1]
        decision = "review" if answer["reason"] == "duress" else "approve"
        await end(bank, question, "confirmed", decision)

    closing = asyncio.create_task(ending())
    seen: list[Any] = [await held_down(page, seconds, by)]
    await page.until(f"{_text('message-title')} === 'Confirmed'")
    await closing
    seen.append(await still(page))
    seen.append(await page.run("document.body.innerText"))
    told = await page.run("window.told")
    seen.append([[status, body | {"at": ""}] for status, body in told])
    seen.append(await page.run("document.title"))
    return (await bank.entries(names.ANSWERS))[-1], seen


@pytest.mark.parametrize("by", ["mouse", "key"])
def test_a_long_confirm_of_who_has_a_duress_word_is_forced_and_every_screen_is_equal(
    redis_url: str, tmp_path: Path, by: str
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank, chromium(tmp_path) as page:
            await page.shape(420, 760)
            await bank.redis.set(names.duress(OLGA), "drs_any")
            free, shown = await confirmed(bank, page, "ch_1", SHORT, by)
            forced, seen = await confirmed(bank, page, "ch_2", LONG, by)
            assert (free["decision"], free["reason"]) == ("confirm", None)
            assert (forced["decision"], forced["reason"]) == ("confirm", "duress")
            for part, one, other in zip(("pressed", "screen"), shown[:2], seen[:2], strict=True):
                assert one == other or furthest_apart(one, other) <= PAINT, part
            for part, one, other in zip(
                ("text", "answers", "title"), shown[2:], seen[2:], strict=True
            ):
                assert one == other, part
            assert "duress" not in orjson.dumps(shown[2:] + seen[2:]).decode()

    asyncio.run(asyncio.wait_for(story(), 5 * PATIENCE))


def test_a_long_confirm_of_who_has_agreed_on_nothing_is_a_confirm(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank, chromium(tmp_path) as page:
            answer, _ = await confirmed(bank, page, "ch_1", LONG)
            assert (answer["decision"], answer["reason"]) == ("confirm", None)

    asyncio.run(asyncio.wait_for(story(), 5 * PATIENCE))


def test_the_page_tells_nobody_whether_there_is_a_duress_word(
    redis_url: str, tmp_path: Path
) -> None:
    """What is shown and loaded is the same for who has one and who has none."""

    async def story() -> None:
        async with running(redis_url, tmp_path) as bank, chromium(tmp_path) as page:
            found = []
            for number, word in enumerate(("", "drs_any")):
                if word:
                    await bank.redis.set(names.duress(OLGA), word)
                challenge = f"ch_{number}"
                created = "2026-11-21T12:40:00+00:00"
                await ask(bank, challenge, customer=OLGA, created=created)
                await page.open(f"{bank.url}/c/{challenge}#{link_token(challenge)}")
                await page.until(_shown("confirm"))
                told = await page.run(f"fetch('/v1/challenges/{challenge}').then(a => a.json())")
                left = {"id", "now", "expires"}
                found.append({key: told[key] for key in told.keys() - left})
            assert found[0] == found[1]

    asyncio.run(asyncio.wait_for(story(), 5 * PATIENCE))
