"""Who is new to whom, and how many came by?"""

from __future__ import annotations

from typing import Final

from features.asks.kinds import Ever, Over
from features.describer import Sight
from features.moment import ACTS, Value
from features.visitors import Visitors

_NOBODY: Final = Visitors()  # only ever looked at


class NewPayee(Ever):
    """1 if this customer is not known to have paid this payee before, else 0."""

    name = "new_payee"
    unit = "flag"
    meaning = "1: no earlier payment to this payee (of the 256 met most recently)"

    def of(self, sight: Sight) -> Value:
        """None where the event has no payee."""
        payee = sight.event.payee
        return None if payee is None else int(not sight.profile.payees.knew(payee, sight.time))


class NewPayeeWithin(Over):
    """1 if this customer is not known to have paid this payee *before the window*, else 0.

    A thief who pays the same account a second time pays a payee who was new today.
    """

    aggregate = "new_payee"
    unit = "flag"
    words = "1: no payment to this payee {} ago or earlier (of the 256 met most recently)"

    def of(self, sight: Sight) -> Value:
        """None where the event has no payee."""
        payee, edge = sight.event.payee, sight.time - self.reach
        return None if payee is None else int(not sight.profile.payees.knew(payee, edge))


class NewPayees(Over):
    """How many payees were paid for the first time within the window, this one's included."""

    aggregate = "new_payees"
    unit = "count"
    words = "payees paid for the first time within {} (of the 256 met most recently)"

    def of(self, sight: Sight) -> Value:
        """By the time of the first payment to each."""
        payees, payee = sight.profile.payees, sight.event.payee
        met = payees.first_met(sight.time - self.reach, sight.time)
        return met + (sight.here and payee is not None and not payees.knew(payee, sight.time))


class Customers(Over):
    """How many different customers did or tried anything here, this one included.

    Failed sign-ins count: whoever tries many names from one address is one of those looked for.
    """

    aggregate = "customers"
    unit = "count"
    words = "different customers within {} (64: or more)"

    def of(self, sight: Sight) -> Value:
        """At least 1, the customer of this event; a word of the bank's own is nobody's visit."""
        visitors, event = sight.profile.visitors, sight.event
        here = event.customer if event.type in ACTS else None
        return (visitors or _NOBODY).count(sight.time - self.reach, sight.time, here)
