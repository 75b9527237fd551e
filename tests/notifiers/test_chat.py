"""The conversation, against a real chat server and a real Redis."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

from notifiers import stanzas
from notifiers.prosody import Prosody
from tests.notifiers import stage

T = TypeVar("T")


def run(story: Awaitable[T], seconds: float = 60.0) -> T:
    async def bounded() -> T:
        return await asyncio.wait_for(story, seconds)

    return asyncio.run(bounded())


def test_a_question_is_shown_with_its_layers_and_answered_by_its_code(
    redis_url: str, prosody: Prosody, tmp_path: Path
) -> None:
    async def story() -> None:
        settings = stage.settings_for(redis_url, tmp_path / "data", xmpp=prosody.settings.address())
        async with (
            stage.Flow(redis_url) as flow,
            stage.notifier(settings),
            stage.chatting(prosody, "ann") as ann,
        ):
            customer = await flow.bind("ann")
            ask = await flow.ask(customer)
            question = await ann.wait_for(lambda m: m.challenge == ask["id"])
            assert question.sender == stage.BOT_FULL
            assert question.id == ask["id"]
            for part in ("Example Bank", "9,800.00 CNY", "“ACME Trading”", "1234", "95588"):
                assert part in question.body
            xml = question.xml
            assert stanzas.child(xml, "thread") is not None
            assert stanzas.child(xml, "request", stanzas.RECEIPTS) is not None
            assert stanzas.child(xml, "markable", stanzas.MARKERS) is not None
            assert stanzas.child(xml, "no-permanent-store", stanzas.HINTS) is not None
            assert stanzas.child(xml, "x") is None, "a data form hides the body"
            confirm = question.buttons["Confirm"]
            assert confirm.startswith("YES ")
            assert confirm in question.body
            ann.displayed(question)
            ann.say(question.sender, confirm.lower())
            (answer,) = await flow.until(flow.answers)
            assert answer["kind"] == "answer"
            assert answer["decision"] == "confirm"
            assert answer["challenge"] == ask["id"]
            assert answer["layer"] == "E"
            assert answer["strength"] == "claimed"
            await flow.close(ask, "confirmed")
            closed = await ann.wait_for(lambda m: m.replaces == ask["id"])
            assert "you answered: CONFIRM at" in closed.body
            assert closed.sender == question.sender
            assert "9,800.00 CNY" in closed.body
            assert confirm.split()[1] not in closed.body
            kinds = {"outreach.sent", "answer", "receipt.delivered", "receipt.displayed"}

            async def recorded() -> bool:
                return {record["kind"] for record in await flow.records()} >= kinds

            await flow.until(recorded)

    run(story())
