"""What can the caller keep? Its decision's place in the ledger, and the proof that it is there.

The proof is a C2SP `.tlog-proof`, the leaf the exact bytes that it proves; both hold without this
bank: `python -m audit check-proof PROOF LEAF`, or any other tool for that format.
"""

from typing import Any

import orjson
from aiohttp import web

from gateway.callers import Callers
from gateway.edge import Edge
from gateway.evidence import Evidence
from gateway.problems import Problem
from gateway.reading import Readings
from gateway.records import caller
from gateway.turns import Turns
from risk import names


class Proofs:
    """The call that hands a decision's proof out."""

    def __init__(
        self, callers: Callers, edge: Edge, turns: Turns, evidence: Evidence, readings: Readings
    ) -> None:
        self._callers, self._edge, self._turns = callers, edge, turns
        self._evidence, self._readings = evidence, readings

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/decisions/{id}/proof", self.get_proof)]

    async def get_proof(self, request: web.Request) -> web.Response:
        """``GET /v1/decisions/{id}/proof``: 404 until it is durable.

        JSON ``{event, receipt: {origin, index}, proof, leaf}``; ``?part=proof`` and ``?part=leaf``
        give the bytes of the two files alone.
        """
        role = self._callers.need(request, "ingest", "bank", "officer")
        own_id = request.match_info["id"]
        event = self._edge.id_of(own_id)
        part = request.query.get("part", "")
        if part not in ("", "proof", "leaf"):
            raise Problem("malformed", f"part: needed proof or leaf, got {part[:20]!r}")
        receipt = await self._evidence.receipt(event)
        if receipt is None:
            if await self._turns.ask("EXISTS", names.decision(event)):
                raise Problem("not_found", "The decision is not in the ledger yet", event=own_id)
            raise Problem("not_found", "No decision of that id stands", event=own_id)
        if role == "officer":
            await self._readings.first(caller(role), "proof", event, event=event)
        found = await self._evidence.leaf_and_proof(receipt["origin"], receipt["index"])
        if found is None:
            raise Problem("not_found", "The record has no proof yet", event=own_id)
        leaf, proof = found
        if part == "proof":
            return web.Response(text=proof)
        if part == "leaf":
            return web.Response(body=leaf, content_type="application/json")
        told: dict[str, Any] = {
            "event": own_id,
            "receipt": receipt,
            "proof": proof,
            "leaf": leaf.decode(),
        }
        return web.Response(body=orjson.dumps(told), content_type="application/json")
