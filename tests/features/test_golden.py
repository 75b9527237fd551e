"""The golden vectors are what the reference says, and the engine gives them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from features.catalogue import CUSTOMER, DEVICE
from features.moment import DAY, HOUR, SECOND
from tests.features.golden import HERE, STORIES, described_by, told, vectors, written
from tests.features.reference import Paid, Said

VECTORS = sorted(HERE.glob("*.json"))
STORED = HERE / "customer-profile-v1.bin"


def test_there_is_a_vector_for_every_story_and_key() -> None:
    """A check that finds nothing to check must not pass."""
    names = {f"{key}-{story}" for key, story in vectors()}
    assert len(names) >= len(STORIES) * 3
    assert {path.stem for path in VECTORS} == names


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_the_reference_still_says_so(path: Path) -> None:
    """A change of meaning shows here: write them anew only if the meaning was to change."""
    key, _, story = path.stem.partition("-")
    assert path.read_text() == written(told(key, story))


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_the_engine_gives_the_vector(path: Path) -> None:
    """Every feature of every event, to the last digit."""
    vector = json.loads(path.read_text())
    profile = described_by(*path.stem.split("-", 1)).new()
    for step in vector["steps"]:
        if "label" in step:
            profile.hear(Said(**step["label"]))
            continue
        event = Paid(**step["event"])
        described = profile.describe(event)
        assert {name: described[name] for name in step["features"]} == step["features"]
        assert len(step["features"]) >= 1
        if not step["late"]:
            profile.observe(event)


def test_a_profile_of_format_1_is_still_read() -> None:
    """These bytes were written when format 1 was new; every later program reads them."""
    profile = CUSTOMER.load(STORED.read_bytes())
    told_now = profile.describe(Paid("next", 1_700_000_000 * SECOND + 40 * DAY, 4_200, payee="p2"))
    assert told_now["customer.count.30d"] == 30
    assert told_now["customer.sum.amount.7d"] == 4_200 + sum(1_000 + day for day in range(34, 40))
    assert told_now["customer.since_last"] == 24 * HOUR / SECOND
    assert told_now["customer.new_payee"] == 0
    assert told_now["customer.fraud_count.30d"] == 1
    assert told_now["customer.new_device"] is None
    assert told_now["customer.unusual_hour"] is None, "these bytes know of no habits yet"
    assert told_now["customer.login_failures.1h"] == 0


def test_stored_habits_and_visitors_are_still_read() -> None:
    """Written when their sections were new."""
    day = 86_400 * SECOND
    customer = CUSTOMER.load((HERE / "customer-habits-v1.bin").read_bytes())
    event, _ = STORIES["places"][-1]
    assert isinstance(event, Paid)
    at_home = replace(event, id="next", time_us=event.time_us + day, type="login", result="success")
    told_now = customer.describe(at_home)
    assert told_now["customer.distance_km"] == 0
    assert told_now["customer.new_country"] == told_now["customer.new_device"] == 0
    assert told_now["customer.since_account_change"] == 86_400
    assert customer.describe(replace(at_home, country="BR"))["customer.new_country"] == 1
    device = DEVICE.load((HERE / "device-visitors-v1.bin").read_bytes())
    last, _ = STORIES["many-customers"][-1]
    assert isinstance(last, Paid)
    assert device.describe(replace(last, customer="c1"))["device.customers.24h"] == 2
