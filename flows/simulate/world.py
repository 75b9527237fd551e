"""Who is befallen by which story on which day? The made-up population's lives, and their days.

    (seed, customer) -> life: stories with their days -> (seed, customer, day) -> that day's events

A customer's day is a pure function of the seed, and each story has its own chance: choosing other
scenarios leaves honest days as they were.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import lru_cache
from math import exp
from random import Random

from flows.simulate import frauds, honest
from flows.simulate.day import Day, Happening, Teller, micros
from flows.simulate.people import Customer, People, Scene
from flows.simulate.places import City, far_from, hotel, near_to
from flows.simulate.stories import CROWDS, FRAUDS, NOISE, PER_MONTH, TRIPS, Story

DAY_US = 86_400_000_000

#: After these the customer has another phone.
_NEW_PHONE = frozenset({"honest_new_phone", "honest_phone_abroad"})
_TOLD: Mapping[str, Teller] = {**frauds.TOLD, **honest.TOLD}


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
        self.start_us = micros(start)
        self.factors = {name: fraud for name in FRAUDS if name in scenarios and fraud > 0}
        if noise > 0:
            self.factors |= dict.fromkeys(NOISE, noise)
        self.people = People(self.chance, customers)
        self.customer = lru_cache(maxsize=200_000)(self._customer)
        self.life = lru_cache(maxsize=200_000)(self._life)
        self._crowds = self._plan_crowds()
        self._musts = self._plan_musts()

    def chance(self, *of: object) -> Random:
        """The chance of one thing, always the same for the same seed and thing."""
        return Random("/".join(str(part) for part in (self.seed, *of)))

    def _customer(self, index: int) -> Customer:
        return self.people.customer(index)

    def device(self, customer: Customer, day: int) -> Mapping[str, object]:
        """The phone that a customer has on a day."""
        stories = self.life(customer.index)
        bought = sum(1 for s in stories if s.kind in _NEW_PHONE and s.told_on <= day)
        return self.people.phone(customer.index, bought)

    # -- what happens to them --------------------------------------------------------------

    def _life(self, index: int) -> tuple[Story, ...]:
        chance = self.chance("life", index)
        stories = []
        for kind in PER_MONTH:
            if kind in CROWDS:
                continue  # these are planned for a crowd at once
            # Drawn for each kind, chosen or not: leaving one out moves none of the others.
            own = Random(chance.getrandbits(64))
            expected = PER_MONTH[kind] * self.factors.get(kind, 0.0) * self.days / 30.0
            for _ in range(_poisson(own, expected)):
                day = own.randrange(self.days)
                stories.append(Story(kind, day, _length(own, kind), own.getrandbits(30)))
        stories.extend(self._musts.get(index, ()))
        return tuple(sorted(stories, key=lambda s: (s.day, s.kind, s.detail)))

    def _plan_musts(self) -> dict[int, list[Story]]:
        """One story of each kind that may happen, so that none is absent by chance."""
        musts: dict[int, list[Story]] = {}
        for kind in PER_MONTH:
            chance = self.chance("must", kind)
            if kind not in self.factors or kind in CROWDS:
                continue
            index, length = chance.randrange(self.customers), _length(chance, kind)
            day = chance.randrange(max(1, self.days - length + 1))
            length = min(length, self.days)
            musts.setdefault(index, []).append(Story(kind, day, length, chance.getrandbits(30)))
        return musts

    def _plan_crowds(self) -> dict[int, dict[int, list[Story]]]:
        """day -> customer -> stories in which many pay one new payee within two days."""
        crowds: dict[int, dict[int, list[Story]]] = {}
        for kind in CROWDS:
            if kind not in self.factors:
                continue
            chance = self.chance("crowd", kind)
            expected = PER_MONTH[kind] * self.factors[kind] * self.customers * self.days / 30.0
            planned, number = 0, 0
            while number == 0 or planned < expected:
                first, size = chance.randrange(self.days), chance.randrange(4, 11)
                for _ in range(size):
                    day = min(first + chance.randrange(2), self.days - 1)
                    index = chance.randrange(self.customers)
                    stories = crowds.setdefault(day, {}).setdefault(index, [])
                    story = Story(kind, day, 1, number)
                    if story not in stories:  # one customer is drawn twice where there are few
                        stories.append(story)
                planned, number = planned + size, number + 1
        return crowds

    # -- a day -----------------------------------------------------------------------------

    def day(self, number: int, index: int) -> list[tuple[int, int, int, Happening]]:
        """What a customer does, and what is done to them, on one day: not in order of time."""
        customer, stories = self.customer(index), self.life(index)
        chance = self.chance("day", number, index)
        trips = (s for s in stories if s.kind in TRIPS and s.day <= number < s.day + s.length)
        trip = next(trips, None)
        city, ip = customer.home, customer.ip
        if trip is not None:
            city, ip = _goal(customer.home, trip), hotel(trip.detail)
        scene = Scene(city, self.device(customer, number), ip, "bank app")
        begins_us = self.start_us + number * DAY_US
        day = Day(customer, number, begins_us, chance, scene, trip)
        for _ in range(_poisson(chance, customer.per_day * self.rate)):
            honest.everyday(self.people, day)
        if number % 30 == index % 28:
            honest.bills(self.people, day)
        # Each story has its own chance: choosing other scenarios leaves honest days as they were.
        crowd = self._crowds.get(number, {}).get(index, ())
        for story in (*stories, *crowd):
            if story.told_on == number:
                day.chance = self.chance("story", story.kind, number, index, story.detail)
                _TOLD[story.kind](self.people, day, story)
        return day.happenings


def _goal(home: City, trip: Story) -> City:
    """Where a trip leads: a city trip and every other dear one stay in the country's reach."""
    near = trip.kind == "honest_city_trip" or (
        trip.kind == "honest_dear_trip" and trip.detail % 2 == 0
    )
    return near_to(home, trip.detail) if near else far_from(home, trip.detail)


def _length(chance: Random, kind: str) -> int:
    return chance.randrange(*TRIPS[kind]) if kind in TRIPS else 1


def _poisson(chance: Random, expected: float) -> int:
    """Knuth's count: fine for the small numbers of a day, or of a life."""
    if expected <= 0.0:
        return 0
    limit, product, count = exp(-expected), chance.random(), 0
    while product > limit:
        product *= chance.random()
        count += 1
    return count
