"""What goes out for one message, and what of it is kept?

::

    question + texts --> Said (parts, values) --> Outgoing        what a channel writes
                             |                       |
                             +-- fingerprint --------+--> record: template, values, hashes

The same message is composed again for its record: everything in it comes of the question, its end
and the texts. A seal alone is made by chance, so it is kept until the message is on record.
"""

import hashlib
import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from notifiers import bind
from notifiers.book import Asked
from notifiers.catalogue import SPOKEN
from notifiers.errors import NotSealed
from notifiers.facts import Closing, MessageKind, Outgoing, write_time
from notifiers.foreign import clean
from notifiers.sealed import SUITE, fingerprint, seal
from notifiers.wording import Said, Wording, reference, variables
from notifiers.wording import fingerprint as hashes
from risk.privacy import web_token

log = logging.getLogger(__name__)

SEALS = "xmpp"  # the channel that carries a seal; on the others the app is opened for the rest


@dataclass(frozen=True, slots=True)
class Composed:
    """One message: as it goes out, as it was said, and the content under its seal."""

    outgoing: Outgoing
    said: Said
    content: dict[str, Any] | None = None


class Composer:
    """Composes for one term."""

    def __init__(self, wording: Wording, answer_key: bytes, web_key: bytes, links: bool) -> None:
        self._wording = wording
        self._answer_key = answer_key
        self._web_key = web_key
        self._links = links

    def compose(
        self, key: str, kind: MessageKind, channel: str, asked: Asked, address: str
    ) -> Composed:
        """Compose one message: the same again whenever it is composed."""
        if kind == "close" and asked.closed is not None:
            composed = self._close(key, address, asked, asked.closed)
        else:
            composed = self._ask(key, address, asked)
        if channel in SPOKEN and asked.ask.seal_to:
            less = self._less(asked, composed)
            return self._sealed(asked, composed, less) if channel == SEALS else less
        return composed

    def record(self, composed: Composed, asked: Asked) -> tuple[dict[str, Any], dict[str, str]]:
        """Give what a record keeps: its body's part, and what lies under a seal by its path."""
        texts = self._wording.texts(asked.language)
        salt = self._salt(asked.ask.id)
        body: dict[str, Any] = {
            "template": {
                "id": texts.id,
                "version": texts.version,
                "sha256": texts.sha256,
                "parts": list(composed.said.parts),
            },
            "said": hashes(salt, composed.said),
            "language": texts.language,
            "bind": asked.bind,
        }
        personal = {
            "text": composed.said.text,
            "variables": variables(salt, composed.said).decode(),
        }
        out = composed.outgoing
        if out.leaf:
            body["leaf"] = out.leaf
        if out.sealed:
            body["sealed_to"] = {
                "suite": SUITE,
                "key": out.sealed_to,
                "sha256": hashlib.sha256(out.sealed.encode()).hexdigest(),
            }
            personal["sealed_bytes"] = out.sealed
        if composed.content is not None:
            personal["content"] = orjson.dumps(
                composed.content, option=orjson.OPT_SORT_KEYS
            ).decode()
        return body, personal

    def _outgoing(
        self, key: str, address: str, asked: Asked, body: str, notice: str, **more: Any
    ) -> Outgoing:
        ask, texts = asked.ask, self._wording.texts(asked.language)
        fields: dict[str, Any] = {
            "key": key,
            "challenge": ask.id,
            "kind": "ask",
            "address": address,
            "body": body,
            "language": texts.language,
            "institution": self._wording.house.name(texts.language),
            "reference": reference(ask.id),
            "notice": notice,
            "stale": write_time(ask.half_life),
            "expires": ask.expires,
        }
        return Outgoing(**(fields | more))

    def _words(self, asked: Asked) -> Mapping[str, str]:
        """Give a question's own words; they are the same for all that is said of it."""
        if asked.words is None:
            asked.words = self._wording.about(asked.language, asked.zone, asked.ask, asked.payee)
        return asked.words

    def _inquire(self, key: str, address: str, asked: Asked) -> Composed:
        """About payments made already: text alone, no page, and buttons where it is one payment."""
        wording, ask = self._wording, asked.ask
        said = wording.inquiry(asked.language, asked.zone, ask, asked.payees, asked.code)
        buttons = wording.buttons(asked.language, asked.code) if len(ask.about) == 1 else ()
        return Composed(self._outgoing(key, address, asked, said.text, "", buttons=buttons), said)

    def _ask(self, key: str, address: str, asked: Asked) -> Composed:
        if asked.ask.about:
            return self._inquire(key, address, asked)
        wording, ask, words = self._wording, asked.ask, self._words(asked)
        page = self._page(ask.id)
        said = wording.asked_in(asked.language, words, asked.code, page if self._links else "")
        notice = wording.sealed_in(asked.language, asked.zone, words, None).text
        outgoing = self._outgoing(
            key,
            address,
            asked,
            said.text,
            notice,
            link=page,
            amount=ask.amount,
            currency=ask.currency,
            payee=clean(asked.payee.name),
            bind=asked.bind,
            buttons=wording.buttons(asked.language, asked.code),
        )
        return Composed(outgoing, said)

    def _close(self, key: str, address: str, asked: Asked, closing: Closing) -> Composed:
        wording, ask = self._wording, asked.ask
        if ask.about:
            said = wording.inquired(asked.language, asked.zone, ask, closing)
            return Composed(self._outgoing(key, address, asked, said.text, "", kind="close"), said)
        words = self._words(asked)
        said = wording.closed_in(asked.language, asked.zone, words, closing, asked.leaf)
        notice = wording.sealed_in(asked.language, asked.zone, words, closing).text
        outgoing = self._outgoing(
            key, address, asked, said.text, notice, kind="close", leaf=asked.leaf
        )
        return Composed(outgoing, said)

    def _less(self, asked: Asked, open_one: Composed) -> Composed:
        """Say what may be read on the way: who asks, by when, a reference, whom to call."""
        clear = open_one.outgoing
        closing = asked.closed if clear.kind == "close" else None
        said = self._wording.sealed_in(asked.language, asked.zone, self._words(asked), closing)
        outgoing = self._outgoing(
            clear.key, clear.address, asked, said.text, said.text, kind=clear.kind, leaf=clear.leaf
        )
        return Composed(outgoing, said)

    def _sealed(self, asked: Asked, open_one: Composed, less: Composed) -> Composed:
        """Put all that tells anything under the seal, beside what may be read on the way."""
        ask, clear, outgoing = asked.ask, open_one.outgoing, less.outgoing
        content: dict[str, Any] = {
            "v": 1,
            "id": ask.id,
            "institution": clear.institution,
            "reference": clear.reference,
        }
        if clear.kind == "ask":
            content |= {
                "words": dict(self._words(asked)),
                "kind": ask.kind,
                "amount": ask.amount,
                "currency": ask.currency,
                "payee": clear.payee,
                "created": ask.created,
                "expires": ask.expires,
                "bind": asked.bind,
                "question": bind.question(ask, asked.payee).decode(),
            }
        elif asked.closed is not None:
            content |= {
                "text": clear.body,
                "state": asked.closed.state,
                "at": asked.closed.at,
            }
        try:
            if clear.kind not in asked.sealed:
                asked.sealed[clear.kind] = seal(ask.seal_to, ask.id, content)
            outgoing = replace(
                outgoing,
                sealed=asked.sealed[clear.kind],
                sealed_to=fingerprint(ask.seal_to),
            )
        except NotSealed as broken:  # never in clear instead: the app shows it over its own way
            log.warning("question %s: %s", ask.id, broken)
        return Composed(outgoing, less.said, content)

    def _page(self, challenge: str) -> str:
        page = self._wording.house.page
        if not page:
            return ""
        return f"{page.rstrip('/')}/c/{challenge}#{web_token(self._web_key, challenge)}"

    def _salt(self, challenge: str) -> str:
        made = hmac.digest(self._answer_key, b"ringback-salt-v1\0" + challenge.encode(), "sha256")
        return made.hex()[:32]
