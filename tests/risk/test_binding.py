"""Who may make a binding, and what it may say while it is young."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.binding import Approval, Binding, binding_from, lacks, may_confirm
from risk.events import rfc3339

NOW_US = 1_772_452_800_000_000
HOUR_US = 3_600_000_000

_APPROVALS = st.lists(
    st.builds(
        Approval,
        st.sampled_from(["person", "factor", "system"]),
        st.sampled_from(["S-1", "S-2", "S-3"]),
    ),
    max_size=5,
)


@given(_APPROVALS)
def test_a_person_at_the_bank_is_never_enough_alone(given_: list[Approval]) -> None:
    persons = {one.id for one in given_ if one.kind == "person"}
    others = any(one.kind != "person" for one in given_)
    assert (lacks(given_) is None) == (others or len(persons) > 1)


def test_what_is_lacking_is_said() -> None:
    assert lacks([]) == "an approval"
    twice = [Approval("person", "S-1"), Approval("person", "S-1")]
    assert lacks(twice) == "another person or an existing factor"


@given(st.integers(0, 48), st.integers(0, 48), st.booleans(), st.booleans())
def test_a_binding_confirms_once_its_wait_is_over(
    age: int, wait: int, waits: bool, verified: bool
) -> None:
    binding = Binding("xmpp/jid_1", NOW_US - age * HOUR_US, waits, verified)
    allowed = verified and (not waits or age >= wait)
    assert may_confirm(binding, NOW_US, wait * HOUR_US) is allowed


def test_an_answer_of_before_bindings_were_told_is_read() -> None:
    assert binding_from(None) is None
    assert may_confirm(None, NOW_US, HOUR_US)


@pytest.mark.parametrize("told", [{"id": "x"}, {"id": "x", "bound": "soon", "verified": True}])
def test_a_binding_without_a_time_confirms_nothing(told: dict[str, object]) -> None:
    binding = binding_from(told)
    assert binding is not None
    assert not may_confirm(binding, NOW_US, 0)


def test_a_binding_is_read_as_it_is_told() -> None:
    told = {"id": "web/w", "bound": rfc3339(NOW_US), "waits": False, "verified": True}
    assert binding_from(told) == Binding("web/w", NOW_US, waits=False, verified=True)
