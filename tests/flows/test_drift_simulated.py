"""Is a simulated bank quiet for a month, and its drift noticed within a day? In the flow itself."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from features.drift import COLD_US, LEARN_US
from features.moment import DAY
from features.prequential import ALL
from flows.errors import BadSettings
from flows.replay_command import replay_file
from flows.simulate_command import simulate_file

START = datetime(2026, 1, 5, tzinfo=UTC)
KNOWN_DAYS = (COLD_US + LEARN_US) // DAY
CHALLENGERS = ("binned_crossed", "handbook_logistic", "hoeffding_tree")


def _simulated(folder: Path, *, days: int, drift: int | None = None, **over: Any) -> Path:
    path = folder / f"{drift}.ndjson"
    simulate_file(
        path,
        customers=over.get("customers", 110),
        days=days,
        seed=21,
        start="2026-01-05",
        scenarios=None,
        truth=folder / f"{drift}.truth",
        label_delay="",
        drift=drift,
    )
    return path


def _replayed(path: Path, *challengers: str, out: Path | None = None) -> dict[str, Any]:
    return replay_file(
        path,
        data=None,
        over={"models": {"challengers": challengers}},
        label_delay="1d",
        out=out,
        with_ledger=False,
        limit=None,
        quiet=True,
        truth=path.with_suffix(".truth"),
    )


def test_a_month_is_quiet_until_the_amounts_come_in_another_unit(tmp_path: Path) -> None:
    """People who travel, move and spend; the score learns and is watched, too."""
    changed = KNOWN_DAYS + 30
    told = _replayed(_simulated(tmp_path, days=changed + 1, drift=changed))["drift"]
    from_time = START + timedelta(days=changed)
    times = [datetime.fromisoformat(one["at"]) for one in told if one["series"] != "score"]
    assert times
    assert all(from_time < at <= from_time + timedelta(days=1) for at in times)
    assert {one["series"] for one in told} <= {
        "event.amount", "customer.ratio.amount.30d", "score",
    }  # fmt: skip
    assert all(datetime.fromisoformat(one["at"]) > from_time for one in told)


def test_a_day_that_the_file_has_not_is_refused(tmp_path: Path) -> None:
    """Before anything is written."""
    with pytest.raises(BadSettings, match="needed a day from 0 to 4, got 5"):
        _simulated(tmp_path, days=5, drift=5)
    assert not list(tmp_path.iterdir())


def test_challengers_change_no_decision_and_are_measured_by_scenario(tmp_path: Path) -> None:
    """The same file with them and without: the same decisions, whatever else is told."""
    path = _simulated(tmp_path, days=14, customers=60)
    alone = _replayed(path, out=tmp_path / "alone")
    beside = _replayed(path, *CHALLENGERS, out=tmp_path / "beside")
    kept = [_decisions(tmp_path / name) for name in ("alone", "beside")]
    assert kept[0] == kept[1]
    assert len(kept[0]) > 1_000
    assert alone["models"] == {}
    assert alone["outcomes"] == beside["outcomes"]
    assert set(beside["models"]) == {"binned", *CHALLENGERS}
    events = {
        name: sum(row["events"] for row in rows if row["scenario"] == ALL)
        for name, rows in beside["models"].items()
    }
    assert len(set(events.values())) == 1
    found = {row["scenario"] for row in beside["models"]["binned"]}
    assert ALL in found
    assert len(found) >= 2
    assert {row["source"] for row in beside["models"]["binned"]} == {"chargeback"}


def _decisions(folder: Path) -> dict[str, Any]:
    """What was decided on each event, but for what the clock says and the day's own ids."""
    out = {}
    for line in (folder / "decisions.ndjson").read_bytes().splitlines():
        row = orjson.loads(line)
        out[row["event"]] = {
            key: value
            for key, value in row.items()
            if key not in ("stages_us", "trace", "decided", "policy_sha256")
        }
    return out
