"""Does the report see when a group is asked or wrongly stopped more often, and only then?"""

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows.columns import BadFile
from flows.fairness import fairness, read_groups
from flows.files import Truth
from flows.replay import Tally
from flows.replay_command import replay_file
from flows.simulate import simulate, write

BANDS = ("18-29", "30-59", "60+")


def made_up(seed: int, *, biased: str = "", customers: int = 600) -> tuple[Tally, dict[str, Any]]:
    """A replay in which some customers are asked more than others; with a bias, a group is."""
    chance, tally = random.Random(seed), Tally()
    groups: dict[str, dict[str, str]] = {"age_band": {}, "region": {}}
    for number in range(customers):
        name, band = f"c{number}", chance.choice(BANDS)
        groups["age_band"][name], groups["region"][name] = band, chance.choice("NS")
        asked = chance.betavariate(2.0, 80.0) * (2.5 if band == biased else 1.0)
        for payment in range(chance.randrange(5, 60)):
            event = f"{name}-{payment}"
            fraud = chance.random() < 0.01
            tally.event.append(event)
            tally.time_us.append(payment)
            tally.customer.append(name)
            tally.payment.append(True)
            tally.decision.append("challenge" if chance.random() < asked else "approve")
            tally.truth[event] = Truth(fraud, "")
    return tally, groups


@pytest.mark.parametrize("seed", range(8))
def test_a_synthetic_bias_is_flagged_and_nothing_else_is(seed: int) -> None:
    tally, groups = made_up(seed, biased="60+")
    told = fairness(tally, groups)
    assert told["age_band"]["60+"]["flagged"] == ["challenge_rate", "false_positive_rate"]
    assert {name for name, row in told["age_band"].items() if row["flagged"]} == {"60+"}
    assert not any(row["flagged"] for row in told["region"].values())


@pytest.mark.parametrize("seed", range(8))
def test_where_all_are_treated_alike_nothing_is_flagged(seed: int) -> None:
    tally, groups = made_up(seed)
    told = fairness(tally, groups)
    assert not any(row["flagged"] for kind in told.values() for row in kind.values())


def test_rates_are_what_one_counts_by_hand() -> None:
    tally, groups = made_up(3, customers=50)
    row = fairness(tally, groups)["age_band"]["60+"]
    mine = [at for at, name in enumerate(tally.customer) if groups["age_band"][name] == "60+"]
    asked = [at for at in mine if tally.decision[at] == "challenge"]
    honest = [at for at in mine if not tally.truth[tally.event[at]].fraud]
    stopped = [at for at in honest if tally.decision[at] in ("challenge", "decline")]
    assert row["payments"] == len(mine)
    assert row["customers"] == len({tally.customer[at] for at in mine})
    assert row["challenge_rate"] == pytest.approx(len(asked) / len(mine), abs=1e-6)
    assert row["false_positive_rate"] == pytest.approx(len(stopped) / len(honest), abs=1e-6)


def test_of_a_handful_of_customers_nothing_is_flagged() -> None:
    tally, groups = made_up(1, biased="60+", customers=40)
    told = fairness(tally, groups)
    assert not any(row["flagged"] for row in told["age_band"].values())
    assert fairness(tally, {"region": {"nobody": "N"}}) == {"region": {}}


def test_a_groups_file_is_read_by_token_and_refused_where_it_is_none(tmp_path: Path) -> None:
    file = tmp_path / "groups.csv"
    file.write_text("customer,age_band,region\nanna,60+,N\nben,,S\n", encoding="utf-8")
    assert read_groups(file, str.upper) == {
        "age_band": {"ANNA": "60+"},
        "region": {"ANNA": "N", "BEN": "S"},
    }
    for text, problem in (
        ("", "needed the columns customer and at least one kind"),
        ("customer\nanna\n", "needed the columns customer and at least one kind"),
        ("name,age_band\nanna,60+\n", "needed the columns customer"),
        ("customer,age_band\nanna\n", "line 2: needed 2 columns"),
        ("customer,age_band\nanna,60+,N\n", "line 2: needed 2 columns"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(BadFile, match=problem):
            read_groups(file, str.upper)


def test_a_replay_tells_groups_and_how_reliable_its_score_is(tmp_path: Path) -> None:
    events, truth, groups = (tmp_path / name for name in ("e.ndjson", "t.ndjson", "g.csv"))
    start = datetime(2026, 1, 5, tzinfo=UTC)
    told = list(simulate(5, 40, 12, start, fraud=3.0))
    write(events, iter(told), truth)
    names = sorted({str(one.event["customer"]) for one in told})
    rows = [f"{name},{BANDS[at % 3]}" for at, name in enumerate(names)]
    groups.write_text("\n".join(["customer,age_band", *rows]), encoding="utf-8")
    whole = replay_file(
        events,
        data=None,
        over={},
        label_delay="1d",
        out=tmp_path / "out",
        with_ledger=False,
        limit=None,
        quiet=True,
        truth=truth,
        groups=groups,
    )
    bands = whole["groups"]["age_band"]
    assert set(bands) == set(BANDS)
    assert sum(row["customers"] for row in bands.values()) == whole["friction"]["customers"]
    said = whole["reliability"]
    assert 0 < said["payments"] == sum(row["payments"] for row in said["bins"])
    assert whole["asked_a_day"]["budget"] is None
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Reliability of the score" in page
    assert "age band 60+" in page
    assert json.loads((tmp_path / "out" / "report.json").read_text())["groups"] == whole["groups"]
