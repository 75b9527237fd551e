"""In whatever order answers, time, crashes and callers come: one end, no confirm after a deny."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flows.judge import GRACE_US
from flows.walk import Spoken
from risk import events
from tests.flows.facts import NOON_US, SECOND_US, Judge, scored, spoken

DEADLINE_US = 120 * SECOND_US
_BOUND = [
    None,
    {
        "id": "xmpp/jid_1",
        "bound": events.rfc3339(NOON_US - 9 * 86_400 * SECOND_US),
        "verified": True,
    },
    {"id": "web/young", "bound": events.rfc3339(NOON_US), "verified": True},
    {"id": "web/never", "bound": None, "verified": False},
]


class AnyOrder(RuleBasedStateMachine):
    """One payment that is asked about, its answers in the order of their stream, and crashes."""

    def __init__(self) -> None:
        super().__init__()
        self.judge = Judge(unsigned_limit=1_000_000)
        self.judge.hear(scored(score=700))
        self.judge.snapshot()
        self.after_us = 0
        self.since_cut: list[Spoken] = []
        self.handed: list[str] = []  # what a caller was handed, in order
        self.denied_at: int | None = None
        self.number = 0
        self.good: set[tuple[int, bool]] = set()  # confirms that may count: when, and if forced

    def _say(self, decision: str, **over: Any) -> Spoken:
        self.number += 1
        said = spoken(decision, after_us=self.after_us, **over)
        return said._replace(position=f"{self.number}-0")

    @rule(us=st.integers(1, 40 * SECOND_US))
    def wait(self, us: int) -> None:
        self.after_us += us

    @rule(
        decision=st.sampled_from(["confirm", "deny"]),
        duress=st.booleans(),
        delayed=st.booleans(),
        strength=st.sampled_from(["signed", "app", "claimed"]),
        binding=st.sampled_from(_BOUND),
        twice=st.booleans(),
    )
    def answer(
        self,
        decision: str,
        duress: bool,
        delayed: bool,
        strength: str,
        binding: Any,
        twice: bool,
    ) -> None:
        reason = "duress" if duress and decision == "confirm" else None
        said = self._say(
            decision, reason=reason, delayed=delayed, strength=strength, binding=binding
        )
        for one in (said, said) if twice else (said,):
            self.since_cut.append(one)
            self.judge.hear(one)
        in_time = self.after_us < DEADLINE_US
        if decision == "deny" and in_time and self.denied_at is None:
            self.denied_at = self.after_us
        old_enough = binding is None or (binding["bound"] or "9") < events.rfc3339(NOON_US)
        if decision == "confirm" and in_time and not delayed and old_enough:
            self.good.add((self.after_us, duress))

    @rule()
    def everybody_was_heard(self) -> None:
        self.judge.heard_until(self.after_us + GRACE_US)

    @rule()
    def a_caller_asks(self) -> None:
        outcome = self.judge.doors.outcomes.get("p-1")
        if outcome is not None:
            self.judge.doors.fetched.add("p-1")
            self.handed.append(outcome["decision"])

    @rule()
    def cut(self) -> None:
        self.judge.snapshot()
        self.since_cut = []

    @rule()
    def crash(self) -> None:
        """Start again at the cut; what came since is read again, in the order of the stream."""
        self.judge.start()
        for one in self.since_cut:
            self.judge.hear(one)

    @invariant()
    def it_ends_once(self) -> None:
        assert len(self.judge.doors.closed) <= 1
        names_of = [note for note in self.judge.doors.notes if note.startswith("rb:answers")]
        contradictions = [one for one in self.judge.doors.alerts if one["kind"] == "contradicted"]
        assert len(contradictions) <= 1
        assert len(names_of) >= len(contradictions)

    @invariant()
    def a_caller_s_outcome_stands(self) -> None:
        for decision in self.handed:
            assert self.judge.doors.outcomes["p-1"]["decision"] == decision

    @invariant()
    def no_confirm_stands_after_a_deny_that_nobody_had_overtaken(self) -> None:
        outcome = self.judge.doors.outcomes.get("p-1")
        if outcome is None or self.denied_at is None:
            return
        if outcome["state"] == "confirmed":
            assert "p-1" in self.judge.doors.fetched  # the bank had it: it is told to recall
            assert outcome["contradicted"]
            assert [a for a in self.judge.doors.alerts if a["kind"] == "contradicted"]

    @invariant()
    def silence_the_young_and_the_forced_approve_nothing(self) -> None:
        outcome = self.judge.doors.outcomes.get("p-1")
        if outcome is not None and outcome["decision"] == "approve":
            assert outcome["by"]["type"] == "customer"
            at_us = events.parse_us(outcome["at"])
            assert at_us < NOON_US + DEADLINE_US
            assert (at_us - NOON_US, False) in self.good


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
