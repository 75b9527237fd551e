"""An analyst declares what to count, restarts, and changes it; an answer is felt at once."""

import asyncio
import itertools
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.journeys.house import House, bank_of, code, question, tell
from tests.patience import PATIENCE, Watch, until


def _declare(house: House, *lines: str) -> None:
    rows = "".join(f"  - {line}\n" for line in lines)
    (house.data / "features.yaml").write_text(f"version: 1\nfeatures:\n{rows}")


def test_a_changed_catalogue_keeps_the_counts_of_what_stays_across_a_restart(
    tmp_path: Path,
) -> None:
    """A stage comes, another goes; the cut resumes, and nothing else begins anew."""
    house = House(tmp_path / "house")

    def paid(*names: str) -> list[Any]:
        async def story() -> list[Any]:
            async with bank_of(house) as bank:
                more = {"amount": "20.00", "card": "crd-7", "terminal": "till-1"}
                decision = await bank.pay("anna", payee={"account": "SHOP"}, **more)
                features = await bank.features(decision["event"])
                return [features.get(name, "unknown") for name in names]

        return tell(story())

    card, terminal, pair = "card.count.2h", "terminal.count.2h", "customer_payee.count.90d"
    try:
        _declare(house, "count per card in 2h", "count per customer x payee in 90d")
        house.start()
        assert paid(card, pair, terminal) == [1, 1, "unknown"]
        assert paid(card, pair, terminal) == [2, 2, "unknown"]
        house.end()
        _declare(house, "count per terminal in 2h", "count per customer x payee in 90d")
        house.start()
        assert paid(card, pair, terminal) == ["unknown", 3, 1]
        house.end()
        _declare(house, "count per card in 2h", "count per customer x payee in 90d")
        house.start()
        assert paid(card, pair, "customer.count.24h") == [1, 4, 4], "no count has a gap"
    finally:
        house.end()


def test_an_answer_raises_the_payees_and_the_devices_risk_within_a_second(
    shared_house: House,
) -> None:
    async def story() -> None:
        async with bank_of(shared_house) as bank, shared_house.chat("bela") as bela:
            await bank.introduce("bela")
            there = {"payee": {"account": "MULE"}, "device": {"id": "phone-7"}}
            decision = await bank.asked("bela", amount="23000.00", **there)
            asked = await question(bela, decision)
            pids = shared_house.run["pids"]
            watch = Watch(*(pids[part] for part in ("redis", "flow-0", "gateway", "notify")))
            bela.say(asked.sender, f"NO {code(asked)}")
            outcome = await bank.outcome(decision["event"])

            async def marked() -> dict[str, Any]:
                later = await bank.pay("clara", amount="20.00", **there)
                features = await bank.features(later["event"])
                known = [features[f"{key}.fraud_count.30d"] for key in ("payee", "device")]
                return later if known == [1, 1] else {}

            later = await until(marked, "the payee's and the device's known fraud")
            felt = datetime.fromisoformat(later["decided"]) - datetime.fromisoformat(outcome["at"])
            assert felt < timedelta(seconds=1 + watch.kept())

    tell(story())


RULE = """\
version: 2
id: card_spree
title: Card spree
reason: {en: Many payments with one card within an hour.}
severity: low
when: card.count.1h >= 5
action: review
state: shadow
owner: ann
"""


def test_a_rule_that_names_a_feature_on_demand_makes_it_counted_from_then_on(
    house: House, tmp_path: Path
) -> None:
    """The flow takes the new set, starts itself again, and counts what the rule needs."""
    rule = tmp_path / "card_spree.yaml"
    rule.write_text(RULE, encoding="utf-8")

    def typed(*words: str) -> None:
        line = [sys.executable, "-m", "flows.cli", *words, "--data", str(house.data)]
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=2 * PATIENCE, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    async def story() -> None:
        async with bank_of(house) as bank:
            cards = itertools.count()

            async def counted(card: str = "") -> Any:
                card = card or f"crd-{next(cards)}"  # whatever was put off has another
                decision = await bank.pay("anna", amount="20.00", card=card)
                if decision.get("degraded"):
                    return None  # it is just starting again
                return (await bank.features(decision["event"])).get("card.count.1h")

            assert await counted() is None
            await asyncio.to_thread(typed, "staff", "add", "ann")
            await asyncio.to_thread(
                typed, "rules", "propose", str(rule), "--as", "ann", "--why", "cards are tested"
            )
            assert await until(counted, "the card's count") == 1
            assert await counted("crd-again") == 1
            assert await counted("crd-again") == 2

    tell(story())
