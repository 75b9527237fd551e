"""Boris denies a payment to a shop; Clara, who paid there before, is asked, and it was not hers."""

import asyncio
import re
from pathlib import Path
from typing import Any

import orjson

from risk import names
from tests.journeys.conftest import StartHouse
from tests.journeys.house import SELF_CONSISTENT, House, bank_of, code, question, tell
from tests.patience import until

SETTINGS = """
version: 1
xmpp: {officers: [wang@localhost]}
seeking: {per_day: 10, follow_ups: 10, from_hour: 0, until_hour: 24}
"""
SHOP = {"account": "ACME-both", "name": "ACME Trading", "country": "CN"}


def of_kind(house: House, event: str, kind: str) -> list[dict[str, Any]]:
    return [record for record in house.records(event) if record["kind"] == kind]


def test_after_a_denial_another_customer_of_the_payee_is_asked_and_says_no(
    start_house: StartHouse, tmp_path: Path
) -> None:
    data = tmp_path / "house"
    data.mkdir()
    (data / "ringback.yaml").write_text(SETTINGS)
    house = start_house()

    async def story() -> tuple[str, str]:
        async with (
            bank_of(house) as bank,
            house.chat("boris") as boris,
            house.chat("clara") as clara,
            house.chat("wang") as wang,
        ):

            async def listens() -> bool:
                wang.join("officers@rooms.localhost", "wang")
                call = {"event": "roll-call", "kind": "note", "text": "Who is there?"}
                await bank.redis.xadd(names.ALERTS, {"alert": orjson.dumps(call)})
                await asyncio.sleep(0.3)
                return any("roll-call" in said.body for said in wang.messages)

            await until(listens, "Wang in the officers' room")
            await bank.introduce("boris")
            await bank.introduce("clara")

            # Both pay the same shop. Clara's payment is small: it goes through.
            small = await bank.pay("clara", amount="20.00", payee=SHOP)
            assert small["decision"] == "approve"
            large = await bank.asked("boris", payee=SHOP)
            asked = await question(boris, large)
            boris.say(asked.sender, f"NO {code(asked)}")
            assert (await bank.outcome(large["event"]))["state"] == "denied"

            # Clara is asked about her own payment, and told nothing of Boris.
            inquiry = await clara.wait_for(lambda m: m.challenge.startswith("iq_"))
            assert "1: a transfer of 20.00 CNY to" in inquiry.body
            assert "ACME Trading" in inquiry.body
            assert "nothing is held" in inquiry.body
            assert "oris" not in inquiry.body
            assert "9,800" not in inquiry.body

            # She says that it was not hers. Nobody had held anything; the decision stands.
            found = re.search(r"NO (\d{6})", inquiry.body)
            assert found is not None
            clara.say(inquiry.sender, f"no {found[1]}")
            closed = await clara.wait_for(lambda m: m.replaces == inquiry.challenge)
            assert "not all yours" in closed.body
            assert found[1] not in closed.body
            assert (await bank.decision(small["event"]))["decision"] == "approve"
            assert await bank.outcomes_told(small["event"]) == []

            # The officers hear of it, the model learns it, and the shop's risk has risen.
            said = await wang.wait_for(lambda m: small["event"] in m.body)
            assert said.body.startswith(f"[inquiry] {small['event']}:")
            assert large["event"] in said.body
            (lesson,) = await bank.learnt(small["event"])
            assert (lesson["fraud"], lesson["source"]) == (True, "customer")

            async def marked() -> bool:
                later = await bank.pay("dana", amount="20.00", payee=SHOP)
                features = await bank.features(later["event"])
                return bool(features["payee.fraud_count.30d"] == 2)

            await until(marked, "the shop's two known frauds")

            # Boris, who was asked just now, and Clara, who was sought out, are left alone.
            asks = await bank.stream(names.CHALLENGES, "challenge")
            sought = [one for one in asks if one["op"] == "inquire"]
            assert [one["id"] for one in sought] == [inquiry.challenge]
            kinds = ("inquiry.asked", "outreach.sent", "answer", "inquiry.answered")
            await bank.recorded(small["event"], *kinds)
            return small["event"], large["event"]

    small, large = tell(story())
    house.end()
    (put,) = of_kind(house, small, "inquiry.asked")
    assert (put["body"]["why"], put["body"]["after"]) == ("after_denial", large)
    (ended,) = of_kind(house, small, "inquiry.answered")
    assert ended["body"]["state"] == "denied"
    assert ended["body"]["labels"] == [{"event": small, "fraud": True}]
    assert house.verify() == SELF_CONSISTENT
