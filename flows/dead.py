"""`ringback dead`: what could not be taken, why, and how it is sent again."""

from typing import Any

import orjson

from flows.errors import FlowError
from flows.parts import House
from flows.redis_server import wait
from risk import names


class NoLetter(FlowError):
    """A dead letter that is not there, or that holds nothing that could be sent again."""


def listed(house: House, limit: int) -> list[dict[str, Any]]:
    """The newest dead letters: id, reason, problem, and whether there is an event to send again.

    The event itself is not shown: it may hold personal values in the clear.
    """
    rows: Any = wait(house.redis_url, 5.0).xrevrange(names.DEAD, count=limit)
    return [
        {
            "id": ident.decode(),
            "reason": fields.get(b"reason", b"").decode(),
            "problem": orjson.loads(fields.get(b"problem") or b"null"),
            "event_kept": fields.get(b"event", b"").startswith(b"{"),
        }
        for ident, fields in rows
    ]


def resubmitted(house: House, ident: str) -> str:
    """Move one letter back into the inbox, whole or not at all; says what was done."""
    client = wait(house.redis_url, 5.0)
    found: Any = client.xrange(names.DEAD, ident, ident)
    if not found:
        raise NoLetter(f"dead: needed the id of a dead letter, got {ident!r}; see `dead list`")
    event = found[0][1].get(b"event", b"")
    if not event.startswith(b"{"):
        raise NoLetter(f"dead: {ident} holds no event (it could not be kept): send it anew")
    reason = found[0][1].get(b"reason", b"").decode()
    to, field = (names.LABELS, "label") if reason.startswith("label") else (names.INBOX, "event")
    if field == "label":
        label = orjson.loads(event)
        label.pop("waiting_since_ms", None)
        event = orjson.dumps(label)
    with client.pipeline(transaction=True) as both:
        both.xadd(to, {field: event})
        both.xdel(names.DEAD, ident)
        both.execute()
    return f"{ident} is in {to} again"
