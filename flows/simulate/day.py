"""How does a customer's day become events, as the bank sends them?

A day knows its customer, the place and device they have with them, and their clock. It gives
moments and sums, and writes events in design 5.1's form, each with its truth beside.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from random import Random
from typing import NamedTuple

from flows.simulate.people import BROWSERS, Customer, People, Scene
from flows.simulate.places import City, Payee, any_shop, hotel, letters, shop
from flows.simulate.stories import FRAUDS, Story

_MEMOS = ("rent", "dinner", "thanks", "tickets", "half of the gift", "lesson", "deposit")

Event = dict[str, object]


class Truth(NamedTuple):
    """What only the simulator knows of an event: never part of what the bank sends."""

    event: str
    customer: str
    time: str
    fraud: bool
    scenario: str


class Happening(NamedTuple):
    """One raw event, as design 5.1 has it, and the truth of it (None: an everyday event)."""

    event: Event
    truth: Truth | None


@dataclass(slots=True)
class Day:
    """A customer's day as it's written: its own chance, and the events so far."""

    customer: Customer
    number: int
    begins_us: int
    chance: Random
    scene: Scene
    trip: Story | None = None
    happenings: list[tuple[int, int, int, Happening]] = field(default_factory=list)

    # -- moments ---------------------------------------------------------------------------

    def at_habit(self) -> int:
        """A moment of the customer's waking day, in microseconds since 1970."""
        chance = self.chance
        centre = chance.choice((self.customer.wakes + 1.5, 12.5, 18.5, 20.0))
        hour = min(max(chance.gauss(centre, 1.2), self.customer.wakes), 23.8)
        return self._local(hour)

    def at_night(self) -> int:
        """A moment at which this customer sleeps, in microseconds since 1970."""
        return self._local(self.chance.uniform(0.5, self.customer.wakes - 1.0))

    def at_any_hour(self) -> int:
        """Any moment of the day: thieves keep other hours."""
        return self._local(self.chance.uniform(0.0, 24.0))

    def _local(self, hour: float) -> int:
        seconds = (hour - self.customer.home.hours) % 24.0 * 3600.0
        return self.begins_us + int(seconds * 1000.0) * 1000

    def later(self, at_us: int, low_s: float, high_s: float) -> int:
        """Some seconds after `at_us`."""
        return at_us + int(self.chance.uniform(low_s, high_s) * 1000.0) * 1000

    # -- sums ------------------------------------------------------------------------------

    def usual(self, dearness: float = 1.0) -> int:
        """What the customer spends on one thing, in minor units."""
        return max(50, int(self.customer.spend * dearness * math.exp(self.chance.gauss(0.0, 0.5))))

    def between(self, low_euro: int, high_euro: int) -> int:
        """A sum worth that many euros here, in minor units, often a round one."""
        units = self.customer.unit
        sum_minor = self.chance.randrange(low_euro * units, high_euro * units)
        step = units * 10
        return max(step, sum_minor // step * step) if self.chance.random() < 0.5 else sum_minor

    # -- places ----------------------------------------------------------------------------

    def shop_here(self) -> Payee:
        """A shop where the customer is: mostly a usual one at home, any one elsewhere."""
        if self.trip is not None or self.chance.random() < 0.12:
            return any_shop(self.chance, self.scene.city)
        return shop(self.chance.choice(self.customer.shops))

    # -- events ----------------------------------------------------------------------------

    def _put(self, at_us: int, event: Event, scenario: str | None) -> None:
        customer = self.customer
        event_id, time = letters(self.chance, 18), rfc3339(at_us, customer.home.hours)
        whole: Event = {"id": event_id, "type": event.pop("type"), "time": time}
        whole["customer"] = customer.id
        whole.update(event)
        if scenario is None and self.trip is not None:
            scenario = self.trip.kind
        truth = None
        if scenario is not None:
            truth = Truth(event_id, customer.id, time, scenario in FRAUDS, scenario)
        order = len(self.happenings)
        self.happenings.append((at_us, customer.index, order, Happening(whole, truth)))

    def _place(self, city: City) -> Event:
        chance = self.chance
        return {
            "country": city.country,
            "lat": round(city.lat + chance.uniform(-0.05, 0.05), 4),
            "lon": round(city.lon + chance.uniform(-0.05, 0.05), 4),
        }

    def _online(self, scene: Scene, session: str) -> Event:
        channel = "app" if "trusted" in scene.device else "web"
        return {
            "channel": channel,
            "device": dict(scene.device),
            "ip": scene.ip,
            "geo": self._place(scene.city),
            "session": session,
        }

    def pay_by_card(
        self, at_us: int, shop: Payee, minor: int, city: City, scenario: str | None = None
    ) -> None:
        """Put a card payment at the till of a shop in `city`."""
        event: Event = {
            "type": "transaction",
            "channel": "card",
            "geo": self._place(city),
            "amount": _amount(minor),
            "currency": self.customer.currency,
            "payee": _payee(shop),
            "kind": "card",
            "card": self.customer.card,
            "terminal": f"t-{shop.account.lower()}",
        }
        if shop.mcc is not None:
            event["mcc"] = shop.mcc
        self._put(at_us, event, scenario)

    def pay_on_the_web(
        self, at_us: int, shop: Payee, minor: int, scene: Scene, scenario: str | None = None
    ) -> None:
        """Put a card payment in a web shop, from the device of `scene`."""
        event: Event = {"type": "transaction", **self._online(scene, self.session())}
        event |= {
            "channel": "web",
            "amount": _amount(minor),
            "currency": self.customer.currency,
            "payee": _payee(shop),
            "kind": "card",
            "card": self.customer.card,
            "mcc": shop.mcc,
        }
        self._put(at_us, event, scenario)

    def draw_cash(self, at_us: int, minor: int) -> None:
        """Put a withdrawal at a cash machine of the city."""
        city = self.scene.city
        number = self.chance.randrange(40)
        event: Event = {
            "type": "transaction",
            "channel": "atm",
            "geo": self._place(city),
            "amount": _amount(minor),
            "currency": self.customer.currency,
            "payee": {"account": f"{city.country}ATM{number:03d}", "country": city.country},
            "kind": "cash",
            "card": self.customer.card,
            "terminal": f"atm-{city.country.lower()}-{number:03d}",
        }
        self._put(at_us, event, None)

    def transfer(
        self,
        at_us: int,
        payee: Payee,
        minor: int,
        scene: Scene,
        session: str,
        scenario: str | None = None,
        kind: str = "transfer",
    ) -> None:
        """Put a transfer (or bill) from the device of `scene`."""
        event: Event = {"type": "transaction", **self._online(scene, session)}
        event |= {
            "amount": _amount(minor),
            "currency": self.customer.currency,
            "payee": _payee(payee),
            "kind": kind,
        }
        if self.chance.random() < 0.4:
            event["memo"] = self.chance.choice(_MEMOS)
        self._put(at_us, event, scenario)

    def login(
        self,
        at_us: int,
        scene: Scene,
        session: str,
        scenario: str | None = None,
        result: str = "success",
    ) -> None:
        """Put a sign-in, or a failed one."""
        event: Event = {"type": "login", **self._online(scene, session), "result": result}
        event["method"] = "biometric" if "trusted" in scene.device else "passphrase"
        event["user_agent"] = scene.browser
        self._put(at_us, event, scenario)

    def change(
        self, at_us: int, what: str, scene: Scene, session: str, scenario: str | None = None
    ) -> None:
        """Put a change of the account: phone, password, email, device, payee_added or limit."""
        event: Event = {"type": "account_change", **self._online(scene, session), "change": what}
        self._put(at_us, event, scenario)

    def session(self) -> str:
        """A new session's id."""
        return f"s-{letters(self.chance, 12)}"


#: Tells a story into a day.
Teller = Callable[[People, Day, Story], None]


def stranger(chance: Random, city: City) -> Scene:
    """Somebody else, with a device that the bank never saw."""
    address = f"203.0.113.{1 + chance.randrange(254)}"
    if chance.random() < 0.3:  # strangers sit in hotels too
        address = hotel(chance.getrandbits(30))
    device: dict[str, object] = {"id": f"d-{letters(chance, 14)}"}
    if chance.random() < 0.4:  # by the bank's own app, on a device it hasn't seen
        device |= {"os": chance.choice(("android", "ios")), "trusted": False}
    return Scene(city, device, address, chance.choice(BROWSERS))


def micros(time: datetime) -> int:
    """Microseconds since 1970."""
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@lru_cache(maxsize=64)
def _offset(hours: int) -> timezone:
    return timezone(timedelta(hours=hours))


def rfc3339(at_us: int, hours: int) -> str:
    """A moment, as clocks show it that far from UTC."""
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
    return time.astimezone(_offset(hours)).isoformat(timespec="milliseconds")


def _payee(payee: Payee) -> Event:
    return {"account": payee.account, "name": payee.name, "country": payee.country}


def _amount(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02d}"
