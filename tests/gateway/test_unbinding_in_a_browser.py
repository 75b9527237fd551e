"""A customer takes away what is bound to them: on the bank's page, with a passkey, in Chromium."""

from pathlib import Path
from typing import Any

import orjson

from risk import names
from tests.gateway.bank import running
from tests.gateway.chromium import FITS, SPILT
from tests.gateway.customer import DAY_US, HOME, Customer, customer, opened, play
from tests.gateway.test_page_attacks import _BOXES
from tests.gateway.test_pages_in_a_browser import _picture, _shown, _text
from tests.gateway.test_signing_in_a_browser import ANNA


async def _reached_by(anna: Customer, *channels: tuple[str, str]) -> None:
    said = {
        "language": "en",
        "zone": "Asia/Shanghai",
        "channels": [
            {"kind": kind, "address": address, "verified": True} for kind, address in channels
        ],
    }
    assert (await anna.bank.call("PUT", HOME, said, role="bank"))[0] == 200


async def _see(anna: Customer) -> None:
    await anna.open("/unbind")
    await anna.press("see")
    await anna.titled("By this we reach you")


async def _choose(anna: Customer, kind: str) -> None:
    await anna.page.run(f"document.querySelector('#bound button[data-kind={kind}]').click()")
    await anna.page.until(_shown("sign"))


async def _post(anna: Customer, path: str, body: Any) -> tuple[int, dict[str, Any]]:
    told = await anna.page.run(
        f"callOwn({orjson.dumps(path).decode()}, {orjson.dumps(body).decode()})"
    )
    return told["status"], told["body"]


async def _signature(anna: Customer, ident: str, wishes: str = "unbindings") -> dict[str, Any]:
    found: dict[str, Any] = await anna.page.run(
        f"callOwn('/v1/{wishes}/{ident}/signing', {{}})"
        ".then((a) => signedOver(a.body.statement, a.body))"
    )
    return found


