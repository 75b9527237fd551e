"""Julia's little brother has her phone. What he types is no answer, and nothing breaks."""

import xml.etree.ElementTree as ET

from notifiers import stanzas
from tests.journeys.house import House, bank_of, code, question, tell

_TYPED = ("asdf jkl;", "\U0001f602" * 40, "x" * 5000, "DROP TABLE answers;--", "000000", "?")


def test_garbage_is_no_answer_and_is_asked_about_once(shared_house: House) -> None:
    async def story() -> None:
        async with bank_of(shared_house) as bank, shared_house.chat("julia") as julia:
            await bank.introduce("julia")
            decision = await bank.asked("julia")
            event = decision["event"]
            asked = await question(julia, decision)

            for typed in _TYPED:
                julia.say(asked.sender, typed)
            # A stanza that claims to be an answer, and is none.
            strange = ET.Element("{jabber:client}message", {"to": asked.sender, "type": "chat"})
            ET.SubElement(strange, f"{{{stanzas.CHALLENGE}}}answer", {"decision": "perhaps"})
            julia.send(strange)

            await julia.wait_for(lambda m: "could not tell what you meant" in m.body)
            assert "outcome" not in await bank.decision(event)

            # A yes without its code is no yes either; with it, it is.
            julia.say(asked.sender, "YES")
            await julia.wait_for(lambda m: "with the code as well" in m.body)
            assert "outcome" not in await bank.decision(event)
            julia.say(asked.sender, f"YES {code(asked)}")
            assert (await bank.outcome(event))["state"] == "confirmed"
            again = [m for m in julia.messages if "could not tell what you meant" in m.body]
            assert len(again) == 1

    tell(story())
