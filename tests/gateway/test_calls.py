"""Batches, waiting for outcomes, the stream, health, figures, and the description of it all."""

import asyncio
import contextlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from risk import names
from tests.gateway.asking import ask, end
from tests.gateway.bank import BEARERS, payment, running
from tests.patience import PATIENCE, until

NDJSON = {"Content-Type": "application/x-ndjson"}


def test_a_batch_is_answered_line_by_line_in_order(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            lines = [orjson.dumps(payment(f"b-{n}", customer=f"C-{n % 7}")) for n in range(400)]
            lines[3] = b"{"
            lines[5] = orjson.dumps(payment("b-5", amount=1))
            lines[7] = orjson.dumps({**payment("b-6"), "amount": "1.00"})
            lines[9] = orjson.dumps({"type": "label", "event": "b-1", "fraud": True})
            status, text, _ = await bank.call(
                "POST", "/v1/events:batch", data=b"\n".join(lines) + b"\n", headers=NDJSON
            )
            assert status == 200
            said = [orjson.loads(line) for line in text.splitlines()]
            assert len(said) == 400
            assert [one["status"] for one in said[:10]] == [
                200, 200, 200, 400, 200, 422, 200, 409, 200, 403,
            ]  # fmt: skip
            assert [one["decision"]["event"] for one in said[10:]] == [
                f"b-{n}" for n in range(10, 400)
            ]
            status, _, _ = await bank.call(
                "POST", "/v1/events:batch", data=b"", headers={"Content-Type": "text/csv"}
            )
            assert status == 415

    asyncio.run(story())


def test_wait_returns_with_the_outcome_of_a_challenge(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            bank.flow.decide = lambda event: {"event": event["id"], "decision": "challenge"}
            assert (await bank.post(payment()))[1]["decision"] == "challenge"
            question = await ask(bank)
            path = "/v1/decisions/pay-1"
            _, soon, _ = await bank.call("GET", path + "?wait=0.2")
            assert "outcome" not in soon  # at S with what there is
            waiting = asyncio.create_task(bank.call("GET", path + "?wait=20"))
            await asyncio.sleep(0.2)
            await end(bank, question, "confirmed", "approve")
            status, decision, _ = await waiting
            assert status == 200
            assert decision["outcome"]["state"] == "confirmed"
            # The same event again tells the outcome too.
            _, again, _ = await bank.call("GET", path)
            assert again == decision

    asyncio.run(story())


def test_what_left_redis_is_answered_from_the_ledger(redis_url: str, tmp_path: Path) -> None:
    class Ledger:
        def head(self) -> None:
            raise OSError("no ledger here")

        def event_records(self, event: str) -> list[dict[str, Any]]:
            body = {"decision": "approve", "score": 12}
            return [{"kind": "decision", "body": body}] if event == "old-1" else []

        def proof(self, origin: str, index: int) -> str | None:
            return None

    async def story() -> None:
        async with running(redis_url, tmp_path, ports={"ledger": Ledger()}) as bank:
            status, decision, _ = await bank.call("GET", "/v1/decisions/old-1")
            assert (status, decision["decision"], decision["from_ledger"]) == (200, "approve", True)
            assert (await bank.call("GET", "/v1/decisions/old-2"))[0] == 404
            long_ago = (datetime.now(UTC) - timedelta(days=30)).isoformat()
            status, problem = await bank.post(payment("old-1", time=long_ago))
            assert (status, problem["type"]) == (409, "urn:ringback:problem:expired_id")
            assert (await bank.post(payment("old-2", time=long_ago)))[0] == 200

    asyncio.run(story())


def test_who_follows_the_stream_misses_nothing_after_a_break(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:

            async def read(number: int, last: str | None) -> list[tuple[str, str, Any]]:
                headers = {"Authorization": f"Bearer {BEARERS['ingest']}"}
                if last:
                    headers["Last-Event-ID"] = last
                found: list[tuple[str, str, Any]] = []
                here: dict[str, str] = {}
                async with (
                    aiohttp.ClientSession() as http,
                    http.get(bank.url + "/v1/stream", headers=headers) as answer,
                    asyncio.timeout(PATIENCE),
                ):
                    started.set()
                    async for raw in answer.content:
                        key, _, value = raw.decode().strip().partition(": ")
                        if key in ("id", "event", "data"):
                            here[key] = value
                        elif not raw.strip() and here:
                            found.append((here["id"], here["event"], orjson.loads(here["data"])))
                            here = {}
                        if len(found) == number:
                            return found
                return found

            assert (await bank.call("GET", "/v1/stream", role=None))[0] == 401
            started = asyncio.Event()
            reading = asyncio.create_task(read(2, None))
            await started.wait()
            await asyncio.sleep(0.2)
            for n in range(5):
                await bank.post(payment(f"s-{n}"))
            first = await reading
            assert [value["event"] for _, _, value in first] == ["s-0", "s-1"]
            rest = await read(3, first[-1][0])
            assert [value["event"] for _, _, value in rest] == ["s-2", "s-3", "s-4"]
            assert {kind for _, kind, _ in first + rest} == {"decision"}
            read_on_record = [r for r in await bank.records() if r["kind"] == "access.read"]
            assert len(read_on_record) == 2

    asyncio.run(story())


def test_without_the_setting_nobody_watches_unsigned(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            await bank.post(payment())
            assert (await bank.call("GET", "/", role=None))[0] == 403
            for path in ("/v1/stream", "/v1/live/pay-1", "/v1/proof?origin=a&index=1"):
                assert (await bank.call("GET", path, role=None))[0] == 401
            for path in ("/you", "/demo/you", "/demo/you/challenges"):
                assert (await bank.call("GET", path, role=None))[0] == 404
            assert (await bank.call("GET", "/v1/live/pay-1", role="officer"))[0] == 200

    asyncio.run(story())


def test_it_says_that_it_is_well_and_how_much_it_did(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            await bank.post(payment())
            await bank.post(payment("pay-2", amount=3))
            await bank.post(payment("pay-3", colour="blue"))
            await bank.redis.hset(names.COUNTERS, "replayed_events", 3)
            assert (await bank.call("GET", "/health/live", role=None))[0] == 200
            status, ready, _ = await bank.call("GET", "/health/ready", role=None)
            assert (status, ready["ready"]) == (200, True)
            wanted = (
                'ringback_events_accepted_total{type="transaction"} 2.0',
                "ringback_events_refused_total 1.0",
                "ringback_unknown_fields_total 1.0",
                'ringback_decisions_total{decision="approve"} 2.0',
                'ringback_flow{count="replayed_events"} 3.0',
                "ringback_decision_seconds_count 2.0",
            )

            async def lacking() -> list[str]:
                _, text, _ = await bank.call("GET", "/metrics", role=None)
                return [line for line in wanted if line not in text.decode().splitlines()]

            async def whole() -> bool:
                return not await lacking()

            with contextlib.suppress(TimeoutError):  # the counts of the flow are looked at at times
                await until(whole)
            assert await lacking() == []

    asyncio.run(story())


def test_every_call_is_described(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            status, document, _ = await bank.call("GET", "/openapi.json", role=None)
            assert status == 200
            assert document["openapi"] == "3.1.0"
            assert {"/v1/events", "/v1/events:batch", "/v1/labels"} <= set(document["paths"])
            schemas = document["components"]["schemas"]
            text = orjson.dumps(document).decode()
            named = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
            assert named <= set(schemas)

    asyncio.run(story())
