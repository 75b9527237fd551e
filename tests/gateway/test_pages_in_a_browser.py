"""What a customer and an officer see and do, in a real Chromium."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from risk import names
from tests.gateway.asking import ask, end, link_token
from tests.gateway.bank import Bank, payment, running
from tests.gateway.chromium import Page, chromium

PICTURES = os.environ.get("RINGBACK_PICTURES")  # a folder, to look at what the pages look like


async def _picture(page: Page, name: str) -> None:
    if PICTURES:
        _keep(Path(PICTURES) / f"{name}.png", await page.picture())


def _keep(file: Path, picture: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(picture)


def _text(node: str) -> str:
    return f"document.getElementById('{node}').textContent"


SAME = (
    "['confirm','deny'].map(id => {const b = document.getElementById(id);"
    " const s = getComputedStyle(b); return [b.offsetWidth, b.offsetHeight, s.color,"
    " s.backgroundColor, s.borderColor, s.fontSize, s.fontWeight].join()})"
)


def _shown(node: str) -> str:
    return f"!document.getElementById('{node}').closest('[hidden]')"


async def _end_when_answered(bank: Bank, question: dict[str, Any]) -> None:
    await bank.until(names.ANSWERS, 1)
    [answer] = await bank.entries(names.ANSWERS)
    confirmed = answer["decision"] == "confirm"
    await end(bank, question, *(("confirmed", "approve") if confirmed else ("denied", "decline")))


async def _asked(bank: Bank, page: Page) -> None:
    """The question on a telephone's page, ready to be answered."""
    await page.shape(420, 760)
    await page.open(f"{bank.url}/c/ch_1#{link_token()}")
    await page.until(_shown("confirm"))


@pytest.mark.parametrize("decision", ["confirm", "deny"])
def test_a_customer_answers_on_the_page(redis_url: str, tmp_path: Path, decision: str) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank, chromium(tmp_path) as page:
            question = await ask(bank)
            ending = asyncio.create_task(_end_when_answered(bank, question))
            await _asked(bank, page)
            assert await page.run(_text("figure")) == "9,800.00"
            assert await page.run(_text("payee")) == "“ACME Trading”"
            assert await page.run("location.hash") == ""  # the token has gone from the address
            same = await page.run(SAME)
            assert same[0] == same[1]  # the two buttons are equal
            await _picture(page, "challenge")
            if decision == "confirm":
                await page.run("document.getElementById('confirm').click()")
            else:
                await page.run("document.getElementById('deny').click()")
                assert await page.run("document.activeElement.id") == "not-me"
                await _picture(page, "challenge-why")
                await page.press("Enter")
            wanted = "Confirmed" if decision == "confirm" else "Denied"
            await page.until(f"{_text('message-title')} === '{wanted}'")
            await _picture(page, f"challenge-{decision}")
            await ending
            [answer] = await bank.entries(names.ANSWERS)
            assert answer["decision"] == decision
            assert answer["reason"] == (None if decision == "confirm" else "not_me")
            assert not [c for c in page.complaints if "Content Security Policy" in c]

    asyncio.run(story())


