"""Does a question end once, in one state, whatever comes in whatever order?"""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from risk.binding import Binding
from risk.challenge import (
    ALL,
    DAY_US,
    FINAL_DECISION,
    HELD,
    KEPT_CLOSED_US,
    STATES,
    Answer,
    Asked,
    Conversation,
    Heard,
    Outcome,
    answer_from,
)

ASSETS = Path(__file__).parents[1] / "assets" / "conversations"
NOW_US = 1_772_452_800_000_000
WAIT_US = 120_000_000
LIMIT = 100_000


def _asked(ident: str = "ch_1", at_us: int = NOW_US, amount: int = 9800) -> Asked:
    return Asked(ident, ident.replace("ch", "p"), at_us, at_us + WAIT_US, amount)


def _answer(
    decision: str,
    challenge: str = "ch_1",
    *,
    at_us: int = NOW_US + 1,
    reason: str | None = None,
    delayed: bool = False,
    strength: str = "app",
    binding: Binding | None = None,
) -> Answer:
    return Answer(challenge, decision, reason, "A", strength, at_us, delayed, "1-1", binding)


CHAT = Binding("xmpp/jid_1", NOW_US - 30 * DAY_US)
PAGE = Binding("web/web_1", NOW_US - 30 * DAY_US)


def _open(*questions: Asked) -> Conversation:
    kept = Conversation()
    for question in questions or (_asked(),):
        kept.ask(question)
    return kept


def _state(kept: Conversation, challenge: str = "ch_1") -> str | None:
    return kept.closed[challenge][0] if challenge in kept.closed else None


def test_a_confirm_approves_and_a_deny_declines() -> None:
    told = _open().hear(_answer("confirm"))
    assert told == Heard(
        "counted",
        "p_1",
        Outcome("p_1", "ch_1", "confirmed", "approve", NOW_US + 1, "customer", None),
    )
    told = _open().hear(_answer("deny", reason="not_me"))
    assert told.outcome is not None
    assert (told.outcome.state, told.outcome.decision) == ("denied", "decline")
    assert told.outcome.reason == "not_me"


def test_silence_expires_at_its_deadline_and_declines() -> None:
    kept = _open()
    assert not list(kept.expire(NOW_US + WAIT_US - 1))
    (ended,) = kept.expire(NOW_US + WAIT_US)
    assert (ended.state, ended.decision, ended.by) == ("expired", "decline", "timer")
    assert ended.at_us == NOW_US + WAIT_US
    assert not list(kept.expire(NOW_US + 2 * WAIT_US))


def test_silence_never_approves() -> None:
    assert [state for state in STATES if FINAL_DECISION[state] == "approve"] == ["confirmed"]


@pytest.mark.parametrize("decision", ["confirm", "deny"])
def test_an_answer_at_the_deadline_is_late_and_changes_nothing(decision: str) -> None:
    kept = _open()
    before = kept.dump()
    assert kept.hear(_answer(decision, at_us=NOW_US + WAIT_US)) == Heard("late", "p_1")
    assert kept.dump() == before


@pytest.mark.parametrize("state", ["expired", "denied", "withdrawn", "unreachable"])
def test_a_confirm_after_the_end_is_late_and_changes_nothing(state: str) -> None:
    kept = _ended(state)
    before = kept.dump()
    assert kept.hear(_answer("confirm")) == Heard("late", "p_1")
    assert kept.dump() == before


def _ended(state: str) -> Conversation:
    kept = _open()
    if state == "expired":
        list(kept.expire(NOW_US + WAIT_US))
    elif state == "denied":
        kept.hear(_answer("deny"))
    elif state == "withdrawn":
        kept.withdraw("p_1", NOW_US + 5)
    elif state == "unreachable":
        kept.give_up("ch_1", NOW_US + 5, "no channel")
    else:
        kept.hear(_answer("confirm"))
    assert _state(kept) == state
    return kept


