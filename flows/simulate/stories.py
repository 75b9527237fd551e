"""Which stories befall customers, and how often? Frauds, and honest noise that looks like each.

To add one: its line here, its teller in `frauds.py` or `honest.py`, a row in docs/simulate.md.
"""

from collections.abc import Mapping
from typing import NamedTuple

# How many such stories begin a customer and 30 days; the factors `fraud` and `noise` scale them.
_FRAUDS: Mapping[str, float] = {
    "compromised_payee": 0.020,
    "stolen_card": 0.010,
    "card_testing": 0.005,
    "account_takeover": 0.010,
    "mule_payee": 0.020,
}
_NOISE: Mapping[str, float] = {
    "honest_travel": 0.120,
    "honest_new_phone": 0.040,
    "honest_new_payee": 0.800,
    "honest_large": 0.150,
    "honest_forgotten_password": 0.150,
    "honest_spree": 0.150,
    "honest_many_small": 0.080,
    "honest_repeat": 0.100,
    "honest_collection": 0.100,
    "honest_city_trip": 0.150,
    "honest_dear_trip": 0.020,
    "honest_phone_abroad": 0.010,
    "honest_move": 0.010,
    "honest_new_wallet": 0.030,
    "honest_partners_phone": 0.040,
    "honest_night_out": 0.120,
}
PER_MONTH: Mapping[str, float] = {**_FRAUDS, **_NOISE}
FRAUDS = tuple(_FRAUDS)
NOISE = tuple(_NOISE)

#: Planned for a crowd at once: many pay one new payee within two days.
CROWDS = ("mule_payee", "honest_collection")

#: Days away, from so many to fewer than so many; whatever happens on them happens there.
TRIPS: Mapping[str, tuple[int, int]] = {
    "honest_travel": (2, 7),
    "honest_city_trip": (1, 4),
    "honest_dear_trip": (2, 5),
    "honest_phone_abroad": (3, 7),
}


class Story(NamedTuple):
    """What befalls a customer from a day on; `detail` is a large random number."""

    kind: str
    day: int
    length: int = 1
    detail: int = 0

    @property
    def told_on(self) -> int:
        """The day on which it is told: of a trip the second, the first if it has no other."""
        return self.day + min(1, self.length - 1) if self.kind in TRIPS else self.day
