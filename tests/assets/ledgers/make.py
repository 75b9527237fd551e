"""Makes the ledgers in this folder: one that holds, and one for each thing that can be wrong.

It shares no code with `audit/`: its own hashing, tiles, notes and JSON, so that one mistake can't
hide in both. Each attack edits bytes; `expected.json` says which record and which rule of
audit/verify.py it has to be caught by. Run it to write the folder anew:

    python tests/assets/ledgers/make.py tests/assets/ledgers
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ORIGIN = "bank.example/ringback/main/rc10y/2026"
OPERATOR = Ed25519PrivateKey.from_private_bytes(b"operator".ljust(32, b"."))
STRANGER = Ed25519PrivateKey.from_private_bytes(b"stranger".ljust(32, b"."))
WITNESSES = {
    name: Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b"."))
    for name in ("notary.example", "regulator.example", "university.example")
}
TIME = 1_780_000_000

Leaf = dict[str, Any]


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def spell(leaf: Leaf) -> bytes:
    return json.dumps(leaf, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def hash_leaf(data: bytes) -> bytes:
    return sha(b"\0" + data)


def tree(hashes: list[bytes]) -> bytes:
    """RFC 6962 2.1 as it is written."""
    if len(hashes) < 2:
        return hashes[0] if hashes else sha(b"")
    k = 1
    while 2 * k < len(hashes):
        k *= 2
    return sha(b"\1" + tree(hashes[:k]) + tree(hashes[k:]))


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def key_id(name: str, kind: int, key: Ed25519PrivateKey) -> bytes:
    return sha(name.encode() + b"\n" + bytes([kind]) + public(key))[:4]


def vkey(name: str, kind: int, key: Ed25519PrivateKey) -> str:
    text = base64.b64encode(bytes([kind]) + public(key)).decode()
    return f"{name}+{key_id(name, kind, key).hex()}+{text}"


def head(size: int, root: bytes, origin: str = ORIGIN) -> str:
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def sign(text: str, key: Ed25519PrivateKey = OPERATOR) -> str:
    origin = text.split("\n", 1)[0]
    packed = key_id(origin, 1, key) + key.sign(text.encode())
    return f"— {origin} {base64.b64encode(packed).decode()}\n"


def cosign(text: str, name: str, key: Ed25519PrivateKey | None = None) -> str:
    key = key or WITNESSES[name]
    signature = key.sign(f"cosignature/v1\ntime {TIME}\n{text}".encode())
    packed = key_id(name, 4, key) + TIME.to_bytes(8, "big") + signature
    return f"— {name} {base64.b64encode(packed).decode()}\n"


def note(hashes: list[bytes], *, witnesses: bool = True, key: Ed25519PrivateKey = OPERATOR) -> str:
    text = head(len(hashes), tree(hashes))
    lines = [cosign(text, name) for name in WITNESSES] if witnesses else []
    return text + "\n" + sign(text, key) + "".join(lines)


@dataclass
class Log:
    """A log as bytes: what an attacker has in front of him."""

    entries: list[bytes]
    hashes: list[bytes] = field(default_factory=list)
    checkpoint: str = ""
    saved: dict[int, str] = field(default_factory=dict)
    keys: str = vkey(ORIGIN, 1, OPERATOR) + "\n"
    cas: dict[str, bytes] = field(default_factory=dict)
    width: int = 20

    def resign(self, *, witnesses: bool = False, key: Ed25519PrivateKey = OPERATOR) -> None:
        """What an operator can do alone: tiles, root and signature as the entries want them."""
        self.hashes = [hash_leaf(entry) for entry in self.entries]
        self.checkpoint = note(self.hashes, witnesses=witnesses, key=key)
        self.saved, self.width = {}, len(self.entries)

    def write(self, folder: Path) -> None:
        files = {
            f"tile/entries/000.p/{self.width}": b"".join(
                len(entry).to_bytes(2, "big") + entry for entry in self.entries
            ),
            f"tile/0/000.p/{self.width}": b"".join(self.hashes),
            "checkpoint": self.checkpoint.encode(),
            "keys": self.keys.encode(),
            **{f"checkpoints/{size}": text.encode() for size, text in self.saved.items()},
            **{f"cas/{name[:2]}/{name}": data for name, data in self.cas.items()},
        }
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)


class Pen:
    """Writes leaves in order, with the chains of their cases."""

    def __init__(self) -> None:
        self.leaves: list[Leaf] = []
        self.cas: dict[str, bytes] = {}

    def put(self, kind: str, case: str | None = None, **fields: Any) -> int:
        index = len(self.leaves)
        leaf: Leaf = {
            "actor": {"id": "flow", "role": "engine", "type": "service"},
            "at": "2026-05-28T20:26:40.000000Z",
            "body": fields.pop("body", {}),
            "case": case,
            "case_prev": None,
            "case_seq": None,
            "event": case and case.removeprefix("case-").split("~")[0],
            "grade": 1,
            "kind": kind,
            "payload": [],
            "rid": f"rb:events:0/{index}/{kind}",
            "subject": None if case is None else "cus_a",
            "tenant": "main",
            "ts": f"2026-05-28T20:26:{40 + index // 10}.{index % 10}00000Z",
            "v": 1,
        }
        self.leaves.append(leaf | fields)
        chain(self.leaves)
        return index


def chain(leaves: list[Leaf]) -> None:
    """Set case_seq, case_prev and the count of each close, as a writer would."""
    stand: dict[str, tuple[int, bytes]] = {}
    for leaf in leaves:
        case = leaf["case"]
        if case is not None:
            seq, before = stand.get(case, (0, bytes(32)))
            leaf["case_seq"], leaf["case_prev"] = seq + 1, before.hex()
            if leaf["kind"] == "case.closed":
                leaf["body"]["n"] = seq + 1
            stand[case] = seq + 1, hash_leaf(spell(leaf))


def heads(leaves: list[Leaf]) -> tuple[Leaf, bytes]:
    """The body of case.heads over all these leaves, and its list."""
    stand = {leaf["case"]: leaf for leaf in leaves if leaf["case"] is not None}
    lines = sorted(
        f"{case} {leaf['case_seq']} {hash_leaf(spell(leaf)).hex()}" for case, leaf in stand.items()
    )
    listing = "".join(line + "\n" for line in lines).encode()
    body = {
        "count": len(lines),
        "from": leaves[0]["ts"],
        "list": sha(listing).hex(),
        "root": tree([hash_leaf(line.encode()) for line in lines]).hex(),
        "to": leaves[-1]["ts"],
    }
    return body, listing


def leaves_of_the_whole() -> Pen:
    pen = Pen()
    pen.put("log.start", body={"format": 1, "start": 1, "stream": "0-0"})
    kinds = ["case.opened", "event.in", "features", "score", "decision"]
    pen.put("key.created", subject="acc_x", body={"com": "ab" * 32, "version": 1})
    for kind in kinds:
        for event in ("e1", "e2"):
            body: Leaf = {"note": f"{kind} of {event}, ünïcode kept"}
            if kind == "case.opened":
                body["class"] = "rc10y"
            if kind == "event.in":
                salt, path, value = bytes(16), "payee.name", "ACME"
                com = hmac.new(salt, f"{path}\0{value}".encode(), "sha256").hexdigest()
                body["sealed"] = {path: {"com": com, "ct": "a1.AAAA", "subject": "acc_x"}}
            pen.put(kind, f"case-{event}", body=body)
    # Now 12 records. A payload, the answer, the closes, a follow-up, the heads, the end.
    payload = b"an attachment, sealed"
    digest = sha(payload).hex()
    pen.cas[digest] = payload
    pen.put("receipt.displayed", "case-e1", payload=[{"path": "image", "sha256": digest}])
    pen.put("answer", "case-e1", strength="claimed", body={"decision": "deny"})
    pen.put("outcome", "case-e1", body={"state": "denied"})
    pen.put("case.closed", "case-e1")
    last = hash_leaf(spell(pen.leaves[-1])).hex()
    pen.put("case.opened", "case-e1~2", body={"class": "rc10y", "follows": "case-e1", "last": last})
    pen.put("label", "case-e1~2", body={"fraud": True})
    body, listing = heads(pen.leaves)
    pen.cas[body["list"]] = listing
    pen.put("case.heads", body=body)
    pen.put("log.stop", body={"start": 1})
    return pen


def whole() -> Log:
    pen = leaves_of_the_whole()
    log = Log([spell(leaf) for leaf in pen.leaves], cas=dict(pen.cas))
    log.hashes = [hash_leaf(entry) for entry in log.entries]
    log.checkpoint = note(log.hashes)
    log.saved = {size: note(log.hashes[:size], witnesses=False) for size in (8, 14)}
    return log


def rewritten(edit: Callable[[list[Leaf]], None], *, rechain: bool = False) -> Log:
    """The operator edits leaves with his key in hand, and makes everything else fit."""
    pen = leaves_of_the_whole()
    edit(pen.leaves)
    if rechain:
        chain(pen.leaves)
        for index, leaf in enumerate(pen.leaves):
            if "follows" in leaf["body"]:
                closed = [
                    one for one in pen.leaves[:index] if one["case"] == leaf["body"]["follows"]
                ]
                leaf["body"]["last"] = hash_leaf(spell(closed[-1])).hex()
                chain(pen.leaves)
            if leaf["kind"] == "case.heads":
                leaf["body"], listing = heads(pen.leaves[:index])
                pen.cas[leaf["body"]["list"]] = listing
    log = Log([spell(leaf) for leaf in pen.leaves], cas=dict(pen.cas))
    log.resign()
    return log


def set_body(index: int, **body: Any) -> Callable[[list[Leaf]], None]:
    return lambda leaves: leaves[index]["body"].update(body)


def set_field(index: int, **fields: Any) -> Callable[[list[Leaf]], None]:
    return lambda leaves: leaves[index].update(fields)


def a_byte_flipped() -> Log:
    log = whole()
    log.entries[9] = log.entries[9].replace(b"score of e2", b"score 0f e2")
    return log


def a_record_deleted_in_the_middle() -> Log:
    log = whole()
    del log.entries[9]
    return log


def a_record_deleted_and_all_signed_anew() -> Log:
    log = whole()
    del log.entries[9]
    log.resign()
    return log


def the_last_records_deleted() -> Log:
    log = whole()
    del log.entries[-3:], log.hashes[-3:]
    return log


def two_swapped() -> Log:
    log = whole()
    log.entries[8], log.entries[11] = log.entries[11], log.entries[8]
    return log


def one_inserted() -> Log:
    log = whole()
    log.entries.insert(10, log.entries[10].replace(b"decision of e1", b"decision by me"))
    return log


def leaf_and_leaf_hash_rewritten() -> Log:
    log = whole()
    log.entries[8] = log.entries[8].replace(b"score of e1", b"score 0f e1")
    log.hashes[8] = hash_leaf(log.entries[8])
    return log


def checkpoint_size_edited() -> Log:
    log = whole()
    log.checkpoint = log.checkpoint.replace(f"\n{len(log.entries)}\n", "\n18\n", 1)
    return log


def a_witness_stripped() -> Log:
    log = whole()
    rows = log.checkpoint.splitlines(keepends=True)
    log.checkpoint = "".join(row for row in rows if "notary" not in row and "regul" not in row)
    return log


def rolled_back() -> Log:
    log = whole()
    log.entries, log.hashes, log.width = log.entries[:14], log.hashes[:14], 14
    log.checkpoint = note(log.hashes)
    return log


def history_rewritten_with_the_key() -> Log:
    return rewritten(set_body(9, note="a milder score"), rechain=True)


def signed_by_a_stranger() -> Log:
    log = whole()
    log.resign(key=STRANGER)
    log.keys = vkey(ORIGIN, 1, STRANGER) + "\n"
    return log


def keys_swapped_with_the_log_and_witness_keys() -> Log:
    """All that lies in the log says the same: who has no policy from elsewhere sees nothing."""
    log = rewritten(set_body(9, note="a milder score"), rechain=True)
    log.resign(key=STRANGER)
    text, log.keys = head(len(log.hashes), tree(log.hashes)), vkey(ORIGIN, 1, STRANGER) + "\n"
    for name in WITNESSES:
        false = Ed25519PrivateKey.from_private_bytes(f"not {name}".encode().ljust(32, b"."))
        log.checkpoint += cosign(text, name, false)
        log.keys += vkey(name, 4, false) + "\n"
    return log


def a_tile_forged() -> Log:
    log = whole()
    log.hashes[6] = sha(b"forged")
    return log


def a_record_left_out_of_the_heads() -> Log:
    def edit(leaves: list[Leaf]) -> None:
        index = next(i for i, leaf in enumerate(leaves) if leaf["kind"] == "case.heads")
        leaves[index]["body"] = heads([leaf for leaf in leaves if leaf["case"] != "case-e2"])[0]

    return rewritten(edit)


def a_follow_up_of_another_end() -> Log:
    def edit(leaves: list[Leaf]) -> None:
        leaves[16]["body"]["last"] = "00" * 32
        chain(leaves)

    return rewritten(edit)


def another_spelling() -> Log:
    log = whole()
    log.entries[7] = log.entries[7].replace(b'{"actor"', b'{"v":1,"actor"')
    log.resign()
    return log


def a_payload_changed() -> Log:
    log = whole()
    name = next(iter(log.cas))
    log.cas[name] = b"another attachment"
    return log


def a_checkpoint_saved_of_another_history() -> Log:
    log = whole()
    other = history_rewritten_with_the_key()
    log.saved[14] = note(other.hashes[:14], witnesses=False)
    return log


def a_leaf_with_another_field() -> Log:
    """As many fields as there are, and one of them nobody's."""

    def edit(leaves: list[Leaf]) -> None:
        leaves[9]["agent"] = leaves[9].pop("actor")

    return rewritten(edit, rechain=True)


