"""The bytes of an entity that docs/semantics.md states are those that are measured."""

from __future__ import annotations

from pathlib import Path

from benchmarks.state import DECLARED, EVENTS, described, measured, sized
from features.catalogue import DESCRIBERS


def _stated(repository: Path) -> dict[str, list[int]]:
    text = (repository / "docs" / "semantics.md").read_text(encoding="utf-8")
    _, _, table = text.partition("| stored bytes after so many events |")
    rows = [line.split("|")[1:-1] for line in table.splitlines()[2:] if line.startswith("| ")]
    return {name.strip(): [int(one.replace(",", "")) for one in sizes] for name, *sizes in rows}


def test_the_stated_sizes_are_the_measured_ones(repository: Path) -> None:
    """After 10 and 1,000 events; 100,000 of them take the benchmark a while."""
    stated = _stated(repository)
    found = measured(EVENTS[:2])
    assert {name: sizes[:2] for name, sizes in stated.items()} == found
    assert len(found) == len(DESCRIBERS) + len(DECLARED) + 1
    assert all(sizes[2] < 20_000 for sizes in stated.values())


def test_what_is_kept_of_a_pair_has_a_bound_that_many_events_do_not_move() -> None:
    """The worst of them: each second one busy enough for buckets."""
    pair = described("count per card x payee in 90d")
    assert sized(pair, 6_000, 90) <= 90_000
    assert sized(pair, 12_000, 90) <= 90_000