def test_a_delayed_confirm_is_refused_and_the_question_stays_open() -> None:
    kept = _open()
    assert kept.hear(_answer("confirm", delayed=True)) == Heard("delayed", "p_1")
    assert "ch_1" in kept.open
    assert kept.hear(_answer("confirm")).verdict == "counted"


def test_a_delayed_deny_before_the_deadline_counts() -> None:
    kept = _open()
    assert kept.hear(_answer("deny", delayed=True)).verdict == "counted"
    assert _state(kept) == "denied"


def test_the_same_answer_again_is_a_duplicate() -> None:
    for decision in ("confirm", "deny"):
        kept = _open()
        kept.hear(_answer(decision))
        assert kept.hear(_answer(decision)) == Heard("duplicate", "p_1")


def test_a_deny_after_a_confirm_contradicts_it_and_freezes_later_confirms() -> None:
    kept = _open(_asked("ch_1"), _asked("ch_2"))
    kept.hear(_answer("confirm", "ch_1"))
    assert kept.hear(_answer("deny", "ch_1", at_us=NOW_US + DAY_US)).verdict == "contradicted"
    assert _state(kept) == "contradicted"
    assert kept.hear(_answer("deny", "ch_1")).verdict == "duplicate"
    assert kept.hear(_answer("confirm", "ch_1")).verdict == "late"
    assert kept.hear(_answer("confirm", "ch_2")) == Heard("frozen", "p_2")
    assert kept.hear(_answer("deny", "ch_2")).verdict == "counted"


def test_an_answer_to_no_question_is_unknown() -> None:
    assert Conversation().hear(_answer("confirm")) == Heard("unknown")


def test_an_answer_that_is_neither_yes_nor_no_is_refused() -> None:
    with pytest.raises(ValueError, match="needed confirm or deny, got 'maybe'"):
        _open().hear(_answer("maybe"))


def test_unsigned_confirms_are_bounded_within_24_hours() -> None:
    kept = _open(_asked("ch_1", amount=60_000), _asked("ch_2", amount=40_001))
    assert kept.hear(_answer("confirm", "ch_1"), LIMIT).verdict == "counted"
    assert kept.hear(_answer("confirm", "ch_2"), LIMIT) == Heard("unsigned", "p_2")
    assert "ch_2" in kept.open
    assert kept.hear(_answer("confirm", "ch_2", strength="signed"), LIMIT).verdict == "counted"


def test_unsigned_confirms_up_to_the_limit_itself_count() -> None:
    kept = _open(_asked("ch_1", amount=60_000), _asked("ch_2", amount=40_000))
    kept.hear(_answer("confirm", "ch_1"), LIMIT)
    assert kept.hear(_answer("confirm", "ch_2"), LIMIT).verdict == "counted"


def test_an_unsigned_confirm_of_yesterday_weighs_no_more() -> None:
    kept = _open(_asked("ch_1", amount=60_000))
    kept.hear(_answer("confirm", "ch_1", at_us=NOW_US), LIMIT)
    kept.ask(_asked("ch_2", NOW_US + DAY_US - 1, amount=60_000))
    soon = _answer("confirm", "ch_2", at_us=NOW_US + DAY_US - 1)
    assert kept.hear(soon, LIMIT).verdict == "unsigned"
    a_day_after = _answer("confirm", "ch_2", at_us=NOW_US + DAY_US)
    assert kept.hear(a_day_after, LIMIT).verdict == "counted"


def test_a_signed_confirm_weighs_nothing_and_a_deny_needs_no_signature() -> None:
    kept = _open(_asked("ch_1", amount=90_000), _asked("ch_2", amount=90_000))
    kept.hear(_answer("confirm", "ch_1", strength="signed"), LIMIT)
    assert kept.hear(_answer("confirm", "ch_2"), LIMIT).verdict == "counted"
    over = _open(_asked(amount=10 * LIMIT))
    assert over.hear(_answer("deny"), LIMIT).verdict == "counted"


