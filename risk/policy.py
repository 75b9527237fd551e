"""Which of the four outcomes follows from score, rules, amount and what the customer bears?

Monotone: the strictest of what the score and the rules demand is what happens, so more risk never
gets a milder action. A reached cap on questions means ``review``, never ``approve``.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import orjson

from risk import events, money
from risk.brakes import BrakeLimits, Tripped
from risk.challenge import DAY_US, Conversation
from risk.docket import Docket, Hit, written
from risk.failing import FailLimits
from risk.lists import ALLOW, BLOCK, FINAL, FORCE, NO_LISTS, SUPPRESS, WATCH, Lists, Named
from risk.rest import PASSED, Word, rested
from risk.rule_check import Vocabulary
from risk.rule_truth import Cause, Value
from risk.rules import FACTOR, MILD_TO_STRICT, OUTCOMES, Rule, read_rules

_NAMES = ("version", "score", "score_acts_after_lessons", "asking", "fail_open", "brakes")
_FALLING = "score steps from strict to mild with falling scores and amounts"
MOST_SEGMENTS = 6
_BRAKES = ("challenges_per_hour", "declines_per_hour")
_ASKING = (
    "per_customer_24h",
    "open_at_once",
    "answer_within_seconds",
    "unsigned_confirm_limit_24h",
    "binding_confirms_after_hours",
    "customers_per_day_share",
    "rest_after_answer_hours",
)
_FAIL_OPEN = ("below", "per_customer_hour", "per_payee_hour", "overall_hour")


class BadPolicy(ValueError):
    """A policy file that can't be used: what was needed, what was got."""


@dataclass(frozen=True, slots=True)
class Step:
    """From this score on, this outcome: for payments of at least an amount, of a segment.

    ``amount`` is in minor units of the base currency; an amount that nobody knows (no rate) is
    above every limit. ``segment`` is the list on which the segment's customers stand.
    """

    at_least: int
    outcome: str
    amount: int | None = None
    segment: str | None = None

    def reached(self, score: int, amount: int | None, segments: Collection[str]) -> bool:
        """Whether a score, an amount and a customer's segments reach this step."""
        if score < self.at_least or (self.segment is not None and self.segment not in segments):
            return False
        return self.amount is None or amount is None or amount >= self.amount


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy of one file; amounts in minor units of the base currency."""

    steps: tuple[Step, ...]
    acts_after_lessons: int
    asked_per_day: int
    open_at_once: int
    answer_within_us: int
    unsigned_limit: int | None
    fail: FailLimits
    binding_wait_us: int = DAY_US
    customers_share: float | None = None
    brakes: BrakeLimits | None = None
    rest_us: int = 0


class Bar(NamedTuple):
    """What an asking budget says of an event: its probability, and from which on one may ask."""

    probability: float
    at_least: float


@dataclass(frozen=True)
class RuleSet:
    """Everything that judges, as one immutable whole with one hash.

    ``sha256`` is of what the files say: rules, policy, rates, the words of declared features that
    rules look at; ``document`` are the very bytes.
    """

    rules: tuple[Rule, ...]
    policy: Policy
    sha256: str
    rates: money.Rates
    document: bytes = field(default=b"", repr=False, compare=False)
    lists: Lists = NO_LISTS

    def whole(self, model: Iterable[str]) -> str:
        """The hash of all that judges: the files', the lists' version, the model's mark."""
        told = "\n".join((self.sha256, self.lists.version, *model))
        return hashlib.sha256(told.encode()).hexdigest()

    def without(self, demoted: frozenset[str]) -> "RuleSet":
        """The set with some of its live rules in shadow; the same set, by its hash."""
        if not demoted:
            return self
        kept = self._demoted.get(demoted)
        if kept is None or kept.lists is not self.lists:
            rules = tuple(
                replace(rule, state="shadow")
                if rule.id in demoted and rule.state == "live"
                else rule
                for rule in self.rules
            )
            kept = self._demoted[demoted] = replace(self, rules=rules)
        return kept

    @cached_property
    def _demoted(self) -> dict[frozenset[str], "RuleSet"]:
        return {}

    @cached_property
    def docket(self) -> Docket:
        """The rules made ready, once for the set."""
        return Docket(self.rules)


class Judged(NamedTuple):
    """An outcome with its reasons; ``asks`` where the customer is to be asked.

    ``shadow`` are the shadow rules that held and changed nothing, ``points`` what rules added to
    the score, ``tags`` what they marked the decision with. ``given`` is what else was known of the
    customer and the model: with it, the features and the set, `judge` says the same again.
    """

    outcome: str
    reasons: list[dict[str, Any]]
    hits: list[Hit]
    shadow: Sequence[Hit] = ()
    points: int = 0
    tags: tuple[str, ...] = ()
    given: Mapping[str, Any] = {}


