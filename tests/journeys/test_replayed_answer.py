"""Kim says yes to one payment; somebody sends the same words again for the next one."""

from tests.journeys.house import House, bank_of, closing, code, question, tell


def test_an_answer_that_is_replayed_answers_nothing_else(shared_house: House) -> None:
    async def story() -> None:
        async with bank_of(shared_house) as bank, shared_house.chat("kim") as kim:
            await bank.introduce("kim")
            first = await bank.asked("kim")
            asked = await question(kim, first)
            kim.say(asked.sender, f"YES {code(asked)}")
            assert (await bank.outcome(first["event"]))["state"] == "confirmed"
            await closing(kim, first)

            # Another payment, another question; the old words and the old layer come again.
            other = {"account": "LOTUS-7731", "name": "Lotus Furniture"}
            second = await bank.asked("kim", payee=other, amount="12000.00")
            question_two = await question(kim, second)
            assert code(question_two) != code(asked)
            kim.say(asked.sender, f"YES {code(asked)}")
            kim.answer(asked.sender, second["challenge"]["id"], "confirm", asked.bind)

            # Neither is taken: the first names a closed question, the second another amount.
            await kim.wait_for(lambda m: "that question has ended" in m.body)
            await kim.wait_for(lambda m: "other than the one we asked" in m.body)
            assert "outcome" not in await bank.decision(second["event"])
            assert (await bank.outcome(first["event"]))["state"] == "confirmed"
            kim.say(asked.sender, f"NO {code(question_two)}")
            assert (await bank.outcome(second["event"]))["state"] == "denied"

    tell(story())
