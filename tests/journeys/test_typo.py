"""Gustav is upset, and types badly. He is understood; the payment is declined as not his."""

from tests.journeys.house import House, bank_of, closing, code, question, tell


def test_not_me_with_a_typo_is_understood_as_a_fraud(shared_house: House) -> None:
    async def story() -> None:
        async with bank_of(shared_house) as bank, shared_house.chat("gustav") as gustav:
            await bank.introduce("gustav")
            decision = await bank.asked("gustav")
            asked = await question(gustav, decision)

            gustav.say(asked.sender, f"  noo {code(asked)[:3]} {code(asked)[3:]} it wasnt me!!")

            outcome = await bank.outcome(decision["event"])
            assert (outcome["state"], outcome["decision"]) == ("denied", "decline")
            assert outcome["reason"] == "not_me"
            assert "DENY" in (await closing(gustav, decision)).body
            (lesson,) = await bank.learnt(decision["event"])
            assert lesson["fraud"] is True

    tell(story())
