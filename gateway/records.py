"""How is a step taken down? Audit records as producers put them on ``rb:audit``."""

from collections.abc import Mapping
from typing import Any

from risk.events import rfc3339


def record(
    kind: str,
    rid: str,
    *,
    tenant: str,
    actor: Mapping[str, str],
    at_us: int,
    body: Mapping[str, Any],
    case: str | None = None,
    event: str | None = None,
    subject: str | None = None,
    grade: int = 2,
    **more: Any,
) -> dict[str, Any]:
    """One record without what the writer alone sets; no floats in ``body``."""
    return {
        "v": 1,
        "kind": kind,
        "rid": rid,
        "tenant": tenant,
        "case": case,
        "event": event,
        "subject": subject,
        "actor": dict(actor),
        "at": rfc3339(at_us),
        "body": dict(body),
        "payload": [],
        "grade": grade,
        **more,
    }


def caller(role: str) -> dict[str, str]:
    """A machine of the bank (or whoever holds that token), known by its token's role."""
    return {"type": "service", "id": f"caller.{role}", "role": role}


GATEWAY = {"type": "service", "id": "gateway", "role": "gateway"}
