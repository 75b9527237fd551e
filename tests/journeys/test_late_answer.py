"""Dora finds the question after its time is up, and says yes to it. It stays declined."""

from risk import names
from tests.journeys.house import House, bank_of, closing, code, question, tell


def test_a_late_yes_is_recorded_and_changes_nothing(hasty_house: House) -> None:
    async def story() -> None:
        async with bank_of(hasty_house) as bank, hasty_house.chat("dora") as dora:
            await bank.introduce("dora")
            decision = await bank.asked("dora")
            event = decision["event"]
            asked = await question(dora, decision)
            outcome = await bank.outcome(event)
            assert (outcome["state"], outcome["decision"]) == ("expired", "decline")
            await closing(dora, decision)
            await bank.recorded(event, "case.closed")

            dora.say(asked.sender, f"YES {code(asked)}")

            # She is told that it came too late ...
            said = await dora.wait_for(lambda m: "that question has ended" in m.body)
            assert "changed nothing" in said.body

            # ... it is on record as not taken, in a case that follows the closed one ...
            await bank.recorded(event, "answer")
            (answer,) = [one for one in hasty_house.records(event) if one["kind"] == "answer"]
            assert answer["body"]["taken"] is False
            assert answer["body"]["decision"] == "confirm"
            assert answer["case"] == f"case-{event}~2"

            # ... and the outcome stands, with one word on it and no lesson.
            assert await bank.outcome(event) == outcome
            assert [one["state"] for one in await bank.outcomes_told(event)] == ["expired"]
            labels = await bank.stream(names.LABELS, "label")
            assert event not in [one["event"] for one in labels]

    tell(story())
