"""Is it well? Alive, ready, and how many of what."""

import asyncio

import orjson
from aiohttp import web

from gateway.board import Board
from gateway.metrics import Metrics
from gateway.openapi import document
from gateway.replies import Replies
from gateway.turns import StoreAway, Turns


class Health:
    """What a supervisor, a load balancer and a Prometheus ask for."""

    def __init__(self, turns: Turns, replies: Replies, board: Board, metrics: Metrics) -> None:
        self._turns = turns
        self._replies = replies
        self._board = board
        self._metrics = metrics
        self._document = orjson.dumps(document())

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/health/live", self.get_live),
            web.get("/health/ready", self.get_ready),
            web.get("/metrics", self.get_metrics),
            web.get("/openapi.json", self.get_openapi),
        ]

    async def get_live(self, request: web.Request) -> web.Response:
        """The process answers."""
        return web.Response(text="live\n")

    async def get_ready(self, request: web.Request) -> web.Response:
        """Events can be made durable and decisions heard; the flow's state is told beside it."""
        try:
            async with asyncio.timeout(1.0):
                redis = bool(await self._turns.ask("PING"))
        except (StoreAway, TimeoutError):
            redis = False
        ready = redis and self._replies.following
        body = {
            "ready": ready,
            "redis": redis,
            "following": self._replies.following,
            "flow": self._board.vitals.get("flow"),
        }
        return web.Response(
            status=200 if ready else 503,
            body=orjson.dumps(body),
            content_type="application/json",
        )

    async def get_metrics(self, request: web.Request) -> web.Response:
        return web.Response(
            body=self._metrics.text(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def get_openapi(self, request: web.Request) -> web.Response:
        return web.Response(body=self._document, content_type="application/json")