def test_a_withdrawal_is_of_the_open_question_about_that_event() -> None:
    kept = _open(_asked("ch_1"), _asked("ch_2"))
    assert kept.withdraw("p_9", NOW_US) is None
    ended = kept.withdraw("p_2", NOW_US + 7)
    assert ended is not None
    assert (ended.challenge, ended.state, ended.decision) == ("ch_2", "withdrawn", "decline")
    assert kept.withdraw("p_2", NOW_US + 8) is None
    assert list(kept.open) == ["ch_1"]


def test_what_no_channel_carries_goes_to_an_officer() -> None:
    kept = _open()
    ended = kept.give_up("ch_1", NOW_US + 7, "no bound channel")
    assert ended is not None
    assert (ended.state, ended.decision, ended.reason) == (
        "unreachable",
        "review",
        "no bound channel",
    )
    assert kept.give_up("ch_1", NOW_US + 8, "again") is None


def test_asking_twice_changes_nothing_open_or_closed() -> None:
    kept = _open()
    before = kept.dump()
    kept.ask(_asked())
    assert kept.dump() == before
    kept.hear(_answer("deny"))
    before = kept.dump()
    kept.ask(_asked())
    assert kept.dump() == before


def test_questions_are_counted_from_after_the_span_to_now() -> None:
    kept = _open(_asked("ch_1", NOW_US), _asked("ch_2", NOW_US + 5))
    assert kept.asked_within(NOW_US, DAY_US) == 1
    assert kept.asked_within(NOW_US + DAY_US, DAY_US) == 1
    assert kept.asked_within(NOW_US + DAY_US - 1, DAY_US) == 2


def test_a_question_is_known_by_its_id_and_by_its_event() -> None:
    kept = _open()
    for _ in range(2):
        assert kept.knows("ch_1")
        assert kept.knows("p_1")
        assert not kept.knows("p_2")
        kept.hear(_answer("deny"))


def test_what_came_too_early_is_held_once_and_the_oldest_is_forgotten_first() -> None:
    kept = Conversation()
    for number in range(HELD + 2):
        kept.hold(f"ch_{number}", [number])
    assert kept.held("ch_1") is None
    assert kept.held("ch_2") == [2]
    assert kept.held("ch_2") is None
    assert len(kept.early) == HELD - 1


def test_a_recorded_outcome_stands_against_our_own() -> None:
    kept = _open()
    kept.hear(_answer("confirm"))
    kept.settle(Outcome("p_1", "ch_1", "denied", "decline", NOW_US, "customer"))
    assert _state(kept) == "denied"
    assert kept.hear(_answer("deny")).verdict == "duplicate"


def test_what_is_long_closed_is_forgotten_when_something_new_is_asked() -> None:
    kept = _ended("confirmed")
    kept.ask(_asked("ch_2", NOW_US + KEPT_CLOSED_US))
    assert "ch_1" in kept.closed
    kept.ask(_asked("ch_3", NOW_US + KEPT_CLOSED_US + 2))
    assert "ch_1" not in kept.closed
    assert len(kept.confirmed) == 0
    assert len(kept.asked_us) == 2


def test_a_conversation_of_a_later_format_is_refused() -> None:
    with pytest.raises(ValueError, match="needed format 2 or older, got 3"):
        Conversation.load(b'{"v":3}')


@pytest.mark.parametrize("path", sorted(ASSETS.glob("v1*.json")), ids=lambda path: path.stem)
def test_a_stored_conversation_of_format_1_is_read(path: Path) -> None:
    kept = Conversation.load(path.read_bytes())
    assert kept.open["ch_open"] == Asked(
        "ch_open", "p-3", 1772452800000000, 1772452920000000, 980000
    )
    assert kept.closed["ch_yes"] == ("confirmed", "p-1", 1772452700000000)
    assert kept.confirmed == [(1772452700000000, 25000)]
    assert kept.hear(_answer("deny", "ch_yes")).verdict == "contradicted"
    assert kept.hear(_answer("deny", "ch_open")).verdict == "counted"