def a_case_in_the_log_of_another_year() -> Log:
    def edit(leaves: list[Leaf]) -> None:
        for leaf in leaves[16:]:
            leaf["ts"] = leaf["ts"].replace("2026", "2027")

    return rewritten(edit, rechain=True)


def two_swapped_with_their_hashes() -> Log:
    log = two_swapped()
    log.hashes[8], log.hashes[11] = log.hashes[11], log.hashes[8]
    return log


def a_cosignature_of_another_log() -> Log:
    """Two witnesses signed, and not this."""
    log = a_witness_stripped()
    text = head(len(log.hashes), tree(log.hashes), LONGER)
    log.checkpoint += "".join(cosign(text, name) for name in WITNESSES if name[0] in "nr")
    return log


LONGER = ORIGIN.replace("rc10y", "rc20y")
SHORTER = ORIGIN.replace("rc10y", "rc5y")


@dataclass
class Two:
    """A ledger of two logs, for a case that has moved from the one to the other."""

    logs: dict[str, Log]

    def write(self, folder: Path) -> None:
        for origin, log in self.logs.items():
            log.write(folder.joinpath(*origin.split("/")[-2:]))


def a_case_that_moved(
    edit: Callable[[list[bytes]], None] = lambda leaves: None, to: str = LONGER
) -> Two:
    """Three records, the departure; the arrival with the four of them, one more, the close."""
    old, new = Pen(), Pen()
    old.put("log.start", body={"format": 1, "start": 1, "stream": "0-0"})
    for kind in ("case.opened", "event.in", "decision"):
        old.put(kind, "case-e1", body={"note": kind})
    old.put("case.moved", "case-e1", body={"to": to})
    old.put("log.stop", body={"start": 1})
    carried = [spell(leaf) for leaf in old.leaves[1:5]]
    edit(carried)
    packed = b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in carried)
    digest = sha(packed).hex()
    hashes = [hash_leaf(leaf).hex() for leaf in carried]
    new.put("log.start", body={"format": 1, "start": 1, "stream": "0-0"})
    for kind in ("case.moved", "label", "case.closed"):
        new.put(kind, "case-e1")
    new.put("log.stop", body={"start": 1})
    new.leaves[3]["body"]["n"] = 7
    new.leaves[1]["body"] = {
        "from": [{"origin": ORIGIN, "indices": [1, 2, 3, 4], "hashes": hashes}]
    }
    new.leaves[1]["payload"] = [{"path": "leaves", "sha256": digest, "size": len(packed)}]
    before = hash_leaf(carried[-1])
    for seq, leaf in enumerate(new.leaves[1:4], 5):
        leaf["case_seq"], leaf["case_prev"] = seq, before.hex()
        before = hash_leaf(spell(leaf))
    logs = {}
    for origin, pen in ((ORIGIN, old), (to, new)):
        logs[origin] = log_of(origin, pen)
    logs[to].cas[digest] = packed
    return Two(logs)


