"""What may be called, for machines? OpenAPI 3.1, with the bodies as their models say."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from gateway.challenges import WebAnswer
from gateway.channels import Customer
from gateway.heard import Reply
from gateway.problems import TITLES
from gateway.wanted import Going, OwnWanted, Secret, Wanted, Word
from risk import events

_REF = "#/components/schemas/"
_DECISION: Mapping[str, Any] = {
    "type": "object",
    "required": ["event", "decision", "reasons"],
    "properties": {
        "event": {"type": "string"},
        "decision": {"enum": ["approve", "challenge", "review", "decline"]},
        "score": {"type": ["integer", "null"], "minimum": 0, "maximum": 1000},
        "reasons": {"type": "array", "items": {"type": "object"}},
        "model": {"type": ["object", "null"]},
        "policy_sha256": {"type": "string"},
        "challenge": {"type": "object"},
        "degraded": {"type": ["object", "null"]},
        "late": {"type": "boolean"},
        "trace": {"type": "string"},
        "stages_us": {"type": "object"},
        "decided": {"type": "string", "format": "date-time"},
        "outcome": {"type": "object"},
        "receipt": {
            "type": "object",
            "properties": {"origin": {"type": "string"}, "index": {"type": "integer"}},
        },
        "features": {"type": ["object", "null"]},
    },
}
_PROBLEM: Mapping[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"enum": [f"urn:ringback:problem:{kind}" for kind in TITLES]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("field", "needed", "got")},
            },
        },
    },
}


def _said(name: str, kind: str = "application/json") -> dict[str, Any]:
    return {"content": {kind: {"schema": {"$ref": _REF + name}}}}


def _call(
    summary: str,
    answers: Mapping[int, str | None],
    *,
    body: str | None = None,
    kind: str = "application/json",
    parameters: tuple[dict[str, Any], ...] = (),
    open_to_all: bool = False,
) -> dict[str, Any]:
    call: dict[str, Any] = {"summary": summary, "responses": {}}
    for status, schema in answers.items():
        told = {"description": "as asked" if status < 400 else "a problem"}
        call["responses"][str(status)] = {**told, **(_said(schema) if schema else {})}
    call["responses"]["default"] = {
        "description": "a problem",
        **_said("Problem", "application/problem+json"),
    }
    if body:
        call["requestBody"] = {"required": True, **_said(body, kind)}
    if parameters:
        call["parameters"] = list(parameters)
    call["security"] = [] if open_to_all else [{"bearer": []}]
    return call


def _parameter(name: str, place: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _bindings(by_id: dict[str, Any]) -> dict[str, Any]:
    """Who binds what to a customer, and what the customer's devices call for it."""
    binding = _parameter("binding", "path", type="string", maxLength=64)
    which = (_parameter("kind", "path", type="string"), _parameter("token", "path", type="string"))
    staff = _parameter("staff", "query", type="string", maxLength=32)
    at, of = "/v1/customers/{id}", "/v1/bindings/{binding}"
    return {
        f"{at}/bindings": {
            "post": _call(
                "Bind a channel or a key",
                {201: None, 202: None},
                body="Wanted",
                parameters=(by_id,),
            ),
            "get": _call("What is bound", {200: None}, parameters=(by_id,)),
        },
        f"{at}/bindings/{{kind}}/{{token}}": {
            "delete": _call("Unbind", {200: None}, parameters=(by_id, *which, staff))
        },
        f"{at}/freeze": {"post": _call("Block payments", {202: None}, parameters=(by_id,))},
        f"{at}/unfreeze": {"post": _call("Lift a block", {202: None}, parameters=(by_id,))},
        f"{at}/duress": {
            "put": _call("Set the duress word", {200: None}, body="Secret", parameters=(by_id,)),
            "delete": _call("Forget the duress word", {200: None}, parameters=(by_id,)),
        },
        "/v1/bindings": {
            "post": _call(
                "Ask on the bank's page for what a passkey will sign",
                {201: None},
                body="OwnWanted",
                open_to_all=True,
            )
        },
        f"{of}/signing": {
            "post": _call(
                "What a passkey signs for it", {200: None}, parameters=(binding,), open_to_all=True
            )
        },
        f"{of}/approve": {
            "post": _call(
                "Give the second word",
                {201: None},
                body="Word",
                parameters=(binding,),
            )
        },
        f"{of}/options": {
            "post": _call(
                "What an authenticator is asked for",
                {200: None},
                parameters=(binding,),
                open_to_all=True,
            )
        },
        f"{of}/credential": {
            "post": _call(
                "Hand in a new passkey", {201: None}, parameters=(binding,), open_to_all=True
            )
        },
    }


