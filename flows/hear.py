"""What does the customer's answer change, and what their silence?

One shard of customers: their conversations, and what must be done by a time. Answers are heard in
the order of their stream; a deadline fires only once that was read to its end as of the deadline.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flows.due import CASE, CASE_REST_US, DUE, Due
from flows.effects import Contradiction, Ending, Note
from flows.inquire import Inquirer, Seeks, is_inquiry
from flows.walk import Scored, Spoken, Wished
from risk import events, names
from risk.challenge import FINAL_DECISION, Answer, Conversation, Outcome, answer_from
from risk.inquiry import DENIED, OPEN, Inquiry
from risk.labels import lesson_of

if TYPE_CHECKING:
    from flows.judge import Judging

_STILL_OPEN = ("unsigned", "fresh", "frozen")
_DURESS = "A confirm under duress: the customer sees a confirm, the payment is held for review."


class Hearing:
    """The customers of one shard, as the stage's store has them."""

    def __init__(self, stage: "Judging", shard: int) -> None:
        self._stage, self._shard = stage, shard
        self._inquirer = None if stage.seeks is None else self._inquiring(stage.seeks)

    def conversation(self, customer: str) -> Conversation:
        """Everything between the bank and one customer."""
        kept = self._stage.cabinet.fetch(self._shard, [customer])[customer]
        if not isinstance(kept, Conversation):
            raise TypeError(f"judge: needed a conversation of {customer}, got {type(kept)}")
        return kept

    def due(self) -> Due:
        """What the shard must do by a time."""
        cabinet = self._stage.cabinet
        cache = cabinet.fetch(self._shard, [DUE])
        kept = cache[DUE]
        if not isinstance(kept, Due):
            kept = cache[DUE] = Due()
        return kept

    def touch(self, entity: str) -> None:
        """Say that an entity was changed."""
        self._stage.cabinet.touch(self._shard, entity)

    def hear(self, spoken: Spoken) -> None:
        """Take in an answer, or word that nobody could be asked."""
        stage, entry = self._stage, spoken.entry
        conversation = self.conversation(spoken.customer)
        if entry.get("kind") in ("freeze", "unfreeze"):
            self._freeze(spoken, str(entry["kind"]))
            return
        if is_inquiry(entry["challenge"]):
            self._hear_of(spoken, conversation)
            return
        if not conversation.knows(str(entry["challenge"])):
            conversation.hold(entry["challenge"], [spoken.position, spoken.received_us, entry])
            self.touch(spoken.customer)
            return
        if entry.get("kind") == "unreachable":
            ended = conversation.give_up(
                entry["challenge"], spoken.received_us, str(entry.get("why", ""))
            )
            self.touch(spoken.customer)
            if ended is not None:
                self.end(spoken.customer, ended)
            return
        answer: Answer = answer_from(entry, spoken.position, spoken.received_us)
        policy = stage.rules().policy
        heard = conversation.hear(answer, policy.unsigned_limit, policy.binding_wait_us)
        self.touch(spoken.customer)
        if heard.outcome is not None:
            self.end(spoken.customer, heard.outcome)
            return
        if heard.verdict == "contradicted" and heard.event is not None:
            self._contradicted(spoken, heard.event, conversation)
            return
        alert = notice = None
        if answer.decision == "confirm" and answer.reason == "duress":
            alert = {"event": heard.event, "kind": "duress", "text": _DURESS}
        if heard.verdict in _STILL_OPEN:
            notice = self._notice(spoken, heard.verdict)
        records = stage.recorder.verdict(spoken, heard.event, heard.verdict, spoken.received_us)
        stage.effects.note([Note(f"{names.ANSWERS}/{spoken.position}", records, alert, notice)])

    # --- asking about payments made already -------------------------------------------------

    def _inquiring(self, seeks: Seeks) -> Inquirer:
        stage = self._stage

        def waits(inquiry: Inquiry, customer: str) -> None:
            due = self.due()
            if inquiry.state == OPEN:
                due.rows[inquiry.id] = (inquiry.expires_us, customer)
            else:
                due.rows.pop(inquiry.id, None)
            if inquiry.state not in (OPEN, DENIED):  # a denied one is an officer's to close
                due.rows[CASE + inquiry.id] = (inquiry.at_us + CASE_REST_US, customer)
            self.touch(DUE)

        return Inquirer(seeks, stage.effects, stage.recorder, stage.scoreds, stage.nonce_key, waits)

    def inquire(self, wish: Wished) -> None:
        """Ask about payments made already, where the customer may be asked."""
        seeks = self._stage.seeks
        if self._inquirer is None or seeks is None:
            return
        if self._stage.mode != "act":
            seeks.told(wish, ())
            return
        conversation = self.conversation(wish.customer)
        inquiry = self._inquirer.ask(wish, conversation)
        if inquiry is None:
            return
        self.touch(wish.customer)
        word = conversation.held(inquiry.id)
        if word is not None:
            self.hear(Spoken(wish.customer, word[0], word[1], word[2]))

    def _hear_of(self, spoken: Spoken, conversation: Conversation) -> None:
        wait_us = self._stage.rules().policy.binding_wait_us
        self.touch(spoken.customer)
        if self._inquirer is None or not self._inquirer.hear(spoken, conversation, wait_us):
            conversation.hold(
                spoken.entry["challenge"], [spoken.position, spoken.received_us, spoken.entry]
            )

    def _lapse(self, ident: str, customer: str, at_us: int) -> None:
        """Close an inquiry that nobody has answered by its end."""
        conversation = self.conversation(customer)
        inquiry = conversation.inquiries.get(ident)
        if inquiry is not None and self._inquirer is not None:
            self._inquirer.close(inquiry, conversation, customer, "expired", at_us)
            self.touch(customer)

    def _notice(self, spoken: Spoken, say: str) -> dict[str, Any]:
        """What the customer is told of an answer that did not end the question."""
        entry = spoken.entry
        return {
            "op": "notice",
            "id": entry["challenge"],
            "event": entry.get("event"),
            "customer": spoken.customer,
            "say": say,
            "channel": entry.get("channel"),
            "binding": (entry.get("binding") or {}).get("id"),
            "at": events.rfc3339(spoken.received_us),
        }

    def _contradicted(self, spoken: Spoken, event: str, conversation: Conversation) -> None:
        """Act on a deny after a confirm: decline where there is time, alert, keep the case."""
        entry, at = spoken.entry, events.rfc3339(spoken.received_us)
        frozen = ",".join(sorted(conversation.frozen))
        make = self._stage.recorder.contradicted
        outcome = {
            "state": "denied",
            "decision": "decline",
            "at": at,
            "by": {"type": "customer", "id": spoken.customer},
            "reason": entry.get("reason"),
            "challenge": entry["challenge"],
            "was": "confirmed",
        }
        label = None
        if entry.get("reason") == "not_me":
            label = {
                "id": f"{entry['challenge']}/label/contradicted",
                "event": event,
                "fraud": True,
                "source": "customer",
                "time": at,
                "known": at,
            }
        said = "The customer denied a payment after it was confirmed: "
        alert = {"event": event, "kind": "contradicted"}
        self._stage.effects.contradict(
            Contradiction(
                f"{names.ANSWERS}/{spoken.position}",
                event,
                outcome,
                at,
                (
                    make(spoken, event, frozen, turned=True),
                    make(spoken, event, frozen, turned=False),
                ),
                (
                    {**alert, "text": said + "it is declined now, nobody had fetched the confirm."},
                    {**alert, "text": said + "the bank HAS the confirm; recall the payment."},
                ),
                self._notice(spoken, "contradicted"),
                label,
            )
        )
        if self.due().rows.pop(CASE + event, None) is not None:  # an officer closes it
            self.touch(DUE)

    def _freeze(self, spoken: Spoken, kind: str) -> None:
        """Block all of a customer's payments at once, in a case of its own; or lift that."""
        conversation = self.conversation(spoken.customer)
        if kind == "unfreeze":
            conversation.unblock()
        else:
            for ended in list(conversation.block(spoken.received_us)):
                self.end(spoken.customer, ended)
        self.touch(spoken.customer)
        ident = f"{kind}-{spoken.position}"
        text = (
            "The customer asks to block everything: all payments are declined until it is lifted."
        )
        alert = {"event": ident, "kind": kind, "text": text}
        if kind == "unfreeze":
            alert["text"] = "The bank has lifted the customer's block."
        records = self._stage.recorder.frozen(spoken, kind)
        self._stage.effects.note([Note(f"{names.ANSWERS}/{spoken.position}", records, alert)])

    def expire(self, until_us: int) -> None:
        """End what nobody answered by this time, and close cases that have rested."""
        due = self.due()
        past = {key: row for key, row in due.rows.items() if row[0] <= until_us}
        if not past:
            return
        asked = {who for key, (_, who) in past.items() if not (_is_case(key) or is_inquiry(key))}
        for customer in sorted(asked):
            conversation = self.conversation(customer)
            for ended in list(conversation.expire(until_us)):
                self.end(customer, ended)
            self.touch(customer)
        for key, (at_us, customer) in sorted(past.items()):
            if _is_case(key):
                self._close_case(key.removeprefix(CASE), customer, at_us)
            elif is_inquiry(key):
                self._lapse(key, customer, at_us)
            due.rows.pop(key, None)
        self.touch(DUE)

    def _close_case(self, event: str, customer: str, at_us: int) -> None:
        """End a case once what still belongs to it, the closing message, has had its time."""
        records = self._stage.recorder.closed(event, customer, at_us)
        self._stage.effects.note([Note(f"case/{event}/closed", records, None)])

    def withdraw(self, fact: Scored) -> None:
        """End the question about a payment that the bank carried out or dropped."""
        moment = fact.moment
        conversation = self.conversation(moment.customer)
        if conversation.knows(moment.refers_to or ""):
            self.withdrawn(moment.customer, moment.refers_to or "", moment.accepted_us)
        elif moment.state == "cancelled":  # its question may be on its way yet, after a crash
            conversation.hold(moment.refers_to or "", [moment.accepted_us])
            self.touch(moment.customer)

    def withdrawn(self, customer: str, event: str, at_us: int) -> None:
        """End one event's question, where it is open."""
        ended = self.conversation(customer).withdraw(event, at_us)
        if ended is not None:
            self.touch(customer)
            self.end(customer, ended)

    def end(self, customer: str, outcome: Outcome) -> None:
        """Let an outcome leave, with all that goes with it; the first written stands."""
        at = events.rfc3339(outcome.at_us)
        by = {"type": outcome.by, "id": customer if outcome.by == "customer" else outcome.by}
        told = {
            "state": outcome.state,
            "decision": outcome.decision,
            "at": at,
            "by": by,
            "reason": outcome.reason,
            "challenge": outcome.challenge,
        }
        fraud = lesson_of(outcome)
        label = None
        if fraud is not None:
            label = {
                "id": f"{outcome.challenge}/label",
                "event": outcome.event,
                "fraud": fraud,
                "source": "customer",
                "time": at,
                "known": at,
            }
        alert = None
        if outcome.state == "denied":
            alert = {
                "event": outcome.event,
                "kind": "denied",
                "text": "The customer says: " + (outcome.reason or "not me"),
            }
        elif outcome.state == "confirmed" and outcome.decision == "review":
            alert = {"event": outcome.event, "kind": "duress", "text": _DURESS}
        ending = Ending(
            outcome.event,
            outcome.challenge,
            outcome.state,
            told,
            self._stage.recorder.ended(outcome, customer, outcome.at_us),
            {
                "op": "close",
                "id": outcome.challenge,
                "event": outcome.event,
                "customer": customer,
                "state": outcome.state,
                # What the customer may see: under duress the same as ever.
                "decision": FINAL_DECISION[outcome.state],
                "at": at,
            },
            label,
            alert,
        )
        recorded = self._stage.effects.end([ending])[0]
        if recorded is not None:
            state = str(recorded.get("was", recorded["state"]))
            if state != outcome.state:
                self.conversation(customer).settle(
                    replace(outcome, state=state, decision=recorded["decision"])
                )
        due = self.due()
        due.rows.pop(outcome.challenge, None)
        if outcome.decision != "review":  # there an officer closes it
            due.rows[CASE + outcome.event] = (outcome.at_us + CASE_REST_US, customer)
        self.touch(DUE)


def _is_case(key: str) -> bool:
    return key.startswith(CASE)
