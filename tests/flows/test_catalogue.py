"""Are declared features counted across restarts, and only those that somebody needs?"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from flows.assemble import counted, read_rule_set
from flows.catalogue import counting_since, read_catalogue, settle_catalogue
from flows.describe import Tier
from flows.errors import BadSettings
from flows.parts import open_house
from flows.redis_state import RedisStore
from flows.replay_command import replay_file
from flows.shards import Cabinet
from flows.simulate import simulate
from flows.walk import Described
from tests.flows.facts import NOON_US, moment

MINUTE_US = 60_000_000


class _Run:
    """One start of the flow's card stage over the state in Redis, until it is flushed."""

    def __init__(self, client: "redis.Redis", data: Path, now_us: int, version: int) -> None:
        found = read_catalogue(data).needed(())
        self.stamps = settle_catalogue(client, found, lambda: now_us)
        (self.card,) = (one for one in found.stamped(self.stamps).describers if one.key == "card")
        cabinet: Cabinet[Any] = Cabinet(
            "card", RedisStore(client, 1), self.card.new, self.card.load, 100
        )
        tier = Tier("card", self.card.entity, self.card.entity_of_label, cabinet, 1, lambda: 0)
        self.shard = tier.logic(version)
        self.version = version

    def told(self, ident: str, after_us: int) -> dict[str, Any]:
        event = moment(ident, time_us=NOON_US + after_us, card="crd_1", amount_base=50)
        ((fact,), _) = self.shard.on_batch([Described(event, {}, {})])
        return dict(cast("Described", fact).features)

    def end(self) -> int:
        self.version = self.shard.snapshot()
        return self.version


def _write(data: Path, *lines: str) -> None:
    rows = "".join(f"  - {line}\n" for line in lines)
    (data / "features.yaml").write_text(f"version: 1\nfeatures:\n{rows}", encoding="utf-8")


def test_the_counts_of_what_stays_are_kept_when_a_line_comes_or_goes(
    client: "redis.Redis", tmp_path: Path
) -> None:
    _write(tmp_path, "count per card in 30m")
    first = _Run(client, tmp_path, 100, 0)
    assert [first.told(f"e{at}", at) for at in range(3)][-1] == {"card.count.30m": 3}
    version = first.end()

    _write(tmp_path, "distinct payee per card in 24h", "count per card in 30m")
    second = _Run(client, tmp_path, 200, version)
    told = second.told("e3", MINUTE_US)
    assert told == {"card.distinct.payee.24h": 1, "card.count.30m": 4}
    assert sorted(counting_since(client).values()) == [100, 200], "and it is told since when"
    version = second.end()

    _write(tmp_path, "distinct payee per card in 24h")
    third = _Run(client, tmp_path, 300, version)
    assert third.told("e4", 2 * MINUTE_US) == {"card.distinct.payee.24h": 1}
    assert list(counting_since(client).values()) == [200]
    version = third.end()

    _write(tmp_path, "count per card in 30m")
    fourth = _Run(client, tmp_path, 400, version)
    assert fourth.told("e5", 3 * MINUTE_US) == {"card.count.30m": 1}, "what was out is forgotten"


def test_a_card_nobody_saw_while_a_line_was_out_does_not_count_with_a_gap(
    client: "redis.Redis", tmp_path: Path
) -> None:
    _write(tmp_path, "count per card in 30m", "count per card in 1h")
    first = _Run(client, tmp_path, 100, 0)
    first.told("e0", 0)
    version = first.end()
    _write(tmp_path, "distinct payee per card in 24h")
    version = _Run(client, tmp_path, 200, version).end()  # nothing happens to the card
    _write(tmp_path, "count per card in 30m")
    again = _Run(client, tmp_path, 300, version)
    assert again.told("e1", MINUTE_US) == {"card.count.30m": 1}


def test_processes_that_start_together_agree_since_when_a_feature_counts(
    client: "redis.Redis", tmp_path: Path
) -> None:
    _write(tmp_path, "count per card in 30m")
    found = read_catalogue(tmp_path).needed(())
    one = settle_catalogue(client, found, lambda: 100)
    assert settle_catalogue(client, found, lambda: 101) == one


def test_a_rule_that_names_a_feature_makes_it_counted(tmp_path: Path) -> None:
    settings = open_house(tmp_path).settings
    name = "card.count.small.10m"
    idle = counted(read_rule_set(settings, tmp_path), tmp_path)
    assert name in idle.by_name
    assert name not in idle.counted
    rule = {
        "id": "card_tested",
        "text": "Many small payments with one card.",
        "when": [{"value": name, "operator": ">=", "threshold": 4}],
        "action": "challenge",
    }
    (tmp_path / "rules.yaml").write_text(json.dumps({"version": 1, "rules": [rule]}))
    asked = counted(read_rule_set(settings, tmp_path), tmp_path)
    assert name in asked.counted
    assert [one.key for one in asked.describers][-1] == "card"


def test_a_bad_line_stops_the_start_with_its_place(tmp_path: Path) -> None:
    _write(tmp_path, "count per crad in 30m")
    with pytest.raises(BadSettings, match=r"features\.yaml, line 3: .*nearest known name is card"):
        read_catalogue(tmp_path)
    (tmp_path / "features.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadSettings, match="UTF-8"):
        read_catalogue(tmp_path)


def test_a_declared_feature_walks_the_whole_way(tmp_path: Path) -> None:
    """Declared, counted at a stage of its own, told with the decision, and hit by a rule."""
    _write(tmp_path, "count per payee x customer in 90d", "count per kind in 24h")
    rule = {
        "id": "third_time",
        "text": "The third payment to this payee.",
        "when": [{"value": "payee_customer.count.90d", "operator": ">=", "threshold": 3}],
        "action": "review",
    }
    (tmp_path / "rules.yaml").write_text(json.dumps({"version": 1, "rules": [rule]}))
    start = datetime(2026, 1, 5, tzinfo=UTC)
    file, out = tmp_path / "events.ndjson", tmp_path / "out"
    with file.open("w", encoding="utf-8") as lines:
        for happening in simulate(seed=3, customers=12, days=12, start=start):
            lines.write(json.dumps(happening.event) + "\n")
    replay_file(
        file,
        data=tmp_path,
        over={},
        label_delay="7d",
        out=out,
        with_ledger=False,
        limit=None,
        quiet=True,
    )
    told = [json.loads(line) for line in (out / "decisions.ndjson").open(encoding="utf-8")]
    events = {row["id"]: row for row in map(json.loads, file.open(encoding="utf-8"))}
    pairs: dict[tuple[str, str], int] = {}
    hit = 0
    for row in told:
        event = events[row["event"]]
        if event["type"] != "transaction":
            continue
        pair = (event["payee"]["account"], event["customer"])
        pairs[pair] = pairs.get(pair, 0) + 1
        assert row["features"]["payee_customer.count.90d"] == pairs[pair]
        reasons = {reason["code"] for reason in row["reasons"]}
        assert ("third_time" in reasons) == (pairs[pair] >= 3)
        hit += "third_time" in reasons
        day = datetime.fromisoformat(event["time"]) - timedelta(days=1)
        same = [
            one
            for one in events.values()
            if one["type"] == "transaction"
            and one.get("kind") == event.get("kind")
            and day < datetime.fromisoformat(one["time"]) <= datetime.fromisoformat(event["time"])
        ]
        if event.get("kind") is not None:
            assert row["features"]["kind.count.24h"] == len(same)
    assert hit > 10
