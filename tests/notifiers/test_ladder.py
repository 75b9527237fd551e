"""The ladder of channels: who is tried when, and when nobody is left."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifiers import ladder as steps
from notifiers.ladder import Closed, Correct, Fact, Failed, GiveUp, Ladder, Rung, Send, Ticked

ASKED = 1000.0
STALE = ASKED + 60.0


def ladder(*rungs: tuple[str, float, float]) -> Ladder:
    made = Ladder(tuple(Rung(kind, wait, patience) for kind, wait, patience in rungs), STALE)
    return steps.step(made, steps.Begun(), ASKED)[0]


def states(of: Ladder) -> list[str]:
    return [rung.state for rung in of.rungs]


def after(of: Ladder, *facts: tuple[Fact, float]) -> tuple[Ladder, list[steps.Action]]:
    did: list[steps.Action] = []
    for fact, at in facts:
        of, actions = steps.step(of, fact, ASKED + at)
        did += actions
    return of, did


TWO = ladder(("xmpp", 2, 30), ("push", 5, 30))


def test_the_first_channel_goes_at_once_and_alone() -> None:
    assert states(TWO) == ["due", "waiting"]


def test_without_a_sign_of_life_the_next_starts_beside_it() -> None:
    quiet, did = after(TWO, (steps.Written("xmpp"), 0.1), (Ticked(), 2.0))
    assert did == []
    both, did = after(quiet, (Ticked(), 2.1))
    assert did == [Send("push")]
    assert states(both) == ["written", "due"]


def test_the_servers_proof_is_no_sign_of_life() -> None:
    _, did = after(TWO, (steps.Written("xmpp"), 0.1), (steps.Taken("xmpp"), 0.2), (Ticked(), 2.1))
    assert did == [Send("push")]


def test_a_receipt_gives_the_customer_time_before_the_next() -> None:
    seen, did = after(
        TWO, (steps.Written("xmpp"), 0.1), (steps.Seen("xmpp"), 1.0), (Ticked(), 30.9)
    )
    assert did == []
    assert states(seen) == ["taken", "waiting"]
    _, did = after(seen, (Ticked(), 31.0))
    assert did == [Send("push")]


def test_an_error_starts_the_next_at_once() -> None:
    failed, did = after(TWO, (steps.Written("xmpp"), 0.1), (Failed("xmpp"), 0.2))
    assert did == [Send("push")]
    assert states(failed) == ["bounced", "due"]


def test_a_channel_that_is_down_is_not_waited_for() -> None:
    _, did = after(TWO, (Ticked(), 2.0))
    assert did == [Send("push")]


def test_a_channel_without_a_wait_takes_the_next_with_it() -> None:
    assert states(ladder(("web", 0, 0), ("xmpp", 2, 30), ("sms", 5, 5))) == [
        "due", "due", "waiting",
    ]  # fmt: skip


def test_only_when_the_last_has_failed_the_question_is_given_up_and_once() -> None:
    one, did = after(TWO, (steps.Written("xmpp"), 0.1), (Failed("xmpp"), 0.2))
    assert GiveUp() not in did
    gone, did = after(one, (steps.Written("push"), 0.3), (Failed("push"), 0.4))
    assert did == [GiveUp()]
    assert after(gone, (Failed("push"), 0.5), (Ticked(), 99.0))[1] == []


def test_what_the_server_took_may_still_be_answered_so_it_is_not_given_up() -> None:
    _, did = after(
        TWO,
        (steps.Written("xmpp"), 0.1),
        (steps.Taken("xmpp"), 0.2),
        (Ticked(), 2.2),
        (steps.Written("push"), 2.3),
        (Failed("push"), 2.4),
        (Ticked(), 200.0),
    )
    assert did == [Send("push")]


def test_without_any_channel_it_is_given_up_at_once() -> None:
    _, actions = steps.step(Ladder((), STALE), steps.Begun(), ASKED)
    assert actions == (GiveUp(),)


def test_past_half_its_life_nothing_new_is_started() -> None:
    late, did = after(
        TWO, (steps.Written("xmpp"), 0.1), (steps.Seen("xmpp"), 59.0), (Ticked(), 60.0)
    )
    assert did == []
    assert states(late) == ["taken", "dropped"]


def test_an_answer_closes_what_was_shown_and_withdraws_what_was_not() -> None:
    shown, _ = after(TWO, (steps.Written("xmpp"), 0.1), (Ticked(), 2.1))
    closed, did = after(shown, (Closed(), 3.0))
    assert did == [Correct("xmpp")]
    assert states(closed) == ["written", "withdrawn"]
    assert after(closed, (Closed(), 4.0), (Ticked(), 9.0), (Failed("xmpp"), 9.0))[1] == []


def test_a_session_lost_before_proof_sends_again_unless_it_ended_meanwhile() -> None:
    written, _ = after(TWO, (steps.Written("xmpp"), 0.1))
    assert after(written, (steps.Unproved("xmpp"), 1.0))[1] == [Send("xmpp")]
    closed, _ = after(written, (Closed(), 0.5))
    again, did = after(closed, (steps.Unproved("xmpp"), 1.0))
    assert did == []
    assert states(again) == ["withdrawn", "withdrawn"]


KINDS = ("web", "xmpp", "push", "sms")
ABOUT = (
    steps.Written, steps.Taken, steps.Seen, Failed, steps.Unproved,
    lambda kind: Failed(kind, "dropped"),
)  # fmt: skip


@st.composite
def stories(draw: st.DrawFn) -> tuple[Ladder, list[tuple[Fact, float]]]:
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4, unique=True))
    waits = st.sampled_from([0.0, 2.0, 5.0])
    made = ladder(*((kind, draw(waits), draw(waits)) for kind in kinds))
    about = st.builds(lambda make, kind: make(kind), st.sampled_from(ABOUT), st.sampled_from(kinds))
    facts = draw(st.lists(st.one_of(about, st.just(Ticked()), st.just(Closed())), max_size=40))
    pauses = draw(st.lists(st.floats(0, 10), min_size=len(facts), max_size=len(facts)))
    return made, list(zip(facts, itertools.accumulate(pauses), strict=True))


@given(stories())
def test_any_story_ends_once_and_starts_each_channel_once(
    story: tuple[Ladder, list[tuple[Fact, float]]],
) -> None:
    of, facts = story
    given_up, corrected, resent = 0, [], 0
    for fact, at in facts:
        before = of
        of, actions = steps.step(of, fact, ASKED + at)
        given_up += actions.count(GiveUp())
        corrected += [one.kind for one in actions if isinstance(one, Correct)]
        sent = [one.kind for one in actions if isinstance(one, Send)]
        assert not (sent and before.closed), "a closed question was put again"
        for kind in sent:
            was = next(rung for rung in before.rungs if rung.kind == kind)
            assert was.state in {"waiting", "written"}
            resent += was.state == "written"
            if was.state == "waiting":
                assert ASKED + at < STALE or isinstance(fact, Failed)
        if before.closed:
            assert not actions
        assert [rung.kind for rung in of.rungs] == [rung.kind for rung in before.rungs]
        for old, new in zip(before.rungs, of.rungs, strict=True):
            assert not (old.state == "withdrawn" and new.state != "withdrawn")
    assert given_up <= 1
    assert resent <= sum(isinstance(fact, steps.Unproved) for fact, _ in facts)
    assert len(corrected) == len(set(corrected))
    if given_up and not of.closed:
        assert of.given_up


@pytest.mark.parametrize("kind", ["xmpp", "push"])
def test_a_receipt_after_it_was_dropped_shows_that_it_arrived(kind: str) -> None:
    shown, _ = after(ladder((kind, 2, 30)), (steps.Written(kind), 0.1), (steps.Unproved(kind), 1.0))
    dropped, did = after(shown, (Failed(kind, "dropped"), 61.0))
    assert did == [GiveUp()]
    assert states(after(dropped, (steps.Seen(kind), 62.0))[0]) == ["taken"]
