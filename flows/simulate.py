"""What would a bank send? Seeded customers who live, and some who are robbed.

A made-up population with real habits: homes in real cities, usual shops and friends, waking
hours, one or two devices. Into their days fall *stories*: frauds, each of a named scenario, and
honest noise that looks like each of them (people do travel, change phones, forget passwords and
pay large sums). Every name, account, device and address is invented; ip addresses come from the
ranges that RFC 5737 and RFC 6598 keep for documents and for carriers' inside.

    (seed, customer, day) -> that customer's events of that day -> one heap -> ascending times

A customer's day is a pure function of the seed, so the same seed gives the same bytes, and only
one day of events is held at a time. docs/simulate.md tells of each scenario.
"""

import heapq
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from math import exp
from pathlib import Path
from random import Random
from typing import NamedTuple

FRAUDS = ("compromised_payee", "stolen_card", "card_testing", "account_takeover", "mule_payee")
NOISE = (
    "honest_travel",
    "honest_new_phone",
    "honest_new_payee",
    "honest_large",
    "honest_forgotten_password",
    "honest_spree",
    "honest_many_small",
    "honest_repeat",
    "honest_collection",
)

# How many such stories begin a customer and 30 days; the factors `fraud` and `noise` scale them.
_PER_MONTH: Mapping[str, float] = {
    "compromised_payee": 0.020,
    "stolen_card": 0.010,
    "card_testing": 0.005,
    "account_takeover": 0.010,
    "mule_payee": 0.020,
    "honest_travel": 0.120,
    "honest_new_phone": 0.040,
    "honest_new_payee": 0.800,
    "honest_large": 0.150,
    "honest_forgotten_password": 0.150,
    "honest_spree": 0.150,
    "honest_many_small": 0.080,
    "honest_repeat": 0.100,
    "honest_collection": 0.100,
}
_SHOPS_PER_CITY = 120
_WEB_SHOPS = 60
_DAY_US = 86_400_000_000

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


class City(NamedTuple):
    """A real place. `hours` is its standard offset from UTC; daylight saving is left out."""

    name: str
    country: str
    lat: float
    lon: float
    zone: str
    hours: int


_HOMES = (
    City("Shanghai", "CN", 31.2304, 121.4737, "Asia/Shanghai", 8),
    City("Beijing", "CN", 39.9042, 116.4074, "Asia/Shanghai", 8),
    City("Guangzhou", "CN", 23.1291, 113.2644, "Asia/Shanghai", 8),
    City("Chengdu", "CN", 30.5728, 104.0668, "Asia/Shanghai", 8),
    City("Shenzhen", "CN", 22.5431, 114.0579, "Asia/Shanghai", 8),
    City("Berlin", "DE", 52.5200, 13.4050, "Europe/Berlin", 1),
    City("Paris", "FR", 48.8566, 2.3522, "Europe/Paris", 1),
    City("Madrid", "ES", 40.4168, -3.7038, "Europe/Madrid", 1),
    City("Milan", "IT", 45.4642, 9.1900, "Europe/Rome", 1),
    City("Amsterdam", "NL", 52.3676, 4.9041, "Europe/Amsterdam", 1),
)
_ABROAD = (
    City("Tokyo", "JP", 35.6762, 139.6503, "Asia/Tokyo", 9),
    City("Singapore", "SG", 1.3521, 103.8198, "Asia/Singapore", 8),
    City("London", "GB", 51.5072, -0.1276, "Europe/London", 0),
    City("New York", "US", 40.7128, -74.0060, "America/New_York", -5),
    City("Bangkok", "TH", 13.7563, 100.5018, "Asia/Bangkok", 7),
    City("Istanbul", "TR", 41.0082, 28.9784, "Europe/Istanbul", 3),
    City("Toronto", "CA", 43.6532, -79.3832, "America/Toronto", -5),
    City("Sydney", "AU", -33.8688, 151.2093, "Australia/Sydney", 10),
)
_CITIES = _HOMES + _ABROAD
_CNY_HOMES = 5  # the first five; the others pay in euro
_LANGUAGE = {"CN": "zh", "DE": "de", "FR": "fr", "ES": "es", "IT": "it", "NL": "nl"}

