"""May this customer be asked about payments made already, and what does their answer change?

::

    wish --bears it? made?--> inquiry --> notifier --> customer --> rb:answers
                                                                       |
         labels, alert, record, closing <--- risk/inquiry.py <---------+   silence: closed, no more

Nothing is held and no decision hangs on it. What comes back is an immediate label of each payment
that was named or vouched for.
"""

import hashlib
import hmac
from base64 import b32encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flows.effects import Effects, Inquired
from flows.records import Recorder
from flows.scored import Row, Scoreds
from flows.walk import Spoken, Wished
from risk import events, names
from risk.challenge import Conversation, answer_from
from risk.inquiry import DENIED, OPEN, PREFIX, Inquiry, Said
from risk.seek import DAY_US


def _nobody(wish: Wished, asked: Sequence[str]) -> None:
    """Nobody waits for what became of a wish."""


@dataclass(frozen=True)
class Seeks:
    """How the judging stage asks those who were sought out; times in microseconds.

    ``told`` hears which payments a wish came to be asked about. Where nothing ``opens``, as over a
    file, no answer comes by a stream and no deadline runs.
    """

    rest_us: int = 7 * DAY_US
    answer_within_us: int = DAY_US
    opens: bool = True
    told: Callable[[Wished, Sequence[str]], None] = _nobody


def inquiry_id(payments: Sequence[str]) -> str:
    """The id of an inquiry about these payments; the same one again in a replay."""
    digest = hashlib.sha256("\0".join(("inquiry", *payments)).encode()).digest()
    return PREFIX + b32encode(digest[:13]).decode().lower().rstrip("=")


def is_inquiry(challenge: object) -> bool:
    """Whether an answer is about an inquiry."""
    return isinstance(challenge, str) and challenge.startswith(PREFIX)


