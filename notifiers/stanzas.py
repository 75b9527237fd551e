"""What does a challenge look like on the wire? Pure: facts in, XML text out, and back.

Every client shows the body. The layers beside it are for those that know them: receipts
(XEP-0184), markers (XEP-0333), hints (XEP-0334), stable ids (XEP-0359), quick responses
(XEP-0439), commands (XEP-0050), and our own `urn:ringback:challenge:1` (docs/protocol.md).
A data form (`jabber:x:data`) is never sent: one client opens a window for it and hides the body.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from notifiers.facts import (
    Heard,
    HeardAnswer,
    HeardCommand,
    HeardReaction,
    HeardReceipt,
    HeardText,
    Offer,
    Outgoing,
)
from notifiers.sealed import SUITE

CHALLENGE = "urn:ringback:challenge:1"
RECEIPTS = "urn:xmpp:receipts"
MARKERS = "urn:xmpp:chat-markers:0"
HINTS = "urn:xmpp:hints"
STABLE_ID = "urn:xmpp:sid:0"
RESPONSES = "urn:xmpp:tmp:quick-response"
COMMANDS = "http://jabber.org/protocol/commands"
DISCO_ITEMS = "http://jabber.org/protocol/disco#items"
DISCO_INFO = "http://jabber.org/protocol/disco#info"
CORRECTION = "urn:xmpp:message-correct:0"
DELAY = "urn:xmpp:delay"
PING = "urn:xmpp:ping"
REACTIONS = "urn:xmpp:reactions:0"
ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"
# What each command answers: a decision, and with a deny maybe why.
NODES = {
    "confirm": ("confirm", ""),
    "deny": ("deny", ""),
    "not_me": ("deny", "not_me"),
    "cancel": ("deny", "cancel"),
}
# What a parser would read as something else: line ends and tabs become spaces in an attribute.
_IN_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_IN_ATTRIBUTE = _IN_TEXT | str.maketrans({'"': "&quot;", "\n": "&#10;", "\t": "&#9;"})
_SPECIAL = re.compile('[&<>"\r\n\t]')
_SPECIAL_IN_TEXT = re.compile("[&<>\r]")
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def legal(text: str) -> str:
    """Leave out what XML 1.0 can't carry."""
    return _NOT_XML.sub("", text)


def write(element: ET.Element, namespace: str = "") -> str:
    """Write an element as it goes onto a stream of this default namespace.

    As elements are made here: no attribute is in a namespace, and what has none itself is in the
    one around it.
    """
    written: list[str] = []
    _write(element, namespace, written)
    return "".join(written)


def _write(element: ET.Element, around: str, written: list[str]) -> None:
    begin, end, namespace = _tags(element.tag, around)
    written.append(begin)
    for key, value in element.items():
        written.append(f' {key}="{_escape(value, _IN_ATTRIBUTE)}"')
    written.append(">")
    if element.text:
        written.append(_escape(element.text, _IN_TEXT, _SPECIAL_IN_TEXT))
    for inner in element:
        _write(inner, namespace, written)
    written.append(end)


@lru_cache(maxsize=256)
def _tags(tag: str, around: str) -> tuple[str, str, str]:
    """How an element begins (up to its attributes) and ends, and the namespace inside it."""
    namespace, closed, name = tag.rpartition("}")
    namespace = namespace[1:] if closed else around
    own = f' xmlns="{_escape(namespace, _IN_ATTRIBUTE)}"' if namespace != around else ""
    return f"<{name}{own}", f"</{name}>", namespace


def _escape(text: str, how: Mapping[int, str], special: re.Pattern[str] = _SPECIAL) -> str:
    return text.translate(how) if special.search(text) else text


def message(outgoing: Outgoing, sender: str, commands_at: str) -> ET.Element:
    """Write a question, the correction that closes it, or a notice of no question."""
    if outgoing.kind == "ask":
        return _ask(outgoing, sender, commands_at)
    if outgoing.kind == "notice":
        return reply(sender, outgoing.address, outgoing.body, outgoing.challenge)
    return _close(outgoing, sender)


def _ask(outgoing: Outgoing, sender: str, commands_at: str) -> ET.Element:
    root = _chat(outgoing, sender, outgoing.challenge)
    ET.SubElement(root, f"{{{RECEIPTS}}}request")
    ET.SubElement(root, f"{{{MARKERS}}}markable")
    about = {"id": outgoing.challenge, "expires": outgoing.expires}
    if not outgoing.amount:  # its content is for the own client alone
        _seal(ET.SubElement(root, f"{{{CHALLENGE}}}challenge", about), outgoing)
        _responses(root, outgoing)  # an inquiry's; sealed content has none
        return root
    own = ET.SubElement(root, f"{{{CHALLENGE}}}challenge", about | {"bind": outgoing.bind})
    amount = ET.SubElement(own, f"{{{CHALLENGE}}}amount", {"currency": outgoing.currency})
    amount.text = legal(outgoing.amount)
    ET.SubElement(own, f"{{{CHALLENGE}}}payee").text = legal(outgoing.payee)
    _responses(root, outgoing)
    query = ET.SubElement(root, f"{{{DISCO_ITEMS}}}query", {"node": COMMANDS})
    for decision, button in zip(("confirm", "deny"), outgoing.buttons, strict=False):
        node = f"{decision}#{outgoing.challenge}"
        ET.SubElement(
            query,
            f"{{{DISCO_ITEMS}}}item",
            {"jid": commands_at, "node": node, "name": button.label},
        )
    return root


