"""What does one hand to a lawyer? All records of one case, with what proves them, in one zip.

    manifest.json            every other file with its SHA-256, and which record is which
    records/<n>/<i>.json     the leaves of log n, byte for byte; beside each its .tlog-proof
    logs/<n>/                checkpoint, older ones with consistency proofs, keys, time stamps
    cas/<sha256>             payloads as stored (sealed)
    disclosures.json         single values opened on purpose: {path, value, salt}, never a key
    policy                   the policy as the exporter knows it: take yours from elsewhere
    timeline.html            the same for people
    HOW-TO-VERIFY.txt        with this project's verifier and with other people's

The same case and heads give the same bytes (no clock in it, fixed order, nothing compressed).
`verify_bundle` reports faults with the rule numbers of `verify`.
"""

from __future__ import annotations

import html
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from audit.errors import EvidenceMalformed, NotInLedger
from audit.leaf import NO_PREVIOUS, decode
from audit.note import LOG_KEY, Checkpoint, Verifier, parse_checkpoint, parse_vkey
from audit.policy import NONE, Policy
from audit.prove import nodes_of_tiles, parse_proof, proof_holds, prove
from audit.read import case_family, log_directory
from audit.read import disclose as disclose_value
from audit.seal import Disclosure, disclosure_matches
from audit.tiles import checkpoint_file, payload_file
from audit.timestamp import check, tokens
from audit.tree import consistency_path, is_consistent, leaf_hash
from audit.verify import BROKEN, SELF_CONSISTENT, VERIFIED, Fault
from audit.witness import parse_request, request_of

ZIP_DATE = (1980, 1, 1, 0, 0, 0)
OLDER_CHECKPOINTS = 2

HOW_TO = """How to check this evidence without trusting who gave it to you

1. python -m audit verify-bundle FILE --policy POLICY    (needs Python and `cryptography`)
   The policy names the log's key and the witnesses' keys. Take it from somewhere else.
2. Each records/<n>/<i>.tlog-proof is a C2SP tlog-proof (https://c2sp.org/tlog-proof) of the bytes
   in records/<n>/<i>.json. Any tool for that format checks it; by hand: SHA-256 of a zero byte
   and the file's bytes is the leaf; the hashes of the proof lead to the root in the checkpoint
   (RFC 6962, 2.1.1); the checkpoint is a signed note (https://c2sp.org/signed-note).
3. Within a case, case_seq runs 1, 2, 3, ... and case_prev is the leaf hash of the record before.
   case.closed counts them. If one is missing here, it was left out.
4. logs/<n>/older-<size>.consistency shows that the log of that size is a beginning of this one.
5. A value in disclosures.json belongs to the record that holds its commitment:
   HMAC-SHA256(salt, path, a zero byte, value) in hexadecimal is body.sealed[path].com.
6. logs/<n>/timestamps/<size>.tsr, where there is one, is an RFC 3161 time stamp of a third party
   over the first three lines of the checkpoint of that size:
   openssl ts -verify -in FILE.tsr -data THREE_LINES -CAfile ITS_CERTIFICATE

What it can't show: that what was recorded is true, or that nothing went unrecorded. Without
witnesses in the checkpoint the operator of the log could have written all of it later.
"""


@dataclass
class BundleReport:
    """What was found in a bundle."""

    case: str = ""
    records: int = 0
    faults: list[Fault] = field(default_factory=list)
    open_questions: list[str] = field(default_factory=list)
    witnessed: bool = False
    timestamps: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        if self.faults:
            return BROKEN
        return VERIFIED if self.witnessed else SELF_CONSISTENT