class Inquirer:
    """Inquiries of one shard of customers; ``waits`` is told of each that is put or has ended."""

    def __init__(
        self,
        seeks: Seeks,
        effects: Effects,
        recorder: Recorder,
        scoreds: Scoreds,
        nonce_key: bytes,
        waits: Callable[[Inquiry, str], None],
    ) -> None:
        self._seeks, self._effects, self._recorder = seeks, effects, recorder
        self._scoreds, self._nonce_key, self._waits = scoreds, nonce_key, waits

    def ask(self, wish: Wished, conversation: Conversation) -> Inquiry | None:
        """Put the wished inquiry, about those payments that were made; None where it isn't borne.

        Who is asked about one of the payments by another way just now isn't asked again.
        """
        seeks, asked = self._seeks, list[str]()
        if conversation.may_be_sought(wish.at_us, seeks.rest_us):
            wanted = [payment.event for payment in wish.payments]
            made = self._effects.made(wanted)
            asked = [event for event, was in zip(wanted, made, strict=True) if was]
        rows = [self._scoreds.look(event) for event in asked] if seeks.opens else []
        shown = [row for row in rows if row is not None and row.paid is not None]
        if seeks.opens:  # what was paid before this was turned on can't be shown
            asked = [row.event for row in shown]
        if not asked:
            seeks.told(wish, ())
            return None
        inquiry = Inquiry(
            inquiry_id(asked),
            tuple(asked),
            wish.at_us,
            wish.at_us + seeks.answer_within_us,
            about=wish.about,
        )
        records = []
        if self._effects.keeps:
            records = self._recorder.inquiring(inquiry, wish.customer, wish.why)
        if seeks.opens:
            conversation.inquire(inquiry)
            self._waits(inquiry, wish.customer)
            told = self._question(inquiry, wish.customer, shown)
            self._effects.inquire(Inquired(f"inquiry/{inquiry.id}", records, told))
        else:
            conversation.sought_us = wish.at_us
            self._effects.inquire(Inquired("", records, None))
        seeks.told(wish, asked)
        return inquiry

    def _question(self, inquiry: Inquiry, customer: str, shown: Sequence[Row]) -> dict[str, Any]:
        names_of = ("amount", "currency", "kind", "payee")
        payments = [
            dict(zip(names_of, row.paid or (), strict=True)) | {"time": events.rfc3339(row.time_us)}
            for row in shown
        ]
        nonce = hmac.digest(self._nonce_key, inquiry.id.encode(), hashlib.sha256)
        return {
            "v": 1,
            "op": "inquire",
            "id": inquiry.id,
            "event": inquiry.events[0],
            "case": names.case(inquiry.id),
            "customer": customer,
            "payments": payments,
            "nonce": nonce.hex()[:32],
            "created": events.rfc3339(inquiry.asked_us),
            "expires": events.rfc3339(inquiry.expires_us),
        }

    def hear(self, spoken: Spoken, conversation: Conversation, wait_us: int) -> bool:
        """Take an answer, or word that no channel reached; False where nothing is known of it."""
        entry = spoken.entry
        inquiry = conversation.inquiries.get(str(entry["challenge"]))
        if inquiry is None:
            return False
        if entry.get("kind") == "unreachable":
            self.close(inquiry, conversation, spoken.customer, "unreachable", spoken.received_us)
            return True
        answer = answer_from(entry, spoken.position, spoken.received_us)
        evidence = entry.get("evidence")
        items = evidence.get("items") if isinstance(evidence, dict) else None
        numbers = [one for one in items or () if isinstance(one, int)]
        said = conversation.hear_of(inquiry, answer, numbers, wait_us)
        self._act(said, spoken)
        return True

    def close(
        self, inquiry: Inquiry, conversation: Conversation, customer: str, state: str, at_us: int
    ) -> None:
        """End an open inquiry that nobody answered; it teaches nothing."""
        if inquiry.state != OPEN:
            return
        closed = replace(inquiry, state=state, at_us=at_us)
        conversation.inquiries[inquiry.id] = closed
        self._waits(closed, customer)
        by = "notifier" if state == "unreachable" else "timer"
        rid = f"inquiry/{inquiry.id}/{state}"
        said = Said("counted", closed)
        records = self._recorder.inquired(said, customer, at_us, by, rid=rid)
        self._effects.inquire(Inquired(rid, records, _closing(closed, customer)))

    def _act(self, said: Said, spoken: Spoken) -> None:
        inquiry, at_us = said.inquiry, spoken.received_us
        rid = f"{names.ANSWERS}/{spoken.position}"
        records = self._recorder.inquired(said, spoken.customer, at_us, "customer", rid=rid)
        told, alerts, labels = None, list[dict[str, Any]](), list[dict[str, Any]]()
        if said.verdict == "counted":
            self._waits(inquiry, spoken.customer)
            told = _closing(inquiry, spoken.customer)
            at = events.rfc3339(at_us)
            for event, fraud in said.labels:
                labels.append(
                    {
                        "id": f"{inquiry.id}/label/{event}/{inquiry.state}",
                        "event": event,
                        "fraud": fraud,
                        "source": "customer",
                        "time": at,
                        "known": at,
                    }
                )
                if fraud:
                    alerts.append({"event": event, "kind": "inquiry", "text": _words(inquiry)})
        elif said.verdict == "duress":
            text = "A duress word in an answer about payments made already."
            alerts.append({"event": inquiry.events[0], "kind": "duress", "text": text})
        self._effects.inquire(Inquired(rid, records, told, alerts, labels))


def _words(inquiry: Inquiry) -> str:
    if inquiry.about is None:
        return "Asked to look through their payments, a customer says: this one was not mine."
    return (
        f"Asked after the denial of {inquiry.about}, another customer there says of a payment "
        "already made: not mine."
    )


def _closing(inquiry: Inquiry, customer: str) -> dict[str, Any]:
    decision = "decline" if inquiry.state == DENIED else "approve"
    return {
        "op": "inquired",
        "id": inquiry.id,
        "event": inquiry.events[0],
        "customer": customer,
        "state": inquiry.state,
        "decision": decision,
        "at": events.rfc3339(inquiry.at_us),
    }
