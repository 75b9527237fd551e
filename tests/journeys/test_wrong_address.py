"""Igor has seen Hanna's code and says yes to her payment, from his own account."""

from tests.journeys.house import BOT, House, bank_of, code, question, tell


def test_a_yes_from_an_address_that_is_not_bound_is_refused(shared_house: House) -> None:
    async def story() -> None:
        async with (
            bank_of(shared_house) as bank,
            shared_house.chat("hanna") as hanna,
            shared_house.chat("igor") as igor,
        ):
            await bank.introduce("hanna")
            decision = await bank.asked("hanna")
            event = decision["event"]
            asked = await question(hanna, decision)

            igor.say(BOT, f"YES {code(asked)}")
            igor.answer(BOT, decision["challenge"]["id"], "confirm", asked.bind)

            # He is told, twice, that nothing was taken; the question stands as it was.
            said = await igor.wait_for(lambda m: "not registered" in m.body)
            assert "nothing was taken" in said.body
            await bank.recorded(event, "answer")
            (refused,) = [one for one in shared_house.records(event) if one["kind"] == "answer"]
            assert refused["body"]["taken"] is False
            assert refused["body"]["why"] == "not_bound"
            assert "outcome" not in await bank.decision(event)

            # Hanna's own word counts, as if nothing had been.
            hanna.say(asked.sender, f"NO {code(asked)}")
            assert (await bank.outcome(event))["state"] == "denied"

    tell(story())
