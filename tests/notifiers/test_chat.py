"""The conversation, against a real chat server and a real Redis."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

from notifiers import stanzas
from notifiers.prosody import Prosody
from tests.journeys.search import files
from tests.notifiers import stage
from tests.patience import PATIENCE

T = TypeVar("T")


def run(story: Awaitable[T], seconds: float = 5 * PATIENCE) -> T:
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


def test_own_client_and_commands_answer_over_the_wire(
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
            first = await flow.ask(customer)
            question = await ann.wait_for(lambda m: m.challenge == first["id"])
            ann.answer(question.sender, first["id"], "deny", question.bind, "not_me")
            (answer,) = await flow.until(flow.answers)
            assert (answer["layer"], answer["decision"], answer["reason"]) == (
                "B",
                "deny",
                "not_me",
            )
            await flow.close(first, "denied", "decline")
            await ann.wait_for(lambda m: m.replaces == first["id"])
            second = await flow.ask(customer)
            question = await ann.wait_for(lambda m: m.challenge == second["id"])
            nodes = await ann.commands(question.sender)
            offered = ("confirm", "deny", "not_me", "cancel")
            assert nodes == [f"{one}#{second['id']}" for one in offered]
            note = await ann.run_command(question.sender, nodes[0])
            assert "Confirm" in note

            async def two() -> bool:
                return len(await flow.answers()) == 2

            await flow.until(two)
            assert (await flow.answers())[1]["layer"] == "C"

    run(story())


def test_a_wrong_address_is_refused_and_an_error_is_no_answer(
    redis_url: str, prosody: Prosody, tmp_path: Path
) -> None:
    async def story() -> None:
        settings = stage.settings_for(redis_url, tmp_path / "data", xmpp=prosody.settings.address())
        async with (
            stage.Flow(redis_url) as flow,
            stage.notifier(settings),
            stage.chatting(prosody, "ann") as ann,
            stage.chatting(prosody, "eve") as eve,
        ):
            customer = await flow.bind("ann")
            ask = await flow.ask(customer)
            question = await ann.wait_for(lambda m: m.challenge == ask["id"])
            confirm = question.buttons["Confirm"]
            eve.say(question.sender, confirm)
            refused = await eve.wait_for(lambda m: "not registered" in m.body)
            assert "Example Bank" in refused.body
            # A bounce echoes our own body with a YES in it, and a client can make one up.
            ann.say(question.sender, confirm, kind="error")
            await asyncio.sleep(0.3)
            assert await flow.answers() == []
            ann.say(question.sender, "no")
            (answer,) = await flow.until(flow.answers)
            assert answer["decision"] == "deny"

    run(story())


def test_an_account_that_does_not_exist_is_unreachable_at_once(
    redis_url: str, prosody: Prosody, tmp_path: Path
) -> None:
    async def story() -> None:
        settings = stage.settings_for(redis_url, tmp_path / "data", xmpp=prosody.settings.address())
        async with stage.Flow(redis_url) as flow, stage.notifier(settings):
            customer = await flow.bind("nobody")
            ask = await flow.ask(customer)
            (answer,) = await flow.until(flow.answers)
            assert answer["kind"] == "unreachable"
            assert answer["why"] == "service-unavailable"
            assert answer["challenge"] == ask["id"]

    run(story())


def test_nothing_of_a_question_stays_on_the_chat_servers_disk(
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
            ann.say(question.sender, "我的验证码是 71725394")
            await ann.wait_for(lambda m: "never send" in m.body)
            await flow.close(ask, "expired", "decline")
            await ann.wait_for(lambda m: m.replaces == ask["id"])

    run(story())
    kept = [
        path
        for path, held in files(tmp_path)
        if any(word in held for word in (b"71725394", b"ACME Trading", b"9,800.00"))
    ]
    assert kept == []


def test_officers_hear_an_alert_in_their_room_and_customers_stay_outside(
    redis_url: str, prosody: Prosody, tmp_path: Path
) -> None:
    async def story() -> None:
        room = f"officers@{prosody.settings.rooms}"
        settings = stage.settings_for(
            redis_url,
            tmp_path / "data",
            xmpp=prosody.settings.address(),
            room=room,
            officers=(f"bob@{stage.DOMAIN}",),
        )
        async with (
            stage.Flow(redis_url) as flow,
            stage.notifier(settings),
            stage.chatting(prosody, "bob") as bob,
            stage.chatting(prosody, "eve") as eve,
        ):
            await flow.alert("evt-0", "deny", "said before anyone was in the room")
            await asyncio.sleep(1.0)

            async def inside() -> bool:
                for one, name in ((bob, "bob"), (eve, "eve")):
                    one.join(room, name)
                await flow.alert("evt-roll-call", "note", "who is there?")
                await asyncio.sleep(0.3)
                return any("roll-call" in said.body for said in bob.messages)

            await flow.until(inside)
            await flow.alert("evt-1", "deny", "the customer says: not me\nR-1")
            heard = await bob.wait_for(lambda m: "evt-1" in m.body)
            assert heard.body == "[deny] evt-1: the customer says: not me R-1"
            assert heard.sender == f"{room}/Ringback"
            await asyncio.sleep(0.3)
            assert eve.messages == []
            assert len([m for m in bob.messages if "evt-1" in m.body]) == 1

    run(story())
