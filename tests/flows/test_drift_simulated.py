"""Is a simulated bank quiet for a month, and its drift noticed within a day?"""

from collections import defaultdict
from datetime import UTC, datetime

import pytest

from features import surface
from features.catalogue import DESCRIBERS
from features.describer import Profile
from features.drift import COLD_US, LEARN_US, Drift
from features.moment import DAY
from flows.assemble import read_rule_set
from flows.files import ndjson
from flows.parts import edge_of, open_house
from flows.simulate import simulate, write

START = 1_767_571_200_000_000  # 2026-01-05, a Monday
KNOWN = COLD_US + LEARN_US


def test_a_simulated_bank_is_quiet_until_its_amounts_come_in_another_unit(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """People who travel, move and spend; from one day on every amount is three times as much."""
    folder = tmp_path_factory.mktemp("drift")
    days, changed = KNOWN // DAY + 31, START + (KNOWN // DAY + 30) * DAY
    told = simulate(
        seed=21, customers=110, days=days, start=datetime.fromtimestamp(START / 1e6, tz=UTC)
    )
    write(folder / "events.ndjson", told, None)
    house = open_house(folder / "house")
    rates = read_rule_set(house.settings).rates
    held = [defaultdict[str, Profile](describer.new) for describer in DESCRIBERS]
    watch, alarms = Drift(), []
    for fact in ndjson(folder / "events.ndjson", edge_of(house), rates, lambda *_: None):
        moment = fact.moment
        if moment is None:
            continue
        if moment.time_us >= changed and moment.amount_base is not None:
            moment = moment._replace(amount_base=moment.amount_base * 3)
        features = dict(surface.describe(moment))
        for describer, profiles in zip(DESCRIBERS, held, strict=True):
            if owner := describer.entity(moment):
                profile = profiles[owner]
                features.update(profile.describe(moment))
                profile.observe(moment)
        if moment.type == "transaction":
            alarms += watch.watch_one(features, 0, moment.time_us)
    assert alarms
    assert all(changed < alarm.at_us <= changed + DAY for alarm in alarms)
    assert {alarm.series for alarm in alarms} <= {"event.amount", "customer.ratio.amount.30d"}