def log_of(origin: str, pen: Pen) -> Log:
    log = Log([spell(leaf) for leaf in pen.leaves], keys=vkey(origin, 1, OPERATOR) + "\n")
    log.hashes = [hash_leaf(entry) for entry in log.entries]
    text = head(len(log.entries), tree(log.hashes), origin)
    log.checkpoint, log.width = text + "\n" + sign(text), len(log.entries)
    return log


def an_event_decided_in_two_logs() -> Two:
    """Both logs hold, each by itself, and say two things of one event."""
    pen = Pen()
    pen.put("log.start", body={"format": 1, "start": 1, "stream": "0-0"})
    for kind in ("case.opened", "decision", "case.closed"):
        pen.put(kind, "case-another", event="e1")
    pen.put("log.stop", body={"start": 1})
    return Two({ORIGIN: whole(), LONGER: log_of(LONGER, pen)})


def a_log_beside_itself() -> Two:
    """Two histories under one name, each signed: each reader is shown his own."""
    return Two({ORIGIN: whole(), LONGER: history_rewritten_with_the_key()})


def tiles_swapped_between_logs() -> Two:
    two = a_case_that_moved()
    one, other = two.logs.values()
    one.entries, other.entries = other.entries, one.entries
    one.hashes, other.hashes = other.hashes, one.hashes
    one.width, other.width = other.width, one.width
    return two


