"""What is asked of an own client is read there alone: not on the way, and not by the server."""

import asyncio
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from slixmpp.xmlstream import tostring

from notifiers import stanzas
from notifiers.client import Message
from notifiers.errors import NotSealed
from notifiers.prosody import Prosody
from notifiers.sealed import SUITE, fingerprint, public_of, seal, unseal
from risk import signed
from risk.privacy import canonical, open_sealed
from tests.journeys.search import by_itself, files
from tests.notifiers import stage
from tests.patience import PATIENCE

NAME = "Marker Zwölf Trading"
AMOUNT = "87654.21"
MARKERS = ("Marker", "87,654", "6222020200019876")
NUMBERS = by_itself("87654", "87654.21", "9876")
PAYEE = {"name": NAME, "account": "6222020200019876"}


def raw(message: Message) -> str:
    return str(tostring(message.xml))


def shows(text: str) -> list[str]:
    return [marker for marker in MARKERS if marker in text] + NUMBERS.findall(text)


def test_a_seal_opens_on_its_device_and_for_its_question_alone() -> None:
    device, other = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    sealed = seal(public_of(device), "ch_1", {"amount": AMOUNT})
    assert unseal(device, "ch_1", sealed) == {"amount": AMOUNT}
    for key, challenge, text in (
        (other, "ch_1", sealed),
        (device, "ch_2", sealed),
        (device, "ch_1", sealed[:-8] + "AAAAAAA="),
        (device, "ch_1", "no base64!"),
    ):
        with pytest.raises(NotSealed):
            unseal(key, challenge, text)


def test_the_length_of_a_seal_tells_nothing_of_the_name() -> None:
    public = public_of(X25519PrivateKey.generate())
    lengths = {len(seal(public, "ch_1", {"payee": "x" * n})) for n in range(40)}
    assert len(lengths) == 1


@pytest.mark.parametrize("key", ["", "short", "A" * 60, "é" * 43])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(NotSealed, match="needed 32 bytes of X25519"):
        seal(key, "ch_1", {})


def test_an_own_client_reads_and_answers_what_nobody_on_the_way_can_read(
    redis_url: str, prosody: Prosody, tmp_path: Path
) -> None:
    device = X25519PrivateKey.generate()
    seen: list[str] = []

    async def story() -> None:
        settings = stage.settings_for(redis_url, tmp_path / "data", xmpp=prosody.settings.address())
        async with (
            stage.Flow(redis_url) as flow,
            stage.notifier(settings),
            stage.chatting(prosody, "ann", device_key=device) as ann,
        ):
            customer = await flow.bind("ann", seal_to=public_of(device))
            ask = await flow.ask(customer, amount=AMOUNT, payee=PAYEE)
            question = await ann.wait_for(lambda m: m.challenge == ask["id"])
            seen.append(raw(question))
            reference = re.search(r"R-\w{4}-\w{4}", question.body)
            assert reference is not None
            assert "open the app" in question.body
            assert "Example Bank asks, to protect your account" in question.body
            own = stanzas.child(question.xml, "challenge", stanzas.CHALLENGE)
            assert own is not None
            assert own.get("bind") is None, "who holds no key can make no confirm"
            sealed = own[0]
            assert sealed.get("suite") == SUITE
            assert sealed.get("key") == fingerprint(public_of(device))
            assert not question.buttons
            content = question.content
            assert content is not None
            assert content["amount"] == AMOUNT
            assert content["payee"] == NAME
            assert content["reference"] == reference.group()
            assert content["words"]["amount"] == "87,654.21 CNY"
            asked_of = signed.question(ask, PAYEE)
            assert content["question"].encode() == canonical(asked_of)
            assert content["bind"] == signed.bind(canonical(asked_of)), "of what is shown"

            # What is said and offered beside it shows nothing either, and confirms nothing.
            offered = await ann.commands(question.sender)
            assert offered == [f"{one}#{ask['id']}" for one in ("deny", "not_me", "cancel")]
            ann.say(question.sender, "yes")
            needs = await ann.wait_for(lambda m: "reply with the code" in m.body)
            ann.say(question.sender, "hm?")
            unclear = await ann.wait_for(lambda m: "confirmed in the app alone" in m.body)
            note = await ann.run_command(question.sender, f"confirm#{ask['id']}")
            assert "confirmed in the app alone" in note
            seen.extend([raw(needs), raw(unclear), note])
            assert await flow.answers() == []

            # Who sees a deny pass by can't make a confirm of it.
            flipped = question.tied("deny", "not_me")
            for bind in (flipped, question.tied("deny"), question.bind):
                ann.answer(question.sender, ask["id"], "confirm", bind)
                await ann.wait_for(lambda m: "answered a question other than" in m.body)
                ann.messages = [m for m in ann.messages if "other than" not in m.body]
            assert await flow.answers() == []
            ann.answer(question.sender, ask["id"], "confirm", question.tied("confirm"))
            (answer,) = await flow.until(flow.answers)
            assert (answer["decision"], answer["layer"], answer["strength"]) == (
                "confirm",
                "B",
                "app",
            )
            await flow.close(ask, "confirmed")
            closed = await ann.wait_for(lambda m: m.replaces == ask["id"])
            seen.append(raw(closed))
            assert "you answered: CONFIRM at" in closed.body
            assert closed.content is not None
            assert "87,654.21 CNY" in closed.content["text"]

            async def refused() -> Any:
                return [r for r in await flow.records("answer") if r["body"].get("why") == "sealed"]

            assert await flow.until(refused)

    asyncio.run(asyncio.wait_for(story(), 5 * PATIENCE))
    for text in seen:
        assert shows(text) == [], text
    assert holders(prosody.settings.directory) == []


