"""Is what a customer says of payments made already worth no more, and no less, than they said?"""

from hypothesis import given, settings
from hypothesis import strategies as st

from risk.binding import Binding
from risk.challenge import Answer, Conversation
from risk.inquiry import CONFIRMED, DENIED, KEPT_US, OPEN, Inquiry, Said, hear

ASKED_US = 1_000_000_000_000
DAY_US = 86_400_000_000
EVENTS = ("e1", "e2", "e3")
ONE = Inquiry("iq_1", EVENTS, ASKED_US, ASKED_US + DAY_US, about="e0")


def said(inquiry: Inquiry, decision: str, *items: int, after_us: int = 5, **over: bool) -> Said:
    holds = {"frozen": False, "delayed": False, "duress": False, **over}
    return hear(
        inquiry, decision, items, ASKED_US + after_us, binding=None, binding_wait_us=0, **holds
    )


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(("confirm", "deny")),
            st.lists(st.integers(0, 5), max_size=3),
            st.integers(0, 2 * DAY_US),
            st.booleans(),
        ),
        max_size=6,
    )
)
def test_what_was_denied_is_never_vouched_for_again_and_each_label_is_of_what_was_asked(
    answers: list[tuple[str, list[int], int, bool]],
) -> None:
    inquiry, word = ONE, dict[str, bool]()
    for decision, items, after_us, frozen in answers:
        told = said(inquiry, decision, *items, after_us=after_us, frozen=frozen)
        assert (told.labels != ()) == (told.verdict == "counted")
        assert told.verdict == "counted" or told.inquiry == inquiry
        for event, fraud in told.labels:
            assert event in EVENTS
            assert fraud or not word.get(event, False)
            word[event] = fraud
        if inquiry.state == DENIED:
            assert told.inquiry == inquiry
        inquiry = told.inquiry
    assert inquiry.state in (OPEN, CONFIRMED, DENIED)
    assert any(word.values()) == (inquiry.state == DENIED)


def test_a_confirm_from_a_binding_that_is_too_young_vouches_for_nothing() -> None:
    young = Binding("xmpp/x", ASKED_US)
    told = hear(
        ONE, "confirm", (), ASKED_US + 5,
        binding=young, binding_wait_us=DAY_US, frozen=False, delayed=False, duress=False,
    )  # fmt: skip
    assert told == Said("fresh", ONE)


def test_a_conversation_keeps_its_inquiries_and_one_without_is_written_as_ever() -> None:
    conversation = Conversation()
    before = conversation.dump()
    assert b"inquiries" not in before
    assert b"sought" not in before
    assert Conversation.load(before) == conversation
    conversation.inquire(ONE)
    again = Conversation.load(conversation.dump())
    assert again == conversation
    assert again.inquiries == {"iq_1": ONE}
    assert not again.may_be_sought(ASKED_US + DAY_US, 7 * DAY_US)
    assert again.may_be_sought(ASKED_US + 7 * DAY_US, 7 * DAY_US)
    answer = Answer("iq_1", "deny", None, "E", "claimed", ASKED_US + 5, False, "1-0")
    assert again.hear_of(ONE, answer, (2,), 0).labels == (
        ("e1", False),
        ("e2", True),
        ("e3", False),
    )
    later = Inquiry("iq_2", ("e9",), ASKED_US + KEPT_US + 10, ASKED_US + KEPT_US + DAY_US)
    again.inquire(later)
    assert list(again.inquiries) == ["iq_2"]
