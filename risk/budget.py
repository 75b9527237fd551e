"""From which probability on may customers be asked, so that N in a hundred of a day's are?

    the share that was asked  <  the budget: the bar falls        > : it rises

Instead of a fixed score, the policy gives the share of a day's paying customers (UTC) who may be
asked (``asking.customers_per_day_share``). The bar is a probability that follows the stream
(Robbins and Monro 1951): up by a step with each customer asked on a day, down by the share of a
step with each customer seen on it. Over any time the two balance, whatever the scores look like:
the share that was asked strays from the budget by at most the way of the bar over the step.

A day's customers are counted by a sample of at most ``SAMPLED`` of them (adaptive sampling:
Flajolet 1990), so a busy day takes no more room. Questions that rules demand count as well: the bar
rises, and fewer are asked for the score alone. Pure; each shard of customers has one of its own.
"""

import hashlib
from array import array
from base64 import b64decode, b64encode
from collections.abc import Mapping
from math import exp
from typing import Any

DAY_US = 86_400_000_000

#: The bar's step, in log odds, and how far it goes.
STEP = 0.2
FARTHEST = 14.0

SAMPLED = 2048
_WHOLE = 1 << 64


class AskingBudget:
    """The bar, and who was seen and asked on its day. ``share`` is of customers, 0 to 1."""

    def __init__(self, share: float, odds: float = 0.0) -> None:
        if not 0.0 < share <= 1.0:
            raise ValueError(f"asking budget: needed a share above 0 and up to 1, got {share}")
        self.share, self.odds = share, odds
        self._day = -1
        self._seen: set[int] = set()
        self._below = _WHOLE  # of the customers those whose fingerprints lie below are sampled
        self._asked: set[int] = set()

    @property
    def at_least(self) -> float:
        """The probability from which on customers are asked."""
        return 1.0 / (1.0 + exp(-self.odds))

    def note(self, customer: str, asked: bool, now_us: int) -> bool:
        """A payment of this customer was decided; gives whether anything is kept of that."""
        day = now_us // DAY_US
        if day != self._day:
            if day < self._day:  # a straggler: its day is over
                return False
            self._day, self._below = day, _WHOLE
            self._seen, self._asked = set(), set()
        mark = _fingerprint(customer)
        changed = False
        if mark < self._below and mark not in self._seen:
            self._seen.add(mark)
            self._move(-self.share * STEP * (_WHOLE / self._below))
            while len(self._seen) > SAMPLED:
                self._below //= 2
                self._seen = {one for one in self._seen if one < self._below}
            changed = True
        if asked and mark not in self._asked:
            self._asked.add(mark)
            self._move(STEP)
            changed = True
        return changed

    def _move(self, by: float) -> None:
        self.odds = max(-FARTHEST, min(FARTHEST, self.odds + by))

    def state(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        return {
            "share": self.share,
            "odds": self.odds,
            "day": self._day,
            "shift": (_WHOLE // self._below).bit_length() - 1,
            "seen": _packed(self._seen),
            "asked": _packed(self._asked),
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "AskingBudget":
        """The budget of that state."""
        budget = cls(state["share"], state["odds"])
        budget._day, budget._below = state["day"], _WHOLE >> state["shift"]
        budget._seen, budget._asked = _unpacked(state["seen"]), _unpacked(state["asked"])
        return budget


def _fingerprint(customer: str) -> int:
    return int.from_bytes(hashlib.blake2b(customer.encode(), digest_size=8).digest())


def _packed(marks: set[int]) -> str:
    return b64encode(array("Q", sorted(marks)).tobytes()).decode()


def _unpacked(text: str) -> set[int]:
    marks = array("Q")
    marks.frombytes(b64decode(text))
    return set(marks)
