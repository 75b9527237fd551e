"""What holds for every feature there is, and that the catalogue is all of them."""

from __future__ import annotations

import math
import random
import re
from pathlib import Path

import pytest

from features import asks, surface
from features.catalogue import BY_NAME, CUSTOMER, DESCRIBERS, FEATURES
from features.describer import Describer, Profile, ProfileError, Sight
from features.models import MODELS
from features.moment import DAY, HOUR, SECOND
from tests.features.declared_reference import OF_NAMES
from tests.features.reference import MEANINGS, Paid, Said

START = 1_700_000_000 * SECOND
UNITS = ("count", "money", "seconds", "flag", "ratio", "km", "km/h", "other")
NAME = re.compile(r"[a-z]+(\.[a-z_]+)+(\.\d+[smhd])*")


def _lived(describer: Describer, seed: int, events: int = 400) -> tuple[Profile, Paid]:
    """A profile with a past of three weeks and some frauds, and the event that comes next."""
    chance = random.Random(seed)
    profile, now = describer.new(), START
    for at in range(events):
        now += chance.randrange(2 * HOUR)
        amount = None if chance.random() < 0.1 else chance.randrange(1, 100_000)
        kind = chance.choice(["transaction"] * 8 + ["login", "account_change"])
        event = Paid(
            f"e{at}",
            now,
            amount if kind == "transaction" else None,
            customer=f"c{chance.randrange(4)}",
            payee=f"p{chance.randrange(5)}",
            type=kind,
            device=f"d{chance.randrange(3)}",
            country=chance.choice(["CN", "CN", "DE", None]),
            lat=chance.uniform(-90, 90),
            lon=chance.uniform(-180, 180),
            result=chance.choice(["success", "failure"]) if kind == "login" else None,
            change="phone" if kind == "account_change" else None,
        )
        profile.describe(event)
        profile.observe(event)
        if chance.random() < 0.1:
            profile.hear(Said(event.id, chance.random() < 0.8, "chargeback", now + DAY, now))
    return profile, Paid("next", now + HOUR, 12_345, payee="p9")


@pytest.fixture(params=DESCRIBERS, ids=lambda one: one.key)
def describer(request: pytest.FixtureRequest) -> Describer:
    """Each describer of the catalogue."""
    found: Describer = request.param
    return found


def test_what_is_not_asked_of_an_entity_without_frauds_is_what_it_would_say(
    describer: Describer,
) -> None:
    profile, event = describer.new(), Paid("x", START + 30 * DAY, 700)
    for at in range(30):
        profile.observe(Paid(f"e{at}", START + at * DAY, 100 + at))
    profile.hear(Said("e3", False, "officer", START + 29 * DAY, START + 3 * DAY))
    told = profile.describe(event)
    assert told == {**told, **{name: of(Sight(profile, event)) for name, of in describer.others}}
    assert list(told) == list(describer.blank)
    skipped = {name for name, _ in describer.others} - {name for name, _ in describer.unheard}
    assert len(skipped) >= 1


def test_describing_changes_nothing(describer: Describer) -> None:
    """Twice the same answer, and not a byte of the profile moved."""
    profile, event = _lived(describer, 1)
    before = profile.dump()
    first = profile.describe(event)
    assert profile.describe(event) == first
    assert profile.dump() == before


def test_a_profile_survives_a_restart_with_the_same_answers_and_future(
    describer: Describer,
) -> None:
    """Dump, load, and both go on alike."""
    profile, event = _lived(describer, 2)
    again = describer.load(profile.dump())
    for _ in range(20):
        assert again.describe(event) == profile.describe(event)
        profile.observe(event)
        again.observe(event)
        event = Paid(event.id + "x", event.time_us + 5 * HOUR, 999, payee="p1")
    assert again.dump() == profile.dump()


def test_every_feature_is_described_finite_and_by_its_name(describer: Describer) -> None:
    """What is described is exactly what the catalogue lists, in plain finite numbers."""
    for profile, event in (_lived(describer, 3), (describer.new(), Paid("only", START, None))):
        told = profile.describe(event)
        assert set(told) == {feature.name for feature in describer.features}
        for name, value in told.items():
            assert value is None or (type(value) in (int, float) and math.isfinite(value)), name


def test_a_login_is_no_payment(describer: Describer) -> None:
    """Windows over payments see them from a login too, and never count it as one."""
    profile, event = _lived(describer, 4)
    name = f"{describer.key}.count.24h"
    login = Paid("login", event.time_us, None, payee=None, type="login", result="success")
    there = profile.describe(event)[name]
    assert profile.describe(login)[name] == (there or 0) - 1
    payments = profile.payments.dump()
    profile.observe(login)
    assert profile.payments.dump() == payments
    assert profile.describe(event)[name] == there


def test_what_the_bank_says_is_nobodys_act(describer: Describer) -> None:
    """A status is described and leaves no trace."""
    profile, event = _lived(describer, 8)
    stored = profile.dump()
    profile.observe(Paid("status", event.time_us, None, type="status", country="FR"))
    assert profile.dump() == stored


