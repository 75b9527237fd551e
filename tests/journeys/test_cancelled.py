"""The bank's own desk cancels Petra's payment while she is still reading the question."""

from datetime import UTC, datetime

from risk import names
from tests.journeys.house import House, bank_of, closing, code, question, tell


def test_a_cancelled_payment_withdraws_its_question_and_teaches_nothing(
    shared_house: House,
) -> None:
    async def story() -> None:
        async with bank_of(shared_house) as bank, shared_house.chat("petra") as petra:
            await bank.introduce("petra")
            decision = await bank.asked("petra")
            event = decision["event"]
            asked = await question(petra, decision)

            cancelled = {
                "id": f"status-{event}",
                "type": "status",
                "time": datetime.now(UTC).isoformat(),
                "customer": "petra",
                "event": event,
                "state": "cancelled",
            }
            status, _ = await bank.send(cancelled)
            assert status == 200

            outcome = await bank.outcome(event)
            assert (outcome["state"], outcome["decision"]) == ("withdrawn", "decline")
            assert "withdrawn at" in (await closing(petra, decision)).body

            # Her yes finds nothing left to answer.
            petra.say(asked.sender, f"YES {code(asked)}")
            await petra.wait_for(lambda m: "that question has ended" in m.body)
            assert await bank.outcome(event) == outcome
            labels = await bank.stream(names.LABELS, "label")
            assert event not in [one["event"] for one in labels]

    tell(story())
