"""Redis and the ledger part ways: what is missing is named."""

from __future__ import annotations

from flows.reconcile import Facts, not_on_record, unfinished


def test_what_only_one_side_knows_or_both_know_otherwise_is_named() -> None:
    ours, theirs = Facts(), Facts()
    ours.decided = {"e1": ("approve", "", False), "e2": ("decline", "", False)}
    theirs.decided = {"e1": ("decline", "", False)}
    ours.asked = {"ch_1": ("e1", "", "")}
    ours.answered = {("ch_1", "deny")}
    ours.ended = {"e1": ("denied", "decline"), "e3": ("expired", "decline")}
    theirs.ended = {"e1": ("confirmed", "approve")}
    found = [(one.step, one.name) for one in not_on_record(ours, theirs)]
    assert found == [
        ("decided", "e1"), ("decided", "e2"), ("asked", "ch_1"), ("answered", "ch_1"),
        ("ended", "e1"), ("ended", "e3"),
    ]  # fmt: skip


def test_what_stopped_half_way_is_named_once_it_is_old_enough() -> None:
    facts = Facts()
    facts.accepted = {"e1": "2026-01-01", "new": "2026-03-01"}
    facts.asked = {"ch_2": ("e2", "2026-01-01", "2026-01-02"), "ch_3": ("e3", "", "2026-03-01")}
    facts.decided = {
        "e4": ("approve", "2026-01-01", False),
        "e5": ("approve", "2026-01-01", True),
        "e6": ("decline", "2026-01-01", False),
    }
    facts.closed = {"e6"}
    found = [(one.step, one.name) for one in unfinished(facts, "2026-02-01")]
    assert found == [("decided", "e1"), ("ended", "e2"), ("closed", "e4")]