def _responses(root: ET.Element, outgoing: Outgoing) -> None:
    for button in outgoing.buttons:
        ET.SubElement(
            root, f"{{{RESPONSES}}}response", {"value": button.value, "label": button.label}
        )


def _close(outgoing: Outgoing, sender: str) -> ET.Element:
    root = _chat(outgoing, sender, f"{outgoing.challenge}.closed")
    ET.SubElement(root, f"{{{CORRECTION}}}replace", {"id": outgoing.challenge})
    about = {"id": outgoing.challenge}
    if outgoing.leaf:
        about["leaf"] = outgoing.leaf
    _seal(ET.SubElement(root, f"{{{CHALLENGE}}}closed", about), outgoing)
    return root


def _seal(own: ET.Element, outgoing: Outgoing) -> None:
    if outgoing.sealed:
        about = {"suite": SUITE, "key": outgoing.sealed_to}
        ET.SubElement(own, f"{{{CHALLENGE}}}sealed", about).text = outgoing.sealed


def _chat(outgoing: Outgoing, sender: str, stanza_id: str) -> ET.Element:
    root = ET.Element(
        "message", {"type": "chat", "from": sender, "to": outgoing.address, "id": stanza_id}
    )
    ET.SubElement(root, "body").text = legal(outgoing.body)
    ET.SubElement(root, "thread").text = outgoing.challenge
    ET.SubElement(root, f"{{{STABLE_ID}}}origin-id", {"id": stanza_id})
    ET.SubElement(root, f"{{{HINTS}}}no-permanent-store")
    return root


def reply(sender: str, to: str, body: str, stanza_id: str) -> ET.Element:
    """Write a short reply; it too asks the server to keep nothing."""
    root = ET.Element("message", {"type": "chat", "from": sender, "to": to, "id": stanza_id})
    ET.SubElement(root, "body").text = legal(body)
    ET.SubElement(root, f"{{{HINTS}}}no-permanent-store")
    return root


def received(sender: str, to: str, stanza_id: str) -> ET.Element:
    """Write our own receipt for a customer's message."""
    root = ET.Element("message", {"type": "chat", "from": sender, "to": to})
    ET.SubElement(root, f"{{{RECEIPTS}}}received", {"id": stanza_id})
    ET.SubElement(root, f"{{{HINTS}}}no-store")
    return root


def ping(sender: str, server: str, stanza_id: str) -> str:
    """Write a ping to the server (XEP-0199)."""
    root = ET.Element("iq", {"type": "get", "from": sender, "to": server, "id": stanza_id})
    ET.SubElement(root, f"{{{PING}}}ping")
    return write(root)


@dataclass(frozen=True, slots=True)
class Bounce:
    """A message of ours came back."""

    stanza: str
    condition: str
    bare: str


def bare(jid: str) -> str:
    """Give an address without its resource, in lower case (the server has prepared it)."""
    return jid.partition("/")[0].lower()


def local_name(element: ET.Element) -> str:
    """Give an element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def child(element: ET.Element, name: str, namespace: str | None = None) -> ET.Element | None:
    """Find a child by name, and by namespace unless any will do."""
    if namespace is not None:
        return element.find(f"{{{namespace}}}{name}")
    return next((found for found in element if local_name(found) == name), None)


def hear(stanza: ET.Element, received_at: datetime, channel: str) -> Heard | Bounce | None:
    """Read a message from a customer. An error is a bounce, and never an answer.

    A bounce echoes our own body, and our own body contains the words YES and NO: so the type is
    looked at before anything else.
    """
    sender = stanza.get("from", "")
    if stanza.get("type") == "error":
        return Bounce(stanza.get("id", ""), condition(stanza), bare(sender))
    if stanza.get("type") in {"groupchat", "headline"} or not sender:
        return None
    about = {
        "channel": channel,
        "address": sender,
        "bare": bare(sender),
        "stanza": legal(stanza.get("id", ""))[:128],
    }
    delayed = child(stanza, "delay", DELAY) is not None
    own = child(stanza, "answer", CHALLENGE)
    if own is not None:
        signed = child(own, "jws", CHALLENGE)
        return HeardAnswer(
            **about,
            received=received_at,
            delayed=delayed,
            challenge=own.get("id", ""),
            decision=own.get("decision", ""),
            reason=own.get("reason", ""),
            bind=own.get("bind", ""),
            jws="".join((signed.text or "").split()) if signed is not None else "",
        )
    claimed = _claim(stanza, about, received_at, delayed)
    if claimed is not None:
        return claimed
    body = child(stanza, "body")
    if body is None or not (body.text or "").strip():
        return None
    return HeardText(**about, received=received_at, delayed=delayed, text=body.text or "")


def _claim(
    stanza: ET.Element, about: dict[str, str], received_at: datetime, delayed: bool
) -> Heard | None:
    delivered = child(stanza, "received", RECEIPTS)
    if delivered is not None:
        return HeardReceipt(
            **about,
            received=received_at,
            delayed=delayed,
            challenge=delivered.get("id", ""),
            kind="delivered",
        )
    displayed = child(stanza, "displayed", MARKERS)
    if displayed is not None:
        return HeardReceipt(
            **about,
            received=received_at,
            delayed=delayed,
            challenge=displayed.get("id", ""),
            kind="displayed",
        )
    reactions = child(stanza, "reactions", REACTIONS)
    if reactions is not None:
        return HeardReaction(
            **about, received=received_at, delayed=delayed, challenge=reactions.get("id", "")
        )
    return None


def wants_receipt(stanza: ET.Element) -> bool:
    """Say whether a customer's message asks for a receipt."""
    return child(stanza, "request", RECEIPTS) is not None and bool(stanza.get("id"))


