"""The bank's system is not sure that its payment arrived, and posts it three times."""

import asyncio

from risk import names
from tests.journeys.house import (
    House,
    bank_of,
    closing,
    code,
    question,
    tell,
)


def test_an_event_posted_three_times_is_decided_and_asked_about_once(shared_house: House) -> None:
    async def story() -> None:
        async with bank_of(shared_house) as bank, shared_house.chat("fatima") as fatima:
            await bank.introduce("fatima")
            payment = bank.payment("fatima")
            event = payment["id"]

            # Twice at once, and once more when the first answer is there.
            both = await asyncio.gather(bank.send(payment), bank.send(payment))
            third = await bank.send(payment)
            told = [body for status, body in (*both, third) if status == 200]
            assert len(told) == 3
            assert told[0] == told[1] == told[2]
            assert told[0]["decision"] == "challenge"

            asked = await question(fatima, told[0])
            fatima.say(asked.sender, f"YES {code(asked)}")
            assert (await bank.outcome(event))["state"] == "confirmed"
            await closing(fatima, told[0])

            # A fourth time, after the end: the same decision, not a new one.
            status, again = await bank.send(payment)
            assert status == 200
            assert again["challenge"] == told[0]["challenge"]
            assert again["decided"] == told[0]["decided"]

            # One question, one decision, one lesson, one case.
            assert [m.challenge for m in fatima.messages].count(asked.challenge) == 1
            asks = await bank.stream(names.CHALLENGES, "challenge")
            assert [one["op"] for one in asks if one["event"] == event] == ["ask", "close"]
            await bank.learnt(event)
            await bank.recorded(event, "case.closed")
            # What comes after the end (the closing message) stands in a case that follows.
            kinds = [
                one["kind"]
                for one in shared_house.records(event)
                if one["case"] != f"case-{event}~2"
            ]
            for kind in ("case.opened", "event.in", "features", "decision", "outcome", "learn"):
                assert kinds.count(kind) == 1, kind

    tell(story())
