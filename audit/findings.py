"""What did a verification find? Faults by rule and record, and one report a log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

VERIFIED, BROKEN, UNREADABLE, SELF_CONSISTENT = 0, 1, 2, 3
MOST_FAULTS = 100
SELF_CONSISTENT_TEXT = "consistent with itself; the keys are the operator's own"

RULES = {
    1: "the checkpoint is signed by the log's key",
    2: "every entry is there",
    3: "the root is that of the entries",
    4: "every hash tile is what the entries give",
    5: "every leaf is well formed",
    6: "time never goes back",
    7: "a record is taken once, an event decided once",
    8: "a case has no hole",
    9: "a case's records are chained",
    10: "a closed case is whole and closed",
    11: "starts, stops and gaps are on record",
    12: "saved checkpoints are beginnings of the log",
    13: "the witnesses have cosigned",
    14: "the heads of the cases are as listed",
    15: "payloads are there and unchanged",
    16: "data keys are committed to before use",
    17: "a case that has moved is whole",
}


@dataclass(frozen=True)
class Fault:
    """A broken rule. `index` is the first record that breaks it, None when it is the whole log.

    A `vague` fault lies somewhere from `index` on; its reason says up to where.
    """

    rule: int
    index: int | None
    why: str
    vague: bool = False

    def __str__(self) -> str:
        where = "the log" if self.index is None else f"record {self.index}"
        where += " or a later one" if self.vague else ""
        return f"{where} breaks rule {self.rule} ({RULES[self.rule]}): {self.why}"


@dataclass
class Report:
    """What was found in one log, and what could not be established."""

    path: str
    checkpoint: bytes = b""
    origin: str = ""
    size: int = 0
    root: str = ""
    faults: list[Fault] = field(default_factory=list)
    cases: int = 0
    closed: int = 0
    uncovered: int = 0
    gaps: list[int] = field(default_factory=list)
    first_ts: str | None = None
    last_ts: str | None = None
    witnesses: list[dict[str, str]] = field(default_factory=list)
    timestamps: list[dict[str, Any]] = field(default_factory=list)
    open_questions: list[str] = field(default_factory=list)
    pinned: bool = False
    witnessed: bool = False

    @property
    def first(self) -> Fault | None:
        """The first bad record and the rule it breaks.

        A checkpoint that nobody known signed comes before all records, what names no single
        record comes after them.
        """
        return min(self.faults, key=_order, default=None)

    @property
    def status(self) -> int:
        if self.faults:
            return BROKEN
        return VERIFIED if self.pinned and self.witnessed else SELF_CONSISTENT

    def as_json(self) -> dict[str, Any]:
        first = self.first
        return {
            "path": self.path,
            "origin": self.origin,
            "size": self.size,
            "root": self.root,
            "status": self.status,
            "first_bad": first and {"index": first.index, "rule": first.rule, "why": first.why},
            "faults": [{"index": f.index, "rule": f.rule, "why": f.why} for f in self.faults],
            "cases": {"all": self.cases, "closed": self.closed, "uncovered": self.uncovered},
            "gaps": self.gaps,
            "from": self.first_ts,
            "to": self.last_ts,
            "witnesses": self.witnesses,
            "timestamps": self.timestamps,
            "not_established": self.open_questions,
        }


def _order(fault: Fault) -> tuple[bool, bool, bool, int, int]:
    return (fault.rule != 1, fault.index is None, fault.vague, fault.index or 0, fault.rule)
