"""Is a customer who has just answered asked again about the like?

    confirmed a card payment --> for some hours card payments that are not much dearer pass unasked,
                                 until together they are many times as dear
    "that was not me"        --> for as long they are looked at by an officer, and nobody is asked

One question settles an afternoon of shopping, and the next is left for somebody else. Only card
payments rest, only where nothing stricter than a question was due, and never a transfer: who sends
money off is asked about each. The customer's last word alone counts. A thief may shop with the same
card while its owner does: so what one word lets pass is bounded. Pure.
"""

from typing import NamedTuple

#: What rests: a kind of payment.
RESTS = "card"

#: The reason of a payment that passed by a confirm.
PASSED = "confirmed_lately"

#: A payment more often as dear as the one that was confirmed is asked about.
AS_DEAR = 3

#: So is the one with which all that passed would be more often as dear together.
TOGETHER = 10


class Word(NamedTuple):
    """The last word about a card payment, and the sum of what passed by it.

    Both amounts in minor units of the base currency.
    """

    at_us: int
    amount_base: int
    confirmed: bool
    passed_base: int = 0

    def after(self, amount_base: int) -> "Word":
        """The word when one more payment has passed by it."""
        return self._replace(passed_base=self.passed_base + amount_base)


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
    if word.passed_base + amount_base > TOGETHER * word.amount_base:
        return None
    return "approve"