def only(origin: str) -> Two:
    return Two({origin: a_case_that_moved().logs[origin]})


def a_carried_leaf_rewritten() -> Two:
    """The operator's milder decision, in the longer log alone, and all after it made to fit."""

    def edit(leaves: list[bytes]) -> None:
        leaves[2] = leaves[2].replace(b'"note":"decision"', b'"note":"approval"')
        leaf = json.loads(leaves[3])
        leaf["case_prev"] = hash_leaf(leaves[2]).hex()
        leaves[3] = spell(leaf)

    return a_case_that_moved(edit)


@dataclass(frozen=True)
class Attack:
    """A bad log, how to ask about it, and by which record and rule it is caught."""

    make: Callable[[], Log | Two]
    index: int | None
    rule: int
    policy: bool = False
    old: tuple[int, ...] = ()


ATTACKS = {
    "a-byte-flipped": Attack(a_byte_flipped, 9, 4),
    "a-record-deleted-in-the-middle": Attack(a_record_deleted_in_the_middle, 9, 4),
    "a-record-deleted-and-all-signed-anew": Attack(a_record_deleted_and_all_signed_anew, 10, 8),
    "the-last-records-deleted": Attack(the_last_records_deleted, 17, 2),
    "two-swapped": Attack(two_swapped, 8, 4),
    "one-inserted": Attack(one_inserted, 10, 4),
    "leaf-and-leaf-hash-rewritten": Attack(leaf_and_leaf_hash_rewritten, 8, 9),
    "checkpoint-size-edited": Attack(checkpoint_size_edited, None, 1),
    "a-witness-stripped": Attack(a_witness_stripped, None, 13, policy=True),
    "rolled-back": Attack(rolled_back, 14, 12, old=(20,)),
    "history-rewritten-with-the-key": Attack(history_rewritten_with_the_key, 8, 12, old=(8, 14)),
    "history-rewritten-and-no-witness": Attack(
        history_rewritten_with_the_key, None, 13, policy=True
    ),
    "signed-by-a-stranger": Attack(signed_by_a_stranger, None, 1, policy=True),
    "keys-swapped-with-the-log-and-witness-keys": Attack(
        keys_swapped_with_the_log_and_witness_keys, None, 1, policy=True
    ),
    "a-tile-forged": Attack(a_tile_forged, 6, 4),
    "a-number-with-a-fraction": Attack(lambda: rewritten(set_body(9, score=0.5)), 9, 5),
    "another-spelling": Attack(another_spelling, 7, 5),
    "a-record-backdated": Attack(
        lambda: rewritten(set_field(9, ts="2026-05-28T20:26:40.000000Z"), rechain=True), 9, 6
    ),
    "a-record-taken-twice": Attack(
        lambda: rewritten(set_field(9, rid="rb:events:0/8/score"), rechain=True), 9, 7
    ),
    "an-event-decided-twice": Attack(
        lambda: rewritten(set_field(14, kind="decision"), rechain=True), 14, 7
    ),
    "a-case-that-nobody-opened": Attack(
        lambda: rewritten(set_field(3, kind="note"), rechain=True), 3, 8
    ),
    "a-close-that-counts-wrong": Attack(lambda: rewritten(set_body(15, n=7)), 15, 10),
    "a-record-after-the-close": Attack(
        lambda: rewritten(set_field(14, kind="case.closed"), rechain=True), 15, 10
    ),
    "a-follow-up-of-another-end": Attack(a_follow_up_of_another_end, 16, 10),
    "a-log-without-a-start": Attack(lambda: rewritten(set_field(0, kind="note")), 0, 11),
    "a-gap-that-names-another-record": Attack(
        lambda: rewritten(
            lambda leaves: leaves[1].update(kind="log.gap", body={"last": 7}, subject=None)
        ),
        1,
        11,
    ),
    "a-checkpoint-saved-of-another-history": Attack(a_checkpoint_saved_of_another_history, 8, 12),
    "a-case-left-out-of-the-heads": Attack(a_record_left_out_of_the_heads, 18, 14),
    "a-payload-changed": Attack(a_payload_changed, 12, 15),
    "a-key-not-committed-to": Attack(lambda: rewritten(set_field(1, kind="note")), 4, 16),
    "a-moved-case-without-its-old-half": Attack(lambda: only(LONGER), 1, 17),
    "a-moved-case-without-its-new-half": Attack(lambda: only(ORIGIN), 4, 17),
    "a-carried-leaf-rewritten": Attack(a_carried_leaf_rewritten, 4, 17),
    "a-case-moved-to-a-shorter-class": Attack(lambda: a_case_that_moved(to=SHORTER), 4, 17),
    "a-case-in-the-log-of-another-class": Attack(
        lambda: rewritten(set_body(2, **{"class": "rc6m"}), rechain=True), 2, 8
    ),
    "a-case-in-the-log-of-another-year": Attack(a_case_in_the_log_of_another_year, 16, 8),
    "a-cosignature-of-another-log": Attack(a_cosignature_of_another_log, None, 13, policy=True),
    "a-leaf-of-another-tenant": Attack(
        lambda: rewritten(set_field(9, tenant="other"), rechain=True), 9, 5
    ),
    "a-leaf-with-another-field": Attack(a_leaf_with_another_field, 9, 5),
    "a-log-beside-itself": Attack(a_log_beside_itself, None, 1),
    "an-event-decided-in-two-logs": Attack(an_event_decided_in_two_logs, 2, 7),
    "tiles-swapped-between-logs": Attack(tiles_swapped_between_logs, 1, 8),
    "two-swapped-with-their-hashes": Attack(two_swapped_with_their_hashes, 8, 8),
}


