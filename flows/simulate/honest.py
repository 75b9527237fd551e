"""What do honest people do? Their everyday, and stories that look like each fraud and are none.

Every fraud has honest stories with the same steps: who loses the phone abroad signs in from a
strange device far away, changes the account and pays somebody new, as a thief does. What tells them
apart is what tells them apart for a bank: where the card was yesterday, how often, to whom.
"""

from collections.abc import Mapping

from flows.simulate.day import Day, Teller
from flows.simulate.people import People, Scene
from flows.simulate.places import (
    Payee,
    any_shop,
    any_web_shop,
    coin_shop,
    odd_web_shop,
    person,
)
from flows.simulate.stories import Story


def everyday(people: People, day: Day) -> None:
    """One payment or look at the account, as always."""
    chance, customer, at_us = day.chance, day.customer, day.at_habit()
    what = chance.random()
    if what < 0.62:
        shop = day.shop_here()
        day.pay_by_card(at_us, shop, day.usual(shop.dearness), day.scene.city)
    elif what < 0.80:
        session = day.session()
        scene = at_desk(people, day) if chance.random() < 0.25 else day.scene
        if chance.random() < 0.7:
            day.login(at_us, scene, session)
            at_us = day.later(at_us, 20, 240)
        friend = chance.choice(customer.friends)
        day.transfer(at_us, friend, day.usual(1.5), scene, session)
    elif what < 0.90:
        shop = any_web_shop(chance)
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


def bills(people: People, day: Day) -> None:
    """Water, light and the rent, once a month."""
    session, at_us = day.session(), day.at_habit()
    day.login(at_us, day.scene, session)
    for number in range(2):
        at_us = day.later(at_us, 20, 90)
        country = day.customer.home.country
        name = ("City Waterworks", "Northern Light and Power")[number]
        payee = Payee(f"{country}BILL{number:03d}", name, country, None, 1.0)
        day.transfer(at_us, payee, day.usual(2.5), day.scene, session, kind="bill")
    landlord, rent = people.landlord(day.customer)
    day.transfer(day.later(at_us, 20, 90), landlord, rent, day.scene, session)


def at_desk(people: People, day: Day) -> Scene:
    """The household's computer, where the customer is."""
    return people.desk(day.customer, day.scene.city, day.scene.ip)


def as_before(day: Day, at_us: int, scene: Scene, session: str, kind: str) -> None:
    """Send money to a friend; one in three times it is somebody new, and not little."""
    payee, minor = day.chance.choice(day.customer.friends), day.usual(2.0)
    if day.chance.random() < 0.33:
        payee, minor = person(day.chance, day.customer.home.country), day.between(50, 900)
    day.transfer(at_us, payee, minor, scene, session, kind)


def new_phone(people: People, day: Day, story: Story) -> None:
    """A new phone: the change, a sign-in from it, and money sent as before."""
    kind, session, at_us = story.kind, day.session(), day.at_habit()
    day.login(at_us, day.scene, session, kind)
    at_us = day.later(at_us, 20, 120)
    day.change(at_us, "device", day.scene, session, kind)
    at_us = day.later(at_us, 60, 3600)
    as_before(day, at_us, day.scene, session, kind)


def new_payee(people: People, day: Day, story: Story) -> None:
    """Someone never paid before: a plumber, a friend of a friend."""
    kind, session, at_us = story.kind, day.session(), day.at_habit()
    if day.chance.random() < 0.5:
        day.change(at_us, "payee_added", day.scene, session, kind)
        at_us = day.later(at_us, 20, 300)
    payee = person(day.chance, day.customer.home.country)
    day.transfer(at_us, payee, day.usual(3.0), day.scene, session, kind)


def large(people: People, day: Day, story: Story) -> None:
    """A large sum, rightly: a deposit, a used car; half to someone new, some in two parts."""
    kind, session, at_us = story.kind, day.session(), day.at_habit()
    day.login(at_us, day.scene, session, kind)
    at_us = day.later(at_us, 60, 900)
    payee = day.chance.choice(day.customer.friends)
    if day.chance.random() < 0.5:
        payee = person(day.chance, day.customer.home.country)
        if day.chance.random() < 0.4:  # an advance now, the rest within hours
            day.transfer(at_us, payee, day.between(100, 1500), day.scene, session, kind)
            at_us = day.later(at_us, 300, 4 * 3600)
    day.transfer(at_us, payee, day.between(800, 8000), day.scene, session, kind)