def test_what_waits_for_an_own_client_lies_on_the_server_unreadable(
    redis_url: str, prosody: Prosody, tmp_path: Path
) -> None:
    """Bob has no key, and so is the proof that the search finds what lies there in clear."""
    device = X25519PrivateKey.generate()
    directory = prosody.settings.directory

    async def story() -> None:
        settings = stage.settings_for(redis_url, tmp_path / "data", xmpp=prosody.settings.address())
        async with stage.Flow(redis_url) as flow, stage.notifier(settings):
            ann = await flow.bind("ann", seal_to=public_of(device))
            bob = await flow.bind("bob")
            for customer in (ann, bob):
                await flow.ask(customer, amount=AMOUNT, payee=PAYEE)

            async def stored() -> bool:
                return len(list((directory / "data").rglob("offline/*.list"))) == 2

            await flow.until(stored)
            async with stage.chatting(prosody, "ann", device_key=device) as late:
                question = await late.wait_for(lambda m: bool(m.challenge))
                assert question.content is not None
                assert question.content["payee"] == NAME

            async def proved() -> list[Any]:
                return (await flow.records("outreach.sent"))[1:]

            await flow.until(proved)
            assert len(await flow.records("outreach.sent")) == 2

    asyncio.run(asyncio.wait_for(story(), 5 * PATIENCE))
    assert [path.name for path in holders(directory)] == ["bob.list"]


def test_the_record_holds_the_seal_as_it_was_sent_and_what_was_in_it(
    redis_url: str, prosody: Prosody, tmp_path: Path
) -> None:
    device = X25519PrivateKey.generate()

    async def story() -> None:
        settings = stage.settings_for(redis_url, tmp_path / "data", xmpp=prosody.settings.address())
        async with (
            stage.Flow(redis_url) as flow,
            stage.notifier(settings),
            stage.chatting(prosody, "ann", device_key=device) as ann,
        ):
            customer = await flow.bind("ann", seal_to=public_of(device))
            ask = await flow.ask(customer, amount=AMOUNT, payee=PAYEE)
            question = await ann.wait_for(lambda m: m.challenge == ask["id"])

            async def sent() -> Any:
                return await flow.records("outreach.sent")

            (record,) = await flow.until(sent)
            assert shows(orjson.dumps(record).decode()) == []
            opened = {
                path: open_sealed(stage.SEAL_KEY, one["sealed"], path.encode()).decode()
                for path, one in record["personal"].items()
            }
            assert opened["text"] == question.body
            own = stanzas.child(question.xml, "challenge", stanzas.CHALLENGE)
            assert own is not None
            assert opened["sealed_bytes"] == own[0].text
            assert orjson.loads(opened["content"]) == question.content

    asyncio.run(asyncio.wait_for(story(), 5 * PATIENCE))


def test_a_key_that_does_not_fit_is_never_met_by_a_question_in_clear(
    redis_url: str, prosody: Prosody, tmp_path: Path
) -> None:
    async def story() -> None:
        settings = stage.settings_for(redis_url, tmp_path / "data", xmpp=prosody.settings.address())
        async with (
            stage.Flow(redis_url) as flow,
            stage.notifier(settings),
            stage.chatting(prosody, "ann") as ann,
        ):
            customer = await flow.bind("ann", seal_to="broken")
            ask = await flow.ask(customer, amount=AMOUNT, payee=PAYEE)
            question = await ann.wait_for(lambda m: m.challenge == ask["id"])
            assert "open the app" in question.body
            assert shows(raw(question)) == []

    asyncio.run(asyncio.wait_for(story(), 5 * PATIENCE))


def holders(directory: Path) -> list[Path]:
    """The files under a directory in which a marker stands."""
    return [path for path, held in files(directory) if shows(held.decode(errors="replace"))]