def export_case(
    data_dir: Path | str,
    case: str,
    out: Path,
    *,
    disclose: Sequence[str] = (),
    policy: bytes | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Write the bundle of a case and its follow-ups; the names of its files.

    Refused: an unknown case, a record not yet published (NotInLedger), a value that is to be
    disclosed and whose key is destroyed (KeyMissing). Danger: exporting reads a person's records;
    the caller puts that on record first.
    """
    leaves = case_family(data_dir, case)
    if not leaves:
        raise NotInLedger(f"there is no case {case}")
    files: dict[str, bytes] = {"HOW-TO-VERIFY.txt": HOW_TO.encode()}
    origins = sorted({leaf["origin"] for leaf in leaves})
    for origin in origins:
        last = max(leaf["index"] for leaf in leaves if leaf["origin"] == origin)
        number, log = origins.index(origin) + 1, log_directory(data_dir, origin)
        _put_log(files, f"logs/{number}", log, last)
    records = []
    for leaf in leaves:
        number = origins.index(leaf["origin"]) + 1
        log = log_directory(data_dir, leaf["origin"])
        name = f"records/{number}/{leaf['index']}"
        proof, data = prove(log, leaf["index"], files[f"logs/{number}/checkpoint"])
        files[f"{name}.json"], files[f"{name}.tlog-proof"] = data, proof.as_text()
        for entry in leaf["payload"]:
            digest = entry["sha256"]
            files[f"cas/{digest}"] = payload_file(log, digest).read_bytes()
        records.append({"file": f"{name}.json", "hash": leaf["hash"], "origin": leaf["origin"]})
        if progress is not None:
            progress(len(records), len(leaves))
    opened = _disclose(Path(data_dir), leaves, disclose)
    if opened:
        files["disclosures.json"] = _json(opened)
    if policy is not None:
        files["policy"] = policy
    files["timeline.html"] = _timeline(case, leaves, opened).encode()
    manifest = {
        "case": case,
        "files": {name: sha256(data).hexdigest() for name, data in sorted(files.items())},
        "format": 1,
        "origins": origins,
        "records": records,
    }
    files["manifest.json"] = _json(manifest)
    _write_zip(out, files)
    return sorted(files)


def verify_bundle(
    path: Path, *, policy: Policy | None = None, authorities: Sequence[bytes] = ()
) -> BundleReport:
    """Check a bundle by itself: hashes, proofs, signatures, chain, disclosures, witnesses.

    `authorities` are PEM certificates of time-stamp authorities.
    """
    report = BundleReport()
    try:
        with zipfile.ZipFile(path) as bundle:
            files = {name: bundle.read(name) for name in bundle.namelist()}
        manifest = json.loads(files["manifest.json"])
        report.case = str(manifest["case"])
        origins = [str(origin) for origin in manifest["origins"]]
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise EvidenceMalformed(f"{path} is no bundle of a case: {error!r}") from error
    for name, digest in manifest["files"].items():
        if name not in files or sha256(files[name]).hexdigest() != digest:
            report.faults.append(Fault(15, None, f"{name} is missing or not as the manifest says"))
    heads = {}
    for number, origin in enumerate(origins, 1):
        heads[number], keys = _check_head(files, number, origin, policy, report)
        head = parse_checkpoint(heads[number])
        if _is_signed(head, keys):  # what nobody known signed needs no second fault
            _check_older(files, number, head, keys, report)
            _check_timestamps(files, number, head, authorities, report)
    chain = []
    for name in sorted(files):
        if name.startswith("records/") and name.endswith(".json"):
            chain += _check_record(files, name, heads, report)
    report.records = len(chain)
    _check_chain(chain, report)
    _check_disclosures(files, chain, report)
    report.witnessed = bool(heads) and policy is not None and policy.quorum != NONE
    if policy is None or not policy.logs:
        report.witnessed = False
        report.open_questions.append("no policy that names the log: the keys came with the bundle")
    return report


def bundle_records(path: Path) -> list[dict[str, Any]]:
    """The records of a bundle as they stand in it, unchecked: ask `verify_bundle` first."""
    with zipfile.ZipFile(path) as bundle:
        names = [name for name in bundle.namelist() if name.startswith("records/")]
        return [decode(bundle.read(name)) for name in sorted(names) if name.endswith(".json")]


Chain = list[tuple[int, bytes, dict[str, Any]]]


def _check_head(
    files: dict[str, bytes], number: int, origin: str, policy: Policy | None, report: BundleReport
) -> tuple[bytes, list[Verifier]]:
    data = files.get(f"logs/{number}/checkpoint", b"")
    head = parse_checkpoint(data)
    if policy is not None and policy.logs:
        keys = policy.log_keys(origin)
    else:
        rows = files.get(f"logs/{number}/keys", b"").decode().splitlines()
        keys = [key for key in map(parse_vkey, rows) if key.kind == LOG_KEY]
    if head.origin != origin or not _is_signed(head, keys):
        report.faults.append(Fault(1, None, f"the checkpoint of {origin} is not signed by its key"))
    if policy is not None and not policy.is_met(
        lambda witness: head.witnessed_at(witness.verifier) is not None
    ):
        report.faults.append(Fault(13, None, f"{origin}: the quorum {policy.quorum} is not met"))
    return data, keys


def _check_older(
    files: dict[str, bytes],
    number: int,
    head: Checkpoint,
    keys: Sequence[Verifier],
    report: BundleReport,
) -> None:
    """12. Each enclosed older checkpoint is a beginning of the log, by its consistency proof."""
    prefix = f"logs/{number}/older-"
    for name in sorted(name for name in files if name.startswith(prefix)):
        if name.endswith(".consistency"):
            continue
        older = parse_checkpoint(files[name])
        try:
            size, path, _ = parse_request(files.get(f"{name}.consistency", b""))
        except (EvidenceMalformed, ValueError) as error:
            report.faults.append(Fault(12, None, f"{name}: its proof can't be read: {error}"))
            continue
        if older.origin != head.origin or not _is_signed(older, keys):
            report.faults.append(Fault(12, None, f"{name} is not signed by this log's key"))
        elif size != older.size or not is_consistent(
            older.size, head.size, older.root, head.root, path
        ):
            why = f"{name}: a checkpoint of size {older.size} is no beginning of this log"
            report.faults.append(Fault(12, None, why))


def _check_timestamps(
    files: dict[str, bytes],
    number: int,
    head: Checkpoint,
    authorities: Sequence[bytes],
    report: BundleReport,
) -> None:
    """12. Each enclosed time stamp is of the checkpoint or of an older one beside it."""
    prefix = f"logs/{number}/timestamps/"
    stamps = sorted(name for name in files if name.startswith(prefix))
    if stamps and not authorities:
        why = f"{len(stamps)} time stamps are enclosed, and whose stamps count was not said (--tsa)"
        report.open_questions.append(why)
        return
    for name in stamps:
        size = name.removeprefix(prefix).removesuffix(".tsr")
        older = files.get(f"logs/{number}/older-{size}", b"")
        try:
            stamped = head if size == str(head.size) else parse_checkpoint(older)
            when = check(files[name], stamped.text, authorities)
        except EvidenceMalformed as error:
            report.faults.append(Fault(12, None, f"{name}: {error}"))
        else:
            report.timestamps.append(f"{head.origin} at size {size}: {when.isoformat()}")


def _is_signed(head: Checkpoint, keys: Sequence[Verifier]) -> bool:
    return any(head.signed_by(key) for key in keys if key.name == head.origin)


def _check_record(
    files: dict[str, bytes], name: str, heads: dict[int, bytes], report: BundleReport
) -> Chain:
    leaf, number = files[name], int(name.split("/")[1])
    index = int(Path(name).stem)
    try:
        proof = parse_proof(files.get(name.removesuffix(".json") + ".tlog-proof", b""))
        record = decode(leaf)
    except (EvidenceMalformed, ValueError) as error:
        report.faults.append(Fault(5, index, str(error)))
        return []
    if proof.index != index or proof.checkpoint != heads.get(number):
        report.faults.append(Fault(3, index, "its proof is of another record or another head"))
    elif not proof_holds(proof, leaf):
        report.faults.append(Fault(3, index, "its proof does not lead to the checkpoint's root"))
    return [(index, leaf_hash(leaf), record)]


def _check_chain(chain: Chain, report: BundleReport) -> None:
    by_case: dict[str, Chain] = {}
    for item in chain:
        by_case.setdefault(str(item[2]["case"]), []).append(item)
    ends: dict[str, str] = {}
    for case, items in sorted(by_case.items()):
        items.sort(key=lambda item: item[2]["case_seq"])
        before, seq = NO_PREVIOUS, 0
        for index, hashed, record in items:
            if record["case_seq"] != seq + 1:
                why = f"case {case} stands at {seq}, and this is its record {record['case_seq']}"
                report.faults.append(Fault(8, index, why))
            elif record["case_prev"] != before:
                report.faults.append(Fault(9, index, "it names another record before it"))
            before, seq = hashed.hex(), record["case_seq"]
        last_index, _, last = items[-1]
        ends[case] = before
        if last["kind"] != "case.closed":
            report.open_questions.append(f"case {case} is not closed: it may have later records")
        elif last["body"].get("n") != len(items):
            why = f"it closes {last['body'].get('n')} records, {len(items)} are here"
            report.faults.append(Fault(10, last_index, why))
        followed = items[0][2]["body"].get("follows")
        if followed is not None and ends.get(followed) != items[0][2]["body"].get("last"):
            report.faults.append(Fault(10, items[0][0], f"case {followed} ends otherwise here"))
    if report.case not in by_case:
        report.faults.append(Fault(8, None, f"there is no record of case {report.case}"))


def _check_disclosures(files: dict[str, bytes], chain: Chain, report: BundleReport) -> None:
    by_rid = {record["rid"]: (index, record) for index, _, record in chain}
    for item in json.loads(files.get("disclosures.json", b"[]")):
        index, entry = None, {}
        if item["rid"] in by_rid:
            index, record = by_rid[item["rid"]]
            entry = record["body"].get("sealed", {}).get(item["path"], {})
        disclosure = Disclosure(item["path"], item["value"], item["salt"])
        if not disclosure_matches(disclosure, str(entry.get("com"))):
            report.faults.append(Fault(16, index, f"{item['path']} is not what was committed to"))


def _put_log(files: dict[str, bytes], name: str, log: Path, last: int) -> None:
    data = checkpoint_file(log).read_bytes()
    head = parse_checkpoint(data)
    files[f"{name}/checkpoint"] = data
    files[f"{name}/keys"] = (log / "keys").read_bytes()
    folder = log / "checkpoints"
    sizes = sorted(int(file.name) for file in folder.iterdir() if file.name.isdigit())
    known = {*(size for size in sizes if size < head.size), head.size}
    stamps = {size: token for size, token in tokens(log).items() if size in known}
    kept = {min((size for size in stamps if size > last), default=0), max(stamps, default=0)}
    for size in sorted(kept - {0}):  # the first stamp that covers the case, and the newest
        files[f"{name}/timestamps/{size}.tsr"] = stamps[size]
    older = [size for size in sizes if 0 < size < head.size]
    for size in sorted({*older[-OLDER_CHECKPOINTS:], *(kept & set(older))}):
        path = consistency_path(size, head.size, nodes_of_tiles(log, head.size))
        files[f"{name}/older-{size}"] = (folder / str(size)).read_bytes()
        files[f"{name}/older-{size}.consistency"] = request_of(size, path, data)


def _disclose(
    data_dir: Path, leaves: list[dict[str, Any]], paths: Sequence[str]
) -> list[dict[str, str]]:
    if not paths:
        return []
    opened = []
    for leaf in leaves:
        for path in sorted(leaf["body"].get("sealed", {})):
            if path in paths:
                found = disclose_value(data_dir, leaf, path)
                opened.append(
                    {"path": path, "rid": leaf["rid"], "salt": found.salt, "value": found.value}
                )
    return opened


def _timeline(case: str, leaves: list[dict[str, Any]], opened: list[dict[str, str]]) -> str:
    values: dict[str, list[str]] = {}
    for item in opened:
        values.setdefault(item["rid"], []).append(f"{item['path']}: {item['value']}")
    rows = []
    for leaf in leaves:
        actor = leaf["actor"]
        body = {key: value for key, value in leaf["body"].items() if key != "sealed"}
        facts = [f"{key}: {_short(value)}" for key, value in sorted(body.items())]
        facts += values.get(leaf["rid"], [])
        facts += [
            f"{path}: sealed"
            for path in sorted(leaf["body"].get("sealed", {}))
            if not any(fact.startswith(f"{path}: ") for fact in facts)
        ]
        strength = leaf.get("strength")
        word = _STRENGTH.get(str(strength), "") if strength else ""
        cells = [
            leaf["ts"][:19].replace("T", " ") + " UTC",
            f"{WORDS[leaf['kind']]}\n({leaf['kind']})" if leaf["kind"] in WORDS else leaf["kind"],
            f"{actor['role']} {actor['id']}",
            "\n".join([*facts, *([word] if word else [])]),
            f"{leaf['case']} {leaf['case_seq']}\n{leaf['hash'][:16]}…",
        ]
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    title = html.escape(f"Case {case}: what is on record")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>"
        "<p>Each row is one record, in the order in which it was written down. The files in "
        "records/ are the evidence; this page is only a reading of them.</p>"
        "<table><thead><tr><th>Written down</th><th>What</th><th>By</th><th>Facts</th>"
        f"<th>Record</th></tr></thead><tbody>{''.join(rows)}</tbody></table></body></html>\n"
    )


#: The commoner kinds in words; others stand by their own name.
WORDS = {
    "access.denied": "A reading was refused",
    "access.read": "Somebody read the case",
    "answer": "The customer answered",
    "answer.contradicted": "The customer took the answer back",
    "case.closed": "The case was closed",
    "case.moved": "The case moved to a log that is kept longer",
    "case.opened": "The case was opened",
    "challenge.created": "A question was put to the customer",
    "complaint": "A complaint was made",
    "decision": "It was decided",
    "escalation": "Officers were called",
    "event.in": "The bank handed the event in",
    "export": "The case was handed out",
    "features": "What was usual was looked up",
    "inquiry.answered": "What the customer said of payments already made",
    "inquiry.asked": "The customer was asked about payments already made",
    "label": "It became known whether it was fraud",
    "learn": "The model learnt from it",
    "officer.action": "An officer acted",
    "officer.view": "An officer looked at it",
    "outcome": "It ended so",
    "outreach.sent": "The question was sent",
    "receipt.delivered": "The message reached the device, says the server",
    "receipt.displayed": "The message was shown, says the device",
    "record.refused": "A record that could not be taken",
    "rule.hits": "Rules that applied",
    "score": "The model gave its score",
    "status": "The bank said what it did",
}
_STRENGTH = {
    "signed": "Signed by the customer's own key; the bank could not have made it up.",
    "app": "Given in the bank's app; it rests on the app's sign-in.",
    "claimed": "Claimed by the chat server; it rests on that server's word.",
}
_STYLE = (
    "body{font:15px/1.5 sans-serif;margin:2em auto;max-width:70em;padding:0 1em}"
    "table{border-collapse:collapse;width:100%}td,th{border-top:1px solid #ccc;padding:.4em .6em;"
    "text-align:left;vertical-align:top;white-space:pre-wrap;overflow-wrap:anywhere}"
)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else text[:300] + "…"


def _json(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def _write_zip(out: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as bundle:
        for name, data in sorted(files.items()):
            info = zipfile.ZipInfo(name, ZIP_DATE)
            info.external_attr = 0o644 << 16
            info.create_system = 3
            bundle.writestr(info, data)
