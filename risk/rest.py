"""Is a customer who has just answered asked again about the like?

    confirmed a card payment --> for some hours card payments that are not much dearer pass unasked
    "that was not me"        --> for as long they are looked at by an officer, and nobody is asked

One question settles an afternoon of shopping, and the next is left for somebody else. Only card
payments rest, only where nothing stricter than a question was due, and never a transfer: who sends
money off is asked about each. The customer's last word alone counts. Pure.
"""

from typing import NamedTuple

#: What rests: a kind of payment.
RESTS = "card"

#: A payment more often as dear as the one that was confirmed is asked about.
AS_DEAR = 3


class Word(NamedTuple):
    """The last word about a card payment; the amount in minor units of the base currency."""

    at_us: int
    amount_base: int
    confirmed: bool


def rested(
    word: Word | None, kind: str | None, amount_base: int | None, now_us: int, rest_us: int
) -> str | None:
    """What becomes of a payment that would be asked about: an outcome, or None where one asks.

    ``approve`` after a confirm, ``review`` after a denial, within ``rest_us`` of either.
    """
    if word is None or kind != RESTS or not word.at_us <= now_us < word.at_us + rest_us:
        return None
    if not word.confirmed:
        return "review"
    if amount_base is None or amount_base > AS_DEAR * word.amount_base:
        return None
    return "approve"