# What a shop sells: (second word of its name, merchant category, its prices against the usual).
_TRADES = (
    ("Bakery", "5462", 0.3),
    ("Noodles", "5812", 0.6),
    ("Grocer", "5411", 1.0),
    ("Pharmacy", "5912", 0.7),
    ("Books", "5942", 0.9),
    ("Cycles", "5940", 1.8),
    ("Tailor", "5651", 1.5),
    ("Electronics", "5732", 3.0),
    ("Jeweller", "5944", 4.0),
    ("Petrol", "5541", 1.4),
)
_FIRST = ("Amber", "Blue", "Copper", "Dawn", "Elder", "Fern", "Grey", "Hazel", "Ivory", "Jade")
_SECOND = (
    "Anchor",
    "Bridge",
    "Crane",
    "Dune",
    "Finch",
    "Harbour",
    "Kite",
    "Lantern",
    "Mill",
    "Oak",
)
_GIVEN = ("Anhe", "Bela", "Corin", "Dunya", "Emeka", "Faye", "Goran", "Hanlu", "Ines", "Joris")
_FAMILY = ("Lin", "Marek", "Norden", "Oyelle", "Prisk", "Quan", "Rosing", "Sulmo", "Tavi", "Wen")
_MEMOS = ("rent", "dinner", "thanks", "tickets", "half of the gift", "lesson", "deposit")
_BROWSERS = ("Firefox on Linux", "Chrome on Windows", "Safari on macOS", "Edge on Windows")
_LETTERS = "abcdefghjkmnpqrstuvwxyz"  # ids without digits can't be taken for a card or phone


class Payee(NamedTuple):
    """Who gets money: a shop at a place, or a person's account."""

    account: str
    name: str
    country: str
    mcc: str | None
    dearness: float


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


class _Story(NamedTuple):
    kind: str
    day: int
    length: int = 1
    detail: int = 0


@dataclass(frozen=True, slots=True)
class _Scene:
    """Where a customer's event comes from: place, device, address."""

    city: City
    device: Mapping[str, object]
    ip: str
    browser: str


@dataclass(slots=True)
class _Day:
    """A customer's day as it's written: its own chance, and the events so far."""

    customer: Customer
    number: int
    begins_us: int
    chance: Random
    scene: _Scene
    travelling: bool
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
        return max(50, int(self.customer.spend * dearness * exp(self.chance.gauss(0.0, 0.5))))

    def between(self, low_euro: int, high_euro: int) -> int:
        """A sum worth that many euros here, in minor units, often a round one."""
        units = self.customer.unit
        sum_minor = self.chance.randrange(low_euro * units, high_euro * units)
        step = units * 10
        return max(step, sum_minor // step * step) if self.chance.random() < 0.5 else sum_minor

    # -- events ----------------------------------------------------------------------------

    def _put(self, at_us: int, event: Event, scenario: str | None) -> None:
        customer = self.customer
        event_id, time = _letters(self.chance, 18), _rfc3339(at_us, customer.home.hours)
        whole: Event = {"id": event_id, "type": event.pop("type"), "time": time}
        whole["customer"] = customer.id
        whole.update(event)
        if scenario is None and self.travelling:
            scenario = "honest_travel"
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

    def _online(self, scene: _Scene, session: str) -> Event:
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
        self, at_us: int, shop: Payee, minor: int, scene: _Scene, scenario: str | None = None
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
        scene: _Scene,
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
        scene: _Scene,
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
        self, at_us: int, what: str, scene: _Scene, session: str, scenario: str | None = None
    ) -> None:
        """Put a change of the account: phone, password, email, device, payee_added or limit."""
        event: Event = {"type": "account_change", **self._online(scene, session), "change": what}
        self._put(at_us, event, scenario)

    def session(self) -> str:
        """A new session's id."""
        return f"s-{_letters(self.chance, 12)}"


# ------------------------------------------------------------------------------------ the world


