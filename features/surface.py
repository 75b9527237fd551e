"""What does an event say of itself, with no past at all?"""

from __future__ import annotations

from features.describer import Feature
from features.moment import DAY, HOUR, Event, Value, failed

#: 1970-01-01 was a Thursday: day 0 is weekday 3 (Monday is 0).
_THURSDAY = 3

FEATURES: tuple[Feature, ...] = (
    Feature("event.amount", "money", 2, "amount in the base currency; None without a rate"),
    Feature("event.hour", "other", 1, "hour of the day, UTC, 0 to 23"),
    Feature("event.is_night", "flag", 1, "1 from 00:00 to 06:59 UTC"),
    Feature("event.is_weekend", "flag", 1, "1 on Saturday and Sunday, UTC"),
    Feature(
        "event.login_failed", "flag", 1, "1: a sign-in that failed; None if it isn't a sign-in"
    ),
)


def describe(event: Event) -> dict[str, Value]:
    """The features of the event alone; it needs no key and no profile."""
    days, within = divmod(event.time_us, DAY)
    hour = within // HOUR
    return {
        "event.amount": event.amount_base,
        "event.hour": hour,
        "event.is_night": int(hour <= 6),
        "event.is_weekend": int((days + _THURSDAY) % 7 >= 5),
        "event.login_failed": int(failed(event)) if event.type == "login" else None,
    }
