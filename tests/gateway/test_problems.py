"""What is refused, how that is said, and that nothing is written then."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from risk import names
from tests.gateway.bank import Bank, payment, running
from tests.patience import PATIENCE

JSON = {"Content-Type": "application/json"}


async def _untouched(bank: Bank) -> bool:
    keys = set(await bank.redis.keys("*"))
    return keys <= {names.META.encode(), names.INBOX.encode()} and not await bank.redis.xlen(
        names.INBOX
    )


def test_each_refusal_names_the_field_what_was_needed_and_what_was_got(
    redis_url: str, tmp_path: Path
) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"amount": 12.5}, "amount"),
        ({"currency": "XXQ"}, "currency"),
        ({"time": "2026-01-01T00:00:00"}, "time"),
        ({"time": "2126-01-01T00:00:00Z"}, "time"),
        ({"payee": {"name": "x"}}, "payee.account"),
        ({"type": "gift"}, "type"),
        ({"device": {"id": "d", "pin": "1234"}}, "device.pin"),
        ({"memo": "my card 4111 1111 1111 1111"}, "memo"),
        ({"ip": "nowhere"}, "ip"),
    ]

    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            for change, field in cases:
                status, problem, headers = await bank.call("POST", "/v1/events", payment(**change))
                assert status == 422, change
                assert headers["Content-Type"].startswith("application/problem+json")
                [error] = problem["errors"]
                assert error["field"] == field
                assert error["needed"]
                assert error["got"]
                assert "4111" not in orjson.dumps(problem).decode()
            assert await _untouched(bank)

    asyncio.run(story())


def test_every_other_refusal_is_a_problem_too(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            body = orjson.dumps(payment())
            for method, path, status, sent in (
                ("POST", "/v1/events", 400, {"data": b"{", "headers": JSON}),
                ("POST", "/v1/events", 401, {"role": None, "data": body, "headers": JSON}),
                (
                    "POST",
                    "/v1/events",
                    401,
                    {"data": body, "headers": {**JSON, "Authorization": "Bearer no"}},
                ),
                ("POST", "/v1/labels", 403, {"body": {"event": "pay-1"}}),
                ("GET", "/v1/nothing", 404, {}),
                ("GET", "/v1/decisions/nobody", 404, {}),
                ("DELETE", "/v1/events", 405, {}),
                ("POST", "/v1/events", 413, {"data": b" " * 70_000, "headers": JSON}),
                (
                    "POST",
                    "/v1/events",
                    415,
                    {"data": body, "headers": {"Content-Type": "text/plain"}},
                ),
                ("POST", "/v1/events", 422, {"body": []}),
                ("GET", "/v1/decisions/nobody?wait=soon", 422, {}),
            ):
                got, problem, headers = await bank.call(method, path, **sent)
                assert got == status, (method, path, problem)
                assert headers["Content-Type"].startswith("application/problem+json")
                assert problem["status"] == status
                assert problem["title"]
                assert problem["type"].startswith("urn:ringback:problem:")
            assert await _untouched(bank)

    asyncio.run(story())


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=8,
)
_FIELDS = ("id", "type", "time", "customer", "amount", "currency", "payee", "device", "geo", "ip")


def _broken(field: str, value: Any) -> bytes:
    event = {**payment(), field: value}
    try:
        return orjson.dumps(event)
    except TypeError:  # an integer that no JSON reader takes
        return repr(event).encode("utf-8", "replace")


_BODIES = st.one_of(
    st.binary(max_size=400),
    _VALUES.map(lambda value: repr(value).encode("utf-8", "replace")),
    st.builds(_broken, st.sampled_from(_FIELDS), _VALUES),
    st.integers(1, 300).map(lambda cut: orjson.dumps(payment())[:cut]),
    st.integers(1, 3000).map(lambda deep: b"[" * deep),
    st.integers(1, 3000).map(lambda deep: b'{"a":' * deep + b"1" + b"}" * deep),
)


def test_malformed_bodies_give_no_500_and_write_nothing(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            bank.flow.decide = lambda event: None
            loop = asyncio.get_running_loop()

            async def sent(body: bytes) -> tuple[int, Any]:
                """What is said of a body; what a busy Redis put off is sent again."""
                soon = {**JSON, "Prefer": "wait=0.001"}
                while True:
                    status, said, _ = await bank.call("POST", "/v1/events", data=body, headers=soon)
                    if status != 503:
                        return status, said

            @settings(
                max_examples=10_000,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(_BODIES)
            def each(body: bytes) -> None:
                status, said = asyncio.run_coroutine_threadsafe(sent(body), loop).result(PATIENCE)
                # A mutation may be a body that is right: then it is accepted, like any other.
                assert status in (200, 400, 413, 422, 409), (status, said)
                if status == 200:
                    accepted.append(body)

            accepted: list[bytes] = []
            await asyncio.to_thread(each)
            assert len(await bank.events()) <= len(accepted)
            written = await bank.redis.keys("rb:id:*")
            assert len(written) <= len(accepted)

    asyncio.run(story())
