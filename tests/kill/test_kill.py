"""The kill test: at least 30 kill -9 under load, then every event is looked at."""

import asyncio
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from audit import read
from audit.verify import verify_ledger
from features.catalogue import BY_NAME
from risk import names
from tests import servers
from tests.features import declared_reference, reference
from tests.features.reference import Paid
from tests.kill.campaign import Campaign, Sent

SEED = int(os.environ.get("RINGBACK_KILL_SEED", "20261121"))
KILLS = int(os.environ.get("RINGBACK_KILLS", "30"))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One campaign, looked at by each test below."""
    servers.need("redis-server")
    campaign = Campaign(tmp_path_factory.mktemp("kill"), SEED, KILLS)
    print(f"kill campaign: seed {SEED}, {KILLS} kills")  # noqa: T201  the seed must be seen
    campaign.begin()
    try:
        asyncio.run(campaign.play())
        campaign.seen = {  # type: ignore[attr-defined]  # what must be read while Redis runs
            "decision": {one.id: campaign.kept(names.decision(one.id)) for one in campaign.sent},
            "features": {one.id: campaign.kept(names.features(one.id)) for one in campaign.sent},
            "outcome": {one: campaign.kept(names.outcome(one)) for one in campaign.asked},
            "stream": campaign.decisions(),
            "counters": campaign.counters(),
        }
        print(dict(campaign.killed), len(campaign.sent), campaign.seen["counters"])  # type: ignore[attr-defined]  # noqa: T201
    finally:
        campaign.end()
    return campaign


def test_enough_was_killed_and_something_was_replayed_and_undone(done: Any) -> None:
    """A campaign in which nothing had to be undone would prove nothing."""
    assert sum(done.killed.values()) >= KILLS
    assert done.seen["counters"]["replayed_events"] > 0
    assert done.seen["counters"]["undone_flushes"] > 0


def test_every_accepted_event_has_exactly_one_decision(done: Any) -> None:
    first = Counter(
        row["event"] for row in done.seen["stream"] if not row.get("late") and "outcome" not in row
    )
    assert all(done.seen["decision"].values())
    assert first == Counter(one.id for one in done.sent)


def test_all_features_of_all_events_equal_the_brute_force_ones(done: Any) -> None:
    families: dict[int, list[Sent]] = {}
    for one in done.sent:
        families.setdefault(one.family, []).append(one)
    compared = 0
    for sent in families.values():
        before: list[Paid] = []
        for one in sent:
            event = Paid(one.id, one.time_us, one.amount, f"c{one.family}", one.payee)
            for name, value in done.seen["features"][one.id].items():
                key = name.split(".")[0]
                past = before if key == "customer" else [p for p in before if p.payee == one.payee]
                if key == "event" or "fraud" in name:
                    continue
                means = reference if name in BY_NAME else declared_reference
                assert value == means.answer(name, event, past, []), (one.id, name)
                compared += 1
            before.append(event)
    assert compared > 20 * len(done.sent)


def test_no_open_challenge_is_forgotten_and_silence_never_approves(done: Any) -> None:
    assert done.asked
    for event, said in done.asked.items():
        outcome = done.seen["outcome"][event]
        assert outcome is not None, event
        if said == "silence":
            # A notifier killed for too long says that nobody was reached: no approval either.
            assert outcome["state"] in ("expired", "unreachable")
            assert outcome["decision"] != "approve"


def test_the_ledger_verifies_and_holds_each_decision_once(done: Any) -> None:
    logs = sorted(path.parent for path in (done.data / "ledger").rglob("checkpoint"))
    for log in logs:
        verify_ledger(log)
    for one in done.sent:
        kinds = Counter(leaf["kind"] for leaf in read.event_records(done.data, one.id))
        assert kinds["decision"] == 1, one.id
        assert kinds["event.in"] == 1, one.id


def test_the_data_directory_is_the_campaigns_own(done: Any) -> None:
    assert Path(done.data, "run.json").exists() is False
