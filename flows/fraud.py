"""The way of an event, read aloud.

An event comes in, is described by customer, payee, device and address, is scored by the model,
judged, and its decision leaves. An answer goes to the judge, who alone knows what was asked. A
label walks the describing stages like an event and teaches the model in the order of its stream.
An order that promotes another model goes to the model, and holds from where it walks by. Where it
is wished for, one more stage chooses who else is to be asked, about payments made already; whether
they are is for the judge to say, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from flows.describe import Tier
from flows.judge import Judging
from flows.score import Scoring
from flows.seek import SeekStage, is_first_mark
from flows.walk import Appointed, Described, HeardUntil, Spoken
from risk.labels import Known


@dataclass(frozen=True)
class Stages:
    """What the way is made of, assembled by the composition root."""

    inlet: Source[Any]
    tiers: Sequence[Tier]
    model: Scoring
    judge: Judging
    outlet: Sink[Any]
    seek: SeekStage | None = None


def fraud(stages: Stages) -> Dataflow:
    """Lay the way. Step names are promises: renaming one forgets its state."""
    flow = Dataflow("fraud")
    facts = op.input("hear", flow, stages.inlet)
    walking = op.filter("walking", facts, lambda fact: isinstance(fact, Described | Known))
    spoken = op.filter("spoken", facts, lambda fact: isinstance(fact, Spoken | HeardUntil))

    described = walking
    for tier in stages.tiers:
        owned = op.key_on(f"to_{tier.key}", described, tier.route)
        shards = op.stateful_batch(f"describe_{tier.key}", owned, tier.logic)
        described = op.key_rm(f"from_{tier.key}", shards)

    lessons = op.filter("lessons", walking, lambda fact: isinstance(fact, Known))
    ready = op.filter("ready", described, lambda fact: isinstance(fact, Described))
    orders = op.filter("orders", facts, lambda fact: isinstance(fact, Appointed))
    meeting = op.merge("meet_model", ready, lessons, orders)
    to_model = op.key_on("to_model", meeting, lambda _: "model")
    scored = op.key_rm("from_model", op.stateful_batch("score", to_model, stages.model.logic))

    facing = [scored, spoken]
    if stages.seek is not None:
        marks = op.filter("marks", facts, is_first_mark)
        meeting = op.merge("meet_seek", scored, lessons, marks)
        to_seek = op.key_on("to_seek", meeting, lambda _: "seek")
        wished = op.stateful_batch("seek", to_seek, stages.seek.logic)
        facing.append(op.key_rm("from_seek", wished))

    to_judge = op.key_on("to_judge", op.merge("meet_judge", *facing), stages.judge.route)
    decided = op.stateful_batch("judge", to_judge, stages.judge.logic)
    op.output("leave", op.key_rm("from_judge", decided), stages.outlet)
    return flow
