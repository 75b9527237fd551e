"""How does a rule come to act, and who has agreed? Proposals, approvals, and what is on record.

::

    propose --(touches nothing live)------------------> counts at once, in shadow or as a draft
       |
       +--(makes, changes or ends what is live)--> waits --approve, by somebody else--> counts
                                                     +---reject---> ended

Whatever touches a live rule, what it looks at, or the policy needs a second person (four eyes); a
deletion is a change like any other. Each step is signed by its person and is a record; nothing is
ever taken back, only changed again.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import redis

from flows import agreed, judgement
from flows.catalogue import made_of, read_catalogue, written
from flows.errors import FlowError
from flows.redis_state import script
from flows.rule_tests import run_tests
from flows.staff import NotAllowed, Person
from risk import names
from risk.events import rfc3339
from risk.policy import BadPolicy, RuleSet, wordings_of
from risk.rule_check import Vocabulary
from risk.rules import BadRules, Rule, read_rules

ACTS = ("live",)


class BadChange(FlowError):
    """A change that can't be made: what was needed, what was got, what to do."""


@dataclass(frozen=True)
class Change:
    """Rules by id in their new words (None: deleted), or a new policy, and where it stands."""

    id: str
    base: str
    rules: Mapping[str, Any]
    policy: Mapping[str, Any] | None
    why: str
    by: str
    state: str = "waiting"
    steps: Sequence[Mapping[str, Any]] = field(default=())
    features: Mapping[str, Any] | None = None  # texts of features.yaml, and the words that move

    def as_json(self) -> dict[str, Any]:
        """The change as it is kept."""
        return {
            "v": 1,
            "id": self.id,
            "base": self.base,
            "rules": self.rules,
            "policy": self.policy,
            "why": self.why,
            "by": self.by,
            "state": self.state,
            "steps": list(self.steps),
        } | ({} if self.features is None else {"features": self.features})


def _change(raw: bytes) -> Change:
    kept = orjson.loads(raw)
    return Change(**{key: value for key, value in kept.items() if key != "v"})


