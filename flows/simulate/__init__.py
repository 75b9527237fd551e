"""What would a bank send? Seeded customers who live, and some who are robbed.

A made-up population with real habits. Into their days fall *stories*: frauds, each of a named
scenario, and honest noise that looks like each of them. docs/simulate.md tells of each.

    stories.py  which there are, how often     people.py  who lives there     places.py  where
    frauds.py, honest.py  each story told into a day (day.py)
    world.py    (seed, customer, day) -> that customer's events of that day
    writing.py  all days -> one heap -> ascending times -> a file and its truth

A customer's day is a pure function of the seed, so the same seed gives the same bytes, and only
one day of events is held at a time.
"""

from flows.simulate.day import Event, Happening, Truth
from flows.simulate.people import Customer
from flows.simulate.places import City, Payee
from flows.simulate.stories import FRAUDS, NOISE
from flows.simulate.world import World
from flows.simulate.writing import label, simulate, write

__all__ = (
    "FRAUDS",
    "NOISE",
    "City",
    "Customer",
    "Event",
    "Happening",
    "Payee",
    "Truth",
    "World",
    "label",
    "simulate",
    "write",
)
