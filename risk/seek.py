"""Whom else to ask, so that an answer tells more than of its own payment?

What is scored highest is asked about anyway; but about those the answers tell what chargebacks
would tell soon. Two other questions seek what nobody knows yet:

* **After a denial** at a payee, a terminal or a device, its other customers of the last days are
  asked about their own payment there. One error of one customer is told from a place that is bad
  for everybody. A place with more than ``popular`` payments is left alone: there one denial says
  nothing of the next customer.
* **A review**: a customer is shown their latest payments (``payments`` of them at most) and asked
  whether all are their own. Each is worth as much as it vouches for: the time from when its payee
  was last vouched for to the payment itself, times the payments of the last days there. So the
  first asked are those whose payments lie at busy payees of which nothing was heard for longest.

Nobody is sought out again within ``rest_us``, and nobody is asked twice about one payment. What is
known of others is never part of a question.

    remember(payment) · heard(payment, fraud, at) -> follow-ups · reviews(at) -> lists of payments

Pure: time and facts come in, questions go out; the same facts give the same questions. What is held
are the payments of ``look_back_us``, ``remembered`` of them at most; ``reviews`` looks at all of
them once a day.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

DAY_US = 86_400_000_000


class Paid(NamedTuple):
    """A payment that somebody may be asked about; its time in microseconds since 1970.

    ``places`` are the terminal and the device where it was made, beside its payee.
    """

    event: str
    time_us: int
    customer: str
    payee: str
    places: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seeking:
    """The budget. All numbers are of customers; times in microseconds.

    ``per_day`` is all that may be asked on a day, ``reviews`` and ``follow_ups`` are the most of
    them that may be sought out in these two ways. A day begins ``from_us`` after midnight (UTC),
    then the reviews go out; nobody is asked before that or from ``until_us`` on.
    """

    per_day: int = 100
    reviews: int = 0
    follow_ups: int = 30
    after_denial: int = 3
    payments: int = 10
    look_back_us: int = 7 * DAY_US
    rest_us: int = 7 * DAY_US
    from_us: int = 0
    until_us: int = DAY_US
    popular: int = 500
    remembered: int = 200_000


class Seeker:
    """What is known for choosing, and what was asked already."""

    def __init__(self, seeking: Seeking) -> None:
        self.seeking = seeking
        self._at_place: dict[str, deque[Paid]] = {}
        self._of_customer: dict[str, deque[Paid]] = {}
        self._order: deque[Paid] = deque()
        self._known: set[str] = set()
        self._asked: dict[str, int] = {}
        self._vouched_us: dict[str, int] = {}
        self._rested_us: dict[str, int] = {}
        self._followed = 0
        self._day: int | None = None

    def remember(self, payment: Paid) -> None:
        """A payment was made. They come in order of time; one that is known changes nothing."""
        if payment.event in self._known:
            return
        self._known.add(payment.event)
        self._order.append(payment)
        for place in (payment.payee, *payment.places):
            self._at_place.setdefault(place, deque()).append(payment)
        self._of_customer.setdefault(payment.customer, deque()).append(payment)
        since_us = payment.time_us - self.seeking.look_back_us
        while self._order[0].time_us <= since_us or len(self._order) > self.seeking.remembered:
            self._forget(self._order.popleft())

    def _forget(self, payment: Paid) -> None:
        self._known.discard(payment.event)
        for held, keys in (
            (self._at_place, (payment.payee, *payment.places)),
            (self._of_customer, (payment.customer,)),
        ):
            for key in keys:
                row = held.get(key)
                if row and row[0].event == payment.event:
                    row.popleft()
                if not row:
                    held.pop(key, None)

    def mark(self, event: str, at_us: int) -> None:
        """Somebody was asked about this payment, or knows of it already: nobody is asked again."""
        self._asked[event] = at_us

    def heard(self, payment: Paid, fraud: bool, at_us: int) -> list[Paid]:
        """A customer answered about a payment: whom to ask about which one now.

        A denial: the latest other customers there, one payment each. Otherwise nobody.
        """
        self.mark(payment.event, at_us)
        if not fraud:
            vouched_us = self._vouched_us.get(payment.payee, 0)
            self._vouched_us[payment.payee] = max(vouched_us, payment.time_us)
            return []
        chosen: list[Paid] = []
        if self.may_ask(at_us):
            for place in (payment.payee, *payment.places):
                self._follow(place, payment, at_us, chosen)
        return chosen

    def _follow(self, place: str, payment: Paid, at_us: int, chosen: list[Paid]) -> None:
        seeking, row = self.seeking, self._at_place.get(place, ())
        if len(row) > seeking.popular:
            return
        since_us = at_us - seeking.look_back_us
        budget = min(seeking.follow_ups, seeking.per_day)
        for other in reversed(row):
            if other.time_us <= since_us or len(chosen) >= seeking.after_denial:
                break
            if self._followed >= budget:
                break
            if other.time_us >= at_us or other.customer == payment.customer:
                continue
            if other.event in self._asked or not self._rested(other.customer, at_us):
                continue
            self.mark(other.event, at_us)
            self._rested_us[other.customer] = at_us
            self._followed += 1
            chosen.append(other)

    def may_ask(self, at_us: int) -> bool:
        """Whether it is an hour at which people may be asked."""
        hour_us = at_us % DAY_US
        return self.seeking.from_us <= hour_us < self.seeking.until_us

    def due(self, until_us: int) -> bool:
        """Whether another day of asking has begun by then; the first one only sets the clock."""
        day = (until_us - self.seeking.from_us) // DAY_US
        before, self._day = self._day, max(day, self._day or day)
        return before is not None and day > before

    @property
    def left_today(self) -> int:
        """How many customers may still be asked since the last ``reviews``."""
        return max(0, self.seeking.per_day - self._followed)

    def reviews(self, at_us: int) -> list[list[Paid]]:
        """At a day's end: of each customer to be asked for a review, the payments, newest first.

        The next day's budget begins here.
        """
        wanted = min(self.seeking.reviews, self.left_today)
        self._followed = 0
        self._tidy(at_us)
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
            for one in mine:
                self.mark(one.event, at_us)
        return [mine for _, _, mine in rows[:wanted]]

    def _tidy(self, at_us: int) -> None:
        """Forget what changes no choice any more."""
        since_us = at_us - 2 * self.seeking.look_back_us
        self._asked = {one: us for one, us in self._asked.items() if us > since_us}
        self._vouched_us = {one: us for one, us in self._vouched_us.items() if us > since_us}
        rested_us = at_us - self.seeking.rest_us
        self._rested_us = {one: us for one, us in self._rested_us.items() if us > rested_us}

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
        vouches_us = payment.time_us - max(at_us - self.seeking.look_back_us, known_us)
        return max(0, vouches_us) * len(self._at_place.get(payment.payee, ()))

    def state(self) -> dict[str, Any]:
        """What was asked and heard: all but the payments, which are remembered again."""
        return {
            "v": 1,
            "asked": dict(self._asked),
            "vouched": dict(self._vouched_us),
            "rested": dict(self._rested_us),
            "followed": self._followed,
            "day": self._day,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        if state["v"] != 1:
            raise ValueError(f"seeking: needed state 1, got {state['v']}")
        self._asked, self._vouched_us = dict(state["asked"]), dict(state["vouched"])
        self._rested_us = dict(state["rested"])
        self._followed, self._day = state["followed"], state["day"]
