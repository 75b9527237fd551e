"""Emil's phone says yes while his open browser page says no, at the same moment."""

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

STATE_OF = {"confirm": "confirmed", "deny": "denied"}


def test_of_two_answers_at_once_the_first_in_the_stream_counts(shared_house: House) -> None:
    async def story() -> None:
        async with bank_of(shared_house) as bank, shared_house.chat("emil") as emil:
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

            # What was first in the stream of answers ends the question.
            answers = await bank.stream(names.ANSWERS, "answer")
            first = STATE_OF[next(one["decision"] for one in answers if one["event"] == event)]
            told = await bank.outcomes_told(event)
            assert told[0]["state"] == first
            word = {"confirmed": "CONFIRM", "denied": "DENY"}[first]
            assert f"you answered: {word} at" in (await closing(emil, decision)).body
            if first == "denied":
                assert told == [outcome]
                (lesson,) = await bank.learnt(event)
                assert lesson["fraud"] is True
                kinds = await bank.recorded(event, "answer", "outcome")
                assert kinds.count("outcome") == 1
            else:
                # A no after a yes is never lost: it turns what nobody has fetched, and alerts.
                kinds = await bank.recorded(event, "answer", "answer.contradicted")
                last = (await bank.outcomes_told(event))[-1]
                stands = await bank.outcome(event)
                turned = stands["state"] == "denied"
                assert turned or stands["contradicted"]
                assert (last["state"] == "denied") is turned
                # Who was handed the confirm keeps it; nobody is handed one that was turned.
                assert outcome["state"] == stands["state"]

    tell(story())
