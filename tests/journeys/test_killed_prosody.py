"""The chat server is killed while Omar's question is open, and comes back."""

import asyncio
import signal

from tests.journeys.house import House, bank_of, code, question, tell
from tests.patience import until


def test_a_killed_chat_server_loses_neither_question_nor_answer(battered_house: House) -> None:
    async def story() -> None:
        async with bank_of(battered_house) as bank:
            await bank.introduce("omar")
            async with battered_house.chat("omar") as omar:
                decision = await bank.asked("omar")
                asked = await question(omar, decision)
            gone = battered_house.signal("prosody", signal.SIGKILL)

            async def started_again() -> bool:
                return await asyncio.to_thread(battered_house.pid, "prosody") != gone

            await until(started_again, "another chat server")

            # Back at his phone he answers what he read before; the code is still good.
            async def answered() -> bool:
                try:
                    async with battered_house.chat("omar", "pw-omar") as omar:
                        omar.say(asked.sender, f"NO {code(asked)}")
                        return "outcome" in await bank.decision(decision["event"], 3.0)
                except (TimeoutError, OSError):
                    return False

            await until(answered, "an outcome")
            assert (await bank.outcome(decision["event"]))["state"] == "denied"

            # And the next question finds its way.
            async with battered_house.chat("omar", "pw-omar") as omar:
                other = {"account": "JADE-5520", "name": "Jade Travel"}
                second = await bank.asked("omar", payee=other)
                asked = await question(omar, second)
                omar.say(asked.sender, f"YES {code(asked)}")
                assert (await bank.outcome(second["event"]))["state"] == "confirmed"

    tell(story())