def rows_of(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Each rule of a set's document in its words, with the format it is in."""
    found: dict[str, dict[str, Any]] = {}
    files = document["rules"]
    for file in [files] if isinstance(files, dict) else files:
        rows = file.get("rules") if "rules" in file else [file]
        for row in rows or ():
            words = {key: value for key, value in row.items() if key != "version"}
            found[str(row["id"])] = {"version": file["version"], **words}
    return found


def changed_document(
    document: Mapping[str, Any], rules: Mapping[str, Any], policy: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A set's document after a change: each rule in its place, new ones at the end."""
    rows = rows_of(document)
    for ident, row in rules.items():
        if row is None:
            rows.pop(ident, None)
        else:
            rows[ident] = row
    files = [
        {"version": row["version"], "rules": [{k: v for k, v in row.items() if k != "version"}]}
        for row in rows.values()
    ]
    return {**document, "rules": files, "policy": policy or document["policy"]}


class Changes:
    """The changes of one data directory.

    ``record(rid, body, person, at_us)`` makes an audit record; ``now_us`` is the wall clock.
    """

    def __init__(
        self,
        data: Path,
        client: "redis.Redis",
        known: Vocabulary,
        record: Callable[[str, Mapping[str, Any], Person | None, int], dict[str, Any]],
        now_us: Callable[[], int],
    ) -> None:
        self._data, self._client, self._known = data, client, known
        self._record, self._now_us = record, now_us
        self._script = client.register_script(script("judgement"))

    # --- what counts ------------------------------------------------------------------------

    def head(self) -> str | None:
        """The hash of the set that counts; the disk's word where Redis has none."""
        found: Any = self._client.hget(names.JUDGEMENT, "head")
        return found.decode() if found else judgement.pointed(self._data)

    def current(self) -> RuleSet:
        """The set that counts."""
        head = self.head()
        if head is None:
            raise BadChange("judgement: needed a first set; start the house once: ringback run")
        return judgement.stored(self._data, head, self._known)

    def adopt(self, rules: RuleSet) -> RuleSet:
        """At the first start the files' set counts, on record; later, the one that was agreed on.

        Files that have changed since are told of by `differs`, and change nothing by themselves;
        but rates are facts and no judgement: those of the files count from this start on.
        """
        head = self.head()
        if head is not None:
            self._client.hsetnx(names.JUDGEMENT, "head", head)
            current = judgement.stored(self._data, head, self._known)
            return self._with_wordings(self._with_rates(current, rules))
        judgement.keep(self._data, rules)
        at_us = self._now_us()
        body = {"step": "adopted", "set": rules.sha256, "how": "the files at the first start"}
        records = [
            *judgement.set_records(rules, lambda rid, told: self._record(rid, told, None, at_us)),
            self._record(f"config/adopted/{rules.sha256}", body, None, at_us),
        ]
        self._client.hsetnx(names.JUDGEMENT, "files", rules.sha256)
        self._run("", rules.sha256, None, records)
        judgement.point(self._data, rules.sha256)
        return rules

    def _with_rates(self, current: RuleSet, written: RuleSet) -> RuleSet:
        if current.rates == written.rates:
            return current
        document = orjson.loads(current.document)
        document["rates"] = orjson.loads(written.document)["rates"]
        raw = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
        after = judgement.of_document(raw, self._known)
        return self._now_counts(current, after, {"step": "rates"})

    def _with_wordings(self, current: RuleSet) -> RuleSet:
        """A declared feature counts what its file says from this start on: on record, and told."""
        document = orjson.loads(current.document)
        if document.get("features", {}) == wordings_of(current.rules, self._known):
            return current
        after = judgement.fresh(document, self._known)
        others = judgement.moved(current, after)
        if others:
            told = ", ".join(others)
            text = f"By features.yaml {told} counts otherwise from now on, and rules look at it."
            alert = {"event": "", "kind": "judgement", "text": text}
            self._client.xadd(names.ALERTS, {"alert": orjson.dumps(alert)})
        return self._now_counts(current, after, {"step": "features", "features": others})

    def _now_counts(self, current: RuleSet, after: RuleSet, body: dict[str, Any]) -> RuleSet:
        """Let a set count that nobody proposed, since facts have changed; on record."""
        at_us = self._now_us()
        body |= {"set_before": current.sha256, "set": after.sha256}
        judgement.keep(self._data, after)
        records = [
            *judgement.set_records(after, lambda rid, told: self._record(rid, told, None, at_us)),
            self._record(f"config/{body['step']}/{after.sha256}/{at_us}", body, None, at_us),
        ]
        self._run(current.sha256, after.sha256, None, records)
        judgement.point(self._data, after.sha256)
        return after

    def differs(self, written: RuleSet) -> list[str]:
        """What stands in the files otherwise than in the set that counts, in words."""
        told: Any = self._client.hget(names.JUDGEMENT, "files")
        if told and told.decode() == written.sha256:
            return []
        now, files = (rows_of(orjson.loads(one.document)) for one in (self.current(), written))
        found = [f"rule {ident} is in the files alone" for ident in files if ident not in now]
        policies = [orjson.loads(one.document)["policy"] for one in (self.current(), written)]
        if policies[0] != policies[1]:
            found.append("the policy reads otherwise in the files")
        found += [
            f"rule {ident} reads otherwise in the files"
            for ident, row in files.items()
            if ident in now and _words(now[ident]) != _words(row)
        ]
        return found

    # --- the steps --------------------------------------------------------------------------

    def propose(
        self,
        person: Person,
        rules: Mapping[str, Any],
        why: str,
        policy: Mapping[str, Any] | None = None,
    ) -> Change:
        """Propose rules by id in their new words (None deletes one), or a policy.

        What touches nothing live counts at once; anything else waits for somebody else.
        """
        person.need("propose")
        if not why.strip():
            raise BadChange("change: needed a reason in --why, got none")
        current = self.current()
        before = rows_of(orjson.loads(current.document))
        plain: dict[str, Any] = orjson.loads(orjson.dumps(dict(rules)))
        for ident, row in plain.items():
            if row is None and ident not in before:
                raise BadChange(f"rule {ident}: needed a rule that there is, to delete it")
        touched = {
            ident: row for ident, row in plain.items() if _words(before.get(ident)) != _words(row)
        }
        if not touched and (policy is None or policy == orjson.loads(current.document)["policy"]):
            raise BadChange("change: needed something that reads otherwise than what counts")
        after = self._tried(current, touched, policy)
        said = {"base": current.sha256, "rules": touched, "policy": policy, "why": why}
        raw = orjson.dumps({**said, "by": person.name}, option=orjson.OPT_SORT_KEYS)
        ident = hashlib.sha256(raw).hexdigest()[:12]
        if self._client.hexists(names.CHANGES, ident):
            raise BadChange(f"change {ident}: needed a new one, got one that was proposed already")
        change = Change(ident, current.sha256, touched, policy, why, person.name)
        acting = _acting(current, after, touched)
        if not acting and policy is None:
            return self._step(change, person, "applied", current, after)
        return self._step(change, person, "proposed", current, None)

    def propose_features(self, person: Person, why: str) -> Change:
        """Propose that ``features.yaml`` counts as it stands now; it waits for somebody else."""
        person.need("propose")
        if not why.strip():
            raise BadChange("change: needed a reason in --why, got none")
        current = self.current()
        texts = written(self._data)
        words = self._words_of(current, texts)
        if not words:
            raise BadChange(
                "features: needed one that a live rule looks at and that counts otherwise, got "
                "none: what else the file says counts from the next start on"
            )
        told = {"files": [list(one) for one in texts], "words": words}
        said = {"base": current.sha256, "features": told, "why": why, "by": person.name}
        raw = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
        ident = hashlib.sha256(raw).hexdigest()[:12]
        if self._client.hexists(names.CHANGES, ident):
            raise BadChange(f"change {ident}: needed a new one, got one that was proposed already")
        change = Change(ident, current.sha256, {}, None, why, person.name, features=told)
        self._recounted(current, change)
        return self._step(change, person, "proposed", current, None)

    def _words_of(self, current: RuleSet, texts: agreed.Texts) -> dict[str, dict[str, str]]:
        """Of each feature that a live rule looks at and that moves, its words before and after."""
        before = agreed.acting_words(orjson.loads(current.document))
        after = made_of(texts).wordings
        gone = [name for name in before if name not in after]
        if gone:
            raise BadChange(f"features: needed {', '.join(gone)}, which live rules look at")
        moved = agreed.otherwise(before, after)
        return {name: {"before": before[name], "after": after[name]} for name in moved}

    def _recounted(self, current: RuleSet, change: Change) -> RuleSet:
        """The set once features count as a change has it, its rules' own tests run."""
        if change.features is None:
            raise BadChange(f"change {change.id}: needed one of features")
        texts = [(str(text), str(name)) for text, name in change.features["files"]]
        if self._words_of(current, texts) != change.features["words"]:
            raise BadChange(
                f"change {change.id}: needed the features as when it was proposed, got others "
                "since: propose it again"
            )
        made = made_of(texts)
        known = replace(self._known, wordings={**self._known.wordings, **made.wordings})
        after = judgement.fresh(orjson.loads(current.document), known)
        told = run_tests(after.rules, self._known.base, made)
        failed = [one for one in told if not one.passed]
        if failed:
            one = failed[0]
            raise BadChange(f"rule {one.rule}: needed its test to pass: {one.name}: {one.why}")
        return after

    def _keep_agreed(self, after: RuleSet) -> None:
        """What is live from now on counts as the files said when it was agreed on."""
        texts = written(self._data)
        words = agreed.acting_words(orjson.loads(after.document))
        if not agreed.otherwise(words, made_of(texts).wordings):
            agreed.keep(self._data, texts)

    def approve(self, person: Person, ident: str) -> Change:
        """Let a waiting change count; by somebody other than who proposed it."""
        person.need("approve")
        change = self._waiting(ident)
        if person.name == change.by:
            raise NotAllowed(
                f"change {ident}: needed a second person, got {person.name}, who proposed it"
            )
        current = self.current()
        if change.features is not None:
            after = self._recounted(current, change)
            agreed.keep(self._data, change.features["files"])
            return self._step(change, person, "approved", current, after)
        before = rows_of(orjson.loads(current.document))
        base = judgement.stored(self._data, change.base, self._known)
        then = rows_of(orjson.loads(base.document))
        moved = [one for one in change.rules if before.get(one) != then.get(one)]
        policies = [orjson.loads(one.document)["policy"] for one in (current, base)]
        if change.policy is not None and policies[0] != policies[1]:
            moved.append("the policy")
        if moved:
            raise BadChange(
                f"change {ident}: needed {', '.join(moved)} as when it was proposed, got another "
                "since: propose it again"
            )
        after = self._tried(current, change.rules, change.policy)
        return self._step(change, person, "approved", current, after)

    def reject(self, person: Person, ident: str) -> Change:
        """End a waiting change; who proposed it may take it back so."""
        change = self._waiting(ident)
        if person.name != change.by:
            person.need("approve")
        return self._step(change, person, "rejected", self.current(), None)

    def demote(self, rule: str, why: str) -> Change | None:
        """A brake's step: a live rule goes to shadow at once; None where it isn't live any more."""
        current = self.current()
        row = rows_of(orjson.loads(current.document)).get(rule)
        state = {one.id: one.state for one in current.rules}.get(rule)
        if row is None or state != "live":
            return None
        if row["version"] == 1:
            raise BadChange(f"rule {rule}: needed format 2, which has states, to be demoted")
        touched = {rule: {**row, "state": "shadow"}}
        after = self._tried(current, touched, None, tested=False)
        raw = f"{current.sha256}/{rule}/{why}".encode()
        ident = hashlib.sha256(raw).hexdigest()[:12]
        change = Change(ident, current.sha256, touched, None, why, "brake")
        return self._step(change, None, "demoted", current, after)

    def waiting(self) -> list[Change]:
        """The changes that wait for somebody."""
        return [one for one in self.all() if one.state == "waiting"]

    def all(self) -> list[Change]:
        """Every change there was, the oldest first."""
        rows: Any = self._client.hvals(names.CHANGES)
        found = [_change(raw) for raw in rows]
        return sorted(found, key=lambda one: str(one.steps[0]["at"]))

    # --- within -----------------------------------------------------------------------------

    def _waiting(self, ident: str) -> Change:
        raw: Any = self._client.hget(names.CHANGES, ident)
        if raw is None:
            known = ", ".join(one.id for one in self.waiting()) or "none"
            raise BadChange(f"change {ident}: needed one that waits ({known})")
        change = _change(raw)
        if change.state != "waiting":
            raise BadChange(
                f"change {ident}: needed one that waits, got one that is {change.state}"
            )
        return change

    def _tried(
        self,
        current: RuleSet,
        rules: Mapping[str, Any],
        policy: Mapping[str, Any] | None,
        *,
        tested: bool = True,
    ) -> RuleSet:
        """The set after a change, its own tests run; or `BadChange`."""
        document = changed_document(orjson.loads(current.document), rules, policy)
        document = orjson.loads(orjson.dumps(document))
        self._readable(document["rules"])
        try:
            after = judgement.fresh(document, self._known)
            features = read_catalogue(self._data)
            told = run_tests(after.rules, self._known.base, features) if tested else ()
            failed = [one for one in told if one.rule in rules and not one.passed]
        except (BadPolicy, BadRules) as wrong:
            raise BadChange(f"change: {wrong}") from wrong
        if failed:
            one = failed[0]
            raise BadChange(f"rule {one.rule}: needed its test to pass: {one.name}: {one.why}")
        return after

    def _readable(self, files: Iterable[Mapping[str, Any]]) -> None:
        read: tuple[Rule, ...] = ()
        for file in files:
            try:
                read += read_rules(file, self._known, read)
            except BadRules as wrong:
                raise BadChange(f"change: {wrong}") from wrong

    def _step(
        self,
        change: Change,
        person: Person | None,
        step: str,
        current: RuleSet,
        after: RuleSet | None,
    ) -> Change:
        at_us = self._now_us()
        at = rfc3339(at_us)
        told = {"step": step, "by": person.name if person else "brake", "at": at}
        signed = f"ringback {step} {change.id} {change.base} {at}"
        if person is not None:
            told |= {"signed": signed, "signature": person.sign(signed)}
        state = {"proposed": "waiting", "rejected": "rejected"}.get(step, "applied")
        now = Change(
            change.id,
            change.base,
            change.rules,
            change.policy,
            change.why,
            change.by,
            state,
            (*change.steps, told),
            change.features,
        )
        states = {rule.id: rule.state for rule in current.rules}
        body = {
            **told,
            "change": change.id,
            "why": change.why,
            "proposed_by": change.by,
            "rules": [
                {
                    "id": ident,
                    "before": states.get(ident, "none"),
                    "after": "deleted" if row is None else str(row.get("state", "live")),
                    "words": "" if row is None else orjson.dumps(row).decode()[:8_000],
                }
                for ident, row in change.rules.items()
            ],
            "policy": change.policy is not None,
            "features": judgement.moved(current, after) if after else [],
            "set_before": current.sha256,
            "set": after.sha256 if after else current.sha256,
        }
        if change.features is not None:
            body["words"] = change.features["words"]
        records = [self._record(f"config/{change.id}/{step}", body, person, at_us)]
        if after is not None:
            judgement.keep(self._data, after)
            self._keep_agreed(after)
            records = [
                *judgement.set_records(
                    after, lambda rid, part: self._record(rid, part, person, at_us)
                ),
                *records,
            ]
        self._run(current.sha256, after.sha256 if after else "", now, records)
        if after is not None:
            judgement.point(self._data, after.sha256)
        return now

    def _run(
        self, head: str, after: str, change: Change | None, records: list[dict[str, Any]]
    ) -> None:
        ident = change.id if change else ""
        kept = orjson.dumps(change.as_json()) if change else b""
        try:
            self._script(keys=[], args=[head, after, ident, kept, orjson.dumps(records)])
        except redis.ResponseError as refused:
            if str(refused).startswith("STALE"):
                raise BadChange(
                    "change: somebody else's change came first: look at it, then try again"
                ) from refused
            raise


def _words(row: Mapping[str, Any] | None) -> Any:
    return None if row is None else {key: value for key, value in row.items() if value is not None}


def _acting(before: RuleSet, after: RuleSet, touched: Iterable[str]) -> list[str]:
    """The rules that act, or acted, and are touched: by their words or by what they look at."""
    live = {rule.id for rule in (*before.rules, *after.rules) if rule.state in ACTS}
    others = frozenset(judgement.moved(before, after))
    moved = [rule.id for rule in after.rules if rule.state in ACTS and rule.names & others]
    return [*(ident for ident in touched if ident in live), *moved]