def test_in_chinese_the_page_says_the_same_and_its_buttons_are_equal_too(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank, chromium(tmp_path) as page:
            question = await ask(bank)
            ending = asyncio.create_task(_end_when_answered(bank, question))
            await _asked(bank, page)
            await page.run("document.getElementById('language').click()")
            await page.until("document.documentElement.lang === 'zh-CN'")
            assert await page.run(_text("figure")) == "9,800.00"
            assert await page.run(_text("payee")) == "“ACME Trading”"
            first, second = await page.run(SAME)
            assert first == second
            await _picture(page, "challenge-zh")
            await page.run("document.getElementById('deny').click()")
            await _picture(page, "challenge-why-zh")
            await page.press("Enter")
            await page.until(f"{_text('message-title')} === '已拒绝'")
            await _picture(page, "challenge-deny-zh")
            await ending
            [answer] = await bank.entries(names.ANSWERS)
            assert (answer["decision"], answer["reason"]) == ("deny", "not_me")

    asyncio.run(story())


def test_a_closed_question_says_how_it_ended(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(redis_url, tmp_path) as bank, chromium(tmp_path) as page:
            await end(bank, await ask(bank), "expired", "decline")
            await page.shape(420, 560, dark=True)
            await page.open(f"{bank.url}/c/ch_1#{link_token()}")
            await page.until(f"{_text('message-title')} === 'Time is up'")
            await _picture(page, "challenge-expired-dark")

    asyncio.run(story())


class _Ledger:
    verified: dict[str, Any] | None = None

    def head(self) -> dict[str, Any]:
        return {
            "origin": "bank.example/ringback/main/rc10y/2026",
            "size": 12_345,
            "root": "ab" * 32,
            "ts": datetime.now(UTC).isoformat(),
            "verified": self.verified,
        }

    def event_records(self, event: str) -> list[dict[str, Any]]:
        kinds = ("case.opened", "event.in", "features", "score", "decision")
        return [
            {
                "kind": kind,
                "ts": "2026-01-01T00:00:00.000000Z",
                "case_seq": seq,
                "actor": {"type": "service", "id": "flow", "role": "flow"},
                "origin": "bank.example/ringback/main/rc10y/2026",
                "index": 100 + seq,
                "hash": "00",
                "body": {"secret": "not for the page"},
            }
            for seq, kind in enumerate(kinds, 1)
        ]

    def proof(self, origin: str, index: int) -> str | None:
        return f"c2sp.org/tlog-proof@v1\nindex {index}\n"


def _decide(event: dict[str, Any]) -> dict[str, Any]:
    number = int(event["id"].split("-")[1])
    word = ("approve",) * 8 + ("challenge", "review", "decline", "approve")
    decision = word[number % 12]
    reason = {
        "code": "new_payee.large",
        "text": "A large payment to a payee who is new to this customer",
        "feature": "customer.sum.amount.24h",
        "value": "9800.00",
        "operator": ">",
        "threshold": "5000.00",
    }
    return {
        "event": event["id"],
        "decision": decision,
        "score": (number * 37) % (300 if decision == "approve" else 1001),
        "reasons": [] if decision == "approve" else [reason],
        "model": {"id": "logistic", "version": "3+120", "sha256": "0" * 64},
        "policy_sha256": "f" * 64,
        "degraded": None,
        "trace": "a" * 32,
        "stages_us": {"customer": 320, "payee": 210, "score": 450, "judge": 90},
        "decided": datetime.now(UTC).isoformat(),
        "factors": [
            {
                "feature": "customer.sum.amount.24h",
                "weight": 1.25,
                "share": 0.62,
                "value": 980000,
                "usual": 30000.0,
            },
            {
                "feature": "payee.count.30d",
                "weight": -0.4,
                "share": 0.2,
                "value": 60,
                "usual": None,
            },
        ],
    }


_FEATURES = {
    f"{key}.{what}.{window}": 60 if what == "count" else 900_000
    for key in ("customer", "payee")
    for what in ("count", "sum.amount", "mean.amount")
    for window in ("1m", "1h", "24h", "7d", "30d")
} | {
    "customer.new_payee": 1,
    "customer.new_payee.24h": 1,
    "customer.since_last": 340.5,
    "customer.small_payments.1h": 2,
    "customer.zscore.amount.14d": 3.25,
    "device.customers.24h": 1,
    "device.fraud_count.30d": 0,
    "ip.customers.24h": None,
}


def test_the_live_page_shows_what_goes_on(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        ledger = _Ledger()
        opened: dict[str, Any] = {"page": True, "demo": True, "ports": {"ledger": ledger}}
        async with (
            running(redis_url, tmp_path, **opened) as bank,
            chromium(tmp_path) as page,
        ):
            bank.flow.decide = _decide
            await bank.redis.hset(names.META, "demo_customer", "cus_you")
            await bank.redis.hset("rb:channels", mapping={"xmpp": '{"ready":true}'})
            await page.shape(1280, 900)
            await page.open(bank.url + "/")
            await page.until(f"{_text('link')} === 'live'")
            for n in range(48):
                await bank.post(payment(f"pay-{n:03d}", customer=f"C-{n}"))
            await ask(bank, "ch_1", event="pay-008")
            ended = await ask(bank, "ch_2", event="pay-020", amount="27500.00")
            await end(bank, ended, "denied", "decline")
            await bank.redis.set(names.features("pay-010"), orjson.dumps(_FEATURES))
            await page.until("document.querySelectorAll('#list li').length === 48")
            await page.until(f"{_text('open-count')} === '1'")
            await page.until("document.querySelectorAll('#outcomes li').length === 1")
            await page.until("document.querySelectorAll('#score-chart rect').length === 20")
            await page.until(f"{_text('house')}.includes('12,345 records')")
            assert "Last verifiednot yet" in await page.run(_text("house"))
            ledger.verified = {"at": "2026-01-01T10:20:30Z", "status": "ok", "size": 12_300}
            at = "new Date('2026-01-01T10:20:30Z').toLocaleTimeString('en-GB')"
            await page.until(f"{_text('house')}.includes('Last verified' + {at})")
            assert "cus_you" not in await page.run("document.body.innerHTML")
            await asyncio.sleep(1.5)
            await _picture(page, "live")
            await page.shape(1280, 900, dark=True)
            await _picture(page, "live-dark")
            await page.shape(390, 1500)
            await _picture(page, "live-phone")
            wide = await page.run("document.documentElement.scrollWidth")
            assert wide <= 390  # nothing sticks out on a phone
            await page.shape(1100, 1000)
            await page.run("document.querySelector('#list button').focus()")
            await page.press("ArrowDown")
            await page.run(
                "[...document.querySelectorAll('#list button')]"
                ".find(b => b.textContent.includes('pay-010')).focus()"
            )
            await page.press("Enter")
            await page.until("document.querySelectorAll('#detail-body a').length === 5")
            body = await page.run(_text("detail-body"))
            assert "new to this customer" in body
            assert "9,800.00300.00+62 %" in body, "what moved the score, beside what is usual"
            assert "60−20 %" in body
            tables = await page.run(
                "[...document.querySelectorAll('#detail-body table')]"
                ".map(t => t.querySelector('th').textContent)"
            )
            assert tables[1:5] == ["customer", "customer, more", "payee", "device"]
            assert "sum.amount9,000.009,000.009,000.009,000.009,000.00300.00" in body
            assert "zscore.amount.14d3.25" in body
            assert "secret" not in body
            await _picture(page, "detail")
            ledger.verified |= {"status": "broken", "problem": "record 7, rule 3"}
            await page.until(f"{_text('house')}.includes('Not verifiedrecord 7, rule 3')")
            await page.press("Escape")
            await page.until("!document.getElementById('detail').open")
            await page.open(bank.url + "/you")
            await page.until("document.querySelectorAll('#open li').length === 1")
            await page.shape(500, 600)
            await _picture(page, "you")
            await page.run("document.querySelector('#open a').click()")
            await page.until("location.pathname === '/c/ch_1'")
            await page.until(_shown("confirm"))
            assert not [c for c in page.complaints if "Content Security Policy" in c]

    asyncio.run(story())