def test_what_format_1_froze_stays_frozen_for_every_binding() -> None:
    kept = Conversation.load((ASSETS / "v1.json").read_bytes())
    assert kept.frozen == {ALL: 0}
    assert kept.hear(_answer("confirm", "ch_open", binding=CHAT)).verdict == "frozen"


def test_a_conversation_is_written_as_format_2_was() -> None:
    raw = (ASSETS / "v2.json").read_bytes().strip()
    kept = Conversation.load(raw)
    assert kept.dump() == raw
    assert kept.frozen == {"xmpp/jid_1": 1772452790000000}
    assert (kept.blocked_us, kept.duress_us) == (1772452795000000, 1772452796000000)


# --- which binding ---------------------------------------------------------------------------


def test_a_fresh_binding_denies_at_once_and_confirms_after_its_wait() -> None:
    fresh = Binding("xmpp/jid_2", NOW_US - DAY_US + 10)
    kept = _open()
    assert kept.hear(_answer("confirm", binding=fresh), None, DAY_US) == Heard("fresh", "p_1")
    assert "ch_1" in kept.open
    ripe = _answer("confirm", at_us=NOW_US + 10, binding=fresh)
    assert kept.hear(ripe, None, DAY_US).verdict == "counted"
    other = _open()
    assert other.hear(_answer("deny", binding=fresh), None, DAY_US).verdict == "counted"


def test_a_first_binding_waits_for_nothing_and_an_unverified_one_for_ever() -> None:
    first = Binding("xmpp/jid_2", NOW_US, waits=False)
    assert _open().hear(_answer("confirm", binding=first), None, DAY_US).verdict == "counted"
    never = Binding("xmpp/jid_2", 0, waits=False, verified=False)
    assert _open().hear(_answer("confirm", binding=never), None, DAY_US).verdict == "fresh"


def test_only_the_binding_whose_confirm_was_contradicted_is_frozen() -> None:
    kept = _open(_asked("ch_1"), _asked("ch_2"), _asked("ch_3"))
    kept.hear(_answer("confirm", "ch_1", binding=CHAT))
    assert kept.hear(_answer("deny", "ch_1", binding=PAGE)).verdict == "contradicted"
    assert kept.hear(_answer("confirm", "ch_2", binding=CHAT)) == Heard("frozen", "p_2")
    assert kept.hear(_answer("confirm", "ch_3")).verdict == "frozen"  # nobody knows of which
    assert kept.hear(_answer("deny", "ch_2", binding=CHAT)).verdict == "counted"
    assert kept.hear(_answer("confirm", "ch_3", binding=PAGE)).verdict == "counted"


def test_a_frozen_binding_thaws_when_it_is_bound_anew_or_the_bank_lifts_it() -> None:
    for lifted in (True, False):
        kept = _open(_asked("ch_1"), _asked("ch_2"))
        kept.hear(_answer("confirm", "ch_1", binding=CHAT))
        kept.hear(_answer("deny", "ch_1", binding=CHAT))
        if lifted:
            kept.unblock()
            again = CHAT
        else:
            again = Binding(CHAT.id, NOW_US + 2)
        later = _answer("confirm", "ch_2", at_us=NOW_US + 3, binding=again)
        assert kept.hear(later, None, 1).verdict == "counted"


def test_blocking_denies_all_that_is_open() -> None:
    kept = _open(_asked("ch_1"), _asked("ch_2"))
    ended = list(kept.block(NOW_US + 5))
    assert [(one.state, one.decision, one.reason) for one in ended] == [
        ("denied", "decline", "not_me")
    ] * 2
    assert kept.blocked_us == NOW_US + 5
    assert not list(kept.block(NOW_US + 6))
    kept.unblock()
    assert kept.blocked_us is None


# --- duress ----------------------------------------------------------------------------------


def test_a_confirm_under_duress_reads_as_a_confirm_and_is_held_for_review() -> None:
    told = _open().hear(_answer("confirm", reason="duress"))
    assert told.outcome is not None
    assert (told.outcome.state, told.outcome.decision) == ("confirmed", "review")
    assert told.outcome.reason is None


