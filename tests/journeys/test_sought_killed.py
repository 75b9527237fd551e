"""Two flow processes are killed while denials come in: whoever should be asked is asked once."""

import asyncio
import os
import random
import signal
from pathlib import Path
from typing import Any

from risk import names
from tests.journeys.conftest import StartHouse
from tests.journeys.house import Bank, House, bank_of, tell
from tests.patience import PATIENCE, until

SETTINGS = """
version: 1
seeking: {per_day: 50, follow_ups: 50, reviews: 0, from_hour: 0, until_hour: 24}
"""
SHOPS = 4
SEED = 20261122


def _shop(number: int) -> dict[str, str]:
    return {"account": f"SHOP-{number}", "name": f"Shop {number}", "country": "CN"}


async def _inquiries(bank: Bank) -> list[dict[str, Any]]:
    asks = await bank.stream(names.CHALLENGES, "challenge")
    return [one for one in asks if one["op"] == "inquire"]


async def _ended(bank: Bank, event: str) -> str:
    async def outcome() -> Any:
        return (await bank.decision(event, wait=10.0)).get("outcome")

    return str((await until(outcome, f"the outcome of {event}", 3 * PATIENCE))["state"])


async def _kill(house: House, name: str) -> None:
    """Kill a process of the flow, and wait until another stands in its place."""
    pid = house.pid(name)
    os.kill(pid, signal.SIGKILL)

    async def another() -> bool:
        return bool(house.run.get("pids", {}).get(name, pid) != pid)

    await until(another, f"another {name}")


def test_whoever_paid_a_denied_payee_is_asked_once_however_often_the_flow_was_killed(
    start_house: StartHouse, tmp_path: Path
) -> None:
    data = tmp_path / "house"
    data.mkdir()
    (data / "ringback.yaml").write_text(SETTINGS)
    house = start_house("--workers", "2", answer_within=900)
    chance = random.Random(SEED)

    async def story() -> None:
        async with bank_of(house) as bank:
            pages, small = [], {}
            for number in range(SHOPS):
                payer, denier = f"payer-{number}", f"denier-{number}"
                await bank.introduce(payer, "web")
                await bank.introduce(denier, "web")
                paid = await bank.pay(payer, amount="20.00", payee=_shop(number))
                small[paid["event"]] = bank.token(payer)
            for number in range(SHOPS):
                asked = await bank.asked(f"denier-{number}", payee=_shop(number))
                page = await bank.page(asked["challenge"]["id"])
                assert (await page.look())[0] == 200
                pages.append((asked["event"], page))

            for number, (event, page) in enumerate(pages):
                pressing = asyncio.create_task(page.press("deny", "not_me"))
                await asyncio.sleep(chance.uniform(0.0, 0.5))  # anywhere in it
                await _kill(house, f"flow-{number % 2}")
                assert (await pressing)[0] in (200, 202)
                assert await _ended(bank, event) == "denied"  # and so the flow stands again

            async def all_asked() -> bool:
                return {one["event"] for one in await _inquiries(bank)} >= small.keys()

            await until(all_asked, "an inquiry of each payer", 3 * PATIENCE)
            await _kill(house, "flow-0")
            # What comes after all of that is decided: nothing of before is under way any more.
            later = await bank.pay("payer-0", amount="20.00", payee=_shop(0))
            assert (await bank.decision(later["event"], wait=30.0))["event"] == later["event"]

            inquiries = await _inquiries(bank)
            assert sorted((one["event"], one["customer"]) for one in inquiries) == sorted(
                small.items()
            )
            assert len({one["id"] for one in inquiries}) == SHOPS

    tell(story(), 10 * PATIENCE)