def _minor(document: Mapping[str, Any], name: str, currency: str) -> int:
    value = document.get(name)
    if not isinstance(value, str):
        raise BadPolicy(f"policy: needed an amount as text in {name!r}, got {value!r}")
    try:
        return money.minor_units(value, currency)
    except money.BadAmount as wrong:
        raise BadPolicy(f"policy: {name}: {wrong}") from wrong


def _count(document: Mapping[str, Any], name: str, least: int = 0) -> int:
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BadPolicy(f"policy: needed an integer of at least {least} in {name!r}, got {value!r}")
    return value


def _section(found: Any, where: str, known: Collection[str]) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise BadPolicy(f"policy: needed an object in {where!r}, got {found!r}")
    for name in found:
        if name not in known:
            near = get_close_matches(str(name), known, n=1)
            hint = f"; the nearest known name is {near[0]}" if near else ""
            raise BadPolicy(f"policy: needed a known name in {where!r}, got {name!r}{hint}")
    return found


def _steps(rows: Any, base: str) -> tuple[Step, ...]:
    if not isinstance(rows, list):
        raise BadPolicy(f"policy: needed a list of steps in 'score', got {rows!r}")
    steps: list[Step] = []
    for found in rows:
        row = _section(found, "score", ("at_least", "outcome", "amount_at_least", "segment"))
        if row.get("outcome") not in OUTCOMES:
            raise BadPolicy(f"policy: needed an outcome of {OUTCOMES}, got {row.get('outcome')!r}")
        least = "amount_at_least"
        amount = _minor(row, least, base) if least in row else None
        segment = row.get("segment")
        if segment is not None and not (isinstance(segment, str) and segment):
            raise BadPolicy(f"policy: needed the name of a list in 'segment', got {segment!r}")
        steps.append(Step(_count(row, "at_least"), row["outcome"], amount, segment))
    _monotone(steps, base)
    return tuple(steps)


def first_step(
    steps: Iterable[Step], score: int, amount: int | None, segments: Collection[str]
) -> Step | None:
    """The first step that is reached, in the order of the file."""
    return next((step for step in steps if step.reached(score, amount, segments)), None)


def _monotone(steps: Sequence[Step], base: str) -> None:
    """Refuse steps by which a higher score or amount would get a milder outcome.

    The outcome changes at the steps' own bounds alone, so that those are all there is to try.
    """
    named = sorted({step.segment for step in steps if step.segment is not None})
    if len(named) > MOST_SEGMENTS:
        raise BadPolicy(f"policy: needed at most {MOST_SEGMENTS} segments, got {len(named)}")
    names = [one for size in range(len(named) + 1) for one in combinations(named, size)]
    reached: set[int] = set()
    scores = sorted({0, *(step.at_least for step in steps)})
    amounts: list[int | None] = [*sorted({0, *(s.amount for s in steps if s.amount)}), None]
    for segments in names:
        strict = {}
        for score in scores:
            for amount in amounts:
                step = first_step(steps, score, amount, segments)
                reached.add(id(step))
                strict[score, amount] = 0 if step is None else MILD_TO_STRICT[step.outcome]
        for score, more in [*pairwise(scores)]:
            for amount in amounts:
                _no_milder(strict, (score, amount), (more, amount), segments, base)
        for amount, more_of_it in pairwise(amounts):
            for score in scores:
                _no_milder(strict, (score, amount), (score, more_of_it), segments, base)
    for step in steps:
        if id(step) not in reached:
            raise BadPolicy(
                f"policy: needed {_FALLING}, got one from {step.at_least} on to {step.outcome} "
                "that is never reached: those before it come first"
            )


def _no_milder(
    strict: Mapping[tuple[int, int | None], int],
    less: tuple[int, int | None],
    more: tuple[int, int | None],
    segments: tuple[str, ...],
    base: str,
) -> None:
    if strict[more] >= strict[less]:
        return
    of = f" of {' and '.join(segments)}" if segments else ""
    told = [
        f"score {score}, amount {'unknown' if amount is None else money.plain(amount, base)} "
        f"{OUTCOMES[strict[score, amount]]}"
        for score, amount in (less, more)
    ]
    raise BadPolicy(f"policy: needed {_FALLING}, got{of} {told[0]}, but {told[1]}")