@pytest.mark.parametrize(
    ("first", "verdict"),
    [
        ({"delayed": True}, "delayed"),
        ({"binding": Binding("web/new", NOW_US)}, "fresh"),
        ({"strength": "claimed"}, "unsigned"),
        ({"at_us": NOW_US + WAIT_US}, "late"),
    ],
)
def test_duress_is_remembered_even_where_its_confirm_is_not_taken(
    first: dict[str, Any], verdict: str
) -> None:
    kept = _open(_asked(amount=2 * LIMIT))
    heard = kept.hear(_answer("confirm", reason="duress", **first), LIMIT, DAY_US)
    assert heard.verdict == verdict
    forced = kept.hear(_answer("confirm", strength="signed"), LIMIT, DAY_US)
    assert forced.outcome is not None
    assert (forced.outcome.state, forced.outcome.decision) == ("confirmed", "review")


def test_a_day_after_the_duress_a_confirm_is_a_confirm_again() -> None:
    kept = _open(_asked("ch_1"), _asked("ch_2", NOW_US + DAY_US))
    kept.hear(_answer("confirm", "ch_1", at_us=NOW_US, reason="duress"))
    told = kept.hear(_answer("confirm", "ch_2", at_us=NOW_US + DAY_US))
    assert told.outcome is not None
    assert told.outcome.decision == "approve"


def test_an_answer_is_made_of_its_entry_with_the_weakest_reading_of_what_is_missing() -> None:
    told = answer_from({"challenge": "ch_1", "decision": "deny"}, "5-1", NOW_US)
    assert told == Answer("ch_1", "deny", None, "E", "claimed", NOW_US, False, "5-1")


_NAMES = [f"ch_{number}" for number in range(3)]
_CHALLENGE = st.sampled_from(_NAMES)