def forgotten_password(people: People, day: Day, story: Story) -> None:
    """Failed sign-ins from the customer's own browser, a new password, then business."""
    kind, session, at_us = story.kind, day.session(), day.at_habit()
    scene = at_desk(people, day)
    for _ in range(day.chance.randrange(2, 5)):
        day.login(at_us, scene, session, kind, result="failure")
        at_us = day.later(at_us, 8, 60)
    day.change(at_us, "password", scene, session, kind)
    at_us = day.later(at_us, 15, 120)
    day.login(at_us, scene, session, kind)
    if day.chance.random() < 0.5:
        at_us = day.later(at_us, 30, 600)
        as_before(day, at_us, scene, session, kind)


def spree(people: People, day: Day, story: Story) -> None:
    """An afternoon of dear shops, half of them new: what a stolen card looks like, by its owner.

    On a trip it is souvenirs and what one has come for.
    """
    chance, at_us = day.chance, day.at_habit()
    taste = chance.uniform(1.5, 5.0)
    for _ in range(chance.randrange(3, 7)):
        where = day.shop_here() if chance.random() < 0.5 else any_shop(chance, day.scene.city)
        minor = day.usual(taste * max(where.dearness, 1.0))
        day.pay_by_card(at_us, where, minor, day.scene.city, story.kind)
        at_us = day.later(at_us, 600, 4200)


def hotel_bill(people: People, day: Day, story: Story) -> None:
    """The bill of a trip: dear, and somewhere the customer has never been."""
    where = any_shop(day.chance, day.scene.city)
    day.pay_by_card(day.at_habit(), where, day.usual(5.0), day.scene.city, story.kind)


def night_out(people: People, day: Day, story: Story) -> None:
    """Shops never seen, at hours of sleep: a birthday, a late train, a night shift."""
    at_us = day.at_night()
    for _ in range(day.chance.randrange(2, 6)):
        where = any_shop(day.chance, day.scene.city)
        day.pay_by_card(at_us, where, day.usual(1.5 * where.dearness), day.scene.city, story.kind)
        at_us = day.later(at_us, 600, 3600)


def many_small(people: People, day: Day, story: Story) -> None:
    """Coins for a game, again and again, late at night, on the customer's own phone."""
    at_us, where = day.at_night(), coin_shop(story.detail)
    for _ in range(day.chance.randrange(4, 10)):
        minor = day.chance.randrange(day.customer.unit, day.customer.unit * 5)
        day.pay_on_the_web(at_us, where, minor, day.scene, story.kind)
        at_us = day.later(at_us, 20, 400)


