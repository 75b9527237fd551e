"""What does an ending teach, and whose word stands?"""

from itertools import product

import pytest

from risk.challenge import FINAL_DECISION, STATES, Outcome
from risk.labels import RANKS, lesson_of, teaches


def _lesson(state: str, reason: str | None = None) -> bool | None:
    return lesson_of(Outcome("p-1", "ch_1", state, FINAL_DECISION[state], 0, "customer", reason))


def test_a_confirm_teaches_honest_and_a_deny_teaches_fraud() -> None:
    assert _lesson("confirmed") is False
    assert _lesson("denied", "not_me") is True


def test_a_cancel_or_a_deny_without_a_reason_teaches_nothing() -> None:
    assert _lesson("denied", "cancel") is None
    assert _lesson("denied") is None


@pytest.mark.parametrize("state", sorted(set(STATES) - {"confirmed", "denied"}))
def test_silence_teaches_nothing(state: str) -> None:
    assert _lesson(state) is None


def test_an_officer_outranks_a_chargeback_and_a_chargeback_a_customer() -> None:
    assert sorted(RANKS, key=RANKS.__getitem__) == ["customer", "chargeback", "officer"]


def test_a_label_teaches_unless_a_higher_rank_has_spoken() -> None:
    for source, known in product(RANKS, RANKS):
        assert teaches(source, known) == (RANKS[source] >= RANKS[known])
    assert all(teaches(source, None) for source in RANKS)
