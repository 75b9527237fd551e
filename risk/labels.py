"""What does a label teach, and whose word stands?

Ranks: officer > chargeback > customer's answer > silence, which teaches nothing. A label learns
once per (event, source, time); one of a lower rank than a known one is recorded and not learnt.
"""

from typing import NamedTuple

from risk.challenge import Outcome

RANKS = {"customer": 1, "chargeback": 2, "officer": 3}


class Known(NamedTuple):
    """A label joined with what was known when its event was scored; it walks like an event.

    Times in microseconds since 1970; ``features`` are those as scored, ``scores`` what each model
    then said, by its id.
    """

    id: str
    event: str
    fraud: bool
    source: str
    known_us: int
    event_time_us: int
    customer: str
    payee: str | None
    device: str | None
    ip: str | None
    partition: int
    position: int
    teaches: bool
    features: dict[str, int | float | None]
    card: str | None = None
    terminal: str | None = None
    scores: dict[str, float] | None = None


def lesson_of(outcome: Outcome) -> bool | None:
    """Fraud or not, as an outcome teaches it; None where it teaches nothing.

    Of denials only ``not_me`` does: who cancels, or gives no reason, says nothing of fraud.
    """
    if outcome.state == "confirmed":
        return False if outcome.decision == "approve" else None  # under duress nobody is honest
    if outcome.state == "denied" and outcome.reason == "not_me":
        return True
    return None


def teaches(source: str, highest_known: str | None) -> bool:
    """True where a label is not outranked by one already known."""
    return highest_known is None or RANKS[source] >= RANKS[highest_known]
