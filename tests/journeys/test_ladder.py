"""Kate's chat is silent, so she is pushed to, then texted; whichever way she answers first counts.

The chat server, the push service (web-push-testing) and the bank's own gateway for texts are real
and on 127.0.0.1; the house is `ringback run`.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import yaml

from flows.secrets import named_key
from risk.privacy import web_token
from tests import servers
from tests.journeys.conftest import StartHouse
from tests.journeys.house import SELF_CONSISTENT, Bank, House, Page, bank_of, tell
from tests.notifiers.peers import Push
from tests.notifiers.sms_receiver import Receiver, pass_on
from tests.patience import PATIENCE, until

TELEPHONE, KIRAS, NOBODYS = "+8613800138000", "+8613800138001", "+8613900139000"
ZONE = {"language": "en", "zone": "Asia/Shanghai"}
ANSWER_WITHIN = 60
LADDER = {
    "version": 1,
    "ladders": {
        "usual": {
            "normal": [
                {"channel": "web", "wait": 0},
                {"channel": "xmpp", "wait": 1, "patience": 1},
                {"channel": "push", "wait": 1, "patience": 1},
                {"channel": "sms", "wait": 20},
            ]
        }
    },
}


class Reach:
    """All ways to Kate: what arrived on each, and what she says there."""

    def __init__(self, bank: Bank, push: Push, texts: Receiver) -> None:
        self.bank, self.push, self.texts = bank, push, texts

    async def pushed(self, what: str, challenge: str) -> dict[str, Any]:
        async def there() -> list[dict[str, Any]]:
            found = await self.push.payloads()
            return [one for one in found if (one["op"], one["id"]) == (what, challenge)]

        return (await until(there, f"{what} {challenge} by push"))[0]

    async def texted(self, what: str, challenge: str) -> dict[str, Any]:
        async def there() -> list[dict[str, Any]]:
            kind = f"challenge.{what}"
            found = self.texts.sent.values()
            return [one for one in found if (one["type"], one["challenge"]) == (kind, challenge)]

        return (await until(there, f"{what} {challenge} by text"))[0]

    async def reply(self, text: str, name: str) -> None:
        house = self.bank.house
        said = {"channel": "sms", "from": TELEPHONE, "text": text}
        key = named_key(house.data, "sms-in")

        async def taken() -> bool:  # where nobody hears yet, it is said again
            status, told = await pass_on(house.run["http"], key, name, said)
            assert status in (200, 503), told
            return status == 200

        await until(taken, "somebody who hears texts")

    async def sent(self, event: str) -> set[tuple[str, str, str]]:
        """What the ledger says went out: channel, message, and what became of it."""

        def look() -> set[tuple[str, str, str]]:
            bodies = [r["body"] for r in self.bank.house.records(event)]
            return {
                (one["channel"], one["message"], one["delivery"])
                for one in bodies
                if "delivery" in one
            }

        return await asyncio.to_thread(look)

    async def closed_everywhere(self, decision: dict[str, Any]) -> None:
        """Each channel that showed the question says how it ended."""
        challenge = decision["challenge"]["id"]
        assert (await self.pushed("close", challenge))["op"] == "close"
        assert (await self.texted("close", challenge))["to"] == TELEPHONE
        wanted = {(kind, "close", "taken") for kind in ("xmpp", "push", "sms")}
        await self.says(decision, wanted, "closed on every channel")

    async def says(
        self, decision: dict[str, Any], wanted: set[tuple[str, str, str]], what: str
    ) -> None:
        """The ledger comes to say all of it; it is written after the outcome is told."""

        async def told() -> bool:
            return wanted <= await self.sent(decision["event"])

        await until(told, what)


@contextlib.asynccontextmanager
async def reach(house: House, folder: Path, ports: tuple[int, int]) -> AsyncIterator[Reach]:
    push = Push(folder, "", port=ports[0], secret=named_key(house.data, "vapid"))
    texts = Receiver(named_key(house.data, "sms-out"), unknown={NOBODYS})
    await texts.start(ports[1])
    try:
        async with bank_of(house) as bank, push:
            yield Reach(bank, push, texts)
    finally:
        await texts.stop()


def channels_of(*subscriptions: str, number: str = TELEPHONE, chat: str = "") -> list[Any]:
    channels: list[dict[str, Any]] = []
    if chat:
        channels.append({"kind": "xmpp", "address": f"{chat}@localhost", "verified": True})
    for one in subscriptions:
        whole = orjson.loads(one)
        told = {"address": whole["endpoint"], "keys": whole["keys"]}
        channels.append({"kind": "push", "verified": True, **told})
    return [*channels, {"kind": "sms", "address": number, "verified": True}]


async def introduce(bank: Bank, name: str, channels: list[Any]) -> None:
    body = {**ZONE, "channels": channels}
    where = f"/v1/customers/{name}"
    async with bank.http.put(where, json=body, headers=bank.headers("bank")) as answer:
        assert answer.status == 200, await answer.text()


async def asked_of_kate(at: Reach, number: int) -> dict[str, Any]:
    """A payment that is asked about on all three channels, one beside the other."""
    payee = {"account": f"ACME-KATE-{number}", "name": "ACME Trading", "country": "CN"}
    decision = await at.bank.asked("kate", payee=payee)
    challenge = decision["challenge"]["id"]
    pushed = await at.pushed("ask", challenge)
    assert "9,800" not in pushed["title"] + pushed["body"]
    text = await at.texted("ask", challenge)
    assert "9,800.00 CNY" in text["text"]
    # The payment is held meanwhile: nothing has answered, and nobody may pay.
    assert "outcome" not in await at.bank.decision(decision["event"])
    return decision


async def denied_by_text(at: Reach) -> None:
    decision = await asked_of_kate(at, 1)
    text = await at.texted("ask", decision["challenge"]["id"])
    no = text["answers"][1]["say"]
    await at.reply(no, "kate-1")
    outcome = await at.bank.outcome(decision["event"])
    assert (outcome["state"], outcome["decision"]) == ("denied", "decline")
    assert outcome["by"]["type"] == "customer"
    await at.closed_everywhere(decision)
    # Who comes second is told on the page how it ended, and changes nothing.
    page = Page(at.bank, decision["challenge"]["id"])
    status, told = await page._call("POST", "/session", {"token": link_token(at, decision)})
    assert (status, told["state"]) == (410, "denied")


def link_token(at: Reach, decision: dict[str, Any]) -> str:
    """The token in the link that every push and text of a question shows."""
    web_key = at.bank.house.opened.secrets.web_key
    return web_token(web_key, decision["challenge"]["id"])


async def confirmed_from_a_push(at: Reach) -> None:
    decision = await asked_of_kate(at, 2)
    pushed = await at.pushed("ask", decision["challenge"]["id"])
    path, _, token = pushed["link"].partition("#")
    assert path.endswith(f"/c/{decision['challenge']['id']}")
    page = Page(at.bank, decision["challenge"]["id"])
    assert (await page._call("POST", "/session", {"token": token}))[0] == 201
    assert (await page.press("confirm"))[0] in (200, 202)
    outcome = await at.bank.outcome(decision["event"])
    assert (outcome["state"], outcome["decision"]) == ("confirmed", "approve")
    await at.closed_everywhere(decision)


async def nobody_can_be_reached(at: Reach) -> None:
    await introduce(at.bank, "nils", channels_of(at.push.nowhere, number=NOBODYS))
    decision = await at.bank.asked("nils")
    outcome = await at.bank.outcome(decision["event"])
    assert (outcome["state"], outcome["decision"]) == ("unreachable", "review")
    wanted = {("push", "ask", "bounced"), ("sms", "ask", "bounced")}
    await at.says(decision, wanted, "each channel's refusal is a record")


async def silence(at: Reach, decision: dict[str, Any]) -> None:
    """Kira was asked before all others, and has said nothing since."""

    async def ended() -> Any:
        return (await at.bank.decision(decision["event"], wait=30.0)).get("outcome")

    outcome = await until(ended, "the end of a silence", ANSWER_WITHIN + PATIENCE)
    assert (outcome["state"], outcome["decision"]) == ("expired", "decline")
    closed = await at.texted("close", decision["challenge"]["id"])
    assert (closed["to"], "without an answer" in closed["text"]) == (KIRAS, True)


def test_the_first_answer_by_any_channel_ends_it_and_each_end_has_its_name(
    start_house: StartHouse, tmp_path: Path
) -> None:
    data, ports = tmp_path / "house", (servers.free_port(), servers.free_port())
    data.mkdir()
    channels = {
        "push": {"contact": "mailto:security@bank.example", "allow": [f"localhost:{ports[0]}"]},
        "sms": {
            "url": f"http://127.0.0.1:{ports[1]}/messages",
            "allow": [f"127.0.0.1:{ports[1]}"],
        },
    }
    (data / "ringback.yaml").write_text(json.dumps({"channels": channels}))
    (data / "ladder.yaml").write_text(yaml.safe_dump(LADDER))
    house = start_house(answer_within=ANSWER_WITHIN)

    async def story() -> None:
        async with reach(house, tmp_path, ports) as at:
            for name in ("kate", "kira"):  # and neither is at her chat
                await asyncio.to_thread(house.register, name)
            await introduce(at.bank, "kate", channels_of(at.push.address, chat="kate"))
            await introduce(at.bank, "kira", channels_of(number=KIRAS, chat="kira"))
            silent = await at.bank.asked("kira")
            await denied_by_text(at)
            await confirmed_from_a_push(at)
            await nobody_can_be_reached(at)
            await silence(at, silent)

    tell(story(), 240.0)
    house.end()
    assert house.verify() == SELF_CONSISTENT
