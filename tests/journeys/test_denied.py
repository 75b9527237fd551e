"""Boris is asked about a payment that he never made, says no, and it is declined."""

from risk import names
from tests.journeys.house import House, bank_of, closing, code, question, tell
from tests.patience import until


def test_a_denied_payment_is_declined_and_teaches_that_it_was_fraud(shared_house: House) -> None:
    async def story() -> None:
        async with bank_of(shared_house) as bank, shared_house.chat("boris") as boris:
            await bank.introduce("boris")
            decision = await bank.asked("boris", amount="23000.00")
            event = decision["event"]

            asked = await question(boris, decision)
            assert "23,000.00 CNY" in asked.body
            boris.say(asked.sender, f"NO {code(asked)}")

            outcome = await bank.outcome(event)
            assert (outcome["state"], outcome["decision"]) == ("denied", "decline")
            assert [one["state"] for one in await bank.outcomes_told(event)] == ["denied"]
            closed = await closing(boris, decision)
            assert "you answered: DENY at" in closed.body
            assert "23,000.00 CNY" in closed.body

            # The officers are alerted, and the model learns a fraud.
            async def alerted() -> list[str]:
                alerts = await bank.stream(names.ALERTS, "alert")
                return [one["kind"] for one in alerts if one["event"] == event]

            assert await until(alerted, "the alert") == ["denied"]
            (lesson,) = await bank.learnt(event)
            assert (lesson["fraud"], lesson["source"]) == (True, "customer")

            # Who is paid by a fraud is marked by it: the next one who pays there is told so.
            async def marked() -> bool:
                later = await bank.pay("clara", amount="20.00", payee={"account": "ACME-boris"})
                features = await bank.features(later["event"])
                return bool(features["payee.fraud_count.30d"] == 1)

            await until(marked, "the payee's known fraud")
            await bank.recorded(event, "case.closed", "answer", "outcome")

    tell(story())
