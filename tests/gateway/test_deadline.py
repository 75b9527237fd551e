"""What is answered when the flow is late, or Redis is away."""

import asyncio
from pathlib import Path
from typing import Any

from risk import names
from tests.gateway.bank import Bank, payment, running, wall_clock
from tests.patience import until
from tests.servers import RedisServer

SOON = {"Prefer": "wait=0.1"}


async def _soon(bank: Bank, event: dict[str, Any]) -> tuple[int, Any]:
    """Post an event that is to be decided soon; what a busy Redis put off is sent again."""

    async def taken() -> tuple[int, Any] | None:
        status, said, _ = await bank.call("POST", "/v1/events", event, headers=SOON)
        return None if status == 503 else (status, said)

    found = await until(taken, "an event taken")
    assert found is not None
    return found


def test_below_the_limit_a_late_flow_fails_open_and_its_decision_does_not_count(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            bank.flow.decide = lambda event: None
            sent = payment()
            status, decision = await _soon(bank, sent)
            assert status == 200
            assert decision["decision"] == "approve"
            assert decision["degraded"] == {
                "policy": "fail-open",
                "skipped": ["features", "model", "rules"],
            }
            [envelope] = await bank.events()
            late = {"event": "pay-1", "decision": "decline", "score": 999}
            assert await bank.flow.write(envelope, late) != b"new"
            status, _ = await bank.post(payment())
            assert status == 409  # another time is another body
            _, kept, _ = await bank.call("GET", "/v1/decisions/pay-1")
            assert kept["decision"] == "approve"
            kinds = [record["kind"] for record in await bank.records()]
            assert kinds == ["case.opened", "event.in", "decision"]

    asyncio.run(story())


def test_what_passes_by_fail_open_is_bounded_for_a_customer(redis_url: str, tmp_path: Path) -> None:
    now_us = wall_clock()  # all of it within one hour

    async def story() -> None:
        async with running(redis_url, tmp_path, ports={"clock": lambda: now_us}) as bank:
            bank.flow.decide = lambda event: None
            answers = await asyncio.gather(
                *(
                    _soon(
                        bank,
                        payment(f"pay-{n}", amount="400.00", payee={"account": f"A-{n}"}),
                    )
                    for n in range(5)
                )
            )
            said = [body["reasons"][0]["code"] for _, body in answers]
            assert said.count("fail.open") == 2  # 1,000.00 an hour for one customer
            assert said.count("fail.customer_bound") == 3

            async def taken_back() -> bool:
                """What did not pass counts in no sum any more."""
                keys = await bank.redis.keys("rb:sp*")
                sums = sorted([int(await bank.redis.get(key) or 0) for key in keys])
                return sums[-2:] == [80_000, 80_000]

            await until(taken_back, "the sums of what passed")

    asyncio.run(story())


def test_a_large_payment_fails_closed(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            bank.flow.decide = lambda event: None
            status, decision = await _soon(bank, payment(amount="9800.00"))
            assert (status, decision["decision"]) == (200, "decline")
            assert decision["reasons"][0]["code"] == "fail.amount"

    asyncio.run(story())


def test_without_redis_nothing_is_accepted_and_the_policy_is_a_hint(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_server.url, tmp_path) as bank:
            assert (await bank.post(payment("before")))[0] == 200
            redis_server.kill()
            status, problem = await bank.post(payment("during"))
            assert status == 503
            assert problem["hint"] == {
                "decision": "approve",
                "policy": "fail-open",
                "code": "fail.open",
            }
            assert problem["event"] == "during"
            redis_server.start()
            status, decision = await bank.post(payment("after"), headers={"Prefer": "wait=5"})
            assert (status, decision["event"]) == (200, "after")

    asyncio.run(story())


def test_a_decision_that_was_written_meanwhile_is_the_decision(
    redis_url: str, tmp_path: Path
) -> None:
    """The flow wrote it, and the news of it never came: first written, first served."""

    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            bank.flow.decide = lambda event: None
            await bank.redis.set(
                names.decision("pay-1"), b'{"event":"pay-1","decision":"review","score":5}'
            )
            _, decision = await _soon(bank, payment())
            assert decision["decision"] == "review"

    asyncio.run(story())
