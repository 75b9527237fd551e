"""A score knows nothing of labels that become known after it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flows.replay_command import replay_file
from flows.simulate import simulate
from flows.simulate_command import with_labels

_START = datetime(2026, 1, 5, tzinfo=UTC)
_CHANGED_FROM = _START + timedelta(days=12)


def _scores(data: Path, file: Path, batch: int) -> dict[str, tuple[Any, ...]]:
    out = data / f"{file.stem}-{batch}"
    replay_file(
        file,
        data=data,
        over={"engine": {"batch": batch}},
        label_delay="0d",
        out=out,
        with_ledger=False,
        limit=None,
        quiet=True,
    )
    rows = map(json.loads, (out / "decisions.ndjson").read_text(encoding="utf-8").splitlines())
    return {
        row["event"]: (row["score"], row["model"]["version"], row["features"], row["decision"])
        for row in rows
    }


def test_changing_every_label_known_after_t_changes_no_score_before_t(tmp_path: Path) -> None:
    told = with_labels(
        simulate(seed=3, customers=60, days=20, start=_START, fraud=20.0), timedelta(days=2)
    )
    before: set[str] = set()
    with (tmp_path / "a.ndjson").open("w") as one, (tmp_path / "b.ndjson").open("w") as other:
        for happening in told:
            event = dict(happening.event)
            one.write(json.dumps(event) + "\n")
            at = datetime.fromisoformat(str(event["time"]))
            if event["type"] == "label":
                if at >= _CHANGED_FROM:
                    event["fraud"] = not event["fraud"]
            elif at < _CHANGED_FROM:
                before.add(str(event["id"]))
            other.write(json.dumps(event) + "\n")
    for batch in (1, 200):
        as_it_was = _scores(tmp_path, tmp_path / "a.ndjson", batch)
        changed = _scores(tmp_path, tmp_path / "b.ndjson", batch)
        assert len(before) > 500
        assert all(as_it_was[event] == changed[event] for event in before)
        # The change must reach what comes after it, or this test could not fail.
        assert any(as_it_was[event] != changed[event] for event in as_it_was.keys() - before)


def test_a_batch_changes_no_score(tmp_path: Path) -> None:
    told = with_labels(
        simulate(seed=4, customers=40, days=15, start=_START, fraud=20.0), timedelta(days=1)
    )
    file = tmp_path / "events.ndjson"
    with file.open("w") as lines:
        for happening in told:
            lines.write(json.dumps(happening.event) + "\n")
    assert _scores(tmp_path, file, 1) == _scores(tmp_path, file, 200) == _scores(tmp_path, file, 37)
