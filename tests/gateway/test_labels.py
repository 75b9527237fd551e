"""Whose word a label is, and that it is taken once."""

import asyncio
from pathlib import Path
from typing import Any

from risk import names
from tests.gateway.bank import running


def _label(**other: Any) -> dict[str, Any]:
    return {"event": "pay-1", "fraud": True, "time": "2026-01-01T00:00:00Z", **other}


def test_the_source_is_the_callers_and_never_the_bodys(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            status, said, _ = await bank.call("POST", "/v1/labels", _label(), role="bank")
            assert (status, said) == (202, {"event": "pay-1", "status": "accepted"})
            status, _, _ = await bank.call(
                "POST", "/v1/labels", _label(source="officer"), role="bank"
            )
            assert status == 403
            status, _, _ = await bank.call("POST", "/v1/labels", _label(), role="ingest")
            assert status == 403
            status, _, _ = await bank.call("POST", "/v1/labels", _label(), role="officer")
            assert status == 202
            as_event = _label(type="label", source="officer")
            assert (await bank.post(as_event, role="ingest"))[0] == 403
            assert (await bank.post(as_event, role="bank"))[0] == 403
            sources = [label["source"] for label in await bank.entries(names.LABELS)]
            assert sources == ["chargeback", "officer"]
            assert [record["kind"] for record in await bank.records()] == ["label", "label"]

    asyncio.run(story())


def test_a_label_counts_once_and_a_lower_rank_after_a_higher_is_marked(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:

            async def say(role: str, **other: Any) -> int:
                status, _, _ = await bank.call("POST", "/v1/labels", _label(**other), role=role)
                return status

            assert await say("officer", fraud=False) == 202
            assert await say("officer", fraud=False) == 202  # the same again
            assert await say("officer", fraud=True) == 409  # the same moment, another word
            assert await say("bank") == 202
            assert await say("officer", time="2026-01-02T00:00:00Z") == 202
            labels = await bank.entries(names.LABELS)
            assert [label.get("outranked") for label in labels] == [None, True, None]

    asyncio.run(story())


def test_a_bad_label_is_refused_by_field(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            status, problem, _ = await bank.call(
                "POST", "/v1/labels", {"event": "pay-1", "fraud": "maybe"}, role="bank"
            )
            assert status == 422
            assert {error["field"] for error in problem["errors"]} == {"fraud", "time"}
            assert (await bank.call("POST", "/v1/labels", [], role="bank"))[0] == 422

    asyncio.run(story())
