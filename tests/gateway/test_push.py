"""A browser takes what the bank pushes: the service worker in a real Chromium, and its key."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from notifiers.facts import Outgoing
from notifiers.push import seal_to
from risk import names
from risk.privacy import Tokens, open_sealed
from risk.push import public_text, vapid_key
from tests.gateway.bank import running
from tests.gateway.chromium import Page, chromium
from tests.patience import PATIENCE

KEY = public_text(vapid_key(b"v" * 32))
P256DH = public_text(ec.generate_private_key(ec.SECP256R1()))
KEYS = {"p256dh": P256DH, "auth": "A" * 22}
ASKS = "Example Bank asks: please open the app yourself. Reference R-1."
CLOSED = "Closed. Reference R-1."
NOTIFICATIONS = """
navigator.serviceWorker.ready.then((r) => r.getNotifications()).then((all) =>
  all.map((n) => ({ title: n.title, body: n.body, tag: n.tag, amount: (n.data || {}).amount })))
"""


def pushed(**changes: Any) -> str:
    told = {
        "v": 1,
        "op": "ask",
        "id": "ch_1",
        "language": "en",
        "title": "Example Bank",
        "body": ASKS,
        "amount": "9800.00",
        "currency": "CNY",
        "payee": "ACME Trading",
        "link": "https://elsewhere.example/c/ch_1",
    }
    return orjson.dumps(told | changes).decode() + "   "


async def subscribed(page: Page, url: str) -> str:
    """Let the page have its service worker; gives the registration's id in the browser."""
    await page.open(f"{url}/c/ch_1")
    await page.send("ServiceWorker.enable")
    await page.send("Browser.grantPermissions", permissions=["notifications"], origin=url)
    await page.until("document.readyState === 'complete'")
    await page.run("navigator.serviceWorker.register('/sw.js').then(() => 'ok')")
    await page.until("navigator.serviceWorker.controller.state === 'activated'")
    async with asyncio.timeout(PATIENCE):
        while True:
            for told in page.told:
                if told["method"] == "ServiceWorker.workerRegistrationUpdated":
                    for one in told["params"]["registrations"]:
                        return str(one["registrationId"])
            await page.run("1")
            await asyncio.sleep(0.05)


def test_a_push_is_shown_without_amount_and_its_closing_takes_its_place(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path, push_key=KEY) as bank, chromium(tmp_path) as page:
            registration = await subscribed(page, bank.url)

            async def push(data: str, count: int, body: str) -> list[dict[str, Any]]:
                """Push until it is seen: a browser drops what comes before it has the worker."""
                async with asyncio.timeout(PATIENCE):
                    while True:
                        await page.send(
                            "ServiceWorker.deliverPushMessage",
                            origin=bank.url,
                            registrationId=registration,
                            data=data,
                        )
                        await asyncio.sleep(0.2)
                        found: list[dict[str, Any]] = await page.run(NOTIFICATIONS)
                        if len(found) == count and any(one["body"] == body for one in found):
                            return found

            (shown,) = await push(pushed(), 1, ASKS)
            assert shown["title"] == "Example Bank"
            assert shown["tag"] == "ch_1"
            assert "9800" not in shown["title"] + shown["body"]
            assert "ACME" not in shown["title"] + shown["body"]
            assert shown["amount"] == "9800.00"  # under the seal, for the page alone
            closed = await push(pushed(op="close", body=CLOSED, link=""), 1, CLOSED)
            assert [one["tag"] for one in closed] == ["ch_1"]
            other = await push("this is nobody's push", 2, "")
            assert {one["body"] for one in other} == {"", CLOSED}
            assert [one for one in page.complaints if "401" not in one] == []

    asyncio.run(story())


