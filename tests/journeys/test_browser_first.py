"""Milan has the page open before the chat message arrives, and answers there."""

from tests.journeys.house import House, bank_of, closing, question, tell


def test_a_browsers_answer_counts_while_the_message_is_under_way(shared_house: House) -> None:
    async def story() -> None:
        async with bank_of(shared_house) as bank, shared_house.chat("milan") as milan:
            await bank.introduce("milan", "xmpp", "web")
            decision = await bank.asked("milan")
            event = decision["event"]

            # The bank's app knows the question with the decision; the chat may not have it yet.
            page = await bank.page(decision["challenge"]["id"])
            status, _ = await page.press("deny", "not_me")
            assert status in {200, 202}

            outcome = await bank.outcome(event)
            assert (outcome["state"], outcome["reason"]) == ("denied", "not_me")
            status, told = await page.look()
            assert (status, told["state"]) == (410, "denied")

            # If the question was still sent, it is closed on the screen with what was answered.
            challenge = decision["challenge"]["id"]
            kinds = await bank.recorded(event, "answer", "outcome", "learn")
            if "outreach.sent" in kinds and any(m.challenge == challenge for m in milan.messages):
                await question(milan, decision)
                assert "DENY" in (await closing(milan, decision)).body

    tell(story())