def new_wallet(people: People, day: Day, story: Story) -> None:
    """A new wallet or tablet is tried: small sums in several web shops, one after the other."""
    chance, at_us = day.chance, day.at_habit()
    scene = day.scene
    if chance.random() < 0.5:  # on the computer; then often the first payments there
        scene = at_desk(people, day)
    for _ in range(chance.randrange(4, 10)):
        odd = chance.random() < 0.3
        where = odd_web_shop(chance.getrandbits(20)) if odd else any_web_shop(chance)
        minor = chance.randrange(day.customer.unit // 2, day.customer.unit * 8)
        day.pay_on_the_web(at_us, where, minor, scene, story.kind)
        at_us = day.later(at_us, 20, 600)


def repeat(people: People, day: Day, story: Story) -> None:
    """The same shop twice or thrice: something was forgotten."""
    at_us, where = day.at_habit(), day.shop_here()
    for _ in range(day.chance.randrange(2, 4)):
        day.pay_by_card(at_us, where, day.usual(where.dearness), day.scene.city, story.kind)
        at_us = day.later(at_us, 120, 3600)


def collection(people: People, day: Day, story: Story) -> None:
    """Many pay one new account in a day, rightly: a class trip, a farewell gift."""
    kind, session, at_us = story.kind, day.session(), day.at_habit()
    payee = person(people.chance("collection", story.detail), day.customer.home.country)
    day.transfer(at_us, payee, day.between(20, 200), day.scene, session, kind)


def phone_abroad(people: People, day: Day, story: Story) -> None:
    """The phone is lost on a trip: a new one signs in, the account changes, a deposit is paid.

    Step by step what a thief does from there; but the customer's card is there, too.
    """
    kind, session, chance = story.kind, day.session(), day.chance
    at_us = day.at_habit()
    where = day.shop_here()
    day.pay_by_card(at_us, where, day.usual(4.0), day.scene.city, kind)  # the new phone
    scene = Scene(day.scene.city, {**day.scene.device, "trusted": False}, day.scene.ip, "bank app")
    at_us = day.later(at_us, 900, 7200)
    for _ in range(chance.randrange(3)):
        day.login(at_us, scene, session, kind, result="failure")
        at_us = day.later(at_us, 8, 60)
    day.login(at_us, scene, session, kind)
    at_us = day.later(at_us, 30, 240)
    day.change(at_us, chance.choice(("phone", "password", "device")), scene, session, kind)
    if chance.random() < 0.7:
        at_us = day.later(at_us, 60, 3600)
        day.change(at_us, "payee_added", scene, session, kind)
        payee = person(chance, day.scene.city.country)
        at_us = day.later(at_us, 30, 600)
        day.transfer(at_us, payee, day.between(80, 1200), scene, session, kind)


def move(people: People, day: Day, story: Story) -> None:
    """Moving house: a limit raised, a deposit to one stranger, movers to another, furniture."""
    kind, session, chance = story.kind, day.session(), day.chance
    at_us = day.at_habit()
    scene = at_desk(people, day)
    day.login(at_us, scene, session, kind)
    at_us = day.later(at_us, 30, 240)
    day.change(at_us, chance.choice(("limit", "phone", "email")), scene, session, kind)
    for low, high in ((600, 2400), (150, 900)):
        at_us = day.later(at_us, 30, 600)
        day.change(at_us, "payee_added", scene, session, kind)
        payee = person(chance, day.customer.home.country)
        at_us = day.later(at_us, 30, 600)
        day.transfer(at_us, payee, day.between(low, high), scene, session, kind)
    for _ in range(chance.randrange(3, 7)):
        at_us = day.later(at_us, 600, 5400)
        where = any_shop(chance, day.scene.city)
        minor = day.usual(4.0 * max(where.dearness, 1.0))
        day.pay_by_card(at_us, where, minor, day.scene.city, kind)


def partners_phone(people: People, day: Day, story: Story) -> None:
    """The own phone's battery is empty: signed in on a partner's or friend's, money sent."""
    kind, session, at_us = story.kind, day.session(), day.at_habit()
    partner = people.partner(day.customer.index)
    if partner is None:  # a friend, who banks elsewhere and has no number here
        whose, number = day.customer.index, -1 - story.detail % 3
    else:
        whose, number = partner, 0
    lent = {**people.phone(whose, number), "trusted": False}
    scene = Scene(day.scene.city, lent, day.scene.ip, "bank app")
    if day.chance.random() < 0.4:
        day.login(at_us, scene, session, kind, result="failure")
        at_us = day.later(at_us, 8, 60)
    day.login(at_us, scene, session, kind)
    at_us = day.later(at_us, 30, 600)
    as_before(day, at_us, scene, session, kind)


TOLD: Mapping[str, Teller] = {
    "honest_travel": hotel_bill,
    "honest_city_trip": hotel_bill,
    "honest_new_phone": new_phone,
    "honest_new_payee": new_payee,
    "honest_large": large,
    "honest_forgotten_password": forgotten_password,
    "honest_spree": spree,
    "honest_dear_trip": spree,
    "honest_night_out": night_out,
    "honest_many_small": many_small,
    "honest_new_wallet": new_wallet,
    "honest_repeat": repeat,
    "honest_collection": collection,
    "honest_phone_abroad": phone_abroad,
    "honest_move": move,
    "honest_partners_phone": partners_phone,
}