def test_the_key_is_what_a_browser_takes_and_is_there_only_when_set_up(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path, push_key=KEY) as bank:
            status, told, _ = await bank.call("GET", "/v1/push/key", role=None)
            assert (status, told) == (200, {"key": KEY})
            assert len(KEY) == 87
            status, _, headers = await bank.call("GET", "/sw.js", role=None)
            assert status == 200
            assert headers["Content-Type"].startswith("text/javascript")
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            foreign = {"Host": "elsewhere.example"}
            assert (await bank.call("GET", "/sw.js", role=None, headers=foreign))[0] == 403
        async with running(redis_url, tmp_path) as bank:
            assert (await bank.call("GET", "/v1/push/key", role=None))[0] == 404
            assert (await bank.call("POST", "/v1/replies", {}, role=None))[0] == 404

    asyncio.run(story())


def test_a_subscription_is_bound_whole_and_sealed(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            endpoint = "https://push.example/send/abc"
            said = customer({"kind": "push", "address": endpoint, "keys": KEYS, "verified": True})
            assert (await bank.call("PUT", "/v1/customers/C-1", said, role="bank"))[0] == 200
            key = names.customer(Tokens(b"r" * 32, "main").token("customer", "C-1"))
            raw = await bank.redis.get(key)
            assert endpoint.encode() not in raw
            (kept,) = orjson.loads(raw)["channels"]
            opened = open_sealed(b"e" * 32, kept["address"], b"address").decode()
            assert orjson.loads(opened) == {"endpoint": endpoint, "keys": KEYS}
            assert seal_to(opened, b"x")[0] == endpoint  # the notifier can push to it

    asyncio.run(story())


def test_a_ladder_of_ones_own_and_a_telephone_are_kept(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            sms = {"kind": "sms", "address": "+8613800138000", "verified": True}
            said = customer(sms) | {"ladder": "telephone"}
            assert (await bank.call("PUT", "/v1/customers/C-1", said, role="bank"))[0] == 200
            tokens = Tokens(b"r" * 32, "main")
            token = tokens.token("customer", "C-1")
            kept = orjson.loads(await bank.redis.get(names.customer(token)))
            assert kept["ladder"] == "telephone"
            found = await bank.redis.get(names.jid(tokens.token("jid", "+8613800138000")))
            assert found.decode() == token

    asyncio.run(story())


@pytest.mark.parametrize(
    ("channel", "field"),
    [
        ({"kind": "push", "address": "https://push.example/a"}, "channels.0"),
        ({"kind": "push", "address": "http://push.example/a", "keys": KEYS}, "address"),
        ({"kind": "push", "address": "https://10.0.0.7/a", "keys": KEYS}, "address"),
        ({"kind": "push", "address": "https://[::1]/a", "keys": KEYS}, "address"),
        (
            {"kind": "push", "address": "https://169.254.169.254/a", "keys": KEYS},
            "address",
        ),
        ({"kind": "push", "address": "https://p.example/", "keys": {"p256dh": "x"}}, "channels.0"),
        ({"kind": "sms", "address": "13800138000"}, "channels.0"),
        ({"kind": "voice", "address": "+86 138 0013 8000"}, "channels.0"),
    ],
)
def test_a_channel_that_cannot_be_used_is_refused_by_field(
    redis_url: str, tmp_path: Path, channel: dict[str, Any], field: str
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            status, told, _ = await bank.call(
                "PUT", "/v1/customers/C-1", customer(channel), role="bank"
            )
            assert status == 422
            assert told["errors"][0]["field"].startswith(field)
            assert not await bank.records()

    asyncio.run(story())


def customer(*channels: dict[str, Any]) -> dict[str, Any]:
    return {"language": "en", "zone": "UTC", "channels": list(channels)}


def test_what_the_notifier_pushes_has_the_fields_that_the_worker_shows() -> None:
    from notifiers.push import _payload

    asked = Outgoing(
        key="k", challenge="ch_1", kind="ask", address="", body="9,800.00 CNY to ACME", notice="n"
    )
    told = orjson.loads(_payload(asked))
    assert told.keys() >= {"v", "op", "id", "title", "body", "language", "link"}
    assert told["body"] == "n"
    assert len(_payload(asked)) % 1024 == 0
