"""A rule that needs what nobody counted yet: the flow starts again once, and counts it."""

from pathlib import Path
from typing import Any

from tests.journeys.conftest import StartHouse
from tests.journeys.house import bank_of, tell
from tests.journeys.test_a_rules_life import Desk
from tests.patience import until

FEATURE = "card.count.small.10m"


def test_a_rule_that_needs_another_feature_has_it_counted(
    start_house: StartHouse, tmp_path: Path
) -> None:
    house = start_house()
    desk = Desk(house, tmp_path)
    before = house.pid("flow-0")

    async def story() -> None:
        async with bank_of(house) as bank:
            small: dict[str, Any] = {"amount": "1.00", "kind": "card", "card": "c-1"}
            told = await bank.pay("anna", **small)
            assert FEATURE not in await bank.features(told["event"])
            desk.here("staff", "add", "ann")
            desk.here(
                "rules", "promote", "card_testing_on_card", "--to", "shadow", "--as", "ann",
                "--why", "watch it",
            )  # fmt: skip

            async def counted() -> int:
                status, told = await bank.send(bank.payment("anna", **small))
                if status != 200 or told.get("degraded"):
                    return 0
                return int((await bank.features(told["event"])).get(FEATURE) or 0)

            assert await until(counted, f"{FEATURE} counted", 60.0)

    tell(story(), 200.0)
    assert house.pid("flow-0") != before
