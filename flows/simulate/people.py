"""Who are the bank's customers, and what is usual for each of them?

Homes in real cities, usual shops and friends, waking hours, a phone with the bank's app and a
computer at home. One in five lives with somebody who banks here too: they share the address and
the computer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from flows.simulate.places import (
    CNY_HOMES,
    HOMES,
    SHOPS_PER_CITY,
    City,
    Payee,
    letters,
    person,
)

BROWSERS = ("Firefox on Linux", "Chrome on Windows", "Safari on macOS", "Edge on Windows")
_LANGUAGE = {"CN": "zh", "DE": "de", "FR": "fr", "ES": "es", "IT": "it", "NL": "nl"}
_FAMILIES = 0.2

Chance = Callable[..., Random]  # the chance of one thing, always the same for the same thing


@dataclass(frozen=True, slots=True)
class Customer:
    """A made-up customer: what is usual for them. Amounts are minor units of `currency`."""

    index: int
    id: str
    home: City
    language: str
    currency: str
    unit: int  # minor units that buy here what one euro buys
    ip: str
    card: str
    per_day: float
    wakes: float
    spend: float
    shops: tuple[int, ...]
    friends: tuple[Payee, ...]
    household: int  # customers of one household share its number


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a customer's event comes from: place, device, address."""

    city: City
    device: Mapping[str, object]
    ip: str
    browser: str


class People:
    """The population; whatever is asked of it is a function of the seed behind `chance`."""

    def __init__(self, chance: Chance, customers: int) -> None:
        self.chance, self.customers = chance, customers

    def customer(self, index: int) -> Customer:
        """The customer of that number."""
        chance = self.chance("customer", index)
        household = self.household(index)
        # Who lives together lives in one place, behind one address.
        where = self.chance("household", household)
        number = where.randrange(len(HOMES))
        home, address = HOMES[number], (100, 64 + where.randrange(64), *where.randbytes(2))
        chinese = number < CNY_HOMES
        unit = 800 if chinese else 100
        friends = tuple(person(chance, home.country) for _ in range(chance.randrange(2, 6)))
        return Customer(
            index=index,
            id=f"c{index:06d}",
            home=home,
            language=_LANGUAGE[home.country],
            currency="CNY" if chinese else "EUR",
            unit=unit,
            ip=".".join(str(n) for n in address),
            card=f"card_{letters(chance, 16)}",
            per_day=chance.gammavariate(3.0, 0.6),
            wakes=chance.uniform(5.5, 8.5),
            spend=unit * chance.lognormvariate(3.0, 0.4),
            shops=tuple(
                number * SHOPS_PER_CITY + chance.randrange(SHOPS_PER_CITY)
                for _ in range(chance.randrange(6, 14))
            ),
            friends=friends,
            household=household,
        )

    def household(self, index: int) -> int:
        """Its number is that of its first member."""
        first = index - index % 2
        return first if self.chance("family", first).random() < _FAMILIES else index

    def partner(self, index: int) -> int | None:
        """Who lives with them and banks here too."""
        other = index ^ 1
        together = other < self.customers and self.household(other) == self.household(index)
        return other if together else None

    def phone(self, customer: int, number: int) -> Mapping[str, object]:
        """Their phone; its number counts those before it."""
        chance = self.chance("phone", customer, number)
        system = chance.choice(("android", "ios", "harmonyos"))
        return {"id": f"d-{letters(chance, 14)}", "os": system, "trusted": True}

    def desk(self, customer: Customer, city: City, ip: str) -> Scene:
        """The household's computer, brought along to where the customer is."""
        chance = self.chance("desk", customer.household)
        device = {"id": f"d-{letters(chance, 14)}"}
        return Scene(city, device, ip, chance.choice(BROWSERS))

    def landlord(self, customer: Customer) -> tuple[Payee, int]:
        """Whom they pay rent, and how much."""
        landlord = person(self.chance("landlord", customer.index), customer.home.country)
        rent = self.chance("rent", customer.index).randrange(600, 1800) * customer.unit
        return landlord, rent