def make(folder: Path) -> None:
    """Write the whole log, the attacks, the policy, the saved checkpoints and expected.json."""
    good = whole()
    good.write(folder / "whole")
    a_case_that_moved().write(folder / "a-case-that-moved")
    for size in (8, 14, len(good.hashes)):
        (folder / f"saved-{size}.checkpoint").write_text(note(good.hashes[:size]))
    names = [name.split(".")[0] for name in WITNESSES]
    rows = [f"log {vkey(ORIGIN, 1, OPERATOR)}"]
    rows += [
        f"witness {short} {vkey(name, 4, key)}"
        for short, (name, key) in zip(names, WITNESSES.items(), strict=True)
    ]
    rows += [f"group two-of-three 2 {' '.join(names)}", "quorum two-of-three"]
    (folder / "policy").write_text("\n".join(rows) + "\n")
    expected = {}
    for name, attack in ATTACKS.items():
        attack.make().write(folder / name)
        expected[name] = {
            "index": attack.index,
            "old": [f"saved-{size}.checkpoint" for size in attack.old],
            "policy": attack.policy,
            "rule": attack.rule,
        }
    text = json.dumps(expected, indent=1, sort_keys=True)
    (folder / "expected.json").write_text(text + "\n")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    for old in target.iterdir():
        if old.is_dir() and old.name not in ("format-1", "__pycache__"):
            shutil.rmtree(old)
    make(target)
