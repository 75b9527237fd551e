"""The protocol's page tells the truth: its examples parse, and have the layers that are sent."""

import base64
import re
import xml.etree.ElementTree as ET
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from notifiers import stanzas
from notifiers.facts import Ask, Button, Closing, HeardAnswer, Outgoing, Payee
from notifiers.sealed import fingerprint, public_of, unseal
from notifiers.wording import House, Wording
from risk import signed
from tests.notifiers import stage

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"
EXAMPLES = [
    ET.fromstring(text) for text in re.findall(r"```xml\n(.*?)```", PAGE.read_text(), re.DOTALL)
]


[CLOSING] = [one for one in EXAMPLES if stanzas.child(one, "replace") is not None]


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
        leaf="a" * 64 if kind == "close" else "",
        buttons=(Button("YES 384920", "Confirm"), Button("NO 384920", "Deny")),
    )


def test_the_question_on_the_page_has_the_layers_that_are_sent() -> None:
    sent = stanzas.message(outgoing("ask"), stage.BOT_FULL, stage.BOT_FULL)
    assert layers(EXAMPLES[0]) == layers(sent)


def test_the_closing_on_the_page_has_the_layers_that_are_sent() -> None:
    sent = stanzas.message(outgoing("close"), stage.BOT_FULL, stage.BOT_FULL)
    assert layers(CLOSING) == layers(sent)


def test_the_answers_on_the_page_are_heard() -> None:
    answers = [one for one in EXAMPLES if "from" not in one.attrib]
    for one in answers:
        one.set("from", "anna@bank.example/app")
    first, own = [stanzas.hear(one, stage.now(), "xmpp") for one in answers if len(one) == 1][:2]
    assert isinstance(first, HeardAnswer)
    assert (first.challenge, bool(first.jws)) == ("ch_v4l7mq2w", True)
    assert isinstance(own, HeardAnswer)
    assert (own.challenge, own.decision) == ("ch_v4l7mq2w", "confirm")
    command = stanzas.command(answers[-1], stage.now(), "xmpp")
    assert command is not None
    assert (command.challenge, command.decision) == ("ch_v4l7mq2w", "deny")


WORDING = Wording.load(stage.TEMPLATES, House("Example Bank", "95588"))
ASK = Ask.from_stream(
    "1-0",
    stage.make_ask("cus_x")
    | {"id": "ch_v4l7mq2w", "created": "2026-11-21T12:40:00Z", "expires": "2026-11-21T12:47:00Z"},
)
PAYEE = Payee("ACME Trading", "6222020200011234")
ANNA = ("en", "Asia/Shanghai", ASK)


def body_of(example: ET.Element) -> str:
    return str(example.findtext("{jabber:client}body"))


def test_the_texts_on_the_page_are_those_that_are_said() -> None:
    assert body_of(EXAMPLES[0]) == WORDING.ask(*ANNA, PAYEE, "384920", "")
    closed = stanzas.child(CLOSING, "closed")
    assert closed is not None
    end = Closing(ASK.id, "confirmed", "approve", "2026-11-21T12:43:00Z")
    said = WORDING.closed(*ANNA, PAYEE, end, closed.get("leaf", ""))
    assert body_of(CLOSING) == said.text


def sealed_example() -> ET.Element:
    [found] = [one for one in EXAMPLES if one.find(f".//{{{stanzas.CHALLENGE}}}sealed") is not None]
    return found


def test_the_sealed_question_on_the_page_has_the_layers_that_are_sent() -> None:
    sent = Outgoing(
        key="k",
        challenge=ASK.id,
        kind="ask",
        address="anna@bank.example",
        body=WORDING.sealed(*ANNA).text,
        expires=ASK.expires,
        sealed="x",
        sealed_to="y",
    )
    example = sealed_example()
    assert layers(example) == layers(stanzas.message(sent, stage.BOT_FULL, stage.BOT_FULL))
    assert body_of(example) == sent.body


def test_the_seal_on_the_page_opens_with_the_key_on_the_page() -> None:
    page = PAGE.read_text()
    found = re.search(r"private key `([\w-]{43})`", page)
    assert found is not None
    device = X25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(found.group(1) + "="))
    assert f'"seal_to": "{public_of(device)}"' in page
    [own] = sealed_example().iter(f"{{{stanzas.CHALLENGE}}}sealed")
    assert own.get("key") == fingerprint(public_of(device))
    content = unseal(device, ASK.id, own.text or "")
    assert content["amount"] == "9800.00"
    assert content["words"] == WORDING.about(*ANNA, PAYEE)
    assert content["bind"] == signed.bind(content["question"].encode())
    for name in content:
        assert name in page
