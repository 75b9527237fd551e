"""Which channel is tried next? A pure state machine: facts and time in, what to do out.

::

    waiting --its time; the one before failed--> due --Written--> written --Taken, Seen--> taken
       |                                          |                  |                       |
       |                                          +---- Failed ------+-----------------------+
       |                                                  v
       +-- Closed, past half its life        bounced | dropped: the next one starts at once

The next channel starts *beside* the one before: when `wait` seconds have brought no sign of life
(a receipt, a marker) from it, at once when it failed, and `patience` seconds after a sign of life
without an end. Who answers first is heard; `Closed` withdraws what waits and corrects what was
shown. When the last one has failed the question is given up, once.

Times are seconds since 1970. The outbox keeps each rung as a row, so timers outlive a crash.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

State = Literal["waiting", "due", "written", "taken", "bounced", "dropped", "withdrawn"]
FAILED = frozenset({"bounced", "dropped"})
ENDED = FAILED | {"withdrawn"}


@dataclass(frozen=True, slots=True)
class Rung:
    """One channel of a question; `shown` once it was written, `seen` after a sign of life."""

    kind: str
    wait: float
    patience: float
    state: State = "waiting"
    starts: float | None = None
    shown: bool = False
    seen: bool = False


@dataclass(frozen=True, slots=True)
class Ladder:
    """The channels of one question, in order. `stale` is when nothing new is started any more."""

    rungs: tuple[Rung, ...]
    stale: float
    closed: bool = False
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class Begun:
    """The question was read."""


@dataclass(frozen=True, slots=True)
class Written:
    """The question was handed to this channel."""

    kind: str


@dataclass(frozen=True, slots=True)
class Taken:
    """The channel's server proved that it took the question: no sign of the customer yet."""

    kind: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A sign of life: the customer's device says that it has the question."""

    kind: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The channel will not bring the question there."""

    kind: str
    how: Literal["bounced", "dropped"] = "bounced"


@dataclass(frozen=True, slots=True)
class Unproved:
    """The session ended before there was proof."""

    kind: str


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The question ended, by whatever answer came first or by its deadline."""


Fact = Begun | Written | Taken | Seen | Failed | Unproved | Ticked | Closed


@dataclass(frozen=True, slots=True)
class Send:
    """Put the question by this channel."""

    kind: str


@dataclass(frozen=True, slots=True)
class Correct:
    """Say by this channel that the question has ended."""

    kind: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Tell the flow that no channel is left."""


Action = Send | Correct | GiveUp


def step(ladder: Ladder, fact: Fact, now: float) -> tuple[Ladder, tuple[Action, ...]]:
    """Give the ladder after a fact, and what is to be done about it."""
    rungs, actions = list(ladder.rungs), list[Action]()
    closed = ladder.closed
    if isinstance(fact, Closed):
        if not closed:
            actions += _close(rungs)
        closed = True
    elif isinstance(fact, Begun):
        if rungs and rungs[0].state == "waiting" and rungs[0].starts is None:
            actions += _start(rungs, 0, now)
    elif isinstance(fact, Ticked):
        actions += [] if closed else _tick(rungs, ladder.stale, now)
    else:
        at = next((n for n, rung in enumerate(rungs) if rung.kind == fact.kind), None)
        if at is not None:
            actions += _about(rungs, at, fact, now, closed=closed)
    lost = not closed and not ladder.given_up and all(rung.state in ENDED for rung in rungs)
    if lost:
        actions.append(GiveUp())
    given_up = ladder.given_up or lost
    return replace(ladder, rungs=tuple(rungs), closed=closed, given_up=given_up), tuple(actions)


def _about(
    rungs: list[Rung],
    at: int,
    fact: Written | Taken | Seen | Failed | Unproved,
    now: float,
    *,
    closed: bool,
) -> Sequence[Action]:
    rung = rungs[at]
    if isinstance(fact, Written) and rung.state == "due":
        rungs[at] = replace(rung, state="written", shown=True)
        if not rung.shown:
            _put_off(rungs, at, now + (rung.patience if rung.seen else rung.wait))
    elif isinstance(fact, Taken) and rung.state == "written":
        rungs[at] = replace(rung, state="taken")
    elif isinstance(fact, Seen) and rung.shown and not rung.seen:
        # What came back from the device outweighs a proof that is missing.
        revived = rung.state != "bounced" and not closed
        rungs[at] = replace(rung, state="taken" if revived else rung.state, seen=True)
        _put_off(rungs, at, now + rung.patience)
    elif isinstance(fact, Unproved) and rung.state == "written":
        rungs[at] = replace(rung, state="withdrawn" if closed else "due")
        return () if closed else (Send(rung.kind),)
    elif isinstance(fact, Failed) and rung.state not in ENDED:
        rungs[at] = replace(rung, state=fact.how)
        return () if closed else _start_next(rungs, at, now)
    return ()


def _start(rungs: list[Rung], at: int, now: float) -> list[Action]:
    """Start one rung; its successor's time begins to run. No wait at all starts that one, too."""
    rungs[at] = replace(rungs[at], state="due", starts=now)
    actions: list[Action] = [Send(rungs[at].kind)]
    after = at + 1
    if after < len(rungs) and rungs[after].state == "waiting":
        if rungs[at].wait <= 0:
            return actions + _start(rungs, after, now)
        rungs[after] = replace(rungs[after], starts=now + rungs[at].wait)
    return actions


def _start_next(rungs: list[Rung], at: int, now: float) -> list[Action]:
    """One has failed: the next one goes at once, if its time has begun to run."""
    for after in range(at + 1, len(rungs)):
        if rungs[after].state == "waiting":
            return _start(rungs, after, now) if rungs[after].starts is not None else []
    return []


def _put_off(rungs: list[Rung], at: int, until: float) -> None:
    after = at + 1
    if after < len(rungs) and rungs[after].state == "waiting":
        begun = rungs[after].starts
        rungs[after] = replace(rungs[after], starts=until if begun is None else max(begun, until))


def _tick(rungs: list[Rung], stale: float, now: float) -> list[Action]:
    actions: list[Action] = []
    for at, rung in enumerate(rungs):
        if rung.state != "waiting":
            continue
        if now >= stale:
            rungs[at] = replace(rung, state="dropped")
        elif rungs[at].starts is not None and (rungs[at].starts or 0.0) <= now:
            actions += _start(rungs, at, now)
    return actions


def _close(rungs: list[Rung]) -> list[Action]:
    actions: list[Action] = []
    for at, rung in enumerate(rungs):
        if rung.shown and rung.state != "bounced":
            actions.append(Correct(rung.kind))
        if rung.state in {"waiting", "due"}:
            rungs[at] = replace(rung, state="withdrawn")
    return actions
