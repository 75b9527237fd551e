"""Whom else to ask, so that an answer tells more than of its own payment?

A day's questions are one budget of customers. What is scored highest is asked about anyway; but
about those the answers tell what chargebacks would tell soon. Two other questions seek what nobody
knows yet:

* **After a denial** at a payee, its other customers of the last days are asked about their own
  payment there. One error of one customer is told from a payee that is bad for everybody.
* **A review**: a customer is shown their latest payments (``payments`` of them at most) and asked
  whether all are their own. Each is worth as much as it vouches for: the time from when its payee
  was last vouched for to the payment itself. So the first asked are those whose payments lie at
  payees of which nothing was heard for longest.

Nobody is sought out again within ``rest_us``, and nobody is asked twice about one payment. What is
known of others is never part of a question.

    remember(payment) · heard(payment, fraud, at) -> follow-ups · reviews(at) -> lists of payments

Pure: time and facts come in, questions go out; the same facts give the same questions. What is held
are the payments of ``look_back_us``; ``reviews`` looks at all of them once a day.
"""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

DAY_US = 86_400_000_000


class Paid(NamedTuple):
    """A payment that somebody may be asked about; its time in microseconds since 1970."""

    event: str
    time_us: int
    customer: str
    payee: str


@dataclass(frozen=True, slots=True)
class Seeking:
    """The budget. All numbers are of customers; times in microseconds.

    ``per_day`` is all that may be asked on a day, ``reviews`` and ``follow_ups`` are the most of
    them that may be sought out in these two ways; what remains is for the highest scores.
    """

    per_day: int = 100
    reviews: int = 0
    follow_ups: int = 30
    after_denial: int = 3
    payments: int = 10
    look_back_us: int = 7 * DAY_US
    rest_us: int = 7 * DAY_US


class Seeker:
    """What is known for choosing, and what was asked already."""

    def __init__(self, seeking: Seeking) -> None:
        self.seeking = seeking
        self._at_payee: dict[str, deque[Paid]] = {}
        self._of_customer: dict[str, deque[Paid]] = {}
        self._asked: set[str] = set()
        self._vouched_us: dict[str, int] = {}
        self._rested_us: dict[str, int] = {}
        self._followed = 0

    def remember(self, payment: Paid) -> None:
        """A payment was made. They come in order of time."""
        since_us = payment.time_us - self.seeking.look_back_us
        for held, key in (
            (self._at_payee, payment.payee),
            (self._of_customer, payment.customer),
        ):
            row = held.setdefault(key, deque())
            while row and row[0].time_us <= since_us:
                self._asked.discard(row.popleft().event)
            row.append(payment)

    def asked(self, event: str) -> bool:
        """Whether somebody was asked about this payment; else it counts as asked from now on."""
        if event in self._asked:
            return True
        self._asked.add(event)
        return False

    @property
    def left_today(self) -> int:
        """How many customers may still be asked since the last ``reviews``."""
        return max(0, self.seeking.per_day - self._followed)

    def heard(self, payment: Paid, fraud: bool, at_us: int) -> list[Paid]:
        """A customer answered about a payment: whom to ask about which one now.

        A denial: the payee's latest other customers, one payment each. Otherwise nobody.
        """
        self._asked.add(payment.event)
        if not fraud:
            vouched_us = self._vouched_us.get(payment.payee, 0)
            self._vouched_us[payment.payee] = max(vouched_us, payment.time_us)
            return []
        since_us, chosen = at_us - self.seeking.look_back_us, list[Paid]()
        budget = min(self.seeking.follow_ups, self.seeking.per_day)
        for other in reversed(self._at_payee.get(payment.payee, ())):
            if other.time_us <= since_us or len(chosen) == self.seeking.after_denial:
                break
            if self._followed >= budget:
                break
            if other.time_us >= at_us or other.customer == payment.customer:
                continue
            if other.event in self._asked or not self._rested(other.customer, at_us):
                continue
            self._asked.add(other.event)
            self._rested_us[other.customer] = at_us
            self._followed += 1
            chosen.append(other)
        return chosen

    def reviews(self, at_us: int) -> list[list[Paid]]:
        """At a day's end: of each customer to be asked for a review, the payments, newest first.

        The next day's budget begins here.
        """
        wanted = min(self.seeking.reviews, self.left_today)
        self._followed = 0
        rows: list[tuple[int, str, list[Paid]]] = []
        for customer, paid in self._of_customer.items() if wanted else ():
            if not self._rested(customer, at_us):
                continue
            mine = self._unasked(paid, at_us)
            worth = sum(self._vouches_us(one, at_us) for one in mine)
            if worth:
                rows.append((-worth, customer, mine))
        rows.sort(key=lambda row: row[:2])
        for _, customer, mine in rows[:wanted]:
            self._rested_us[customer] = at_us
            self._asked.update(one.event for one in mine)
        return [mine for _, _, mine in rows[:wanted]]

    def _rested(self, customer: str, at_us: int) -> bool:
        last_us = self._rested_us.get(customer)
        return last_us is None or at_us - last_us >= self.seeking.rest_us

    def _unasked(self, paid: deque[Paid], at_us: int) -> list[Paid]:
        since_us, mine = at_us - self.seeking.look_back_us, list[Paid]()
        for one in reversed(paid):
            if one.time_us <= since_us or len(mine) == self.seeking.payments:
                break
            if one.time_us < at_us and one.event not in self._asked:
                mine.append(one)
        return mine

    def _vouches_us(self, payment: Paid, at_us: int) -> int:
        known_us = self._vouched_us.get(payment.payee, 0)
        return max(0, payment.time_us - max(at_us - self.seeking.look_back_us, known_us))
