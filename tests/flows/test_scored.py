"""Is an event found as it was scored, whichever process scored it?"""

import sqlite3
from pathlib import Path

import pytest

from flows.scored import MemoryScoreds, Row, ScoredFiles, SqliteScoreds, row_of
from tests.flows.facts import NOON_US, scored

DAY_US = 86_400_000_000


def _row(event: str = "p-1", time_us: int = NOON_US, count: int = 1) -> Row:
    features = {"customer.count.1h": count, "x": 0.1, "y": None}
    return Row(event, time_us, "cus_1", "acc_1", None, "ip_1", features)


def _store(folder: Path, name: str = "0", days: int = 180) -> SqliteScoreds:
    return SqliteScoreds(folder, name, lambda: NOON_US, days)


def test_a_row_is_found_before_and_after_it_is_durable(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.put(_row())
    assert store.get("p-1") == _row()
    store.commit()
    assert store.get("p-1") == _row()
    assert _store(tmp_path).get("p-1") == _row()
    assert store.get("p-2") is None


def test_a_row_that_was_not_committed_is_lost_with_its_process(tmp_path: Path) -> None:
    _store(tmp_path).put(_row())
    assert _store(tmp_path, "1").get("p-1") is None


def test_another_process_s_rows_are_found(tmp_path: Path) -> None:
    mine, other = _store(tmp_path, "0"), _store(tmp_path, "1")
    assert mine.get("p-1") is None
    other.put(_row())
    other.commit()
    assert mine.get("p-1") == _row()
    later = _store(tmp_path, "2")
    later.put(_row("p-2"))
    later.commit()
    assert mine.get("p-2") == _row("p-2")


def test_the_same_event_again_replaces_its_row(tmp_path: Path) -> None:
    store = _store(tmp_path)
    for count in (1, 2):
        store.put(_row(count=count))
        store.commit()
    assert store.get("p-1") == _row(count=2)


@pytest.mark.parametrize("broken", [b"no database at all " * 100, b""])
def test_a_broken_file_of_another_process_hides_nothing(tmp_path: Path, broken: bytes) -> None:
    (tmp_path / "scored-0.db").write_bytes(broken)
    store = _store(tmp_path, "1")
    store.put(_row())
    store.commit()
    assert store.get("p-1") == _row()
    assert store.get("p-2") is None


def test_a_file_that_another_process_is_just_making_is_read_once_it_is_made(
    tmp_path: Path,
) -> None:
    mine = _store(tmp_path, "0")
    (tmp_path / "scored-1.db").touch()
    assert mine.get("p-1") is None
    other = _store(tmp_path, "1")
    other.put(_row())
    other.commit()
    assert mine.get("p-1") == _row()


@pytest.mark.parametrize("name", ["plain", "a#b", "a?b", "a b", "100%", "数据"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    store = _store(tmp_path / name)
    store.put(_row())
    store.commit()
    assert store.get("p-1") == _row()


def test_reading_changes_no_file_of_another_process(tmp_path: Path) -> None:
    other = _store(tmp_path, "1")
    other.put(_row())
    other.commit()
    files = ScoredFiles(tmp_path)
    assert files.get("p-1") == _row()
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        files._open[tmp_path / "scored-1.db"].execute("DELETE FROM scored")
    files.close()


def test_rows_older_than_they_are_kept_go(tmp_path: Path) -> None:
    store = _store(tmp_path, days=30)
    store.put(_row("old", NOON_US - 31 * DAY_US))
    store.put(_row("young", NOON_US - 29 * DAY_US))
    store.commit()
    for number in range(1000):  # old rows go with each thousandth commit
        store.put(_row(f"p-{number % 3}"))
        store.commit()
    assert store.get("old") is None
    assert store.get("young") is not None


def test_in_memory_a_row_is_given_once() -> None:
    store = MemoryScoreds()
    store.put(_row())
    assert store.has("p-1")
    assert store.get("p-1") == _row()
    assert store.get("p-1") is None
    assert not store.has("p-1")


def test_a_row_is_what_the_model_saw() -> None:
    fact = scored("p-7", device="dev_1", ip="ip_1")
    told = row_of(fact)
    assert told[:6] == ("p-7", NOON_US, "cus_1", "acc_1", "dev_1", "ip_1")
    assert told.features == fact.features