def test_a_field_that_is_missing_makes_nulls_and_stops_nothing() -> None:
    """No device, no place, no country: no word about them."""
    for profile in (_lived(CUSTOMER, 9)[0], CUSTOMER.new()):
        told = profile.describe(Paid("bare", START + 90 * DAY, 100))
        for name in ("new_device", "new_country", "distance_km", "speed_kmh"):
            assert told[f"customer.{name}"] is None


def test_a_newer_format_and_damage_are_refused_by_name(describer: Describer) -> None:
    """Nothing is guessed from bytes that another program wrote."""
    stored = _lived(describer, 5)[0].dump()
    with pytest.raises(ProfileError, match="newer program"):
        describer.load(stored[:3] + b"\xff" + stored[4:])
    with pytest.raises(ProfileError, match="cut off"):
        describer.load(stored[:-1])
    with pytest.raises(ProfileError, match="damaged"):
        describer.load(b"")


def test_a_section_nobody_knows_is_passed_over(describer: Describer) -> None:
    """A feature taken out of the catalogue leaves the counts of the others."""
    profile, event = _lived(describer, 6)
    stored = profile.dump() + b"\xfa\x03\x00\x00\x00old"
    assert describer.load(stored).describe(event) == profile.describe(event)


def test_no_look_ahead_in_any_feature(describer: Describer) -> None:
    """Labels that become known later, whatever they say, change no answer now."""
    profile, event = _lived(describer, 7)
    now = profile.describe(event)
    for at in range(400):
        profile.hear(Said(f"e{at}", at % 3 > 0, "officer", event.time_us + 1 + at, START + at))
    assert profile.describe(event) == now


def test_names_are_well_formed_and_given_once() -> None:
    """<key>.<aggregate>[.<field>].<window>, each name one meaning."""
    names = [feature.name for feature in FEATURES]
    assert len(set(names)) == len(names) == len(BY_NAME)
    for feature in FEATURES:
        assert NAME.fullmatch(feature.name), feature.name
        assert feature.grade in (1, 2, 3)
        assert feature.unit in UNITS
        assert feature.meaning


def test_the_catalogue_is_complete() -> None:
    """Every kind of ask is in use or known to the reference; every describer has a stage."""
    kinds = {
        ask.aggregate.split(".")[0] if hasattr(ask, "aggregate") else getattr(ask, "name", "")
        for ask in vars(asks).values()
        if isinstance(ask, type) and ask.__module__.startswith(asks.__name__) and hasattr(ask, "of")
    }
    kinds = {kind or "mean_ratio" for kind in kinds} | {"count", "sum", "mean"}
    meant = (set(MEANINGS) - {"last"}) | {*OF_NAMES, "nth"}  # the last is the first, counted back
    assert kinds == meant, "an ask without a brute-force meaning, or the reverse"
    keyed = {feature.name.split(".")[1] for one in DESCRIBERS for feature in one.features}
    assert keyed <= kinds
    assert len({one.key for one in DESCRIBERS}) == len(DESCRIBERS) >= 4
    event = Paid("e", START, 100)
    assert set(surface.describe(event)) == {feature.name for feature in surface.FEATURES}
    families = {path.stem for path in Path(asks.__file__).parent.glob("*.py")} - {"__init__"}
    assert {ask.__module__.rsplit(".")[-1] for ask in vars(asks).values() if callable(ask)} == (
        families - {"kinds"}
    )


def test_what_the_models_look_at_is_described() -> None:
    """A model's inputs are names of the catalogue."""
    for recipe in MODELS:
        model = recipe.make()
        assert set(model.inputs) <= set(BY_NAME)
        assert len(set(model.inputs)) == len(model.inputs)


def test_no_model_looks_at_what_a_client_claims_of_itself() -> None:
    """Whoever holds a stolen phone has the right device: that may raise a risk, never lower it."""
    claimed = {feature.name for feature in FEATURES if feature.claimed}
    assert {name for name in BY_NAME if name.startswith("device.")} < claimed
    habits = ("new_device", "new_country", "new_country_logins.24h", "distance_km", "speed_kmh")
    assert claimed >= {f"customer.{name}" for name in habits}
    for recipe in MODELS:
        assert claimed.isdisjoint(recipe.make().inputs)


def test_the_hour_and_the_weekend_are_those_of_utc() -> None:
    """2018-07-18 was a Wednesday."""
    wednesday = 1_531_872_000 * SECOND
    told = surface.describe(Paid("e", wednesday + 7 * HOUR, 5))
    assert told == {
        "event.amount": 5,
        "event.hour": 7,
        "event.is_night": 0,
        "event.is_weekend": 0,
        "event.login_failed": None,
    }
    saturday = surface.describe(Paid("e", wednesday + 3 * DAY, 5))
    assert (saturday["event.is_weekend"], saturday["event.is_night"]) == (1, 1)