class World:
    """The made-up population: who they are, and which stories fall into which of their days.

    `customers` of them live for `days` from `start` (aware). `scenarios` names the frauds that
    happen; each of them, and each kind of honest noise, happens at least once. `rate` scales how
    often people pay, `fraud` and `noise` how often stories begin (0: never).
    """

    def __init__(
        self,
        seed: int | str,
        customers: int,
        days: int,
        start: datetime,
        *,
        scenarios: Collection[str] = FRAUDS,
        rate: float = 1.0,
        fraud: float = 1.0,
        noise: float = 1.0,
    ) -> None:
        unknown = sorted(set(scenarios) - set(FRAUDS))
        if unknown:
            raise ValueError(
                f"scenarios: needed some of {', '.join(FRAUDS)}; got {', '.join(unknown)}"
            )
        if customers < 1 or days < 1:
            raise ValueError(f"needed at least 1 customer and 1 day; got {customers} and {days}")
        if start.tzinfo is None:
            raise ValueError(f"start: needed a time with an offset; got {start.isoformat()}")
        self.seed, self.customers, self.days, self.rate = seed, customers, days, rate
        self.start_us = _micros(start)
        self.factors = {name: fraud for name in FRAUDS if name in scenarios and fraud > 0}
        if noise > 0:
            self.factors |= dict.fromkeys(NOISE, noise)
        self.customer = lru_cache(maxsize=200_000)(self._customer)
        self.life = lru_cache(maxsize=200_000)(self._life)
        self._crowds = self._plan_crowds()
        self._musts = self._plan_musts()

    def chance(self, *of: object) -> Random:
        """The chance of one thing, always the same for the same seed and thing."""
        return Random("/".join(str(part) for part in (self.seed, *of)))

    # -- who they are ----------------------------------------------------------------------

    def _customer(self, index: int) -> Customer:
        chance = self.chance("customer", index)
        number = chance.randrange(len(_HOMES))
        home = _HOMES[number]
        chinese = number < _CNY_HOMES
        unit = 800 if chinese else 100
        friends = tuple(_person(chance, home.country) for _ in range(chance.randrange(2, 6)))
        return Customer(
            index=index,
            id=f"c{index:06d}",
            home=home,
            language=_LANGUAGE[home.country],
            currency="CNY" if chinese else "EUR",
            unit=unit,
            ip=".".join(str(n) for n in (100, 64 + chance.randrange(64), *chance.randbytes(2))),
            card=f"card_{_letters(chance, 16)}",
            per_day=chance.gammavariate(3.0, 0.6),
            wakes=chance.uniform(5.5, 8.5),
            spend=unit * chance.lognormvariate(3.0, 0.4),
            shops=tuple(
                number * _SHOPS_PER_CITY + chance.randrange(_SHOPS_PER_CITY)
                for _ in range(chance.randrange(6, 14))
            ),
            friends=friends,
        )

    def device(self, customer: Customer, day: int) -> Mapping[str, object]:
        """The phone that a customer has on a day: a new one after each honest_new_phone."""
        phones = sum(
            1 for s in self.life(customer.index) if s.kind == "honest_new_phone" and s.day <= day
        )
        chance = self.chance("phone", customer.index, phones)
        system = chance.choice(("android", "ios", "harmonyos"))
        return {"id": f"d-{_letters(chance, 14)}", "os": system, "trusted": True}

    # -- what happens to them --------------------------------------------------------------

    def _life(self, index: int) -> tuple[_Story, ...]:
        chance = self.chance("life", index)
        stories = []
        for kind in (*FRAUDS, *NOISE):
            if kind in ("mule_payee", "honest_collection"):
                continue  # these are planned for a crowd at once
            # Drawn for each kind, chosen or not: leaving one out moves none of the others.
            own = Random(chance.getrandbits(64))
            expected = _PER_MONTH[kind] * self.factors.get(kind, 0.0) * self.days / 30.0
            for _ in range(_poisson(own, expected)):
                day = own.randrange(self.days)
                length = own.randrange(2, 7) if kind == "honest_travel" else 1
                stories.append(_Story(kind, day, length, own.getrandbits(30)))
        stories.extend(story for story in self._musts.get(index, ()))
        return tuple(sorted(stories, key=lambda s: (s.day, s.kind, s.detail)))

    def _plan_musts(self) -> dict[int, list[_Story]]:
        """One story of each kind that may happen, so that none is absent by chance."""
        musts: dict[int, list[_Story]] = {}
        for kind in (*FRAUDS, *NOISE):
            chance = self.chance("must", kind)
            index, day = chance.randrange(self.customers), chance.randrange(self.days)
            if kind in self.factors and kind not in ("mule_payee", "honest_collection"):
                story = _Story(
                    kind, day, 3 if kind == "honest_travel" else 1, chance.getrandbits(30)
                )
                musts.setdefault(index, []).append(story)
        return musts

    def _plan_crowds(self) -> dict[int, dict[int, list[_Story]]]:
        """day -> customer -> stories in which many pay one new payee within two days."""
        crowds: dict[int, dict[int, list[_Story]]] = {}
        for kind in ("mule_payee", "honest_collection"):
            factor = self.factors.get(kind, 0.0)
            if kind not in self.factors:
                continue
            chance = self.chance("crowd", kind)
            expected = _PER_MONTH[kind] * factor * self.customers * self.days / 30.0
            planned, number = 0, 0
            while number == 0 or planned < expected:
                first, size = chance.randrange(self.days), chance.randrange(4, 11)
                for _ in range(size):
                    day = min(first + chance.randrange(2), self.days - 1)
                    index = chance.randrange(self.customers)
                    stories = crowds.setdefault(day, {}).setdefault(index, [])
                    story = _Story(kind, day, 1, number)
                    if story not in stories:  # one customer is drawn twice where there are few
                        stories.append(story)
                planned, number = planned + size, number + 1
        return crowds

    # -- a day -----------------------------------------------------------------------------

    def day(self, number: int, index: int) -> list[tuple[int, int, int, Happening]]:
        """What a customer does, and what is done to them, on one day: not in order of time."""
        customer, stories = self.customer(index), self.life(index)
        chance = self.chance("day", number, index)
        trip = next(
            (
                s
                for s in stories
                if s.kind == "honest_travel" and s.day <= number < s.day + s.length
            ),
            None,
        )
        city, ip = customer.home, customer.ip
        if trip is not None:
            city, ip = _far_from(customer.home, trip.detail), _hotel(trip.detail)
        scene = _Scene(city, self.device(customer, number), ip, "bank app")
        begins_us = self.start_us + number * _DAY_US
        day = _Day(customer, number, begins_us, chance, scene, trip is not None)
        for _ in range(_poisson(chance, customer.per_day * self.rate)):
            self._everyday(day)
        if number % 30 == index % 28:
            self._bills(day)
        # Each story has its own chance: choosing other scenarios leaves honest days as they were.
        crowd = self._crowds.get(number, {}).get(index, ())
        for story in (*stories, *crowd):
            if story.day == number and story.kind in _TOLD:
                day.chance = self.chance("story", story.kind, number, index, story.detail)
                _TOLD[story.kind](self, day, story)
        return day.happenings

    def _everyday(self, day: _Day) -> None:
        chance, customer, at_us = day.chance, day.customer, day.at_habit()
        what = chance.random()
        if what < 0.62:
            shop = self.shop_here(day)
            day.pay_by_card(at_us, shop, day.usual(shop.dearness), day.scene.city)
        elif what < 0.80:
            session = day.session()
            scene = self.at_desk(day) if chance.random() < 0.25 else day.scene
            if chance.random() < 0.7:
                day.login(at_us, scene, session)
                at_us = day.later(at_us, 20, 240)
            friend = chance.choice(customer.friends)
            day.transfer(at_us, friend, day.usual(1.5), scene, session)
        elif what < 0.90:
            shop = web_shop(chance.randrange(_WEB_SHOPS))
            day.pay_on_the_web(at_us, shop, day.usual(shop.dearness), day.scene)
        elif what < 0.95:
            step = customer.unit * 10
            day.draw_cash(at_us, step * chance.randrange(2, 21))
        else:
            slip = chance.random() < 0.15
            session = day.session()
            if slip:
                day.login(at_us, day.scene, session, result="failure")
                at_us = day.later(at_us, 5, 40)
            day.login(at_us, day.scene, session)

    def _bills(self, day: _Day) -> None:
        session, at_us = day.session(), day.at_habit()
        day.login(at_us, day.scene, session)
        for number in range(2):
            at_us = day.later(at_us, 20, 90)
            country = day.customer.home.country
            name = ("City Waterworks", "Northern Light and Power")[number]
            payee = Payee(f"{country}BILL{number:03d}", name, country, None, 1.0)
            day.transfer(at_us, payee, day.usual(2.5), day.scene, session, kind="bill")
        landlord = _person(self.chance("landlord", day.customer.index), day.customer.home.country)
        rent = self.chance("rent", day.customer.index).randrange(600, 1800) * day.customer.unit
        day.transfer(day.later(at_us, 20, 90), landlord, rent, day.scene, session)

    def at_desk(self, day: _Day) -> _Scene:
        """The customer's own computer, where the customer is."""
        chance = self.chance("desk", day.customer.index)
        device = {"id": f"d-{_letters(chance, 14)}"}
        return _Scene(day.scene.city, device, day.scene.ip, chance.choice(_BROWSERS))

    def shop_here(self, day: _Day) -> Payee:
        """A shop where the customer is: mostly a usual one at home, any one abroad."""
        chance = day.chance
        if day.travelling:
            return shop_of(_CITIES.index(day.scene.city), chance.randrange(_SHOPS_PER_CITY))
        if chance.random() < 0.12:
            return shop_of(_HOMES.index(day.customer.home), chance.randrange(_SHOPS_PER_CITY))
        return shop(chance.choice(day.customer.shops))

    # -- frauds ----------------------------------------------------------------------------

    def compromised_payee(self, day: _Day, story: _Story) -> None:
        """A shop's till was tampered with: after an honest payment there, others follow."""
        home = _HOMES.index(day.customer.home)
        # One shop of a city at a time: several of its customers are robbed, and a payee that was
        # bad yesterday is likely to be bad today.
        bad = shop_of(home, self.chance("bad", home, day.number // 20).randrange(_SHOPS_PER_CITY))
        at_us = day.at_habit()
        day.pay_by_card(at_us, bad, day.usual(bad.dearness), day.customer.home)
        for _ in range(day.chance.randrange(1, 4)):
            at_us = day.later(at_us, 300, 4 * 3600)
            minor = day.usual(bad.dearness * 1.8)
            day.pay_by_card(at_us, bad, minor, day.customer.home, "compromised_payee")

    def stolen_card(self, day: _Day, story: _Story) -> None:
        """A thief shops with the card: dear shops, at odd hours, while the owner goes on."""
        home = _HOMES.index(day.customer.home)
        city = home if story.detail % 3 else (home + 1 + story.detail % 4) % len(_HOMES)
        at_us = day.at_any_hour()
        for _ in range(day.chance.randrange(3, 9)):
            where = shop_of(city, day.chance.randrange(_SHOPS_PER_CITY))
            minor = day.usual(5.0 * max(where.dearness, 1.0))
            day.pay_by_card(at_us, where, minor, _CITIES[city], "stolen_card")
            at_us = day.later(at_us, 240, 5400)

    def card_testing(self, day: _Day, story: _Story) -> None:
        """Does the card still work? Many small payments abroad on the web, then a large one."""
        scene = _stranger(day.chance, _far_from(day.customer.home, story.detail))
        at_us = day.at_any_hour()
        for _ in range(day.chance.randrange(8, 26)):
            where = web_shop(_WEB_SHOPS + day.chance.randrange(8))
            minor = day.chance.randrange(day.customer.unit // 2, day.customer.unit * 3)
            day.pay_on_the_web(at_us, where, minor, scene, "card_testing")
            at_us = day.later(at_us, 4, 90)
        if day.chance.random() < 0.7:
            where = web_shop(day.chance.randrange(_WEB_SHOPS))
            day.pay_on_the_web(at_us, where, day.between(300, 2500), scene, "card_testing")

    def account_takeover(self, day: _Day, story: _Story) -> None:
        """A stranger signs in from far away, changes phone or password, and sends it all off."""
        scenario, chance = "account_takeover", day.chance
        scene = _stranger(chance, _far_from(day.customer.home, story.detail))
        session, at_us = day.session(), day.at_any_hour()
        for _ in range(chance.randrange(4)):
            day.login(at_us, scene, session, scenario, result="failure")
            at_us = day.later(at_us, 8, 60)
        day.login(at_us, scene, session, scenario)
        at_us = day.later(at_us, 30, 240)
        day.change(at_us, chance.choice(("phone", "password")), scene, session, scenario)
        at_us = day.later(at_us, 20, 300)
        day.change(at_us, "payee_added", scene, session, scenario)
        payee = _person(chance, chance.choice(_HOMES).country)
        for _ in range(chance.randrange(1, 4)):  # below what stands out beside rents
            at_us = day.later(at_us, 30, 600)
            day.transfer(at_us, payee, day.between(150, 1500), scene, session, scenario)

    def mule_payee(self, day: _Day, story: _Story) -> None:
        """Talked into it: the customer's own device sends a large sum to a mule's account."""
        mule = _person(self.chance("mule", story.detail), "DE")
        session, at_us = day.session(), day.at_habit()
        day.login(at_us, day.scene, session, "mule_payee")
        at_us = day.later(at_us, 60, 900)
        day.transfer(at_us, mule, day.between(600, 5000), day.scene, session, "mule_payee")

    # -- honest noise, one kind for each fraud and more ------------------------------------

    def honest_new_phone(self, day: _Day, story: _Story) -> None:
        """A new phone: the change, a sign-in from it, and money sent as before."""
        kind, session, at_us = story.kind, day.session(), day.at_habit()
        day.login(at_us, day.scene, session, kind)
        at_us = day.later(at_us, 20, 120)
        day.change(at_us, "device", day.scene, session, kind)
        at_us = day.later(at_us, 60, 3600)
        self._as_before(day, at_us, day.scene, session, kind)

    def _as_before(self, day: _Day, at_us: int, scene: _Scene, session: str, kind: str) -> None:
        """Send money to a friend; one in three times it is somebody new, and not little."""
        payee, minor = day.chance.choice(day.customer.friends), day.usual(2.0)
        if day.chance.random() < 0.33:
            payee, minor = _person(day.chance, day.customer.home.country), day.between(50, 900)
        day.transfer(at_us, payee, minor, scene, session, kind)

    def honest_new_payee(self, day: _Day, story: _Story) -> None:
        """Someone never paid before: a plumber, a friend of a friend."""
        kind, session, at_us = story.kind, day.session(), day.at_habit()
        if day.chance.random() < 0.5:
            day.change(at_us, "payee_added", day.scene, session, kind)
            at_us = day.later(at_us, 20, 300)
        payee = _person(day.chance, day.customer.home.country)
        day.transfer(at_us, payee, day.usual(3.0), day.scene, session, kind)

    def honest_large(self, day: _Day, story: _Story) -> None:
        """A large sum, rightly: a deposit, a used car; half of them to someone new."""
        kind, session, at_us = story.kind, day.session(), day.at_habit()
        day.login(at_us, day.scene, session, kind)
        at_us = day.later(at_us, 60, 900)
        payee = day.chance.choice(day.customer.friends)
        if day.chance.random() < 0.5:
            payee = _person(day.chance, day.customer.home.country)
        day.transfer(at_us, payee, day.between(800, 8000), day.scene, session, kind)

    def honest_forgotten_password(self, day: _Day, story: _Story) -> None:
        """Failed sign-ins from the customer's own browser, a new password, then business."""
        kind, session, at_us = story.kind, day.session(), day.at_habit()
        scene = self.at_desk(day)
        for _ in range(day.chance.randrange(2, 5)):
            day.login(at_us, scene, session, kind, result="failure")
            at_us = day.later(at_us, 8, 60)
        day.change(at_us, "password", scene, session, kind)
        at_us = day.later(at_us, 15, 120)
        day.login(at_us, scene, session, kind)
        if day.chance.random() < 0.5:
            at_us = day.later(at_us, 30, 600)
            self._as_before(day, at_us, scene, session, kind)

    def honest_spree(self, day: _Day, story: _Story) -> None:
        """An afternoon of dear shops: what a stolen card looks like, by its owner."""
        at_us = day.at_habit()
        for _ in range(day.chance.randrange(3, 7)):
            where = self.shop_here(day)
            minor = day.usual(3.5 * max(where.dearness, 1.0))
            day.pay_by_card(at_us, where, minor, day.scene.city, story.kind)
            at_us = day.later(at_us, 600, 3600)

    def honest_many_small(self, day: _Day, story: _Story) -> None:
        """Coins for a game, again and again, late at night, on the customer's own phone."""
        at_us = day.at_night()
        where = web_shop(story.detail % 5 if story.detail % 2 else _WEB_SHOPS + story.detail % 8)
        for _ in range(day.chance.randrange(4, 10)):
            minor = day.chance.randrange(day.customer.unit, day.customer.unit * 5)
            day.pay_on_the_web(at_us, where, minor, day.scene, story.kind)
            at_us = day.later(at_us, 20, 400)

    def honest_repeat(self, day: _Day, story: _Story) -> None:
        """The same shop twice or thrice: something was forgotten."""
        at_us, where = day.at_habit(), self.shop_here(day)
        for _ in range(day.chance.randrange(2, 4)):
            day.pay_by_card(at_us, where, day.usual(where.dearness), day.scene.city, story.kind)
            at_us = day.later(at_us, 120, 3600)

    def honest_collection(self, day: _Day, story: _Story) -> None:
        """Many pay one new account in a day, rightly: a class trip, a farewell gift."""
        kind, session, at_us = story.kind, day.session(), day.at_habit()
        payee = _person(self.chance("collection", story.detail), day.customer.home.country)
        day.transfer(at_us, payee, day.between(20, 200), day.scene, session, kind)


_TOLD: Mapping[str, Callable[[World, _Day, _Story], None]] = {
    "compromised_payee": World.compromised_payee,
    "stolen_card": World.stolen_card,
    "card_testing": World.card_testing,
    "account_takeover": World.account_takeover,
    "mule_payee": World.mule_payee,
    "honest_new_phone": World.honest_new_phone,
    "honest_new_payee": World.honest_new_payee,
    "honest_large": World.honest_large,
    "honest_forgotten_password": World.honest_forgotten_password,
    "honest_spree": World.honest_spree,
    "honest_many_small": World.honest_many_small,
    "honest_repeat": World.honest_repeat,
    "honest_collection": World.honest_collection,
}  # honest_travel is told by `World.day`: it moves the whole day to another place


# ------------------------------------------------------------------------------------ in the open


def simulate(
    seed: int | str,
    customers: int,
    days: int,
    start: datetime,
    *,
    scenarios: Collection[str] = FRAUDS,
    rate: float = 1.0,
    fraud: float = 1.0,
    noise: float = 1.0,
) -> Iterator[Happening]:
    """Tell `days` days of `customers` customers: raw events in order of time, with their truth.

    The same arguments give the same events to the byte. A story that begins before the last
    midnight may end after it. Refuses, by ValueError, a scenario that isn't in `FRAUDS`, a naive
    `start`, and nobody or no time at all.
    """
    world = World(
        seed, customers, days, start, scenarios=scenarios, rate=rate, fraud=fraud, noise=noise
    )
    return _told(world)


def _told(world: World) -> Iterator[Happening]:
    waiting: list[tuple[int, int, int, int, Happening]] = []
    for number in range(world.days):
        for index in range(world.customers):
            for at_us, customer, order, happening in world.day(number, index):
                # The day stands before the order within it: no tie ever compares happenings.
                heapq.heappush(waiting, (at_us, customer, number, order, happening))
        ends_us = world.start_us + (number + 1) * _DAY_US
        while waiting and waiting[0][0] < ends_us:
            yield heapq.heappop(waiting)[-1]
    while waiting:
        yield heapq.heappop(waiting)[-1]


def label(truth: Truth, known: datetime, source: str = "chargeback") -> Event:
    """The label event by which the bank learns a truth, `known` at that time."""
    return {
        "type": "label",
        "id": f"label-{truth.event}",
        "event": truth.event,
        "customer": truth.customer,
        "fraud": truth.fraud,
        "source": source,
        "time": _rfc3339(_micros(known), 0),
    }


def write(path: Path, happenings: Iterable[Happening], truth_path: Path | None) -> Counter[str]:
    """Write events as NDJSON, one a line, and the truths beside them; count events by scenario.

    A line of truth is `{event, customer, time, fraud, scenario}`; an event that has none is
    honest and unremarkable, counted as "everyday".
    """
    counts: Counter[str] = Counter()
    with path.open("w", encoding="utf-8", newline="\n") as events:
        truths = (
            None if truth_path is None else truth_path.open("w", encoding="utf-8", newline="\n")
        )
        try:
            for event, truth in happenings:
                events.write(_line(event))
                counts[truth.scenario if truth else "everyday"] += 1
                if truths is not None and truth is not None:
                    truths.write(_line(truth._asdict()))
        finally:
            if truths is not None:
                truths.close()
    return counts


# ---------------------------------------------------------------------------------------- made-up


def shop(number: int) -> Payee:
    """The shop of that number, counted through all cities."""
    return shop_of(*divmod(number, _SHOPS_PER_CITY))


@lru_cache(maxsize=4096)
def shop_of(city: int, number: int) -> Payee:
    """A made-up shop in a city, the same for every seed."""
    trade, mcc, dearness = _TRADES[number % len(_TRADES)]
    name = f"{_FIRST[(number * 7 + city) % 10]} {_SECOND[(number // 10 + city * 3) % 10]} {trade}"
    country = _CITIES[city].country
    return Payee(f"{country}SHOP{city:02d}{number:04d}", name, country, mcc, dearness)


@lru_cache(maxsize=4096)
def web_shop(number: int) -> Payee:
    """A made-up web shop, the same for every seed; the first five sell coins for games."""
    country = _CITIES[(number * 5) % len(_CITIES)].country
    name = f"{_FIRST[number % 10]}{_SECOND[(number * 3) % 10]} Online"
    mcc = "5816" if number < 5 or number >= _WEB_SHOPS else "5964"
    return Payee(f"{country}WEB{number:04d}", name, country, mcc, 1.3)


def _person(chance: Random, country: str) -> Payee:
    name = f"{chance.choice(_GIVEN)} {chance.choice(_FAMILY)}"
    return Payee(f"{country}RB{_letters(chance, 14).upper()}", name, country, None, 1.0)


def _stranger(chance: Random, city: City) -> _Scene:
    address = f"203.0.113.{1 + chance.randrange(254)}"
    if chance.random() < 0.3:  # strangers sit in hotels too
        address = _hotel(chance.getrandbits(30))
    device: dict[str, object] = {"id": f"d-{_letters(chance, 14)}"}
    if chance.random() < 0.4:  # by the bank's own app, on a device it hasn't seen
        device |= {"os": chance.choice(("android", "ios")), "trusted": False}
    return _Scene(city, device, address, chance.choice(_BROWSERS))


def _hotel(number: int) -> str:
    net = ("192.0.2", "198.51.100")[number % 2]
    return f"{net}.{1 + number // 2 % 254}"


def _far_from(home: City, number: int) -> City:
    places = [c for c in _ABROAD if abs(c.lat - home.lat) + abs(c.lon - home.lon) > 15.0]
    return places[number % len(places)]


def _payee(payee: Payee) -> Event:
    return {"account": payee.account, "name": payee.name, "country": payee.country}


def _letters(chance: Random, length: int) -> str:
    return "".join(chance.choices(_LETTERS, k=length))


def _amount(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02d}"


def _poisson(chance: Random, expected: float) -> int:
    """Knuth's count: fine for the small numbers of a day, or of a life."""
    if expected <= 0.0:
        return 0
    limit, product, count = exp(-expected), chance.random(), 0
    while product > limit:
        product *= chance.random()
        count += 1
    return count


def _micros(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@lru_cache(maxsize=64)
def _offset(hours: int) -> timezone:
    return timezone(timedelta(hours=hours))


def _rfc3339(at_us: int, hours: int) -> str:
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
    return time.astimezone(_offset(hours)).isoformat(timespec="milliseconds")


def _line(fact: Mapping[str, object]) -> str:
    return json.dumps(fact, ensure_ascii=False, separators=(",", ":")) + "\n"
