"""What goes on record, and in which words? The audit records that the flow makes.

A record's ``rid`` is made of the input, so that a replay makes the same one and the ledger keeps
it once. No floats: a float is its string, the same bits back.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from flows.effects import Note
from flows.score import Drifted, Learnt, Promoted
from flows.staff import Person
from flows.walk import Scored, Spoken
from risk import names
from risk.brakes import HOUR_US, Tripped
from risk.challenge import Outcome
from risk.docket import Hit, written
from risk.events import Moment, rfc3339
from risk.inquiry import Inquiry, Said
from risk.policy import Judged

FLOW = {"type": "system", "id": "flow", "role": "decision"}


class Recorder:
    """Makes records for one tenant."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant

    def _record(
        self,
        kind: str,
        rid: str,
        event: str,
        subject: str,
        at_us: int,
        body: Mapping[str, Any],
        *,
        grade: int = 2,
        case: str | None,
    ) -> dict[str, Any]:
        return {
            "v": 1,
            "kind": kind,
            "rid": rid,
            "tenant": self._tenant,
            "case": case,
            "event": event,
            "subject": subject,
            "actor": FLOW,
            "at": rfc3339(at_us),
            "body": body,
            "payload": [],
            "grade": grade,
        }

    def _of_event(
        self,
        moment: Moment,
        kind: str,
        at_us: int,
        body: Mapping[str, Any],
        *,
        late: bool = False,
    ) -> dict[str, Any]:
        rid = names.scored(moment.id, kind, late=late)
        case = names.case(moment.id)
        return self._record(kind, rid, moment.id, moment.customer, at_us, body, case=case)

    def decided(
        self,
        scored: Scored,
        judged: Judged,
        decision: Mapping[str, Any],
        ask: Mapping[str, Any] | None,
        at_us: int,
        *,
        late: bool = False,
    ) -> list[dict[str, Any]]:
        """The decision-time bundle: features, score, rule hits, decision, and what follows."""
        moment = scored.moment
        values = {
            name: repr(value) if value.__class__ is float else value
            for name, value in scored.features.items()
        }
        kept = {
            key: value
            for key, value in decision.items()
            if key not in ("stages_us", "outcome", "factors")
        }
        bundle = [
            self._of_event(moment, "features", at_us, {"values": values}, late=late),
            self._of_event(
                moment,
                "score",
                at_us,
                {**_scored(scored), "given": dict(judged.given)},
                late=late,
            ),
        ]
        if judged.hits or judged.shadow:
            told: dict[str, Any] = {"hits": _hits(judged.hits)}
            if judged.shadow:  # held, and changed nothing
                told["shadow"] = _hits(judged.shadow)
            bundle.append(self._of_event(moment, "rule.hits", at_us, told, late=late))
        if late:
            bundle.append(
                self._of_event(moment, "escalation", at_us, {"late_decision": kept}, late=late)
            )
            return bundle
        bundle.append(self._of_event(moment, "decision", at_us, kept))
        if ask is not None:
            shown = {key: value for key, value in ask.items() if key not in ("payee", "op", "v")}
            asked = self._of_event(moment, "challenge.created", at_us, shown)
            asked["personal"] = {
                "payee": {
                    "subject": moment.payee or moment.customer,
                    "sealed": moment.payee_sealed,
                }
            }
            if moment.payee_sealed is None:
                del asked["personal"]
            bundle.append(asked)
        elif judged.outcome in ("approve", "decline"):
            bundle.append(self._of_event(moment, "case.closed", at_us, {"state": judged.outcome}))
        return bundle

    def ended(self, outcome: Outcome, customer: str, at_us: int) -> list[dict[str, Any]]:
        """How a challenge ended. Its case is closed later: the closing message belongs to it."""
        case, rid = names.case(outcome.event), f"challenge/{outcome.challenge}"
        body: dict[str, Any] = {
            "challenge": outcome.challenge,
            "state": outcome.state,
            "decision": outcome.decision,
            "reason": outcome.reason,
            "by": outcome.by,
        }
        if outcome.state == "confirmed" and outcome.decision == "review":
            body["duress"] = True
        return [
            self._record(
                "outcome", f"{rid}/outcome", outcome.event, customer, at_us, body, case=case
            )
        ]

    def closed(self, event: str, customer: str, at_us: int) -> bytes:
        """The end of a case in which a question was asked and is answered."""
        record = self._record(
            "case.closed",
            f"event/{event}/case.closed",
            event,
            customer,
            at_us,
            {"state": "answered"},
            case=names.case(event),
        )
        return orjson.dumps([record])

    def verdict(self, spoken: Spoken, event: str | None, verdict: str, at_us: int) -> bytes:
        """What the shard made of an answer that brought no outcome."""
        kind = "answer.contradicted" if verdict == "contradicted" else "answer"
        record = self._record(
            kind,
            f"{names.ANSWERS}/{spoken.position}/verdict",
            event or str(spoken.entry.get("event", "")),
            spoken.customer,
            at_us,
            {"challenge": spoken.entry.get("challenge"), "verdict": verdict},
            case=names.case(event) if event else None,
        )
        return orjson.dumps([record])

    def contradicted(
        self, spoken: Spoken, event: str, frozen: str, *, turned: bool
    ) -> list[dict[str, Any]]:
        """A deny after a confirm: that it came, and the new outcome where it was in time."""
        case, at_us = names.case(event), spoken.received_us
        challenge = spoken.entry.get("challenge")
        reason = spoken.entry.get("reason")
        told: dict[str, Any] = {"challenge": challenge, "reason": reason}
        made = [
            self._record(
                "answer.contradicted",
                f"{names.ANSWERS}/{spoken.position}/verdict",
                event,
                spoken.customer,
                at_us,
                {**told, "verdict": "contradicted", "turned": turned, "frozen": frozen},
                case=case,
            )
        ]
        if turned:
            body = {**told, "state": "denied", "decision": "decline", "by": "customer"}
            made.append(
                self._record(
                    "outcome",
                    f"challenge/{challenge}/outcome/contradicted",
                    event,
                    spoken.customer,
                    at_us,
                    {**body, "was": "confirmed"},
                    case=case,
                )
            )
        return made

    def frozen(self, spoken: Spoken, kind: str) -> bytes:
        """All payments of a customer are blocked, or no more so, in a case of its own."""
        ident = f"{kind}-{spoken.position}"
        rid, case = f"{names.ANSWERS}/{spoken.position}", names.case(ident)
        body = {"channel": spoken.entry.get("channel"), "block": kind == "freeze"}
        opened = self._record(
            "case.opened", f"{rid}/case.opened", ident, spoken.customer, spoken.received_us,
            {"class": "rc10y"}, case=case,
        )  # fmt: skip
        said = self._record(
            "escalation", f"{rid}/escalation", ident, spoken.customer, spoken.received_us,
            {"why": kind, **body}, case=case,
        )  # fmt: skip
        return orjson.dumps([{**opened, "class": "rc10y"}, said])

    def inquiring(self, inquiry: Inquiry, customer: str, why: str) -> list[dict[str, Any]]:
        """An inquiry that is put, in a case of its own."""
        opened = self._of_inquiry("case.opened", inquiry, customer, inquiry.asked_us, {})
        opened |= {"class": "rc10y", "body": {"class": "rc10y"}}
        body = {
            "events": list(inquiry.events),
            "why": why,
            "after": inquiry.about,
            "expires": rfc3339(inquiry.expires_us),
        }
        asked = self._of_inquiry("inquiry.asked", inquiry, customer, inquiry.asked_us, body)
        return [opened, asked]

    def inquired(
        self, said: Said, customer: str, at_us: int, by: str, *, rid: str
    ) -> list[dict[str, Any]]:
        """How an inquiry ended, or what an answer was worth that ended nothing.

        Its case is closed once the closing message has had its time, a denied one's by an officer.
        """
        inquiry = said.inquiry
        if said.verdict != "counted":
            body: dict[str, Any] = {"verdict": said.verdict}
            return [self._of_inquiry("answer", inquiry, customer, at_us, body, rid=rid)]
        labels = [{"event": event, "fraud": fraud} for event, fraud in said.labels]
        body = {"state": inquiry.state, "labels": labels, "by": by}
        return [self._of_inquiry("inquiry.answered", inquiry, customer, at_us, body, rid=rid)]

    def _of_inquiry(
        self,
        kind: str,
        inquiry: Inquiry,
        customer: str,
        at_us: int,
        body: Mapping[str, Any],
        *,
        rid: str = "",
    ) -> dict[str, Any]:
        return self._record(
            kind,
            f"{rid or 'inquiry/' + inquiry.id}/{kind}",
            inquiry.events[0],
            customer,
            at_us,
            {"inquiry": inquiry.id, **body},
            case=names.case(inquiry.id),
        )

    def of_model(self, happened: Promoted | Drifted) -> Note:
        """A promotion that took effect, one that could not, or a drift; the officers hear of it."""
        if isinstance(happened, Drifted):
            rid = f"drift/{happened.series}/{happened.test}/{happened.event}"
            size = f"{happened.size:+.3f}" if happened.test == "adwin" else f"{happened.size:.3f}"
            body: dict[str, Any] = {
                "series": happened.series,
                "test": happened.test,
                "size": size,
                "seen_at": happened.event,
            }
            told = f"{happened.series} is not what it was ({happened.test} {size})."
            alert = {"event": None, "kind": "drift", "text": told}
            records = [self._of_model("model.drift", rid, happened.at_us, body)]
            return Note(rid, orjson.dumps(records), alert)
        order, model = happened.order, happened.model
        rid, at_us = f"{names.MODELS}/{order.position}", order.approved_us
        by = {
            "proposal": order.proposal,
            "proposed_by": order.proposed_by,
            "approved_by": order.approved_by,
            "rollback": order.back,
        }
        if happened.refused is not None:
            body = {**by, "model": order.model, "refused": happened.refused}
            alert = {"event": None, "kind": "model", "text": f"Not promoted: {happened.refused}."}
            records = [self._of_model("model.refused", f"{rid}/model.refused", at_us, body)]
            return Note(rid, orjson.dumps(records), alert)
        body = {**by, "model": model._asdict()}
        records = [self._of_model("model.promoted", f"{rid}/model.promoted", at_us, body)]
        if happened.retired is not None:
            gone = {**by, "model": happened.retired._asdict(), "for": model.id}
            records.append(self._of_model("model.retired", f"{rid}/model.retired", at_us, gone))
        told = f"{model.id} decides from now on, by {order.proposed_by} and {order.approved_by}."
        return Note(rid, orjson.dumps(records), {"event": None, "kind": "model", "text": told})

    def _of_model(self, kind: str, rid: str, at_us: int, body: Mapping[str, Any]) -> dict[str, Any]:
        record = self._record(kind, rid, "", "", at_us, body, grade=1, case=None)
        return {**record, "event": None, "subject": None}

    def configured(
        self, rid: str, body: Mapping[str, Any], person: Person | None, at_us: int
    ) -> dict[str, Any]:
        """A step of a change of the judgement, by a person or by ourselves (a brake, a start)."""
        made = self._record("config.change", rid, "", "", at_us, body, grade=1, case=None)
        made |= {"event": None, "subject": None}
        if person is not None:
            role = "+".join(person.rights)
            made["actor"] = {"type": "staff", "id": person.name, "role": role}
        return made

    def braked(self, tripped: Tripped, sha256: str, shard: int, at_us: int) -> Note:
        """A brake that tripped: on record, and told to the officers, once a set, rule and hour."""
        rid = f"brake/{sha256[:12]}/{tripped.rule}/{tripped.kind}/{shard}/{at_us // HOUR_US}"
        body = {
            "brake": tripped.rule,
            "kind": tripped.kind,
            "limit": tripped.limit,
            "shard": shard,
            "set": sha256,
        }
        record = self.configured(rid, body, None, at_us)
        text = f"A brake tripped: {tripped.words}."
        return Note(rid, orjson.dumps([record]), {"event": "", "kind": "brake", "text": text})

    def silent(self, rule: str, last_us: int) -> Note:
        """A rule that was hit regularly and is hit no more."""
        text = f"Rule {rule} was hit regularly and has been silent since {rfc3339(last_us)}."
        alert = {"event": "", "kind": "silent", "text": text}
        return Note(f"silent/{rule}/{last_us // HOUR_US}", b"", alert)

    def learnt(self, learnt: Learnt) -> bytes:
        """One lesson, with the model after it; found by what the model had been taught with it."""
        label = learnt.label
        record = self._record(
            "learn",
            names.lesson(learnt.taught),
            label.event,
            label.customer,
            label.known_us,
            {
                "label": label.id,
                "fraud": label.fraud,
                "source": label.source,
                "known_us": label.known_us,
                "before": learnt.before,
                "model": learnt.model._asdict(),
            },
            case=None,
        )
        return orjson.dumps([record])


def _hits(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    return [
        {"rule": hit.rule.id, "values": [written(value) for value in hit.values]} for hit in hits
    ]


def _scored(scored: Scored) -> dict[str, Any]:
    """The model's word, what the others said, and why; numbers as their strings."""
    body: dict[str, Any] = {
        "score": scored.score,
        "probability": repr(scored.probability),
        "model": scored.model._asdict(),
    }
    if scored.scores is not None and len(scored.scores) > 1:
        body["challengers"] = {
            name: repr(value) for name, value in scored.scores.items() if name != scored.model.id
        }
    if scored.factors is not None:
        body["factors"] = factors_told(scored.factors)
    if scored.taught:
        body["taught"] = scored.taught
    return body


def factors_told(factors: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Factors as a record has them: a float is its string."""
    return [
        {name: repr(value) if value.__class__ is float else value for name, value in one.items()}
        for one in factors
    ]
