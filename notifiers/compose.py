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
from dataclasses import dataclass, replace
from typing import Any

import orjson

from notifiers import bind
from notifiers.book import Asked
from notifiers.errors import NotSealed
from notifiers.facts import MessageKind, Outgoing, write_time
from notifiers.foreign import clean
from notifiers.sealed import READ_ON_THE_WAY, SUITE, fingerprint, seal
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
        composed = self._close(asked) if kind == "close" and asked.closed else self._ask(asked)
        outgoing = replace(composed.outgoing, key=key, address=address)
        composed = replace(composed, outgoing=outgoing)
        if channel in READ_ON_THE_WAY and asked.ask.seal_to:
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

    def _common(self, asked: Asked, body: str, notice: str) -> Outgoing:
        ask, texts = asked.ask, self._wording.texts(asked.language)
        return Outgoing(
            key="",
            challenge=ask.id,
            kind="ask",
            address="",
            body=body,
            language=texts.language,
            institution=self._wording.house.name(texts.language),
            reference=reference(ask.id),
            notice=notice,
            stale=write_time(ask.half_life),
            expires=ask.expires,
        )

    def _inquire(self, asked: Asked) -> Composed:
        """About payments made already: text alone, no page, and buttons where it is one payment."""
        wording, ask = self._wording, asked.ask
        said = wording.inquiry(asked.language, asked.zone, ask, asked.payees, asked.code)
        buttons = wording.buttons(asked.language, asked.code) if len(ask.about) == 1 else ()
        return Composed(replace(self._common(asked, said.text, ""), buttons=buttons), said)

    def _ask(self, asked: Asked) -> Composed:
        if asked.ask.about:
            return self._inquire(asked)
        wording, ask = self._wording, asked.ask
        page = self._page(ask.id)
        said = wording.asked(
            asked.language, asked.zone, ask, asked.payee, asked.code, page if self._links else ""
        )
        notice = wording.sealed(asked.language, asked.zone, ask).text
        outgoing = replace(
            self._common(asked, said.text, notice),
            link=page,
            amount=ask.amount,
            currency=ask.currency,
            payee=clean(asked.payee.name),
            bind=asked.bind,
            buttons=wording.buttons(asked.language, asked.code),
        )
        return Composed(outgoing, said)

    def _close(self, asked: Asked) -> Composed:
        wording, ask, closing = self._wording, asked.ask, asked.closed
        if closing is None:
            raise ValueError(f"{ask.id}: needed its end to say it")
        if ask.about:
            said = wording.inquired(asked.language, asked.zone, ask, closing)
            return Composed(replace(self._common(asked, said.text, ""), kind="close"), said)
        said = wording.closed(asked.language, asked.zone, ask, asked.payee, closing, asked.leaf)
        notice = wording.sealed(asked.language, asked.zone, ask, closing=closing).text
        common = self._common(asked, said.text, notice)
        return Composed(replace(common, kind="close", leaf=asked.leaf), said)

    def _less(self, asked: Asked, open_one: Composed) -> Composed:
        """Say what may be read on the way: who asks, by when, a reference, whom to call."""
        ask, clear = asked.ask, open_one.outgoing
        said = self._wording.sealed(
            asked.language,
            asked.zone,
            ask,
            closing=asked.closed if clear.kind == "close" else None,
        )
        bare = self._common(asked, said.text, said.text)
        outgoing = replace(
            bare, key=clear.key, kind=clear.kind, address=clear.address, leaf=clear.leaf
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
                "words": self._wording.about(asked.language, asked.zone, ask, asked.payee),
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
