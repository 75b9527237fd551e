"""The flow stands still. The bank has its answer in time, and hears later what it would have been.

A large payment is declined by the fail policy, a small one passes; when the flow goes on, its own
decisions come as late ones, and nobody is asked as if the money were still held.
"""

import signal

from risk import names
from tests.journeys.house import House, bank_of, tell
from tests.patience import until


def test_a_missed_deadline_is_decided_by_policy_and_the_late_decision_is_kept(
    battered_house: House,
) -> None:
    async def story() -> None:
        async with bank_of(battered_house) as bank:
            await bank.introduce("paula", "web")
            warm = await bank.pay("paula", amount="10.00", payee={"account": "SHOP-1"})
            assert warm["degraded"] is None

            battered_house.signal("flow-0", signal.SIGSTOP)
            large, small = bank.payment("paula"), bank.payment("paula", amount="20.00")
            status, declined = await bank.send(large, wait=0.5)
            assert (status, declined["decision"]) == (200, "decline")
            assert declined["degraded"]["policy"] == "fail-closed"
            status, passed = await bank.send(small, wait=0.5)
            assert (status, passed["decision"]) == (200, "approve")
            assert passed["degraded"]["policy"] == "fail-open"

            # The supervisor notices the silence and starts the flow again.
            async def late() -> list[dict[str, object]]:
                told = await bank.stream(names.DECISIONS, "decision")
                mine = (large["id"], small["id"])
                both = [one for one in told if one.get("late") and one["event"] in mine]
                return both if len(both) == 2 else []

            said = {one["event"]: one for one in await until(late, "the late decisions")}
            assert said[large["id"]]["decision"] == "challenge"
            assert said[small["id"]]["decision"] == "approve"

            # The first written is the decision: nothing was asked, and it stands.
            assert (await bank.decision(large["id"]))["decision"] == "decline"
            assert (await bank.decision(small["id"]))["decision"] == "approve"
            asks = await bank.stream(names.CHALLENGES, "challenge")
            assert not {one["event"] for one in asks} & {large["id"], small["id"]}
            kinds = await bank.recorded(large["id"], "escalation")
            assert kinds.count("decision") == 1

            # What passed unseen is known now: it counts in what is usual for her.
            third = await bank.pay("paula", amount="30.00", payee={"account": "SHOP-1"})
            assert third["degraded"] is None
            assert (await bank.features(third["event"]))["customer.count.1h"] == 4

    tell(story())
