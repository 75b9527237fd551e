"""Which rules and policy count now, and how does another set come to count?

::

    files --adopted at the first start--> set A --change--> set B --change--> set C
                                            |                 |                 |
                                    <data>/judgement/sets/<sha256>.json, never changed

A set is everything that judges, as the very bytes that its hash is of. Which one counts stands in
Redis (`rb:judgement`) and, for a Redis that was lost, in ``<data>/judgement/current``. The flow
takes another set, or other lists, between two batches; each decision names the one that it had.
"""

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import redis

from flows.errors import BadSettings
from risk import names
from risk.lists import Lists
from risk.money import Rates
from risk.policy import BadPolicy, RuleSet, rule_set
from risk.rule_check import Vocabulary
from risk.rules import BadRules

PART = 40_000  # characters of a set in one record: a leaf is at most 65,535 bytes
log = logging.getLogger("ringback.judgement")


def folder(data: Path) -> Path:
    """Where the sets of a data directory lie."""
    return data / "judgement"


def keep(data: Path, rules: RuleSet) -> None:
    """Write a set where it is found by its hash; what is there already stays."""
    path = folder(data) / "sets" / f"{rules.sha256}.json"
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(rules.document)
    fresh.replace(path)


def point(data: Path, sha256: str) -> None:
    """Say on disk, too, which set counts."""
    path = folder(data) / "current"
    fresh = path.with_suffix(".new")
    fresh.write_text(sha256, encoding="ascii")
    fresh.replace(path)


def pointed(data: Path) -> str | None:
    """The set that counts, by the disk; None before the first one."""
    path = folder(data) / "current"
    return path.read_text(encoding="ascii").strip() if path.exists() else None


def rates_of(document: Mapping[str, Any]) -> Rates:
    """The rate table of a set's document."""
    table = document["rates"]
    dated = {
        code: [(date.fromisoformat(day), Decimal(rate)) for day, rate in rows]
        for code, rows in table["dated"].items()
    }
    return Rates(table["base"], dated)


def fresh(document: Mapping[str, Any], known: Vocabulary) -> RuleSet:
    """A new set of a document's rules, policy and rates, and today's words of what they look at."""
    try:
        return rule_set(document["rules"], document["policy"], rates_of(document), known)
    except (BadRules, BadPolicy, KeyError) as wrong:
        raise BadSettings(f"judgement: {wrong}") from wrong


def moved(before: RuleSet, after: RuleSet) -> list[str]:
    """The features that both sets look at, and that count otherwise in the second."""
    one, other = (orjson.loads(each.document).get("features", {}) for each in (before, after))
    return [name for name in one if name in other and one[name] != other[name]]


def of_document(raw: bytes, known: Vocabulary) -> RuleSet:
    """The set whose document these bytes are, or `BadSettings`."""
    made = fresh(orjson.loads(raw), known)
    if made.document != raw:
        return replace(made, document=raw, sha256=hashlib.sha256(raw).hexdigest())
    return made


def stored(data: Path, sha256: str, known: Vocabulary) -> RuleSet:
    """A set by its hash, or `BadSettings` where its bytes are gone or are others."""
    path = folder(data) / "sets" / f"{sha256}.json"
    raw = path.read_bytes() if path.exists() else b""
    got = hashlib.sha256(raw).hexdigest() if raw else "nothing"
    if got != sha256:
        raise BadSettings(f"{path}: needed the set {sha256}, got {got}; the ledger holds it, too")
    return of_document(raw, known)


def set_records(rules: RuleSet, record: Callable[..., dict[str, Any]]) -> list[dict[str, Any]]:
    """A set as records, in parts that fit."""
    text = rules.document.decode()
    parts = [text[at : at + PART] for at in range(0, len(text), PART)]
    return [
        record(
            f"config/set/{rules.sha256}/{number}",
            {"set": rules.sha256, "part": number, "parts": len(parts), "text": part},
        )
        for number, part in enumerate(parts, 1)
    ]


def read_lists(client: "redis.Redis", after: Lists | None = None) -> Lists:
    """The lists as they are now, or as ``after`` and what was changed since."""
    known = after or Lists()
    since = f"({known.version}" if known.version else "-"
    rows: Any = client.xrange(names.LISTS, since, "+")
    if not rows:
        return known
    return known.changed(
        (ident.decode(), orjson.loads(fields[b"change"])) for ident, fields in rows
    )


@dataclass
class Bench:
    """What judges now: one immutable set, taken whole by whoever asks.

    ``offer`` puts another in its place; a batch that has asked goes on with what it was given.
    """

    now: RuleSet
    loaded: int = 0
    refused: str = ""

    def __call__(self) -> RuleSet:
        return self.now

    def offer(self, rules: RuleSet) -> None:
        """Let another set count from the next batch on; its rules are made ready first."""
        rules.docket  # noqa: B018  made ready here, and not while an event waits
        self.now = rules
        self.loaded += 1


class Watching:
    """Looks for another set or other lists, and offers them to the bench; ends with its process."""

    def __init__(
        self,
        bench: Bench,
        client: "redis.Redis",
        load: Callable[[str], RuleSet],
        seconds: float = 0.1,
    ) -> None:
        self._bench, self._client, self._load = bench, client, load
        self._seconds = seconds
        self._stop = threading.Event()
        self._bad = ""

    def start(self) -> None:
        """Watch in a thread of its own."""
        threading.Thread(target=self._run, name="judgement", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self.look()
            except redis.RedisError:
                log.warning("judgement: Redis is away; the set that counted goes on")

    def look(self) -> None:
        """Take what has changed since the last look; what can't be read is refused aloud."""
        bench = self._bench
        rules = bench.now
        head: Any = self._client.hget(names.JUDGEMENT, "head")
        wanted = head.decode() if head else rules.sha256
        if wanted not in (rules.sha256, self._bad):
            try:
                rules = replace(self._load(wanted), lists=rules.lists)
            except BadSettings as wrong:
                self._refuse(wanted, wrong)
        lists = read_lists(self._client, rules.lists)
        if rules is not bench.now or lists is not rules.lists:
            bench.offer(replace(rules, lists=lists))
            log.info("judgement: set %s, lists %s count now", rules.sha256[:12], lists.version)

    def _refuse(self, wanted: str, wrong: BadSettings) -> None:
        self._bad, self._bench.refused = wanted, str(wrong)
        refused(self._client, wanted, f"The set {wanted[:12]} can't be used: {wrong}")


def refused(client: "redis.Redis", what: str, why: str) -> None:
    """Say aloud, once, that something is not taken: the set that counted goes on."""
    text = f"{why}. What counted before goes on."
    log.error("judgement: %s", text)
    client.hincrby(names.COUNTERS, "judgement_refused", 1)
    if client.set(f"rb:noted:judgement/{what}", 1, nx=True, ex=7 * 86_400):
        alert = {"event": "", "kind": "judgement", "text": text}
        client.xadd(names.ALERTS, {"alert": orjson.dumps(alert)})
