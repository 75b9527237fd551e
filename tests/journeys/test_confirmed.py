"""Anna pays a new payee, is asked in her chat, says yes, and the payment goes through."""

from hashlib import sha256
from typing import Any

import orjson

from audit import read
from notifiers import stanzas
from notifiers.wording import again, short_leaf
from risk import names
from tests.journeys.house import House, bank_of, closing, code, question, tell
from tests.patience import until


async def sent(house: House, event: str) -> list[dict[str, Any]]:
    """The records of the question and its closing by chat, once both are there."""
    found = [
        one
        for one in house.records(event)
        if one["kind"] == "outreach.sent" and one["body"]["channel"] == "xmpp"
    ]
    return found if len(found) == 2 else []


def told_again(house: House, record: dict[str, Any]) -> str:
    """The text of a message, made of its record and the kept file of texts alone."""
    kept = orjson.loads(read.disclose(house.data, record, "variables").value)
    said, template = record["body"]["said"], record["body"]["template"]
    source = house.data / "notifier" / "templates" / f"{template['sha256']}.yaml"
    text = again(source.read_bytes(), template["parts"], kept["values"])
    assert sha256(f"{kept['salt']}\0{text}".encode()).hexdigest() == said["text"]
    return text


def test_a_confirmed_payment_is_approved_and_teaches_that_it_was_honest(
    shared_house: House,
) -> None:
    async def story() -> None:
        async with bank_of(shared_house) as bank, shared_house.chat("anna") as anna:
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
            labels = await bank.stream(names.LABELS, "label")
            assert [one["event"] for one in labels].count(event) == 1

            # The way of the payment is on record from its arrival to its closed case.
            told = ("case.closed", "outcome", "learn", "answer", "outreach.sent")
            kinds = await bank.recorded(event, *told)
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

            # Her screen names the record of the end; both texts are told again from the ledger.
            said = await until(lambda: sent(shared_house, event), "both messages on record")
            assert [told_again(shared_house, one) for one in said] == [asked.body, closed.body]
            end = next(one for one in shared_house.records(event) if one["kind"] == "outcome")
            later = [
                one for one in shared_house.records(event) if one["case_seq"] == end["case_seq"] + 1
            ]
            own = stanzas.child(closed.xml, "closed", stanzas.CHALLENGE)
            assert own is not None
            assert own.get("leaf") == later[0]["case_prev"], "the hash that the next one names"
            assert short_leaf(own.get("leaf", "")) in closed.body

    tell(story())
