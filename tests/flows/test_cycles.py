"""How often does a process look for cycles, and what of it is as before afterwards?"""

import gc
import weakref

import pytest

from flows.cycles import looking_seldom


class _Ring:
    def __init__(self) -> None:
        self.me = self


def test_it_looks_seldom_only_as_long_as_it_is_told_to() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with looking_seldom():
        assert gc.get_threshold()[0] > before[0]
        assert gc.get_freeze_count() > frozen
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_what_fails_meanwhile_leaves_it_as_it_was() -> None:
    before = gc.get_threshold()
    with pytest.raises(ValueError, match="nothing"), looking_seldom():
        raise ValueError("nothing")
    assert gc.get_threshold() == before


def test_a_cycle_made_meanwhile_is_found_all_the_same() -> None:
    with looking_seldom():
        gone = weakref.ref(_Ring())
        gc.collect()
        assert gone() is None
