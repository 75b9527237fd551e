"""Anna pays a new payee, is asked in her chat, says yes, and the payment goes through."""

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


def test_a_confirmed_payment_is_approved_and_teaches_that_it_was_honest(house: House) -> None:
    async def story() -> None:
        async with bank_of(house) as bank, house.chat("anna") as anna:
            await bank.introduce("anna")

            # The bank sends the payment and has its decision at once: the customer is asked.
            decision = await bank.asked("anna")
            assert [reason["code"] for reason in decision["reasons"]] == ["new_payee_large"]
            assert decision["degraded"] is None
            event = decision["event"]

            # Anna reads amount and payee in plain words, and types the code.
            asked = await question(anna, decision)
            assert "9,800.00 CNY" in asked.body
            assert "ACME Trading" in asked.body
            anna.say(asked.sender, f"yes {code(asked)}")

            # The bank, which has been waiting, is told.
            outcome = await bank.outcome(event)
            assert (outcome["state"], outcome["decision"]) == ("confirmed", "approve")
            assert outcome["by"]["type"] == "customer"
            assert [one["state"] for one in await bank.outcomes_told(event)] == ["confirmed"]

            # Her screen says what she answered, and no longer shows the code.
            closed = await closing(anna, decision)
            assert "you answered: CONFIRM at" in closed.body
            assert code(asked) not in closed.body

            # The model has learnt that such a payment is honest, once.
            (lesson,) = await bank.learnt(event)
            assert (lesson["fraud"], lesson["source"]) == (False, "customer")
            (label,) = await bank.stream(names.LABELS, "label")
            assert label["event"] == event

            # The way of the payment is on record from its arrival to its closed case.
            kinds = await bank.recorded(event, "case.closed", "outcome", "learn")
            in_order = [
                "case.opened",
                "event.in",
                "features",
                "score",
                "rule.hits",
                "decision",
                "challenge.created",
            ]
            assert kinds[: len(in_order)] == in_order
            assert {"outreach.sent", "answer"} <= set(kinds)

    tell(story())
    house.end()
    assert house.verify() == SELF_CONSISTENT
