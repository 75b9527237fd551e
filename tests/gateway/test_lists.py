"""Which lists may a machine keep, and does a value stay a token?"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from risk import names
from tests.gateway.bank import running

ADD = {"op": "add", "kind": "payee", "value": "acc-1", "reason": "a mule, says the police"}


def test_a_list_is_kept_on_record_and_holds_tokens(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            status, said, _ = await bank.call("POST", "/v1/lists/mules", ADD, role="bank")
            assert status == 201
            until = {**ADD, "value": "acc-2", "until": "2000-01-01T00:00:00Z"}
            assert (await bank.call("POST", "/v1/lists/mules", until, role="bank"))[0] == 201
            status, shown, _ = await bank.call("GET", "/v1/lists/mules", role="bank")
            assert status == 200
            (entry,) = shown["entries"]
            assert entry["value"].startswith("acc_")
            assert (entry["kind"], entry["reason"], entry["by"]) == (
                "payee",
                ADD["reason"],
                "caller.bank",
            )
            assert shown["acts"] is False
            changes = await bank.entries(names.LISTS)
            assert changes[0]["value"] == entry["value"]
            first = (await bank.records())[0]
            assert first["kind"] == "config.change"
            assert first["body"]["version"] == said["version"]
            assert "acc-1" not in str(await bank.records())
            gone = {**ADD, "op": "remove"}
            assert (await bank.call("POST", "/v1/lists/mules", gone, role="bank"))[0] == 201
            _, shown, _ = await bank.call("GET", "/v1/lists/mules", role="officer")
            assert shown["entries"] == []

    asyncio.run(story())


REFUSED: list[tuple[str, dict[str, Any], str, int, str]] = [
    ("mules", ADD, "ingest", 403, "Needed a caller of bank, officer, got ingest"),
    ("final", ADD, "officer", 403, "needed a person with a key: ringback lists add"),
    ("force.decline", ADD, "officer", 403, "needed a person with a key"),
    ("suppress.card_testing", ADD, "officer", 403, "needed a person with a key"),
    ("allow", ADD, "bank", 403, "Needed an officer for the list allow, got bank"),
    ("allow", ADD, "officer", 400, "needed an end"),
    ("mules", {**ADD, "kind": "phone"}, "bank", 400, "needed a key of customer"),
    ("mules", {**ADD, "reason": ""}, "bank", 400, "needed a text in 'reason'"),
    ("mules", {**ADD, "op": "put"}, "bank", 400, "needed add or remove, got 'put'"),
    ("mules", {**ADD, "until": "soon"}, "bank", 422, "RFC 3339 with an offset"),
    ("mules", {**ADD, "why": "x"}, "bank", 422, "one of op, kind, value, reason, until"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case[0]}-{case[3]}-{case[2]}")
def test_what_may_not_be_listed_is_refused_in_words(
    redis_url: str, tmp_path: Path, case: tuple[str, dict[str, Any], str, int, str]
) -> None:
    name, body, role, wished, told = case

    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            status, said, _ = await bank.call("POST", f"/v1/lists/{name}", body, role=role)
            assert status == wished, said
            assert told in str(said)
            assert await bank.entries(names.LISTS) == []

    asyncio.run(story())
