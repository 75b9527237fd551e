"""Whose word is enough? A C2SP tlog-policy: known logs, known witnesses, and a quorum.

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> <all|any|k> <name>…
    quorum <name|none>

Format: https://c2sp.org/tlog-policy. A policy is worth what its way to you is worth: take it from
somewhere else than the log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from audit.errors import EvidenceMalformed
from audit.note import LOG_KEY, WITNESS_KINDS, Verifier, parse_vkey

NONE = "none"


@dataclass(frozen=True)
class Witness:
    """A witness as the policy names it; `url` is its submission prefix."""

    name: str
    verifier: Verifier
    url: str | None


@dataclass
class Policy:
    """A parsed policy. An empty one is refused: it would accept nothing by saying nothing."""

    logs: list[Verifier] = field(default_factory=list)
    witnesses: dict[str, Witness] = field(default_factory=dict)
    groups: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    quorum: str | None = None

    def log_keys(self, origin: str) -> list[Verifier]:
        """The keys that may sign that log's heads."""
        return [key for key in self.logs if key.name == origin]

    def is_met(self, seen: Callable[[Witness], bool]) -> bool:
        """True when the witnesses that `seen` says yes to make the quorum."""
        return self.quorum == NONE or self._holds(str(self.quorum), seen)

    def _holds(self, name: str, seen: Callable[[Witness], bool]) -> bool:
        if name in self.witnesses:
            return seen(self.witnesses[name])
        needed, members = self.groups[name]
        return sum(self._holds(member, seen) for member in members) >= needed


def parse_policy(data: bytes) -> Policy:
    """Read a policy strictly; EvidenceMalformed names the line."""
    if any((octet < 0x20 and octet not in (0x09, 0x0A)) or octet == 0x7F for octet in data):
        raise EvidenceMalformed("a policy holds no control characters but tab and newline")
    policy, members = Policy(), set[str]()
    text = data.decode(errors="surrogateescape")
    for number, row in enumerate(text.split("\n"), 1):
        words = row.replace("\t", " ").split(" ")
        words = [word for word in words if word]
        if not words or words[0].startswith("#"):
            continue
        try:
            _take(policy, members, words)
        except EvidenceMalformed as error:
            raise EvidenceMalformed(f"policy line {number}: {error}") from error
    if policy.quorum is None:
        raise EvidenceMalformed("a policy has one quorum line, this one has none")
    return policy


def _take(policy: Policy, members: set[str], words: list[str]) -> None:
    match words:
        case ["log", vkey, *url] if len(url) <= 1:
            key = parse_vkey(vkey)
            if key.kind != LOG_KEY or key.public in [known.public for known in policy.logs]:
                raise EvidenceMalformed("a log has a key of type 1 that is named once")
            policy.logs.append(key)
        case ["witness", name, vkey, *url] if len(url) <= 1:
            key = parse_vkey(vkey)
            known = [witness.verifier.public for witness in policy.witnesses.values()]
            if key.kind not in WITNESS_KINDS or key.public in known:
                raise EvidenceMalformed("a witness has a key of type 4 or 6 that is named once")
            _name(policy, name)
            policy.witnesses[name] = Witness(name, key, url[0] if url else None)
        case ["group", name, needed, *names] if names:
            for member in names:
                if member not in policy.witnesses and member not in policy.groups:
                    raise EvidenceMalformed(f"{member} is not defined above")
                if member in members:
                    raise EvidenceMalformed(f"{member} is in a group already")
                members.add(member)
            _name(policy, name)
            policy.groups[name] = (_threshold(needed, len(names)), names)
        case ["quorum", name] if policy.quorum is None:
            if name not in (NONE, *policy.witnesses, *policy.groups):
                raise EvidenceMalformed(f"{name} is not defined above")
            policy.quorum = name
        case _:
            raise EvidenceMalformed(f"not a log, witness, group or first quorum line: {words[0]}")


def _name(policy: Policy, name: str) -> None:
    if name == NONE or name in policy.witnesses or name in policy.groups:
        raise EvidenceMalformed(f"the name {name} is taken")


def _threshold(needed: str, count: int) -> int:
    if needed in ("all", "any"):
        return count if needed == "all" else 1
    if needed.isascii() and needed.isdigit() and 1 <= int(needed) <= count:
        return int(needed)
    raise EvidenceMalformed(f"a group needs all, any or 1 to {count} members, got {needed}")