def test_a_passkey_takes_a_channel_away_which_is_told_and_checked_from_the_record(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with customer(redis_url, tmp_path) as anna:
            page = anna.page
            await page.shape(420, 760)
            await _reached_by(anna, ("xmpp", "anna@bank.example"), ("sms", "+8613800138000"))
            # A day young, the passkey neither shows nor takes anything.
            await anna.open("/unbind")
            await anna.press("see")
            await anna.hinted("too new")
            anna.ahead_us = DAY_US + 1_000_000

            await _see(anna)
            assert await page.run("[...document.querySelectorAll('#bound bdi')].length") == 3
            listed = await page.run(_text("bound"))
            assert "anna@bank.example" in listed
            assert "…8000" in listed
            assert "13800138000" not in listed
            await _picture(page, "unbind-list")
            await _choose(anna, "sms")
            assert await page.run(_text("where")) == "…8000"
            await _picture(page, "unbind-sign")
            one, other = await page.run(_BOXES + "(['sign', 'leave'])")
            assert one == other
            await anna.press("leave")
            await anna.titled("By this we reach you")
            assert [one["kind"] for one in await anna.bound()] == ["xmpp", "sms", "passkey"]

            await _choose(anna, "sms")
            await anna.press("sign")
            await anna.titled("It is taken away")
            assert [one["kind"] for one in await anna.bound()] == ["xmpp", "passkey"]
            telling = (await anna.bank.entries(names.TELLINGS))[-1]
            assert telling["removed"] == ["sms"]
            told = [opened(one["address"]) for one in telling["to"]]
            assert told == ["anna@bank.example", "+8613800138000"]  # what goes hears of it too
            event = (await anna.bank.events())[-1]["event"]
            assert (event["type"], event["change"]) == ("account_change", "jid")
            removed = (await anna.said("binding.removed"))[-1]
            assert removed["actor"]["type"] == "customer"
            assert removed["actor"]["id"].startswith("passkey/")

            # Years later, with nothing but the records:
            records = [one for one in await anna.said("step") if one["body"]["what"] == "signed"]
            assert [one["body"]["kind"] for one in records] == ["list", "sms"]
            record = records[-1]
            facts = await anna.signed_in(record)
            assert facts["unbind"] == record["body"]["binding"]
            assert (facts["kind"], facts["token"]) == ("sms", removed["body"]["token"])
            assert not [c for c in page.complaints if "Content Security Policy" in c]

    play(story)


def test_the_last_channel_and_the_last_key_go_by_a_person_at_the_bank_alone(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with customer(redis_url, tmp_path) as anna:
            anna.ahead_us = DAY_US + 1_000_000
            for kind in ("xmpp", "passkey"):
                await _see(anna)
                await _choose(anna, kind)
                await anna.press("sign")
                await anna.hinted("nothing else would be left")
            # A younger one is none: it may only deny, and for a while nobody would confirm.
            await _reached_by(anna, ("xmpp", "anna@bank.example"), ("sms", "+8613800138000"))
            await _see(anna)
            await _choose(anna, "xmpp")
            await anna.press("sign")
            await anna.hinted("nothing else would be left")
            assert [one["kind"] for one in await anna.bound()] == ["xmpp", "sms", "passkey"]
            assert await anna.said("binding.removed") == []
            anna.ahead_us = 2 * DAY_US + 2_000_000
            await _see(anna)
            await _choose(anna, "xmpp")
            await anna.press("sign")
            await anna.titled("It is taken away")
            for one in await anna.bound():
                where = f"{HOME}/bindings/{one['kind']}/{one['token']}?staff=S-1"
                assert (await anna.bank.call("DELETE", where, role="officer"))[0] == 200
            assert await anna.bound() == []

    play(story)


def test_one_passkey_takes_away_another_and_two_at_once_leave_one(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with customer(redis_url, tmp_path) as anna:
            [mine] = [one for one in await anna.bound() if one["kind"] == "passkey"]
            kept = await anna.bank.redis.hgetall(names.credential(mine["token"]))
            lost = orjson.loads(kept[b"data"]) | {"id": "bG9zdA", "name": "lost phone"}
            data = orjson.dumps(lost)
            await anna.bank.redis.hset(names.credential("bG9zdA"), mapping={"data": data})
            await anna.bank.redis.sadd(names.credentials(ANNA), "bG9zdA")
            anna.ahead_us = DAY_US + 1_000_000
            await _see(anna)
            assert "A passkey (lost phone)" in await anna.page.run(_text("bound"))
            seen = await anna.page.run("seen")
            wishes = []
            for token in ("bG9zdA", mine["token"]):
                going = {"kind": "passkey", "token": token}
                status, told = await _post(anna, f"/v1/unbindings/{seen}/wish", going)
                assert status == 201
                wishes.append(told["id"])
            signatures = [await _signature(anna, one) for one in wishes]
            done = []
            for ident, assertion in zip(wishes, signatures, strict=True):
                where = f"/v1/unbindings/{ident}/approve"
                done.append(await _post(anna, where, {"assertion": assertion}))
            assert [status for status, _ in done] == [200, 403]
            assert done[1][1]["type"] == "urn:ringback:problem:last_factor"
            assert "a person at the bank" in done[1][1]["detail"]
            keys = [one for one in await anna.bound() if one["kind"] == "passkey"]
            assert keys == [mine]
            change = (await anna.bank.events())[-1]["event"]["change"]
            assert change == "credential"

    play(story)


def test_a_signature_for_one_wish_takes_nothing_else_away_and_no_stranger_asks(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with customer(redis_url, tmp_path) as anna:
            anna.ahead_us = DAY_US + 1_000_000
            await _reached_by(anna, ("xmpp", "anna@bank.example"), ("web", ""))
            await _see(anna)
            seen = await anna.page.run("seen")
            rows = {one["kind"]: one["token"] for one in await anna.bound()}
            wishes = {}
            for kind in ("xmpp", "web"):
                going = {"kind": kind, "token": rows[kind]}
                status, told = await _post(anna, f"/v1/unbindings/{seen}/wish", going)
                assert (status, told["state"]) == (201, "asked")
                wishes[kind] = told["id"]
            good = await _signature(anna, wishes["web"])

            async def refused(where: str, body: Any, status: int, kind: str) -> None:
                got, told = await _post(anna, where, body)
                assert (got, told["type"].rpartition(":")[2]) == (status, kind), told

            at = "/v1/unbindings/"
            await refused(f"{at}{wishes['xmpp']}/approve", {"assertion": good}, 403, "not_signed")
            await refused(f"{at}{wishes['web']}/approve", {}, 422, "refused")
            await refused(f"{at}{wishes['web']}/approve", {"staff": "S-1"}, 422, "refused")
            # What is to come and what is to go are different things, whatever is signed.
            await refused(f"/v1/bindings/{wishes['web']}/signing", {}, 404, "not_found")
            raw = {"assertion": good}
            await refused(f"/v1/bindings/{wishes['web']}/approve", raw, 404, "not_found")
            _, binding = await _post(anna, "/v1/bindings", {"kind": "web"})
            await refused(f"{at}{binding['id']}/signing", {}, 404, "not_found")
            # A list that nobody has signed for yet names nothing.
            _, fresh = await _post(anna, "/v1/unbindings", {})
            going = {"kind": "web", "token": rows["web"]}
            await refused(f"{at}{fresh['id']}/wish", going, 409, "used")
            await refused(f"{at}{seen}/wish", {**going, "token": "jid_none"}, 404, "not_found")
            assert [one["kind"] for one in await anna.bound()] == ["xmpp", "web", "passkey"]
            for headers in ({}, {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}):
                for path in ("", f"/{seen}/wish", f"/{seen}/signing", f"/{seen}/approve"):
                    status, _, _ = await anna.bank.call(
                        "POST", "/v1/unbindings" + path, going, role="officer", headers=headers
                    )
                    assert status == 403

            where = f"{at}{wishes['web']}/approve"
            assert (await _post(anna, where, {"assertion": good}))[0] == 200
            await refused(where, {"assertion": good}, 409, "used")
            assert [one["kind"] for one in await anna.bound()] == ["xmpp", "passkey"]

    play(story)


def test_the_pages_for_bindings_fit_in_chinese_and_their_buttons_are_alike(
    redis_url: str, tmp_path: Path
) -> None:
    """By boxes: what a font would show is nobody's to see where there is none."""

    async def story() -> None:
        async with customer(redis_url, tmp_path) as anna:
            page = anna.page
            anna.ahead_us = DAY_US + 1_000_000
            await _reached_by(anna, ("xmpp", "anna@bank.example"), ("voice", "+8613800138000"))
            for width in (320, 360, 420, 1280):
                await page.shape(width, 760)
                for path in ("/bind", "/unbind"):
                    await anna.open(path)
                    await anna.press("language")
                    assert await page.run("document.documentElement.lang") == "zh-CN"
                    assert await page.run(FITS), (path, width)
                    assert await page.run(SPILT) == [], (path, width)
                await anna.press("see")
                await anna.titled("我们这样联系您")
                assert await page.run(FITS), width
                assert await page.run(SPILT) == [], width
                await page.run("document.querySelector('#bound button').click()")
                await page.until(_shown("sign"))
                one, other = await page.run(_BOXES + "(['sign', 'leave'])")
                assert one["box"][:2] == other["box"][:2]
                assert one["box"][2] == other["box"][2] or width <= 320  # then one below the other
                assert (one["all"], one["plain"]) == (other["all"], other["plain"])
                assert await page.run(SPILT) == [], width
            await _picture(page, "unbind-chinese")

    play(story)


def test_so_many_ask_to_see_a_minute_and_no_more(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank:
            own = {"Origin": bank.url, "Sec-Fetch-Site": "same-origin"}
            minute = bank.ports.clock() // 60_000_000
            for later in (0, 1):
                await bank.redis.set(f"rb:bindings:asked:{minute + later}", 240)
            status, told, _ = await bank.call("POST", "/v1/unbindings", {}, role=None, headers=own)
            assert (status, told["type"]) == (503, "urn:ringback:problem:away")

    play(story)
