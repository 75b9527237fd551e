"""Somebody has Mei's password: flagged at the sign-in, asked at the transfer, stopped by her."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from risk import names
from tests.journeys.conftest import StartHouse
from tests.journeys.house import SELF_CONSISTENT, Bank, bank_of, closing, code, question, tell
from tests.patience import until

_AT_HOME = {
    "channel": "app",
    "device": {"id": "meis-phone", "os": "ios"},
    "ip": "192.0.2.10",
    "geo": {"country": "CN", "lat": 31.23, "lon": 121.47},
}
_FAR_AWAY = {
    "channel": "web",
    "device": {"id": "a-laptop"},
    "ip": "203.0.113.66",
    "geo": {"country": "BR", "lat": -23.55, "lon": -46.63},
}


class _Told:
    """Mei's events in the order of their times, sent as the bank does."""

    def __init__(self, bank: Bank, began: datetime) -> None:
        self._bank, self._began, self._sent = bank, began, 0

    async def __call__(self, after: timedelta, what: str, **fields: Any) -> dict[str, Any]:
        self._sent += 1
        body = {
            "id": f"mei-{self._sent}",
            "type": what,
            "time": (self._began + after).isoformat(),
            "customer": "mei",
            **fields,
        }
        status, decision = await self._bank.send(body)
        assert status == 200, decision
        return decision


def _codes(decision: dict[str, Any]) -> set[str]:
    return {reason["code"] for reason in decision["reasons"]}


def test_a_taken_over_account_is_flagged_asked_about_and_stopped(
    start_house: StartHouse, tmp_path: Path
) -> None:
    data = tmp_path / "house"
    data.mkdir()
    (data / "ringback.yaml").write_text("version: 1\nxmpp: {officers: [wang@localhost]}\n")
    house = start_house()

    async def story() -> str:
        async with (
            bank_of(house) as bank,
            house.chat("mei") as mei,
            house.chat("wang") as wang,
            house.chat("eve") as eve,
        ):

            async def listens() -> bool:
                for one in (wang, eve):
                    one.join("officers@rooms.localhost", one.jid.partition("@")[0])
                call = {"event": "roll-call", "kind": "note", "text": "Who is there?"}
                await bank.redis.xadd(names.ALERTS, {"alert": orjson.dumps(call)})
                await asyncio.sleep(0.3)
                return any("roll-call" in said.body for said in wang.messages)

            await until(listens, "Wang in the officers' room")
            await bank.introduce("mei")
            sends = _Told(bank, datetime.now(UTC) - timedelta(minutes=20))
            minute = timedelta(minutes=1)

            # An ordinary evening: Mei signs in at home and pays a little.
            home = await sends(0 * minute, "login", result="success", **_AT_HOME)
            paid = await sends(
                minute,
                "transaction",
                amount="45.00",
                currency="CNY",
                payee={"account": "CNSHOP1", "name": "Corner Shop"},
                **_AT_HOME,
            )
            assert (home["decision"], paid["decision"]) == ("approve", "approve")

            # A quarter of an hour later somebody signs in half a world away: flagged, and why.
            flagged = await sends(15 * minute, "login", result="success", **_FAR_AWAY)
            assert flagged["decision"] == "review"
            assert {"login_far_away", "login_too_fast"} <= _codes(flagged)
            fast = next(one for one in flagged["reasons"] if one["code"] == "login_too_fast")
            assert (fast["feature"], fast["operator"]) == ("customer.speed_kmh", ">")
            features = await bank.features(flagged["event"])
            assert features["customer.new_device"] == features["customer.new_country"] == 1
            assert 18_000 < features["customer.distance_km"] < 19_000

            # The phone number is changed, so that the bank would ring the thief; then all goes.
            await sends(16 * minute, "account_change", change="phone", **_FAR_AWAY)
            transfer = await sends(
                18 * minute,
                "transaction",
                amount="4200.00",  # too little for the rule about large sums alone
                currency="CNY",
                payee={"account": "MULE-77", "name": "J. Doe"},
                kind="transfer",
                **_FAR_AWAY,
            )
            assert transfer["decision"] == "challenge", transfer
            assert {"takeover_after_change", "takeover_after_login"} <= _codes(transfer)
            assert "new_payee_large" not in _codes(transfer)
            event = str(transfer["event"])

            # The question goes to the address that Mei bound long ago, and Mei says no.
            asked = await question(mei, transfer)
            assert "4,200.00 CNY" in asked.body
            assert "J. Doe" in asked.body
            mei.say(asked.sender, f"NO {code(asked)}")

            outcome = await bank.outcome(event)
            assert (outcome["state"], outcome["decision"]) == ("denied", "decline")
            assert outcome["by"]["type"] == "customer"
            assert "you answered: DENY at" in (await closing(mei, transfer)).body

            # The officers hear of it, the model learns it, and who holds the laptop is marked.
            async def alerted() -> list[dict[str, Any]]:
                alerts = await bank.stream(names.ALERTS, "alert")
                return [one for one in alerts if one["event"] == event]

            assert [one["kind"] for one in await until(alerted, "the alert")] == ["denied"]
            said = await wang.wait_for(lambda m: event in m.body)
            assert said.sender == "officers@rooms.localhost/Ringback"
            assert said.body.startswith(f"[denied] {event}:")
            assert eve.messages == [], "Eve is no officer"
            (lesson,) = await bank.learnt(event)
            assert (lesson["fraud"], lesson["source"]) == (True, "customer")

            async def marked() -> bool:
                number = datetime.now(UTC).timestamp()
                later = await bank.pay(
                    "li-na",
                    id=f"later-{number}",
                    amount="20.00",
                    payee={"account": "CNSHOP1"},
                    device=_FAR_AWAY["device"],
                    ip=_FAR_AWAY["ip"],
                )
                seen = await bank.features(later["event"])
                known = [seen[f"{key}.fraud_count.30d"] for key in ("device", "ip", "payee")]
                assert (seen["device.customers.24h"], seen["ip.customers.24h"]) == (2, 2)
                return bool(known == [1, 1, 0])

            await until(marked, "the laptop's and the address's known fraud")

            # A second try, to the payee who was new only today, is asked about as well.
            again = await sends(
                19 * minute,
                "transaction",
                amount="1900.00",
                currency="CNY",
                payee={"account": "MULE-77", "name": "J. Doe"},
                **_FAR_AWAY,
            )
            assert again["decision"] == "challenge", again
            assert "takeover_after_login" in _codes(again)

            await bank.recorded(event, "case.closed", "answer", "outcome", "learn")
            await bank.recorded(flagged["event"], "decision")
            return event

    event = tell(story())
    house.end()
    kinds = house.kinds(event)
    assert kinds[:2] == ["case.opened", "event.in"]
    assert {"decision", "challenge.created", "answer", "outcome", "learn", "case.closed"} <= set(
        kinds
    )
    assert house.verify() == SELF_CONSISTENT
