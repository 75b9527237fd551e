"""What is open between the bank and one customer, and what does an answer change?

::

                         +-- confirm in time, not replayed --> confirmed --- deny ---+
    asked --> open ------+-- deny (not_me | cancel) ---------> denied                |
                         +-- silence past the deadline ------> expired               v
                         +-- no channel reached -------------> unreachable      contradicted
                         +-- the bank cancelled -------------> withdrawn       (case and alert)

The customer's shard owns a `Conversation` and applies answers in the order of the answers' stream.
A state that was left is never entered again: the first answer counts, silence never approves, no
confirm follows a deny, and a late confirm is recorded and changes nothing.

A confirm is worth something only from a binding that is old enough and not frozen, and above the
limit only signed. Whoever confirms under duress sees a confirm; the bank gets a ``review``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from risk.binding import Binding, binding_from, may_confirm
from risk.inquiry import KEPT_US, OPEN, Inquiry, Said, hear
from risk.rest import Word

DAY_US = 86_400_000_000
KEPT_CLOSED_US = 7 * DAY_US
HELD = 16
STATES = ("confirmed", "denied", "expired", "unreachable", "withdrawn")
FINAL_DECISION: Mapping[str, str] = {
    "confirmed": "approve",
    "denied": "decline",
    "expired": "decline",
    "unreachable": "review",
    "withdrawn": "decline",
}
DURESS_US = DAY_US
ALL = "*"
_FORMAT = 2


@dataclass(frozen=True, slots=True)
class Asked:
    """One question as it was put; ``amount_base`` in minor units, times in microseconds.

    ``rests``: its answer settles others for a while (`risk.rest`).
    """

    id: str
    event: str
    asked_us: int
    expires_us: int
    amount_base: int
    rests: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as its receiver passed it on, after checking who sent it."""

    challenge: str
    decision: str
    reason: str | None
    layer: str
    strength: str
    received_us: int
    delayed: bool
    position: str
    binding: Binding | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a challenge ended; ``decision`` is what the bank does with the payment."""

    event: str
    challenge: str
    state: str
    decision: str
    at_us: int
    by: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """What an answer was worth: a verdict in one word, and the outcome if it brought one.

    Verdicts: ``counted``, ``unknown`` (no such question), ``duplicate`` (same answer again),
    ``late`` (the question is closed), ``delayed`` (a confirm that was stored on its way),
    ``unsigned`` (a confirm above the limit without a signature), ``fresh`` (a confirm from a
    binding that is too young), ``contradicted`` (a deny after a confirm), ``frozen`` (a confirm
    from a binding whose confirm was contradicted). After ``delayed``, ``unsigned``, ``fresh`` and
    ``frozen`` the question stays open.
    """

    verdict: str
    event: str | None = None
    outcome: Outcome | None = None


@dataclass(slots=True)
class Conversation:
    """What is open with one customer, and what closed lately. Changed only by its own shard.

    ``frozen`` holds since when a binding's confirms count for nothing (`ALL`: of every binding);
    ``blocked_us`` since when the customer wants nothing paid; ``duress_us`` the last duress;
    ``inquiries`` what is open about payments made already, ``sought_us`` when that last began;
    ``word`` the last word about a card payment, which settles others for a while (`risk.rest`).
    """

    open: dict[str, Asked] = field(default_factory=dict)
    closed: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    asked_us: list[int] = field(default_factory=list)
    confirmed: list[tuple[int, int]] = field(default_factory=list)
    confirmed_by: dict[str, str] = field(default_factory=dict)
    frozen: dict[str, int] = field(default_factory=dict)
    blocked_us: int | None = None
    duress_us: int | None = None
    early: dict[str, list[Any]] = field(default_factory=dict)
    inquiries: dict[str, Inquiry] = field(default_factory=dict)
    sought_us: int | None = None
    word: Word | None = None

    def dump(self) -> bytes:
        """The durable form, with its version."""
        sought: dict[str, Any] = {} if self.sought_us is None else {"sought": self.sought_us}
        if self.inquiries:
            sought["inquiries"] = [one.row() for one in self.inquiries.values()]
        resting = [one.id for one in self.open.values() if one.rests]
        if resting:
            sought["resting"] = resting
        if self.word is not None:
            sought["word"] = list(self.word)
        return orjson.dumps(
            {
                "v": _FORMAT,
                "open": [
                    [a.id, a.event, a.asked_us, a.expires_us, a.amount_base]
                    for a in self.open.values()
                ],
                "closed": self.closed,
                "asked": self.asked_us,
                "confirmed": self.confirmed,
                "confirmed_by": self.confirmed_by,
                "frozen": self.frozen,
                "blocked": self.blocked_us,
                "duress": self.duress_us,
                "early": self.early,
                **sought,
            }
        )

    @classmethod
    def load(cls, raw: bytes) -> "Conversation":
        """Read the durable form of this version or an older one."""
        kept = orjson.loads(raw)
        if kept["v"] > _FORMAT:
            raise ValueError(f"conversation: needed format {_FORMAT} or older, got {kept['v']}")
        resting = kept.get("resting", ())
        return cls(
            open={row[0]: replace(Asked(*row), rests=row[0] in resting) for row in kept["open"]},
            closed={key: (row[0], row[1], row[2]) for key, row in kept["closed"].items()},
            asked_us=list(kept["asked"]),
            confirmed=[(at, amount) for at, amount in kept["confirmed"]],
            confirmed_by=kept.get("confirmed_by", {}),
            frozen=_frozen(kept["frozen"]),
            blocked_us=kept.get("blocked"),
            duress_us=kept.get("duress"),
            early=kept.get("early", {}),
            inquiries={row[0]: Inquiry.of_row(row) for row in kept.get("inquiries", ())},
            sought_us=kept.get("sought"),
            word=Word(*kept["word"]) if "word" in kept else None,
        )

    def asked_within(self, now_us: int, span_us: int) -> int:
        """How often the customer was asked in ``(now - span, now]``."""
        return sum(1 for at in self.asked_us if now_us - span_us < at <= now_us)

    def ask(self, question: Asked) -> None:
        """Note a question that was put. Noting the same one twice changes nothing."""
        if question.id in self.open or question.id in self.closed:
            return
        self._forget(question.asked_us)
        self.open[question.id] = question
        self.asked_us.append(question.asked_us)

    def knows(self, key: str) -> bool:
        """True for a question, or the event of one, that is open or closed lately."""
        if key in self.open or key in self.closed:
            return True
        return any(q.event == key for q in self.open.values()) or any(
            row[1] == key for row in self.closed.values()
        )

    def may_be_sought(self, now_us: int, rest_us: int) -> bool:
        """Whether the customer bears a question that nothing waits for.

        Not while something is open with them, nor within a day of a question about a payment, nor
        ``rest_us`` after they were sought out, nor while they are blocked or under duress.
        """
        if self.blocked_us is not None or self.under_duress(now_us):
            return False
        if any(question.expires_us > now_us for question in self.open.values()):
            return False
        if self.asked_within(now_us, DAY_US):
            return False
        return self.sought_us is None or now_us - self.sought_us >= rest_us

    def inquire(self, inquiry: Inquiry) -> None:
        """Note an inquiry that was put. Noting the same one twice changes nothing."""
        self.inquiries = {
            key: one
            for key, one in self.inquiries.items()
            if one.state == OPEN or one.at_us > inquiry.asked_us - KEPT_US
        }
        self.sought_us = max(self.sought_us or 0, inquiry.asked_us)
        self.inquiries.setdefault(inquiry.id, inquiry)

    def hear_of(self, inquiry: Inquiry, answer: Answer, items: Sequence[int], wait_us: int) -> Said:
        """Apply an answer to an inquiry."""
        duress = answer.decision == "confirm" and answer.reason == "duress"
        if duress:
            self.duress_us = max(self.duress_us or 0, answer.received_us)
        said = hear(
            inquiry,
            answer.decision,
            items,
            answer.received_us,
            binding=answer.binding,
            binding_wait_us=wait_us,
            frozen=self._is_frozen(answer.binding),
            delayed=answer.delayed,
            duress=duress or self.under_duress(answer.received_us),
        )
        self.inquiries[inquiry.id] = said.inquiry
        return said

    def hold(self, key: str, word: list[Any]) -> None:
        """Keep what came before its question: after a crash an answer can overtake it.

        At most `HELD` words are kept, the oldest goes first.
        """
        self.early[key] = word
        while len(self.early) > HELD:
            del self.early[next(iter(self.early))]

    def held(self, key: str) -> list[Any] | None:
        """Take out what was held for a question (or for its event)."""
        return self.early.pop(key, None)

    def hear(
        self, answer: Answer, unsigned_limit: int | None = None, binding_wait_us: int = 0
    ) -> Heard:
        """Apply one answer.

        ``unsigned_limit`` bounds unsigned confirms of 24 h (minor units of the base currency);
        ``binding_wait_us`` is how old a binding must be to confirm.
        """
        if answer.decision not in ("confirm", "deny"):
            raise ValueError(f"answer: needed confirm or deny, got {answer.decision!r}")
        if answer.decision == "confirm" and answer.reason == "duress":
            self.duress_us = max(self.duress_us or 0, answer.received_us)
        question = self.open.get(answer.challenge)
        if question is None:
            return self._hear_again(answer)
        if answer.received_us >= question.expires_us:
            return Heard("late", question.event)
        if answer.decision == "deny":
            return self._close(question, "denied", answer.received_us, "customer", answer.reason)
        return self._confirm(question, answer, unsigned_limit, binding_wait_us)

    def _confirm(
        self, question: Asked, answer: Answer, unsigned_limit: int | None, binding_wait_us: int
    ) -> Heard:
        if answer.delayed:
            return Heard("delayed", question.event)
        if self._is_frozen(answer.binding):
            return Heard("frozen", question.event)
        if not may_confirm(answer.binding, answer.received_us, binding_wait_us):
            return Heard("fresh", question.event)
        if answer.strength != "signed":
            spent = self.unsigned_spent(answer.received_us)
            if unsigned_limit is not None and spent + question.amount_base > unsigned_limit:
                return Heard("unsigned", question.event)
            self.confirmed.append((answer.received_us, question.amount_base))
        self.confirmed_by[question.id] = answer.binding.id if answer.binding else ALL
        return self._close(question, "confirmed", answer.received_us, "customer", None)

    def unsigned_spent(self, now_us: int) -> int:
        """The sum of what was let go unsigned in the 24 h before, in minor units."""
        return sum(amount for at, amount in self.confirmed if at > now_us - DAY_US)

    def _is_frozen(self, binding: Binding | None) -> bool:
        if ALL in self.frozen:
            return True
        if binding is None:
            return bool(self.frozen)
        # Bound anew after the freeze: the bank has looked at it, and it waits like any new one.
        since = self.frozen.get(binding.id)
        return since is not None and binding.bound_us <= since

    def _hear_again(self, answer: Answer) -> Heard:
        known = self.closed.get(answer.challenge)
        if known is None:
            return Heard("unknown")
        state, event, _ = known
        if state == "confirmed" and answer.decision == "deny":
            by = self.confirmed_by.get(answer.challenge, ALL)
            self.frozen[by] = max(self.frozen.get(by, 0), answer.received_us)
            self.closed[answer.challenge] = ("contradicted", event, answer.received_us)
            self.word = None
            return Heard("contradicted", event)
        same = {"confirmed": "confirm", "denied": "deny", "contradicted": "deny"}.get(state)
        return Heard("duplicate" if same == answer.decision else "late", event)

    def block(self, at_us: int) -> Iterator[Outcome]:
        """The customer wants nothing paid: deny all that is open, and all that comes."""
        self.blocked_us = max(self.blocked_us or 0, at_us)
        for question in list(self.open.values()):
            ended = self._close(question, "denied", at_us, "customer", "not_me").outcome
            if ended is not None:
                yield ended

    def unblock(self) -> None:
        """The bank has spoken with the customer: what was blocked and frozen is so no more."""
        self.blocked_us = None
        self.frozen = {}

    def expire(self, heard_until_us: int) -> Iterator[Outcome]:
        """End each question whose deadline lies before the time up to which answers were read."""
        for question in [q for q in self.open.values() if q.expires_us <= heard_until_us]:
            ended = self._close(question, "expired", question.expires_us, "timer", None).outcome
            if ended is not None:
                yield ended

    def withdraw(self, event: str, at_us: int) -> Outcome | None:
        """End the question about an event that the bank cancelled, executed or reversed."""
        for question in self.open.values():
            if question.event == event:
                return self._close(question, "withdrawn", at_us, "bank", None).outcome
        return None

    def give_up(self, challenge: str, at_us: int, why: str) -> Outcome | None:
        """End a question that no channel could carry."""
        question = self.open.get(challenge)
        if question is None:
            return None
        return self._close(question, "unreachable", at_us, "notifier", why).outcome

    def settle(self, recorded: Outcome) -> None:
        """Take over an outcome that is already on record (a replay computes no new one)."""
        question = self.open.pop(recorded.challenge, None)
        self.closed[recorded.challenge] = (recorded.state, recorded.event, recorded.at_us)
        if question is not None:
            self._settles(question, recorded)

    def _close(self, question: Asked, state: str, at_us: int, by: str, reason: str | None) -> Heard:
        del self.open[question.id]
        self.closed[question.id] = (state, question.event, at_us)
        decision = FINAL_DECISION[state]
        if state == "confirmed" and self.under_duress(at_us):
            decision = "review"  # to the customer, and to who looks over the shoulder, a confirm
        ended = Outcome(question.event, question.id, state, decision, at_us, by, reason)
        self._settles(question, ended)
        return Heard("counted", question.event, ended)

    def passes(self, amount_base: int, at_us: int) -> None:
        """A payment passed by the last word (`risk.rest`): nobody signed it."""
        if self.word is not None:
            self.word = self.word.after(amount_base)
            self.confirmed.append((at_us, amount_base))

    def _settles(self, question: Asked, ended: Outcome) -> None:
        """A word about a card payment settles others for a while; one under duress does not."""
        confirmed = ended.state == "confirmed" and ended.decision == "approve"
        denied = ended.state == "denied" and ended.reason == "not_me"
        if question.rests and (confirmed or denied):
            self.word = Word(ended.at_us, question.amount_base, confirmed)

    def under_duress(self, at_us: int) -> bool:
        """True for a day after a duress word: what follows may be forced, too."""
        return self.duress_us is not None and at_us < self.duress_us + DURESS_US

    def _forget(self, now_us: int) -> None:
        self.asked_us = [at for at in self.asked_us if at > now_us - KEPT_CLOSED_US]
        self.confirmed = [pair for pair in self.confirmed if pair[0] > now_us - KEPT_CLOSED_US]
        self.closed = {
            key: row for key, row in self.closed.items() if row[2] > now_us - KEPT_CLOSED_US
        }
        self.confirmed_by = {key: by for key, by in self.confirmed_by.items() if key in self.closed}


def _frozen(kept: Any) -> dict[str, int]:
    """Format 1 knew of no bindings: what was frozen then is so for all, until it is lifted."""
    if isinstance(kept, bool):
        return {ALL: 0} if kept else {}
    return {str(by): int(at) for by, at in kept.items()}


def answer_from(entry: Mapping[str, Any], position: str, received_us: int) -> Answer:
    """Make an `Answer` of the JSON on ``rb:answers``."""
    return Answer(
        challenge=entry["challenge"],
        decision=entry["decision"],
        reason=entry.get("reason"),
        layer=entry.get("layer", "E"),
        strength=entry.get("strength", "claimed"),
        received_us=received_us,
        delayed=bool(entry.get("delayed")),
        position=position,
        binding=binding_from(entry.get("binding")),
    )
