"""Chen is asked and does not answer. Time runs out; the money does not move."""

from risk import names
from tests.journeys.house import House, bank_of, closing, question, tell


def test_silence_expires_approves_nothing_and_teaches_nothing(hasty_house: House) -> None:
    async def story() -> None:
        async with bank_of(hasty_house) as bank, hasty_house.chat("chen") as chen:
            await bank.introduce("chen")
            decision = await bank.asked("chen")
            event = decision["event"]
            await question(chen, decision)

            # Nobody says a word.
            outcome = await bank.outcome(event)
            assert (outcome["state"], outcome["decision"]) == ("expired", "decline")
            assert outcome["at"] == decision["challenge"]["expires"]
            assert outcome["by"]["type"] == "timer"
            assert [one["state"] for one in await bank.outcomes_told(event)] == ["expired"]
            closed = await closing(chen, decision)
            assert "expired at" in closed.body

            # Silence is no label: nothing stands on the stream of lessons, nothing was learnt.
            kinds = await bank.recorded(event, "outcome", "case.closed")
            labels = await bank.stream(names.LABELS, "label")
            assert event not in [one["event"] for one in labels]
            assert "label" not in kinds
            assert "learn" not in kinds

    tell(story())
