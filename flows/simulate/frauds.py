"""What do thieves do? One function a fraud, told into the victim's day.

Thieves differ as honest people do: some are greedy and some stay within what the customer spends,
some come from far away and some from the next city, some keep shop hours.
"""

from collections.abc import Mapping

from flows.simulate.day import Day, Teller, stranger
from flows.simulate.people import People
from flows.simulate.places import (
    HOMES,
    SHOPS_PER_CITY,
    City,
    any_shop,
    any_web_shop,
    far_from,
    near_to,
    odd_web_shop,
    person,
    shop_of,
)
from flows.simulate.stories import Story


def _thiefs_city(day: Day, story: Story) -> City:
    """Where a thief on the line sits: mostly far away, one in four in the customer's country."""
    if story.detail // 7 % 4 == 0:
        return near_to(day.customer.home, story.detail)
    return far_from(day.customer.home, story.detail)


def compromised_payee(people: People, day: Day, story: Story) -> None:
    """A shop's till was tampered with: after an honest payment there, others follow."""
    home = HOMES.index(day.customer.home)
    # One shop of a city at a time: several of its customers are robbed, and a payee that was
    # bad yesterday is likely to be bad today.
    bad = shop_of(home, people.chance("bad", home, day.number // 20).randrange(SHOPS_PER_CITY))
    at_us = day.at_habit()
    day.pay_by_card(at_us, bad, day.usual(bad.dearness), day.customer.home)
    for _ in range(day.chance.randrange(1, 4)):
        at_us = day.later(at_us, 300, 4 * 3600)
        minor = day.usual(bad.dearness * 1.8)
        day.pay_by_card(at_us, bad, minor, day.customer.home, "compromised_payee")


def stolen_card(people: People, day: Day, story: Story) -> None:
    """A thief shops with the card: dear shops, often at odd hours, while the owner goes on.

    A third of them in another city; one in four spends no more at once than the owner may.
    """
    chance, home = day.chance, day.customer.home
    city = home if story.detail % 3 else near_to(home, story.detail)
    greed = chance.uniform(1.5, 2.5) if chance.random() < 0.25 else chance.uniform(3.0, 7.0)
    at_us = day.at_any_hour() if chance.random() < 0.5 else day.at_habit()
    for _ in range(chance.randrange(3, 9)):
        where = any_shop(chance, city)
        minor = day.usual(greed * max(where.dearness, 1.0))
        day.pay_by_card(at_us, where, minor, city, "stolen_card")
        at_us = day.later(at_us, 240, 5400)


def card_testing(people: People, day: Day, story: Story) -> None:
    """Does the card still work? Many small payments on the web, then a large one.

    One in five has patience: a few, an hour or so apart. One in five more has all the time in the
    world: some hours apart, so that no hour and hardly a day looks busy.
    """
    scene = stranger(day.chance, _thiefs_city(day, story))
    at_us = day.at_any_hour()
    hurry = day.chance.random()
    low_s, high_s = (10_800, 32_400) if hurry < 0.2 else (1500, 7200) if hurry < 0.4 else (4, 90)
    for _ in range(day.chance.randrange(5, 9) if hurry < 0.4 else day.chance.randrange(8, 26)):
        odd = day.chance.random() < 0.7
        where = odd_web_shop(day.chance.getrandbits(20)) if odd else any_web_shop(day.chance)
        minor = day.chance.randrange(day.customer.unit // 2, day.customer.unit * 3)
        day.pay_on_the_web(at_us, where, minor, scene, "card_testing")
        at_us = day.later(at_us, low_s, high_s)
    if day.chance.random() < 0.7:
        where = any_web_shop(day.chance)
        day.pay_on_the_web(at_us, where, day.between(200, 1800), scene, "card_testing")


def account_takeover(people: People, day: Day, story: Story) -> None:
    """A stranger signs in, mostly changes phone or password, and sends money off to somebody new.

    One in four sits in the customer's own country, one in five changes nothing but the payees. One
    in ten needs none of that: he has talked his way onto the customer's own computer.
    """
    scenario, chance = "account_takeover", day.chance
    session, at_us = day.session(), day.at_any_hour()
    if chance.random() < 0.1:
        scene = people.desk(day.customer, day.customer.home, day.customer.ip)
    else:
        scene = stranger(chance, _thiefs_city(day, story))
        for _ in range(chance.randrange(4)):
            day.login(at_us, scene, session, scenario, result="failure")
            at_us = day.later(at_us, 8, 60)
        day.login(at_us, scene, session, scenario)
        if chance.random() < 0.8:
            at_us = day.later(at_us, 30, 240)
            day.change(at_us, chance.choice(("phone", "password")), scene, session, scenario)
    at_us = day.later(at_us, 20, 3600)
    day.change(at_us, "payee_added", scene, session, scenario)
    payee = person(chance, chance.choice(HOMES).country)
    for _ in range(chance.randrange(1, 4)):  # below what stands out beside rents
        at_us = day.later(at_us, 30, 3600)
        day.transfer(at_us, payee, day.between(100, 1200), scene, session, scenario)


def mule_payee(people: People, day: Day, story: Story) -> None:
    """Talked into it: the customer's own device sends a large sum to a mule's account."""
    mule = person(people.chance("mule", story.detail), "DE")
    session, at_us = day.session(), day.at_habit()
    day.login(at_us, day.scene, session, "mule_payee")
    at_us = day.later(at_us, 60, 900)
    day.transfer(at_us, mule, day.between(600, 5000), day.scene, session, "mule_payee")


TOLD: Mapping[str, Teller] = {
    "compromised_payee": compromised_payee,
    "stolen_card": stolen_card,
    "card_testing": card_testing,
    "account_takeover": account_takeover,
    "mule_payee": mule_payee,
}
