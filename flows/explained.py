"""Why this score? What the ledger holds of a decision's factors, in words.

Who reads is on record before anything is shown (flows/reading.py).
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audit import read
from audit.errors import NotInLedger
from features.explain import in_words
from flows.parts import edge_of, open_house
from flows.reading import put_first


def explained(records: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The explanation in an event's records: score, model, factors each with its ``text``."""
    for record in records:
        if record.get("kind") == "score":
            body = record["body"]
            factors = [{**reason, "text": in_words(reason)} for reason in body.get("factors") or ()]
            return {
                "score": body["score"],
                "probability": body["probability"],
                "model": body["model"],
                "challengers": body.get("challengers", {}),
                "factors": factors,
            }
    return None


def explain_case(args: Sequence[str], data: Path) -> int:
    """`ringback case explain EVENT`: the factors of its score, the greatest first."""
    parser = argparse.ArgumentParser(prog="ringback case explain", description=explain_case.__doc__)
    parser.add_argument("event", help="The event's id, or its case.")
    parser.add_argument("--data", type=Path, default=data, help="The data directory.")
    parser.add_argument("--purpose", default="", help="Why it is read; goes on record.")
    parser.add_argument("--json", action="store_true", help="One JSON object.")
    chosen = parser.parse_args(args)
    house = open_house(chosen.data)
    event = edge_of(house).id_of(chosen.event.removeprefix("case-"))
    put_first(house, "access.read", {"what": "score", "which": event, "purpose": chosen.purpose})
    found = explained(read.event_records(house.data, event))
    if found is None:
        raise NotInLedger(f"there is no score of an event {chosen.event}")
    if chosen.json:
        sys.stdout.write(json.dumps({"event": chosen.event, **found}) + "\n")
        return 0
    model = found["model"]
    sys.stdout.write(f"{found['score']} of 1000, by {model['id']} {model['version']}\n")
    for reason in found["factors"]:
        sign = "+" if float(reason["weight"]) > 0 else "-"
        sys.stdout.write(f"  {sign} {reason['text']}\n")
    if not found["factors"]:
        sys.stdout.write("  No factor is on record: the model knew nothing of it.\n")
    return 0
