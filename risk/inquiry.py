"""What did a customer say about payments that were made already?

::

    asked --> open --+-- confirm: all are mine ----> confirmed --+
                     +-- deny, naming which --------> denied     | deny, naming which
                     +-- silence ------------------> expired     v
                     +-- no channel ---------------> unreachable denied

An inquiry holds nothing: no decision hangs on it, silence teaches nothing, and a deny counts
whenever it comes within a week. Of a list, what is not named in a deny is vouched for; a deny that
names none of several says too little to act upon. A confirm is worth what a confirm of a held
payment is: not from a binding that is too young or frozen, and nothing under duress.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from risk.binding import Binding, may_confirm

PREFIX = "iq_"
KEPT_US = 7 * 86_400_000_000
OPEN, CONFIRMED, DENIED = "open", "confirmed", "denied"


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One inquiry: about which events, and how it stands. Times in microseconds."""

    id: str
    events: tuple[str, ...]
    asked_us: int
    expires_us: int
    state: str = OPEN
    at_us: int = 0
    about: str | None = None

    def row(self) -> list[object]:
        """The durable form, as JSON has it."""
        return [
            self.id, list(self.events), self.asked_us, self.expires_us,
            self.state, self.at_us, self.about,
        ]  # fmt: skip

    @classmethod
    def of_row(cls, row: list[object]) -> "Inquiry":
        """Read the durable form."""
        ident, events, *rest = row
        return cls(ident, tuple(events), *rest)  # type: ignore[arg-type]  # as `row` wrote it


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer was worth: a verdict, the inquiry as it stands now, and the frauds by event.

    Verdicts: ``counted``, ``duplicate``, ``late`` (a confirm of what is closed), ``which`` (a deny
    that names none of several), ``delayed``, ``fresh``, ``frozen`` and ``duress``. ``labels`` are
    the events with what the customer says of each: True where it was not theirs.
    """

    verdict: str
    inquiry: Inquiry
    labels: tuple[tuple[str, bool], ...] = ()


def hear(
    inquiry: Inquiry,
    decision: str,
    items: Sequence[int],
    received_us: int,
    *,
    binding: Binding | None,
    binding_wait_us: int,
    frozen: bool,
    delayed: bool,
    duress: bool,
) -> Said:
    """Apply one answer; ``items`` are the numbers of payments that are denied, from 1."""
    if decision == "deny":
        return _deny(inquiry, items, received_us)
    if inquiry.state != OPEN or received_us >= inquiry.expires_us:
        return Said("duplicate" if inquiry.state == CONFIRMED else "late", inquiry)
    for verdict, holds in (
        ("duress", duress),
        ("delayed", delayed),
        ("frozen", frozen),
        ("fresh", not may_confirm(binding, received_us, binding_wait_us)),
    ):
        if holds:
            return Said(verdict, inquiry)
    closed = replace(inquiry, state=CONFIRMED, at_us=received_us)
    return Said("counted", closed, tuple((event, False) for event in inquiry.events))


def _deny(inquiry: Inquiry, items: Sequence[int], received_us: int) -> Said:
    if inquiry.state == DENIED:
        return Said("duplicate", inquiry)
    count = len(inquiry.events)
    named = {number for number in items if 1 <= number <= count} or ({1} if count == 1 else set())
    if not named:
        return Said("which", inquiry)
    closed = replace(inquiry, state=DENIED, at_us=received_us)
    labels = [(event, number in named) for number, event in enumerate(inquiry.events, 1)]
    if inquiry.state != OPEN:  # what was vouched for before stays so; the deny is what is new
        labels = [label for label in labels if label[1]]
    return Said("counted", closed, tuple(labels))
