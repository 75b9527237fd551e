"""The notifier is killed while Nora's question is open. The next one hears her answer."""

import asyncio
import signal

from tests.journeys.house import House, bank_of, closing, code, question, tell
from tests.patience import until


def test_a_killed_notifier_forgets_no_open_question(battered_house: House) -> None:
    async def story() -> None:
        async with bank_of(battered_house) as bank, battered_house.chat("nora") as nora:
            await bank.introduce("nora")
            decision = await bank.asked("nora")
            asked = await question(nora, decision)
            await bank.recorded(decision["event"], "outreach.sent")  # the server has it, for sure

            gone = battered_house.signal("notify", signal.SIGKILL)

            async def started_again() -> bool:
                return await asyncio.to_thread(battered_house.pid, "notify") != gone

            await until(started_again, "another notifier")

            # While nobody listens, the server returns her words; she says them again.
            async def answered() -> bool:
                nora.say(asked.sender, f"YES {code(asked)}")
                return "outcome" in await bank.decision(decision["event"], 2.0)

            await until(answered, "an outcome")
            assert (await bank.outcome(decision["event"]))["state"] == "confirmed"
            await closing(nora, decision)

            # She was asked once, not once more by the next notifier.
            assert [m.challenge for m in nora.messages].count(asked.challenge) == 1
            assert len(await bank.outcomes_told(decision["event"])) == 1

    tell(story())