def condition(stanza: ET.Element) -> str:
    """Give the defined condition of an error stanza."""
    error = child(stanza, "error")
    if error is not None:
        for found in error:
            if found.tag.startswith(f"{{{ERRORS}}}") and local_name(found) != "text":
                return local_name(found)
    return "undefined-condition"


def command(stanza: ET.Element, received_at: datetime, channel: str) -> HeardCommand | None:
    """Read an ad-hoc command: `confirm#ID`, `deny#ID`, …; without an id the only open one."""
    asked = child(stanza, "command", COMMANDS)
    sender = stanza.get("from", "")
    if asked is None or not sender:
        return None
    name, _, challenge = asked.get("node", "").partition("#")
    decision, reason = NODES.get(name, ("", ""))
    if not decision or asked.get("action") not in {None, "execute", "complete"}:
        return None
    return HeardCommand(
        channel=channel,
        address=sender,
        bare=bare(sender),
        stanza=legal(stanza.get("id", ""))[:128],
        received=received_at,
        challenge=challenge,
        decision=decision,
        reason=reason,
    )


def command_done(stanza: ET.Element, text: str) -> ET.Element:
    """Write the result of a command: completed, with a note."""
    asked = child(stanza, "command", COMMANDS)
    node = asked.get("node", "") if asked is not None else ""
    root = answer_iq(stanza, "result")
    done = ET.SubElement(
        root,
        f"{{{COMMANDS}}}command",
        {"node": legal(node), "sessionid": legal(stanza.get("id", ""))[:64], "status": "completed"},
    )
    ET.SubElement(done, f"{{{COMMANDS}}}note", {"type": "info"}).text = legal(text)
    return root


def answer_iq(stanza: ET.Element, kind: str) -> ET.Element:
    """Begin the answer to an iq."""
    return ET.Element(
        "iq",
        {
            "type": kind,
            "from": stanza.get("to", ""),
            "to": stanza.get("from", ""),
            "id": legal(stanza.get("id", "")),
        },
    )


def refuse_iq(stanza: ET.Element, defined: str = "service-unavailable") -> ET.Element:
    """Write the error answer to an iq that is not served here."""
    root = answer_iq(stanza, "error")
    error = ET.SubElement(root, "error", {"type": "cancel"})
    ET.SubElement(error, f"{{{ERRORS}}}{defined}")
    return root


def info(stanza: ET.Element, name: str, node: str) -> ET.Element:
    """Answer what we are (XEP-0030)."""
    root = answer_iq(stanza, "result")
    query = ET.SubElement(root, f"{{{DISCO_INFO}}}query", {"node": node} if node else {})
    if node.partition("#")[0] in NODES:
        identity = {"category": "automation", "type": "command-node", "name": name}
        features: Sequence[str] = (COMMANDS,)
    else:
        identity = {"category": "client", "type": "bot", "name": name}
        features = (
            DISCO_INFO,
            DISCO_ITEMS,
            COMMANDS,
            RECEIPTS,
            MARKERS,
            CORRECTION,
            CHALLENGE,
            PING,
        )
    ET.SubElement(query, f"{{{DISCO_INFO}}}identity", identity)
    for feature in features:
        ET.SubElement(query, f"{{{DISCO_INFO}}}feature", {"var": feature})
    return root


def items(stanza: ET.Element, offers: Sequence[Offer], at: str) -> ET.Element:
    """Answer which commands this customer may run now."""
    root = answer_iq(stanza, "result")
    query = ET.SubElement(root, f"{{{DISCO_ITEMS}}}query", {"node": COMMANDS})
    for offer in offers:
        ET.SubElement(
            query,
            f"{{{DISCO_ITEMS}}}item",
            {"jid": at, "node": offer.node, "name": legal(offer.label)},
        )
    return root
