"""The protocol's page tells the truth: its examples parse, and have the layers that are sent."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from notifiers import stanzas
from notifiers.facts import Button, HeardAnswer, Outgoing
from tests.notifiers import stage

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"
EXAMPLES = [
    ET.fromstring(text) for text in re.findall(r"```xml\n(.*?)```", PAGE.read_text(), re.DOTALL)
]


def layers(element: ET.Element) -> list[tuple[str, list[str]]]:
    """Names and attributes of all parts, without the stream's own namespace."""
    found = []
    for part in element.iter():
        namespace, _, name = part.tag.rpartition("}")
        own = namespace.removeprefix("{") not in {"", "jabber:client"}
        found.append((part.tag if own else name, sorted(part.attrib)))
    return found


def outgoing(kind: str) -> Outgoing:
    return Outgoing(
        key="k",
        challenge="ch_v4l7mq2w",
        kind="ask" if kind == "ask" else "close",
        address="anna@bank.example",
        body="x",
        amount="9800.00",
        currency="CNY",
        payee="ACME Trading",
        expires="2026-11-21T12:47:00Z",
        bind="b",
        buttons=(Button("YES 384920", "Confirm"), Button("NO 384920", "Deny")),
    )


def test_the_question_on_the_page_has_the_layers_that_are_sent() -> None:
    sent = stanzas.message(outgoing("ask"), stage.BOT_FULL, stage.BOT_FULL)
    assert layers(EXAMPLES[0]) == layers(sent)


def test_the_closing_on_the_page_has_the_layers_that_are_sent() -> None:
    sent = stanzas.message(outgoing("close"), stage.BOT_FULL, stage.BOT_FULL)
    assert layers(EXAMPLES[3]) == layers(sent)


def test_the_answers_on_the_page_are_heard() -> None:
    EXAMPLES[1].set("from", "anna@bank.example/app")
    heard = stanzas.hear(EXAMPLES[1], stage.now(), "xmpp")
    assert isinstance(heard, HeardAnswer)
    assert (heard.challenge, heard.decision) == ("ch_v4l7mq2w", "confirm")
    EXAMPLES[2].set("from", "anna@bank.example/app")
    command = stanzas.command(EXAMPLES[2], stage.now(), "xmpp")
    assert command is not None
    assert (command.challenge, command.decision) == ("ch_v4l7mq2w", "deny")
