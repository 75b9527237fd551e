"""Whatever arrives on the stream is read without an error, and only what is one is an answer."""

import asyncio
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from notifiers import stanzas
from notifiers.facts import (
    Button,
    Heard,
    HeardAnswer,
    HeardCommand,
    HeardText,
    Offer,
    Outgoing,
)
from notifiers.xmpp import XmppAddress, XmppChannel
from tests.notifiers import stage

NAMESPACES = ["", "jabber:client", "jabber:component:accept", stanzas.CHALLENGE, stanzas.COMMANDS]
NAMESPACES += [
    stanzas.RECEIPTS,
    stanzas.MARKERS,
    stanzas.DELAY,
    stanzas.DISCO_ITEMS,
    stanzas.ERRORS,
]
NAMES = [
    "body",
    "answer",
    "command",
    "received",
    "displayed",
    "delay",
    "error",
    "query",
    "ping",
    "x",
]
VALUES = st.one_of(
    st.sampled_from(["confirm", "deny", "confirm#ch_1", "#", "ch_1", "execute", "error", ""]),
    st.text(max_size=20),
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["id", "decision", "reason", "bind", "node", "action", "stamp", "code"]),
    VALUES,
    max_size=4,
)


def _part(namespace: str, name: str, attributes: dict[str, str], text: str | None) -> ET.Element:
    part = ET.Element(f"{{{namespace}}}{name}" if namespace else name, attributes)
    part.text = text
    return part


def _stanza(name: str, kind: str | None, sender: str | None, parts: list[ET.Element]) -> ET.Element:
    root = ET.Element(f"{{jabber:component:accept}}{name}", {"to": stage.BOT_FULL, "id": "1"})
    if kind is not None:
        root.set("type", kind)
    if sender is not None:
        root.set("from", sender)
    root.extend(parts)
    return root


PARTS = st.builds(
    _part,
    st.sampled_from(NAMESPACES),
    st.sampled_from(NAMES),
    ATTRIBUTES,
    st.one_of(st.none(), st.text(max_size=40)),
)
KINDS = [None, "chat", "error", "set", "get", "result", "subscribe", "probe", "groupchat"]
STANZAS = st.builds(
    _stanza,
    st.sampled_from(["message", "iq", "presence", "other"]),
    st.sampled_from(KINDS),
    st.sampled_from([None, "", "ann@bank.example/phone", "@/", "challenge.bank.example", "\x00"]),
    st.lists(PARTS, max_size=4),
)


class Listening:
    """Keeps what a channel tells."""

    def __init__(self) -> None:
        self.all: list[Heard] = []

    async def opened(self, kind: str) -> None: ...

    def taken(self, keys: Sequence[str]) -> None: ...

    def bounced(self, kind: str, challenge: str, condition: str, bare: str) -> None: ...

    def failed(self, key: str, condition: str) -> None: ...

    def gone(self, kind: str, challenge: str, address: str) -> None: ...

    async def heard(self, heard: Heard) -> str | None:
        self.all.append(heard)
        return "noted"

    async def offers(self, bare: str) -> Sequence[Offer]:
        return ()


@settings(max_examples=100, deadline=None)
@given(st.lists(STANZAS, min_size=10, max_size=20))
def test_malformed_stanzas_crash_nothing_and_errors_never_answer(sent: list[ET.Element]) -> None:
    async def story() -> None:
        listening = Listening()
        address = XmppAddress("127.0.0.1", 1, "s", f"challenge.{stage.DOMAIN}", stage.DOMAIN)
        channel = XmppChannel(address, listening)
        for stanza in sent:
            before = len(listening.all)
            channel._take(stanza)
            await asyncio.gather(*channel._tasks)
            if stanza.get("type") == "error":
                assert len(listening.all) == before
        for heard in listening.all:
            assert isinstance(heard, Heard)
            if isinstance(heard, HeardText):
                assert heard.text.strip()
            if isinstance(heard, HeardCommand):
                assert heard.decision in {"confirm", "deny"}

    asyncio.run(story())


def test_an_answer_in_a_bounce_is_a_bounce() -> None:
    own = _part(stanzas.CHALLENGE, "answer", {"id": "ch_1", "decision": "confirm"}, None)
    bounced = _stanza("message", "error", "ann@bank.example", [own])
    assert isinstance(stanzas.hear(bounced, stage.now(), "xmpp"), stanzas.Bounce)
    answered = _stanza("message", "chat", "Ann@bank.example/app", [own])
    heard = stanzas.hear(answered, stage.now(), "xmpp")
    assert isinstance(heard, HeardAnswer)
    assert heard.bare == "ann@bank.example"


def test_a_delayed_message_is_known_as_one() -> None:
    parts = [_part("", "body", {}, "yes 1"), _part(stanzas.DELAY, "delay", {"stamp": "x"}, None)]
    heard = stanzas.hear(
        _stanza("message", "chat", "ann@bank.example/x", parts), stage.now(), "xmpp"
    )
    assert heard is not None
    assert isinstance(heard, HeardText)
    assert heard.delayed


TEXT = st.text(max_size=40).map(stanzas.legal)
QUESTIONS = st.builds(
    Outgoing,
    key=st.just("k"),
    challenge=TEXT,
    kind=st.sampled_from(["ask", "close", "notice"]),
    address=TEXT,
    body=TEXT,
    amount=TEXT,
    currency=TEXT,
    payee=TEXT,
    bind=TEXT,
    leaf=TEXT,
    buttons=st.tuples(st.builds(Button, TEXT, TEXT), st.builds(Button, TEXT, TEXT)),
)


@settings(max_examples=300, deadline=None)
@given(QUESTIONS, st.sampled_from(["", "jabber:client"]))
def test_what_is_written_is_read_as_it_was_meant(outgoing: Outgoing, around: str) -> None:
    made = stanzas.message(outgoing, stage.BOT_FULL, stage.BOT_FULL)
    opened = f"<stream xmlns='{around}'>" if around else "<stream>"
    read = ET.fromstring(f"{opened}{stanzas.write(made, around)}</stream>")[0]
    assert _shape(read, around) == _shape(made, around)


def _shape(element: ET.Element, around: str) -> tuple[object, ...]:
    """An element with all that is in it; what names no namespace is in the one around it."""
    own = element.tag[1:].partition("}")[0] if element.tag.startswith("{") else around
    inner = [_shape(one, own) for one in element]
    name = stanzas.local_name(element)
    return own, name, dict(element.items()), element.text or "", inner
