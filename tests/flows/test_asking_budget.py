"""Is the share of a day's customers who may be asked held in the flow, whatever the model says?"""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from config.settings import HERE, read_yaml
from flows.replay_command import replay_file
from flows.simulate import simulate, write

SHARE = 0.15
QUICK = {"engine": {"anomaly": False}, "models": {"factors": False, "drift": False}}


def test_a_budget_of_customers_a_day_is_held_within_a_tenth_over_a_file(tmp_path: Path) -> None:
    events, truth = tmp_path / "events.ndjson", tmp_path / "truth.ndjson"
    write(events, simulate(11, 150, 26, datetime(2026, 1, 5, tzinfo=UTC), fraud=2.0), truth)
    policy = read_yaml(HERE / "policy.yaml")
    policy["score"] = [row for row in policy["score"] if row["outcome"] != "challenge"]
    policy["asking"]["customers_per_day_share"] = SHARE
    policy["score_acts_after_lessons"] = 100
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(policy), encoding="utf-8")
    told = replay_file(
        events,
        data=tmp_path,
        over=QUICK,
        label_delay="1d",
        out=None,
        with_ledger=False,
        limit=None,
        quiet=True,
        truth=truth,
    )
    daily = told["asked_a_day"]
    assert daily["budget"] == SHARE
    assert daily["days"] >= 20
    assert daily["share"] == pytest.approx(SHARE, rel=0.1)