class AnyOrder(RuleBasedStateMachine):
    """Questions, answers, deadlines, withdrawals and crashes, in any order that there is."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = Conversation()
        self.now_us = NOW_US
        self.asked: dict[str, Asked] = {}
        self.ended: dict[str, list[Outcome]] = {}
        self.left: dict[str, str] = {}
        self.denied: set[str] = set()
        self.contradicted: set[str] = set()
        self.by: dict[str, str] = {}

    @initialize(amounts=st.lists(st.integers(1, LIMIT), min_size=3, max_size=3))
    def amounts_of(self, amounts: list[int]) -> None:
        self.amounts = dict(zip(_NAMES, amounts, strict=True))

    def _note(self, ended: Outcome | None) -> None:
        if ended is not None:
            assert ended.state in STATES
            assert ended.decision == FINAL_DECISION[ended.state]
            self.ended.setdefault(ended.challenge, []).append(ended)

    @rule(challenge=_CHALLENGE)
    def ask(self, challenge: str) -> None:
        known = self.asked.setdefault(
            challenge, _asked(challenge, self.now_us, self.amounts[challenge])
        )
        self.kept.ask(known)

    @rule(
        challenge=_CHALLENGE,
        decision=st.sampled_from(["confirm", "deny"]),
        reason=st.sampled_from([None, "not_me", "cancel"]),
        delayed=st.booleans(),
        strength=st.sampled_from(["signed", "app", "claimed"]),
        binding=st.sampled_from([None, CHAT, PAGE, Binding("web/new", NOW_US)]),
        ago_us=st.integers(0, WAIT_US),
    )
    def answer(
        self,
        challenge: str,
        decision: str,
        reason: str | None,
        delayed: bool,
        strength: str,
        binding: Binding | None,
        ago_us: int,
    ) -> None:
        answer = _answer(
            decision,
            challenge,
            at_us=self.now_us - ago_us,
            reason=reason,
            delayed=delayed,
            strength=strength,
            binding=binding,
        )
        before = self.kept.dump()
        told = self.kept.hear(answer, LIMIT, DAY_US)
        assert (told.outcome is not None) == (told.verdict == "counted")
        assert (told.verdict == "unknown") == (challenge not in self.asked)
        if told.verdict not in ("counted", "contradicted"):
            assert self.kept.dump() == before
        if told.verdict == "contradicted":
            assert self.left[challenge] == "confirmed"
            self.left[challenge] = "contradicted"
            self.contradicted.add(self.by[challenge])
        if told.outcome is not None and told.outcome.state == "confirmed":
            assert not delayed
            assert (binding.id if binding else ALL) not in self.contradicted
            assert ALL not in self.contradicted
            assert binding is None or binding.bound_us + DAY_US <= answer.received_us
            self.by[challenge] = binding.id if binding else ALL
            assert challenge not in self.denied
            assert answer.received_us < self.asked[challenge].expires_us
        if told.verdict == "counted" and decision == "deny":
            self.denied.add(challenge)
        self._note(told.outcome)

    @rule(passed_us=st.integers(0, WAIT_US))
    def wait(self, passed_us: int) -> None:
        self.now_us += passed_us

    @rule(behind_us=st.integers(0, WAIT_US))
    def expire(self, behind_us: int) -> None:
        until_us = self.now_us - behind_us
        for ended in list(self.kept.expire(until_us)):
            assert ended.at_us <= until_us
            self._note(ended)
        assert all(question.expires_us > until_us for question in self.kept.open.values())

    @rule(challenge=_CHALLENGE)
    def withdraw(self, challenge: str) -> None:
        self._note(self.kept.withdraw(_asked(challenge).event, self.now_us))

    @rule(challenge=_CHALLENGE)
    def unreachable(self, challenge: str) -> None:
        self._note(self.kept.give_up(challenge, self.now_us, "no channel"))

    @rule()
    def freeze(self) -> None:
        for ended in list(self.kept.block(self.now_us)):
            self.denied.add(ended.challenge)
            self._note(ended)
        assert not self.kept.open

    @rule()
    def crash(self) -> None:
        raw = self.kept.dump()
        back = Conversation.load(raw)
        assert back == self.kept
        assert back.dump() == raw
        self.kept = back

    @invariant()
    def each_question_is_open_or_ended_once(self) -> None:
        assert set(self.kept.open) | set(self.kept.closed) == set(self.asked)
        assert not set(self.kept.open) & set(self.kept.closed)
        for challenge in self.kept.closed:
            assert len(self.ended[challenge]) == 1
        for challenge in self.kept.open:
            assert challenge not in self.ended

    @invariant()
    def a_final_state_is_never_left(self) -> None:
        for challenge, (state, event, _) in self.kept.closed.items():
            assert event == self.asked[challenge].event
            assert self.left.setdefault(challenge, state) == state

    @invariant()
    def unsigned_confirms_stay_within_their_limit(self) -> None:
        for at_us, _ in self.kept.confirmed:
            within = [
                amount for when, amount in self.kept.confirmed if at_us - DAY_US < when <= at_us
            ]
            assert sum(within) <= LIMIT


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.permutations(["confirm", "deny", "expire", "withdraw", "unreachable", "confirm"]))
def test_whatever_comes_first_ends_the_question(order: list[str]) -> None:
    kept = _open()
    ends: list[Any] = []
    for step in order:
        if step == "expire":
            ends += kept.expire(NOW_US + WAIT_US)
        elif step == "withdraw":
            ends.append(kept.withdraw("p_1", NOW_US + 2))
        elif step == "unreachable":
            ends.append(kept.give_up("ch_1", NOW_US + 2, ""))
        else:
            ends.append(kept.hear(_answer(step)).outcome)
    (ended,) = [one for one in ends if one is not None]
    first = {"confirm": "confirmed", "deny": "denied", "expire": "expired",
             "withdraw": "withdrawn", "unreachable": "unreachable"}[order[0]]  # fmt: skip
    assert ended.state == first
    final = _state(kept)
    assert final == ("contradicted" if first == "confirmed" else first)
