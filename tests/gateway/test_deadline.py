"""What is answered when the flow is late, or Redis is away."""

import asyncio
from pathlib import Path

from risk import names
from tests.gateway.bank import payment, running
from tests.servers import RedisServer

SOON = {"Prefer": "wait=0.1"}


def test_below_the_limit_a_late_flow_fails_open_and_its_decision_does_not_count(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            bank.flow.decide = lambda event: None
            status, decision, _ = await bank.call("POST", "/v1/events", payment(), headers=SOON)
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
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            bank.flow.decide = lambda event: None
            answers = await asyncio.gather(
                *(
                    bank.call(
                        "POST",
                        "/v1/events",
                        payment(f"pay-{n}", amount="400.00", payee={"account": f"A-{n}"}),
                        headers=SOON,
                    )
                    for n in range(5)
                )
            )
            said = [body["reasons"][0]["code"] for _, body, _ in answers]
            assert said.count("fail.open") == 2  # 1,000.00 an hour for one customer
            assert said.count("fail.customer_bound") == 3
            await asyncio.sleep(0.1)  # what did not pass is taken back
            sums = {key: int(await bank.redis.get(key)) for key in await bank.redis.keys("rb:sp*")}
            assert sorted(sums.values())[-2:] == [80_000, 80_000]

    asyncio.run(story())


def test_a_large_payment_fails_closed(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            bank.flow.decide = lambda event: None
            status, decision, _ = await bank.call(
                "POST", "/v1/events", payment(amount="9800.00"), headers=SOON
            )
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
            _, decision, _ = await bank.call("POST", "/v1/events", payment(), headers=SOON)
            assert decision["decision"] == "review"

    asyncio.run(story())
