"""The floor for a replay: the flow's functions and order in a plain loop; no engine, no I/O."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import cast

from features import drift, explain, models, surface
from features.anomaly import HalfSpaceTrees
from features.catalogue import DESCRIBERS
from features.describer import Profile
from flows.files import Fact
from flows.judge import GRACE_US
from flows.walk import Values
from risk.challenge import Asked, Conversation
from risk.events import Moment
from risk.labels import Known
from risk.policy import RuleSet, judge


def run(facts: Iterable[Fact], rules: RuleSet) -> tuple[float, Counter[str], float]:
    """Walk the facts; gives the seconds, the outcomes, and the sum of all probabilities."""
    champion = models.champion()
    held = [defaultdict[str, Profile](describer.new) for describer in DESCRIBERS]
    talks, wait = defaultdict[str, Conversation](Conversation), rules.policy.answer_within_us
    scored: dict[str, tuple[Moment, Values]] = {}
    outcomes, total, trees, watch = Counter[str](), 0.0, HalfSpaceTrees(), drift.Drift()
    began = time.perf_counter()
    for at_us, moment, told in facts:
        if moment is None:
            name, fraud, source = cast("tuple[str, bool, str]", told)
            of, values = scored.pop(name)
            about = (of.time_us, of.customer, of.payee, of.device, of.ip, 0, 0, True)
            label = Known(name, name, fraud, source, at_us, *about, values)
            for describer, profiles in zip(DESCRIBERS, held, strict=True):
                if owner := describer.entity_of_label(label):
                    profiles[owner].hear(label)
            champion.learn_one(values, fraud)
            continue
        values = dict(surface.describe(moment))
        for describer, profiles in zip(DESCRIBERS, held, strict=True):
            if owner := describer.entity(moment):
                values.update((profile := profiles[owner]).describe(moment))
                profile.observe(moment)
        probability, factors = champion.tell_one(values)
        explain.reasons(factors, values)
        score, now = min(1000, max(0, round(probability * 1000))), moment.accepted_us
        list((talk := talks[moment.customer]).expire(now - GRACE_US))
        if moment.type == "transaction" and not moment.late:
            watch.watch_one(values, score, moment.time_us)
        words = {"score": score, "anomaly": round(trees.meet_one(values) * 1000)}
        judged = judge(moment, values, words, rules, talk, now, champion.lessons)
        if judged.outcome == "challenge":
            talk.ask(Asked(moment.id, moment.id, now, now + wait, moment.amount_base or 0))
        scored[moment.id] = (moment, values)
        outcomes[judged.outcome] += 1
        total += probability
    return time.perf_counter() - began, outcomes, total
