"""A customer binds with the passkey they have: on the bank's page, in a real Chromium."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from risk import events, names, signed
from risk.push import public_text, vapid_key
from tests.gateway.bank import running
from tests.gateway.customer import DAY_US, HOME, PUSH_KEY, customer, opened, play
from tests.gateway.test_page_attacks import _BOXES
from tests.gateway.test_pages_in_a_browser import _picture, _shown, _text
from tests.gateway.test_signing_in_a_browser import ANNA

# Offline there is no push service behind this Chromium; the page can't tell this from a real one.
SUBSCRIBES = """
PushManager.prototype.subscribe = async function (options) {
  window.subscribedWith = options;
  return { toJSON: () => (%s) };
};
"""


def test_a_passkey_binds_a_chat_address_is_told_waits_and_is_checked_from_the_record(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with customer(redis_url, tmp_path) as anna:
            page = anna.page
            await page.shape(420, 760)
            await anna.open()
            await _picture(page, "bind")
            await anna.press("xmpp")
            await page.run("document.getElementById('address').value = 'anna2@bank.example'")
            await anna.press("chat-on")
            await page.until(_shown("sign"))
            assert await page.run(_text("where")) == "anna2@bank.example"
            await _picture(page, "bind-sign")
            one, other = await page.run(_BOXES + "(['sign', 'leave'])")
            assert one == other  # in box, style, and in that neither is chosen beforehand
            # A day young, the passkey binds nothing yet.
            await anna.press("sign")
            await anna.hinted("too new")
            assert [one["kind"] for one in await anna.bound()] == ["xmpp", "passkey"]
            assert [one["body"]["what"] for one in await anna.said("access.denied")] == ["fresh"]

            anna.ahead_us = DAY_US + 1_000_000
            await anna.open()
            await anna.press("xmpp")
            await page.run("document.getElementById('address').value = 'anna2@bank.example'")
            await anna.press("chat-on")
            await page.until(_shown("sign"))
            await anna.press("sign")
            await anna.titled("It is set up")
            _, new = await anna.kept()
            assert (new["address"], new["waits"], new["verified"]) == (
                "anna2@bank.example",
                True,
                True,
            )
            assert events.parse_us(new["bound"]) >= DAY_US  # it denies from now on, and waits
            owner = await anna.bank.redis.get(names.jid(new["token"]))
            assert owner.decode() == ANNA

            tellings = await anna.bank.entries(names.TELLINGS)
            assert [one["added"] for one in tellings] == [["passkey"], ["xmpp"]]
            assert [opened(one["address"]) for one in tellings[-1]["to"]] == ["anna@bank.example"]
            changes = [
                (one["event"]["type"], one["event"]["change"]) for one in await anna.bank.events()
            ]
            assert changes[-1] == ("account_change", "jid")
            added = (await anna.said("binding.added"))[-1]
            assert added["actor"]["type"] == "customer"
            assert added["actor"]["id"].startswith("passkey/")

            # Years later, with nothing but the records:
            record = next(r for r in await anna.said("step") if r["body"]["what"] == "signed")
            facts = await anna.signed_in(record)
            assert (facts["kind"], facts["address"]) == ("xmpp", "anna2@bank.example")
            assert facts["approve"] == record["body"]["binding"]
            assert record["strength"] == "signed"
            assert not [c for c in page.complaints if "Content Security Policy" in c]

    play(story)


def test_what_a_customer_bound_stays_when_the_bank_names_its_own_channels(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with customer(redis_url, tmp_path) as anna:
            anna.ahead_us = DAY_US + 1_000_000
            for kind in ("web", "xmpp"):
                await anna.open()
                await anna.press(kind)
                if kind == "xmpp":
                    await anna.page.run(
                        "document.getElementById('address').value = 'anna2@bank.example'"
                    )
                    await anna.press("chat-on")
                await anna.page.until(_shown("sign"))
                await anna.press("sign")
                await anna.titled("It is set up")
            said = {
                "language": "en",
                "zone": "UTC",
                "channels": [{"kind": "sms", "address": "+8613800138000", "verified": True}],
            }
            assert (await anna.bank.call("PUT", HOME, said, role="bank"))[0] == 200
            bound = await anna.bound()
            assert [one["kind"] for one in bound] == ["sms", "web", "xmpp", "passkey"]
            mine = [one for one in await anna.kept() if one.get("own")]
            assert [one["address"] for one in mine] == ["", "anna2@bank.example"]
            where = f"{HOME}/bindings/xmpp/{bound[2]['token']}"
            assert (await anna.bank.call("DELETE", where, role="bank"))[0] == 200
            assert [one["kind"] for one in await anna.bound()] == ["sms", "web", "passkey"]

            # So many, and no more.
            key = names.customer(ANNA)
            whole = orjson.loads(await anna.bank.redis.get(key))
            much = [{**whole["channels"][0], "token": f"jid_{n}"} for n in range(16)]
            await anna.bank.redis.set(key, orjson.dumps({**whole, "channels": much}))
            await anna.open()
            await anna.press("web")
            await anna.page.until(_shown("sign"))
            await anna.press("sign")
            await anna.hinted("too many already")

    play(story)


def test_a_subscription_of_this_browser_is_bound_by_a_button_and_a_passkey(
    redis_url: str, tmp_path: Path
) -> None:
    keys = {"p256dh": public_text(vapid_key(b"b" * 32)), "auth": "A" * 22}
    subscription = {"endpoint": "https://push.example/send/abc", "keys": keys}

    async def story() -> None:
        async with customer(redis_url, tmp_path) as anna:
            page = anna.page
            anna.ahead_us = DAY_US + 1_000_000
            await page.send(
                "Browser.grantPermissions", permissions=["notifications"], origin=anna.origin
            )
            await anna.open()
            await page.run(SUBSCRIBES % orjson.dumps(subscription).decode())
            await anna.press("push")
            await page.until(_shown("sign"))
            asked = await page.run("window.subscribedWith")
            assert asked == {"userVisibleOnly": True, "applicationServerKey": PUSH_KEY}
            worker = "navigator.serviceWorker.ready.then((r) => r.active.scriptURL)"
            assert await page.run(worker) == anna.origin + "/sw.js"
            await anna.press("sign")
            await anna.titled("It is set up")
            push = (await anna.kept())[-1]
            assert orjson.loads(push["address"]) == subscription
            assert (push["kind"], push["waits"]) == ("push", True)

    play(story)


@pytest.mark.parametrize(
    ("browser", "words"),
    [
        ("Notification.requestPermission = async () => 'denied'", "the lock, then Notifications"),
        ("Notification.requestPermission = async () => 'default'", "were not allowed"),
        ("delete window.PushManager", "takes no messages"),
        ("", "message service did not answer"),  # Chromium's own, which is offline
    ],
)
def test_what_hinders_a_subscription_is_explained_and_nothing_is_bound(
    redis_url: str, tmp_path: Path, browser: str, words: str
) -> None:
    async def story() -> None:
        async with customer(redis_url, tmp_path) as anna:
            page = anna.page
            granted = ["notifications"]
            await page.send("Browser.grantPermissions", permissions=granted, origin=anna.origin)
            await anna.open()
            await page.run(browser)
            await anna.press("push")
            await anna.hinted(words)
            assert not await page.run("document.getElementById('push').disabled")
            assert [one["kind"] for one in await anna.bound()] == ["xmpp", "passkey"]
            await anna.press("language")
            assert "未作任何更改" in await page.run(_text("hint")) or "无法接收" in await page.run(
                _text("hint")
            )

    play(story)


def test_where_no_pushes_are_set_up_the_button_says_so(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with customer(redis_url, tmp_path, push_key="") as anna:
            granted = ["notifications"]
            await anna.page.send(
                "Browser.grantPermissions", permissions=granted, origin=anna.origin
            )
            await anna.open()
            await anna.press("push")
            await anna.hinted("no messages to browsers yet")

    play(story)


def test_a_passkey_is_the_second_word_for_what_a_person_at_the_bank_began(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with customer(redis_url, tmp_path) as anna:
            anna.ahead_us = DAY_US + 1_000_000
            wanted = {"kind": "sms", "address": "+8613800138000", "staff": "S-1"}
            _, made, _ = await anna.bank.call("POST", HOME + "/bindings", wanted, role="officer")
            assert made["state"] == "waiting"
            await anna.open(f"/bind/{made['id']}")
            await anna.page.until(_shown("sign"))
            assert await anna.page.run(_text("where")) == "+8613800138000"
            assert "telephone for text" in await anna.page.run(_text("what"))
            await anna.press("leave")
            await anna.titled("Nothing was changed")
            assert [one["kind"] for one in await anna.bound()] == ["xmpp", "passkey"]
            await anna.open(f"/bind/{made['id']}")
            await anna.page.until(_shown("sign"))
            await anna.press("sign")
            await anna.titled("It is set up")
            assert [one["kind"] for one in await anna.bound()] == ["xmpp", "sms", "passkey"]
            by = (await anna.said("binding.added"))[-1]["actor"]
            assert by["type"] == "customer"
            await anna.open(f"/bind/{made['id']}")
            await anna.titled("Already done")

    play(story)


def test_one_passkey_opens_the_link_for_another(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with customer(redis_url, tmp_path) as anna:
            anna.ahead_us = DAY_US + 1_000_000
            await anna.open()
            await anna.press("passkey")
            await anna.page.until(_shown("sign"))
            await anna.press("sign")
            await anna.titled("One step more")
            link = await anna.page.run(_text("link"))
            assert link.startswith(anna.origin + "/e/bn_")
            # Another device: the first one's authenticator is not at hand there.
            await anna.page.send("WebAuthn.disable")
            await anna.authenticator()
            await anna.page.open("about:blank")
            await anna.page.open(link)
            await anna.page.until(_shown("make"))
            await anna.press("make")
            await anna.titled("Your passkey is ready")
            keys = [one for one in await anna.bound() if one["kind"] == "passkey"]
            assert [one["waits"] for one in keys] == [True, True]

    play(story)


def test_a_signature_for_one_binding_makes_no_other_and_each_refusal_is_on_record(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with customer(redis_url, tmp_path) as anna:
            page = anna.page
            anna.ahead_us = DAY_US + 1_000_000

            async def send(path: str, body: Any) -> tuple[int, dict[str, Any]]:
                raw = orjson.dumps(orjson.dumps(body).decode()).decode()
                status, told = await page.run(
                    f"fetch('{path}', {{method: 'POST', body: {raw},"
                    " headers: {'Content-Type': 'application/json'}})"
                    ".then(async (a) => [a.status, await a.json()])"
                )
                return status, told

            async def asked(address: str) -> str:
                status, told = await send("/v1/bindings", {"kind": "xmpp", "address": address})
                assert status == 201
                return str(told["id"])

            async def signature(ident: str) -> dict[str, Any]:
                found: dict[str, Any] = await page.run(
                    f"callOwn('/v1/bindings/{ident}/signing', {{}})"
                    ".then((a) => signedOver(a.body.statement, a.body))"
                )
                return found

            await anna.open()
            mine, eves = await asked("anna2@bank.example"), await asked("eve@bank.example")
            good = await signature(mine)

            async def refused(ident: str, assertion: Any, why: str) -> None:
                status, told = await send(f"/v1/bindings/{ident}/approve", {"assertion": assertion})
                assert (status, told.get("why")) == (403, why), told

            await refused(eves, good, "edited")  # captured for one address, sent for another
            bent = orjson.loads(orjson.dumps(good))
            raw = bytearray(signed.unb64(bent["response"]["signature"]))
            raw[-1] ^= 1
            bent["response"]["signature"] = signed.b64(bytes(raw))
            await refused(mine, bent, "edited")
            await refused(mine, {**good, "id": "AAAA"}, "credential")
            denied = await anna.said("access.denied")
            assert [one["body"]["what"] for one in denied] == ["edited", "edited"]
            assert {one["subject"] for one in denied} == {ANNA}
            assert [one["kind"] for one in await anna.bound()] == ["xmpp", "passkey"]

            # A stranger's page and a machine of the bank can't send it at all.
            for headers in ({}, {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}):
                for path, body in (
                    ("/v1/bindings", {"kind": "web"}),
                    (f"/v1/bindings/{mine}/signing", {}),
                    (f"/v1/bindings/{mine}/approve", {"assertion": good}),
                ):
                    status, _, _ = await anna.bank.call("POST", path, body, headers=headers)
                    assert status == 403
            # Nobody else's word counts for what only a passkey can say.
            for word in ({"staff": "S-1"}, {"jws": "a.b.c"}):
                where = f"/v1/bindings/{mine}/approve"
                assert (await anna.bank.call("POST", where, word, role="officer"))[0] == 422

            # Good once, and only once, even where the binding waits again.
            before = await anna.bank.redis.get(f"rb:binding:{mine}")
            assert (await send(f"/v1/bindings/{mine}/approve", {"assertion": good}))[0] == 201
            assert (await send(f"/v1/bindings/{mine}/approve", {"assertion": good}))[0] == 409
            await anna.bank.redis.set(f"rb:binding:{mine}", before)
            await refused(mine, good, "replayed")
            # A counter that does not rise: the key was copied.
            fresh = await signature(eves)
            await anna.bank.redis.hset(names.credential(good["id"]), "count", 10_000)
            await refused(eves, fresh, "counter")
            assert [one["kind"] for one in await anna.bound()] == ["xmpp", "xmpp", "passkey"]

    play(story)


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"kind": "sms", "address": "+8613800138000"}, "kind"),
        ({"kind": "device", "key": {}}, "kind"),
        ({"kind": "xmpp", "address": "nobody"}, "address"),
        ({"kind": "push", "address": "https://push.example/1"}, "address"),
    ],
)
def test_what_a_customer_may_not_ask_for_is_refused_by_field(
    redis_url: str, tmp_path: Path, wanted: dict[str, Any], field: str
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            own = {"Origin": bank.url, "Sec-Fetch-Site": "same-origin"}
            status, told, _ = await bank.call(
                "POST", "/v1/bindings", wanted, role=None, headers=own
            )
            assert (status, told["errors"][0]["field"]) == (422, field)

    play(story)


def test_so_many_ask_a_minute_and_no_more(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            own = {"Origin": bank.url, "Sec-Fetch-Site": "same-origin"}
            minute = bank.ports.clock() // 60_000_000
            for later in (0, 1):
                await bank.redis.set(f"rb:bindings:asked:{minute + later}", 240)
            status, told, _ = await bank.call(
                "POST", "/v1/bindings", {"kind": "web"}, role=None, headers=own
            )
            assert (status, told["type"]) == (503, "urn:ringback:problem:away")

    play(story)
