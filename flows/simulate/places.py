"""Where do they live, what can be bought there, and who else has an account?

Real cities; every shop, name, account and address is made up. A shop is the same for every seed.
Ip addresses come from the ranges that RFC 5737 and RFC 6598 keep for documents and for carriers'
inside.
"""

from functools import lru_cache
from random import Random
from typing import NamedTuple

SHOPS_PER_CITY = 120
WEB_SHOPS = 60
_ODD_WEB_SHOPS = 8  # beyond the known ones: where anything small is sold, no questions asked
_COINS = 5  # the first web shops sell coins for games
_LETTERS = "abcdefghjkmnpqrstuvwxyz"  # ids without digits can't be taken for a card or phone


class City(NamedTuple):
    """A real place. `hours` is its standard offset from UTC; daylight saving is left out."""

    name: str
    country: str
    lat: float
    lon: float
    zone: str
    hours: int


HOMES = (
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
ABROAD = (
    City("Tokyo", "JP", 35.6762, 139.6503, "Asia/Tokyo", 9),
    City("Singapore", "SG", 1.3521, 103.8198, "Asia/Singapore", 8),
    City("London", "GB", 51.5072, -0.1276, "Europe/London", 0),
    City("New York", "US", 40.7128, -74.0060, "America/New_York", -5),
    City("Bangkok", "TH", 13.7563, 100.5018, "Asia/Bangkok", 7),
    City("Istanbul", "TR", 41.0082, 28.9784, "Europe/Istanbul", 3),
    City("Toronto", "CA", 43.6532, -79.3832, "America/Toronto", -5),
    City("Sydney", "AU", -33.8688, 151.2093, "Australia/Sydney", 10),
)
CITIES = HOMES + ABROAD
CNY_HOMES = 5  # the first five; the others pay in euro

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


class Payee(NamedTuple):
    """Who gets money: a shop at a place, or a person's account."""

    account: str
    name: str
    country: str
    mcc: str | None
    dearness: float


def shop(number: int) -> Payee:
    """The shop of that number, counted through all cities."""
    return shop_of(*divmod(number, SHOPS_PER_CITY))


@lru_cache(maxsize=4096)
def shop_of(city: int, number: int) -> Payee:
    """A made-up shop in a city, the same for every seed."""
    trade, mcc, dearness = _TRADES[number % len(_TRADES)]
    name = f"{_FIRST[(number * 7 + city) % 10]} {_SECOND[(number // 10 + city * 3) % 10]} {trade}"
    country = CITIES[city].country
    return Payee(f"{country}SHOP{city:02d}{number:04d}", name, country, mcc, dearness)


def any_shop(chance: Random, city: City) -> Payee:
    """Any shop of a city."""
    return shop_of(CITIES.index(city), chance.randrange(SHOPS_PER_CITY))


@lru_cache(maxsize=4096)
def web_shop(number: int) -> Payee:
    """A made-up web shop, the same for every seed; the first five sell coins for games."""
    country = CITIES[(number * 5) % len(CITIES)].country
    name = f"{_FIRST[number % 10]}{_SECOND[(number * 3) % 10]} Online"
    mcc = "5816" if number < _COINS or number >= WEB_SHOPS else "5964"
    return Payee(f"{country}WEB{number:04d}", name, country, mcc, 1.3)


def any_web_shop(chance: Random) -> Payee:
    """Any of the known ones."""
    return web_shop(chance.randrange(WEB_SHOPS))


def coin_shop(number: int) -> Payee:
    """Where coins for games are sold: by a known shop or by an odd one."""
    if number % 2:
        return web_shop(number % _COINS)
    return odd_web_shop(number)


def odd_web_shop(number: int) -> Payee:
    """One of the few beyond the known ones."""
    return web_shop(WEB_SHOPS + number % _ODD_WEB_SHOPS)


def person(chance: Random, country: str) -> Payee:
    """Somebody with an account there."""
    name = f"{chance.choice(_GIVEN)} {chance.choice(_FAMILY)}"
    return Payee(f"{country}RB{letters(chance, 14).upper()}", name, country, None, 1.0)


def hotel(number: int) -> str:
    """The address of a hotel: guests and strangers share it."""
    net = ("192.0.2", "198.51.100")[number % 2]
    return f"{net}.{1 + number // 2 % 254}"


def far_from(home: City, number: int) -> City:
    """A city abroad, a flight away from home."""
    places = [c for c in ABROAD if abs(c.lat - home.lat) + abs(c.lon - home.lon) > 15.0]
    return places[number % len(places)]


def near_to(home: City, number: int) -> City:
    """Another of the cities in which the bank's customers live, of the same currency."""
    chinese = HOMES.index(home) < CNY_HOMES
    places = [c for c in (HOMES[:CNY_HOMES] if chinese else HOMES[CNY_HOMES:]) if c != home]
    return places[number % len(places)]


def letters(chance: Random, length: int) -> str:
    """So many small letters, none of which reads like a digit."""
    return "".join(chance.choices(_LETTERS, k=length))
