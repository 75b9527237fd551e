"""Emil's phone says yes while his open browser page says no, at the same moment."""

import asyncio

from risk import names
from tests.journeys.house import (
    SELF_CONSISTENT,
    House,
    bank_of,
    closing,
    code,
    question,
    tell,
)

STATE_OF = {"confirm": "confirmed", "deny": "denied"}


def test_of_two_answers_at_once_the_first_in_the_stream_counts(house: House) -> None:
    async def story() -> None:
        async with bank_of(house) as bank, house.chat("emil") as emil:
            await bank.introduce("emil", "xmpp", "web")
            decision = await bank.asked("emil")
            event = decision["event"]
            asked = await question(emil, decision)
            page = await bank.page(decision["challenge"]["id"])
            status, shown = await page.look()
            assert status == 200
            assert (shown["amount"], shown["payee"]["name"]) == ("9800.00", "ACME Trading")

            emil.say(asked.sender, f"YES {code(asked)}")
            pressed, outcome = await asyncio.gather(
                page.press("deny", "not_me"), bank.outcome(event)
            )
            assert pressed[0] in {200, 202, 410}, pressed

            # One outcome, everywhere the same: what was first in the stream of answers.
            answers = await bank.stream(names.ANSWERS, "answer")
            assert outcome["state"] == STATE_OF[answers[0]["decision"]]
            assert await bank.outcomes_told(event) == [outcome]
            word = {"confirmed": "CONFIRM", "denied": "DENY"}[outcome["state"]]
            assert f"you answered: {word} at" in (await closing(emil, decision)).body
            (lesson,) = await bank.learnt(event)
            assert lesson["fraud"] is (outcome["state"] == "denied")

            # The other answer is on record too: a no after a yes alerts the officers.
            wanted = ["answer", "outcome"]
            if outcome["state"] == "confirmed":
                wanted.append("answer.contradicted")
            kinds = await bank.recorded(event, *wanted)
            assert kinds.count("outcome") == 1

    tell(story())
    house.end()
    assert house.verify() == SELF_CONSISTENT