def _share(asking: Mapping[str, Any], steps: tuple[Step, ...]) -> float | None:
    name = "customers_per_day_share"
    if name not in asking:
        return None
    value = asking[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise BadPolicy(
            f"policy: needed a share of customers above 0 and up to 1 in {name!r}, got {value!r}"
        )
    if any(step.outcome == "challenge" for step in steps):
        raise BadPolicy(
            f"policy: needed either a score step to challenge or 'asking.{name}', got both: "
            "the budget takes the step's place"
        )
    return float(value)


def read_policy(document: Mapping[str, Any], base: str) -> Policy:
    """Make a policy of a parsed file (format 1), or raise `BadPolicy`."""
    if document.get("version") != 1:
        raise BadPolicy(f"policy: needed 'version: 1', got {document.get('version')!r}")
    whole = _section(document, "policy", _NAMES)
    asking = _section(whole.get("asking"), "asking", _ASKING)
    fail = _section(whole.get("fail_open"), "fail_open", _FAIL_OPEN)
    lessons = "score_acts_after_lessons"
    limit, wait = "unsigned_confirm_limit_24h", "binding_confirms_after_hours"
    rest = "rest_after_answer_hours"
    steps = _steps(whole.get("score"), base)
    return Policy(
        steps=steps,
        acts_after_lessons=_count(whole, lessons) if lessons in whole else 0,
        asked_per_day=_count(asking, "per_customer_24h"),
        open_at_once=_count(asking, "open_at_once"),
        answer_within_us=_count(asking, "answer_within_seconds", 1) * 1_000_000,
        unsigned_limit=None if asking.get(limit) is None else _minor(asking, limit, base),
        fail=FailLimits(
            open_below=_minor(fail, "below", base),
            per_customer=_minor(fail, "per_customer_hour", base),
            per_payee=_minor(fail, "per_payee_hour", base),
            overall=_minor(fail, "overall_hour", base),
        ),
        binding_wait_us=_count(asking, wait) * 3_600_000_000 if wait in asking else DAY_US,
        customers_share=_share(asking, steps),
        brakes=_brakes(whole.get("brakes")),
        rest_us=_count(asking, rest) * 3_600_000_000 if rest in asking else 0,
    )


def _brakes(found: Any) -> BrakeLimits | None:
    if found is None:
        return None
    whole = _section(found, "brakes", _BRAKES)
    asks, declines = (_section(whole.get(name), name, ("rule", "overall")) for name in _BRAKES)
    return BrakeLimits(
        _count(asks, "rule", 1),
        _count(asks, "overall", 1),
        _count(declines, "rule", 1),
        _count(declines, "overall", 1),
    )


def rule_set(
    rules: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    policy: Mapping[str, Any],
    rates: money.Rates,
    known: Vocabulary | Collection[str],
) -> RuleSet:
    """Bind rules and policy into one immutable set; the hash is of what the files say.

    What a declared feature counts is said in other files: of those that a live or shadow rule looks
    at, the words are part of the set. ``rules`` is one parsed file or several, in their order;
    ``known`` as `read_rules` has it.
    """
    table = {
        code: [[str(day), str(rate)] for day, rate in rows] for code, rows in rates.dated.items()
    }
    whole: dict[str, Any] = {"rules": rules, "policy": policy}
    whole["rates"] = {"base": rates.base, "dated": table}
    read: tuple[Rule, ...] = ()
    for one in (rules,) if isinstance(rules, Mapping) else rules:
        read += read_rules(one, known, read)
    worded = wordings_of(read, known) if isinstance(known, Vocabulary) else {}
    if worded:
        whole["features"] = worded
    document = orjson.dumps(whole, option=orjson.OPT_SORT_KEYS)
    digest = hashlib.sha256(document).hexdigest()
    return RuleSet(read, read_policy(policy, rates.base), digest, rates, document)


def wordings_of(rules: Iterable[Rule], known: Vocabulary) -> dict[str, str]:
    """What the declared features count that a live or shadow rule looks at."""
    acting = (rule for rule in rules if rule.state in ("live", "shadow"))
    looked_at = {name for rule in acting for name in rule.names}
    return {name: known.wordings[name] for name in sorted(looked_at & known.wordings.keys())}


def event_values(moment: events.Moment) -> dict[str, Value]:
    """What an event says of itself, by the names that rules use."""
    return {
        "event.type": moment.type,
        "event.amount": moment.amount_base,
        "event.currency": moment.currency,
        "event.channel": moment.channel,
        "event.kind": moment.kind,
        "event.country": moment.country,
        "event.payee_country": moment.payee_country,
        "event.change": moment.change,
        "event.state": moment.state,
        "event.customer": moment.customer,
        "event.payee": moment.payee,
        "event.card": moment.card,
        "event.terminal": moment.terminal,
        "event.mcc": moment.mcc,
        "event.device": moment.device,
        "event.ip": moment.ip,
        "event.late": int(moment.late),
    }


def opinions_of(
    score: int,
    anomaly: int | None,
    factors: Iterable[Mapping[str, Any]] | None,
    docket: Docket,
) -> dict[str, Value]:
    """What the model says of an event, by the names that rules use.

    ``factors`` are those of the decision, the greatest few, each with ``feature`` and ``weight``.
    """
    told: dict[str, Value] = {"score": score, "anomaly": anomaly}
    if docket.factors and factors:
        for one in factors:
            if one["feature"] in docket.factors:
                told[FACTOR + one["feature"]] = one["weight"]
    return told


def judge(
    moment: events.Moment,
    features: Mapping[str, Value],
    opinions: Mapping[str, Value],
    rules: RuleSet,
    conversation: Conversation,
    now_us: int,
    lessons: int | None = None,
    bar: Bar | None = None,
) -> Judged:
    """Give the outcome of one event and why. Only a payment is asked about.

    ``opinions`` are what the model says (`opinions_of`).

    ``bar`` is of the asking budget, where the policy has one instead of a step to challenge.

    ``lessons`` is how many the model has learnt; one that has learnt few is not acted upon, since
    after its first fraud it finds every payment like that fraud.
    """
    values = {**features, **event_values(moment), **opinions}
    lists = rules.lists
    held, shadow = rules.docket.hits(moment.type, values, moment.time_us, lists.on_list)
    met = lists.met(moment) if lists.entries else []
    held, spared = _spared(held, met)
    points = sum(hit.rule.points for hit in held)
    acts = lessons is None or lessons >= rules.policy.acts_after_lessons
    score = min(1000, max(0, (int(opinions["score"] or 0) if acts else 0) + points))
    reasons: list[dict[str, Any]] = []
    outcome = "approve"
    step = None
    if acts or points:
        segments = _segments(moment, rules)
        step = first_step(rules.policy.steps, score, moment.amount_base, segments)
    if step is not None:
        outcome = step.outcome
        reasons.append(
            {
                "code": "score",
                "text": "The model finds this event unlike the customer's usual ones.",
                "feature": "score",
                "value": score,
                "operator": ">=",
                "threshold": step.at_least,
            }
        )
    if bar is not None and outcome in ("approve", "review") and moment.type == "transaction":
        risk = (bar.probability if acts else 0.0) + points / 1000
        if risk >= bar.at_least and (acts or points):
            outcome = "challenge"
            reasons.append(
                {
                    "code": "asking_budget",
                    "text": "Among today's payments most unlike their customers' usual ones.",
                    "feature": "score",
                    "value": score,
                    "operator": ">=",
                    "threshold": round(bar.at_least * 1000),
                }
            )
    for hit in held:
        if MILD_TO_STRICT[hit.rule.outcome] > MILD_TO_STRICT[outcome]:
            outcome = hit.rule.outcome
        reasons.append(reason(hit))
    if moment.type == "transaction" and moment.amount_base is None:
        reasons.append(_plain("no_rate", f"No dated rate from {moment.currency} is known."))
    if moment.late:
        reasons.append(_plain("late", "The event came later than the lateness bound."))
    outcome = _by_lists(outcome, met, reasons)
    reasons += spared
    if conversation.blocked_us is not None and moment.type == "transaction":
        reasons.append(_plain("customer_blocked", "The customer asked to block all payments."))
        outcome = "decline"
    word = _word(conversation, rules.policy, now_us, met)
    if outcome == "challenge":
        spent = 0 if word is None else conversation.unsigned_spent(now_us)
        outcome = _at_rest(moment, rules.policy, word, spent, now_us, reasons) or _may_ask(
            moment, rules.policy, conversation, now_us, reasons
        )
    tags = tuple(hit.rule.tag for hit in held if hit.rule.tag)
    tags += tuple(f"{WATCH}.{one.kind}" for one in met if one.list == WATCH)
    given: dict[str, Any] = {
        "now": events.rfc3339(now_us),
        "lessons": lessons,
        "bar": None if bar is None else [repr(float(one)) for one in bar],
        "asked_24h": conversation.asked_within(now_us, DAY_US),
        "open": len(conversation.open),
        "blocked": conversation.blocked_us is not None,
        "late": moment.late,
    }
    if word is not None:
        ago_us = now_us - word.at_us
        given["word"] = [ago_us, word.amount_base, int(word.confirmed), word.passed_base]
        given["unsigned_24h"] = conversation.unsigned_spent(now_us)
    return Judged(outcome, reasons, held, shadow, points, tags, given)


def _segments(moment: events.Moment, rules: RuleSet) -> list[str]:
    """The segments that the customer is of, among those that the policy names."""
    named = {step.segment for step in rules.policy.steps if step.segment is not None}
    on_list, at_us = rules.lists.on_list, moment.time_us
    return [name for name in named if on_list(name, "customer", moment.customer, at_us)]


def braked(judged: Judged, tripped: Sequence[Tripped]) -> Judged:
    """What trips a brake is looked at by an officer: neither asked, declined nor approved."""
    reasons = [*judged.reasons, *(_plain("brake", one.words) for one in tripped)]
    given = {**judged.given, "tripped": [list(one) for one in tripped]}
    return judged._replace(outcome="review", reasons=reasons, given=given)


def _spared(held: list[Hit], met: Sequence[Named]) -> tuple[list[Hit], list[dict[str, Any]]]:
    """The hits that count, and a reason for each that a ``suppress`` list keeps from it."""
    silent = {one.list.removeprefix(SUPPRESS): one for one in met if one.list.startswith(SUPPRESS)}
    if not silent:
        return held, []
    spared = [_listed(silent[hit.rule.id]) for hit in held if hit.rule.id in silent]
    return [hit for hit in held if hit.rule.id not in silent], spared


def _by_lists(outcome: str, met: Sequence[Named], reasons: list[dict[str, Any]]) -> str:
    """The outcome by the first list that acts, else as it is; its reason stands first."""
    for one in met:
        if one.list in (FINAL, BLOCK):
            told = "decline"
        elif one.list.startswith(FORCE):
            told = one.list.removeprefix(FORCE)
        elif one.list == ALLOW:
            told = "approve"
        else:
            continue
        reasons.insert(0, _listed(one))
        return told
    return outcome


def _listed(one: Named) -> dict[str, Any]:
    return {
        "code": f"list.{one.list}",
        "text": one.entry.reason,
        "feature": one.kind,
        "value": one.value,
        "operator": "in",
        "threshold": f"list.{one.list}",
    }


def reason(hit: Hit) -> dict[str, Any]:
    """Why a rule held: its code and text, its first comparison, and ``because``: all of them."""
    causes = [_cause(cause) for cause in hit.because]
    told = {"code": hit.rule.id, "text": hit.rule.text, **causes[0]}
    if len(causes) > 1:
        told["because"] = causes
    return told


def _cause(cause: Cause) -> dict[str, Any]:
    told = {
        "feature": cause.feature,
        "value": written(cause.value),
        "operator": cause.operator,
        "threshold": written(cause.threshold),
    }
    if cause.of:
        told["of"] = cause.of
    return told


def _word(
    conversation: Conversation, policy: Policy, now_us: int, met: Sequence[Named]
) -> Word | None:
    """The customer's last word, if it still counts: not under duress, nor where a list asks."""
    word = conversation.word
    if word is None or conversation.under_duress(now_us):
        return None
    if any(one.list == FORCE + "challenge" for one in met):
        return None
    return word if word.at_us <= now_us < word.at_us + policy.rest_us else None


def _at_rest(
    moment: events.Moment,
    policy: Policy,
    word: Word | None,
    spent: int,
    now_us: int,
    reasons: list[dict[str, Any]],
) -> str | None:
    """What the customer's last word makes of a question; None where it settles nothing.

    ``spent`` was let go unsigned in 24 h: what would have to be signed doesn't pass by a word.
    """
    told = rested(word, moment.kind, moment.amount_base, now_us, policy.rest_us)
    limit = policy.unsigned_limit
    if told == "approve" and limit is not None and spent + (moment.amount_base or 0) > limit:
        return None
    if told == "approve":
        text = "The customer confirmed a card payment a short while ago."
        reasons.append(_plain(PASSED, text))
    elif told == "review":
        text = "The customer denied a card payment a short while ago."
        reasons.append(_plain("denied_lately", text))
    return told


def _may_ask(
    moment: events.Moment,
    policy: Policy,
    conversation: Conversation,
    now_us: int,
    reasons: list[dict[str, Any]],
) -> str:
    if moment.type != "transaction":
        reasons.append(_plain("not_askable", "Only a payment can be asked about."))
        return "review"
    if conversation.asked_within(now_us, DAY_US) >= policy.asked_per_day:
        reasons.append(_plain("asked_enough", "The customer was asked often enough today."))
        return "review"
    if len(conversation.open) >= policy.open_at_once:
        reasons.append(_plain("open_enough", "Enough questions are open with this customer."))
        return "review"
    return "challenge"


def _plain(code: str, text: str) -> dict[str, Any]:
    return {"code": code, "text": text}
