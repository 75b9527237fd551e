"""A rule that needs what nobody counted yet: the flow starts again once, and counts it."""

import json
from pathlib import Path
from typing import Any

from tests.journeys.conftest import StartHouse
from tests.journeys.house import Bank, bank_of, tell
from tests.journeys.test_a_rules_life import Desk
from tests.patience import until

FEATURE = "card.count.small.10m"
OWN = """\
version: 1
filters:
  tiny: amount <= 100
on_demand:
  - count per card in 1h where tiny
"""
TINY = "card.count.tiny.1h"
RULE = """\
version: 2
id: {0}
title: Tiny payments
reason: {{en: Tiny payments.}}
when: {1} >= 3
action: tag {0}
state: shadow
"""


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


def test_a_feature_that_is_declared_otherwise_makes_another_set_and_is_counted_so(
    start_house: StartHouse, tmp_path: Path
) -> None:
    (tmp_path / "house").mkdir()
    (tmp_path / "house" / "features.yaml").write_text(OWN, encoding="utf-8")
    house = start_house()
    desk = Desk(house, tmp_path)

    def proposed(ident: str) -> str:
        file = tmp_path / f"{ident}.yaml"
        file.write_text(RULE.format(ident, TINY), encoding="utf-8")
        said = desk.here("rules", "propose", str(file), "--as", "ann", "--why", "watch it")
        assert "applied by ann" in said
        sha256 = (house.data / "judgement" / "current").read_text(encoding="ascii").strip()
        path = house.data / "judgement" / "sets" / f"{sha256}.json"
        return str(json.loads(path.read_bytes())["features"][TINY])

    async def story() -> None:
        async with bank_of(house) as bank:
            desk.here("staff", "add", "ann")
            assert proposed("one").endswith("tiny: amount <= 100 and transaction")
            await _counts(bank, amount="1.00")
            first = house.pid("flow-0")
            own = OWN.replace("<= 100", "<= 200")
            (house.data / "features.yaml").write_text(own, encoding="utf-8")
            assert proposed("two").endswith("tiny: amount <= 200 and transaction")
            await _counts(bank, amount="2.00")
            assert house.pid("flow-0") != first

    tell(story(), 300.0)


async def _counts(bank: Bank, amount: str) -> None:
    """Wait until payments of this amount are counted as tiny."""

    async def counted() -> int:
        sent = bank.payment("anna", amount=amount, kind="card", card=f"c-{amount}")
        status, told = await bank.send(sent)
        if status != 200 or told.get("degraded"):
            return 0
        return int((await bank.features(told["event"])).get(TINY) or 0)

    assert await until(counted, f"{TINY} counted for {amount}", 60.0)