def _unbindings() -> dict[str, Any]:
    """What the page on which a customer takes a binding away calls."""
    of = "/v1/unbindings/{wish}"
    wish = _parameter("wish", "path", type="string", maxLength=64)
    asked: dict[str, Any] = {"parameters": (wish,), "open_to_all": True}
    return {
        "/v1/unbindings": {
            "post": _call("Ask to see what is bound", {201: None}, open_to_all=True)
        },
        f"{of}/signing": {"post": _call("What a passkey signs for it", {200: None}, **asked)},
        f"{of}/approve": {
            "post": _call("See what is bound, or take it away", {200: None}, body="Word", **asked)
        },
        f"{of}/wish": {"post": _call("Name what is to go", {201: None}, body="Going", **asked)},
    }


def document() -> dict[str, Any]:
    """The whole description."""
    by_id = _parameter("id", "path", type="string", maxLength=128)
    by_list = _parameter("list", "path", type="string", maxLength=64)
    prefer = _parameter("Prefer", "header", type="string", examples=["wait=0.5", "respond-async"])
    wait = _parameter("wait", "query", type="number", minimum=0)
    include = _parameter("include", "query", enum=["features", "factors"])
    event = TypeAdapter[Any](events.Event).json_schema(ref_template=_REF + "{model}")
    schemas = event.pop("$defs")
    _, others = models_json_schema(
        [
            (one, "validation")
            for one in (Customer, WebAnswer, Wanted, OwnWanted, Word, Going, Secret, Reply)
        ],
        ref_template=_REF + "{model}",
    )
    schemas |= others["$defs"]
    schemas |= {"Event": event, "Decision": dict(_DECISION), "Problem": dict(_PROBLEM)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ringback", "version": "1", "license": {"name": "Apache-2.0"}},
        "paths": {
            "/v1/events": {
                "post": _call(
                    "Send one event; get its decision",
                    {200: "Decision", 202: None},
                    body="Event",
                    parameters=(prefer,),
                )
            },
            "/v1/events:batch": {
                "post": _call(
                    "Send many events, one a line",
                    {200: None},
                    body="Event",
                    kind="application/x-ndjson",
                    parameters=(prefer,),
                )
            },
            "/v1/decisions/{id}": {
                "get": _call(
                    "Ask for a decision, and its outcome",
                    {200: "Decision", 202: None},
                    parameters=(by_id, wait, include),
                )
            },
            "/v1/labels": {"post": _call("Say what was fraud", {202: None}, body="LabelEvent")},
            "/v1/lists/{list}": {
                "get": _call("Who stands on a list", {200: None}, parameters=(by_list,)),
                "post": _call("Put on or take off a list", {201: None}, parameters=(by_list,)),
            },
            "/v1/replies": {
                "post": _call(
                    "What a customer sent to the bank's own gateway; signed (Standard Webhooks)",
                    {200: None},
                    body="Reply",
                    parameters=tuple(
                        _parameter(f"webhook-{name}", "header", type="string")
                        for name in ("id", "timestamp", "signature")
                    ),
                    open_to_all=True,
                )
            },
            "/v1/push/key": {
                "get": _call(
                    "The key that a browser subscribes with", {200: None}, open_to_all=True
                )
            },
            "/v1/customers/{id}": {
                "put": _call(
                    "Say by what a customer is reached",
                    {200: None},
                    body="Customer",
                    parameters=(by_id,),
                )
            },
            "/v1/challenges/{id}": {
                "get": _call(
                    "What the page asks", {200: None}, parameters=(by_id,), open_to_all=True
                )
            },
            "/v1/challenges/{id}/answer": {
                "post": _call(
                    "Answer on the page",
                    {200: None, 202: None},
                    body="WebAnswer",
                    parameters=(by_id,),
                    open_to_all=True,
                )
            },
            "/v1/challenges/{id}/signing": {
                "post": _call(
                    "What a passkey may sign", {200: None}, parameters=(by_id,), open_to_all=True
                )
            },
            "/v1/challenges/{id}/signed": {
                "post": _call(
                    "Answer by a device key's JWS",
                    {200: None, 202: None},
                    parameters=(by_id,),
                    open_to_all=True,
                )
            },
            **_bindings(by_id),
            **_unbindings(),
            "/v1/stream": {"get": _call("Follow decisions and outcomes", {200: None})},
            "/v1/proof": {
                "get": _call(
                    "The proof of a record",
                    {200: None},
                    parameters=(
                        _parameter("origin", "query", type="string"),
                        _parameter("index", "query", type="integer"),
                    ),
                )
            },
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }
