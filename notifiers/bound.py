"""By which binding did an answer come, and does a word in it say that it was forced?

A binding is named with since when it holds: the customer's shard says what that is worth. The
duress word is looked for in every text, whether or not the customer has one, so that it takes as
long for all.
"""

import hmac
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from redis.exceptions import RedisError

from notifiers.book import Asked
from notifiers.scrub import LONGEST, Cut
from notifiers.term import read_object
from risk import names
from risk.privacy import Tokens

_WORD = re.compile(r"\S+")
_EDGES = ".,;:!?\"'()[]。，；：！？“”‘’"
_MOST_WORDS = 24
_NONE = "drs_none"


def binding_of(channel: Mapping[str, Any]) -> dict[str, Any]:
    """A customer's channel, as an answer names its binding; what is not said is read strictly."""
    return {
        "id": f"{channel.get('kind')}/{channel.get('token', '')}",
        "bound": channel.get("bound"),
        "waits": channel.get("waits", True),
        "verified": bool(channel.get("verified")),
    }


def bindings_of(customer: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """All bindings of a customer, by the token of their address."""
    channels = [one for one in customer.get("channels") or () if one.get("token")]
    return {str(one["token"]): binding_of(one) for one in channels if one.get("bound")}


async def binding(redis: Any, customer: str, token: str, asked: Asked | None) -> dict[str, Any]:
    """The binding of one address of a customer; with Redis away, as it was when asked."""
    try:
        stored = read_object(await redis.get(names.customer(customer))) or {}
    except (RedisError, OSError, TimeoutError):
        return (asked.bindings if asked else {}).get(token) or _unknown(token)
    return bindings_of(stored).get(token) or _unknown(token)


def _unknown(token: str) -> dict[str, Any]:
    return {"id": f"unknown/{token}", "bound": None, "waits": True, "verified": False}


async def duress_word(
    redis: Any, tokens: Tokens, customer: str, text: str
) -> tuple[str, Cut | None]:
    """The text with the customer's duress word blanked, and where it stood; else as it came."""
    try:
        kept = await redis.get(names.duress(customer))
    except (RedisError, OSError, TimeoutError):
        kept = None
    right = kept.decode() if kept is not None else _NONE
    found: Cut | None = None
    for match in list(_WORD.finditer(text[:LONGEST]))[:_MOST_WORDS]:
        word = match.group().strip(_EDGES)
        flat = unicodedata.normalize("NFKC", word).casefold()
        told = tokens.token("duress", f"{customer}\0{flat}")
        if hmac.compare_digest(told, right):
            start = match.start() + match.group().index(word)
            found = Cut("duress", start, len(word))
    if found is None:
        return text, None
    end = found.offset + found.length
    return text[: found.offset] + " " * found.length + text[end:], found
