"""Is an inquiry asked by one channel, in plain words, and its answer never taken for another's?"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from notifiers.facts import Ask, Closing, Payee
from notifiers.memory import MemoryChannel
from notifiers.templates_lint import INQUIRY, STATES, lint
from notifiers.understand import numbers
from notifiers.wording import House, Wording
from tests.notifiers import stage
from tests.patience import PATIENCE

HOUSE = House("Example Bank", "95588")
WORDING = Wording.load(stage.TEMPLATES, HOUSE)
EN = (stage.TEMPLATES / "en.yaml").read_text(encoding="utf-8")
Story = Callable[[stage.Flow, "Texts", str], Awaitable[None]]


class Texts(MemoryChannel):
    """Short messages, in memory."""

    kind = "sms"

    async def shown(self, flow: stage.Flow, ask: dict[str, Any], kind: str = "ask") -> Any:
        """Wait for a message about a question."""

        async def found() -> list[Any]:
            return [one for one in self.sent if one.challenge == ask["id"] and one.kind == kind]

        (one, *more) = await flow.until(found)
        assert more == []
        return one


def paid(amount: str, name: str = "ACME Trading") -> dict[str, str]:
    payee = b'{"name":"%s","account":"6222020200011234"}' % name.encode()
    return {
        "amount": amount,
        "currency": "CNY",
        "kind": "card",
        "payee": stage.sealed(payee, b"payee"),
        "time": "2026-11-21T03:40:00Z",
    }


def inquiry(customer: str, *amounts: str) -> dict[str, Any]:
    made = stage.make_ask(customer, life=86_400.0)
    for gone in ("amount", "currency", "payee", "kind", "reasons"):
        del made[gone]
    made["id"] = "iq_" + made["id"].removeprefix("ch_")
    return {**made, "op": "inquire", "payments": [paid(one) for one in amounts]}


def code_of(body: str) -> str:
    found = re.search(r"YES (\d{6})", body)
    assert found is not None
    return found[1]


@pytest.fixture
def play(redis_url: str, tmp_path: Path) -> Callable[..., None]:
    """Tell a story with a flow, a notifier that sends short messages in memory, and ann."""

    def run(story: Story, kind: str = "sms", **more: Any) -> None:
        async def whole() -> None:
            made: list[Texts] = []

            def channel(listener: Any) -> Texts:
                made.append(Texts(listener))
                return made[0]

            settings = stage.settings_for(redis_url, tmp_path / "data", more_channels=(channel,))
            async with asyncio.timeout(5 * PATIENCE), stage.Flow(redis_url) as flow:
                ann = await flow.bind("ann", kind=kind, **more)
                async with stage.notifier(settings):
                    await story(flow, made[0], ann)

        asyncio.run(whole())

    return run


ANN = f"ann@{stage.DOMAIN}"


def test_a_list_is_asked_once_and_a_no_needs_the_number_that_is_passed_on(
    play: Callable[..., None],
) -> None:
    async def story(flow: stage.Flow, texts: Texts, ann: str) -> None:
        ask = inquiry(ann, "20.00", "31.50", "7.00")
        await flow.put(ask)
        message = await texts.shown(flow, ask)
        assert "2: a card payment of 31.50 CNY" in message.body
        assert (message.amount, message.bind, message.link, message.buttons) == ("", "", "", ())
        code = code_of(message.body)
        again = await texts.say(ANN, f"no {code}")
        assert f"NO {code} and the number" in (again or "")
        assert await flow.answers() == []
        await texts.say(ANN, f"no {code} 2")
        (answer,) = await flow.until(flow.answers)
        assert (answer["challenge"], answer["decision"]) == (ask["id"], "deny")
        assert answer["evidence"]["items"] == [2]
        taken = [one["body"]["taken"] for one in await flow.records("answer")]
        assert taken == [False, True]

    play(story)


def test_a_bare_no_is_for_the_payment_that_waits_and_not_for_an_inquiry(
    play: Callable[..., None],
) -> None:
    async def story(flow: stage.Flow, texts: Texts, ann: str) -> None:
        about = inquiry(ann, "20.00")
        await flow.put(about)
        await texts.shown(flow, about)
        held = await flow.ask(ann)
        await texts.shown(flow, held)
        await texts.say(ANN, "no")
        (answer,) = await flow.until(flow.answers)
        assert answer["challenge"] == held["id"]
        await flow.close(held, "denied", "decline")
        await texts.shown(flow, held, "close")
        await texts.say(ANN, "not mine")
        first, second = await flow.until(lambda: _many(flow, 2))
        assert [first["challenge"], second["challenge"]] == [held["id"], about["id"]]

    play(story)


async def _many(flow: stage.Flow, count: int) -> list[dict[str, Any]]:
    found = await flow.answers()
    return found if len(found) == count else []


def test_a_yes_with_its_code_is_passed_on_and_the_closing_names_no_payment(
    play: Callable[..., None],
) -> None:
    async def story(flow: stage.Flow, texts: Texts, ann: str) -> None:
        ask = inquiry(ann, "20.00")
        await flow.put(ask)
        message = await texts.shown(flow, ask)
        assert [one.value[:3] for one in message.buttons] == ["YES", "NO "]
        await texts.say(ANN, f"yes {code_of(message.body)}")
        (answer,) = await flow.until(flow.answers)
        assert (answer["decision"], answer["challenge"]) == ("confirm", ask["id"])
        closing = {**ask, "op": "inquired", "state": "confirmed", "at": ask["created"]}
        await flow.put(closing)
        closed = await texts.shown(flow, ask, "close")
        assert "all yours" in closed.body
        assert "ACME" not in closed.body
        assert "20.00" not in closed.body

    play(story)


@pytest.mark.parametrize("kind", ["web", "push"])
def test_who_has_no_channel_for_text_is_not_reached_and_the_flow_is_told(
    play: Callable[..., None], kind: str
) -> None:
    async def story(flow: stage.Flow, texts: Texts, ann: str) -> None:
        ask = inquiry(ann, "20.00")
        await flow.put(ask)
        (told,) = await flow.until(flow.answers)
        assert (told["kind"], told["challenge"]) == ("unreachable", ask["id"])
        assert texts.sent == []

    play(story, kind)


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_each_payment_of_a_list_has_its_number_amount_payee_and_time(language: str) -> None:
    ask = Ask.of_inquiry("1-0", inquiry("cus_x", "20.00", "9800.00"))
    payees = (Payee("ACME", "6222020200011234"), Payee("", ""))
    said = WORDING.inquiry(language, "Asia/Shanghai", ask, payees, "384920")
    lines = [line for line in said.text.splitlines() if line.startswith(("1", "2"))]
    assert "20.00" in lines[0]
    assert "1234" in lines[0]
    assert "9,800.00" in lines[1]
    assert all("11:40" in line for line in lines)
    assert said.text.count("384920") == 2
    for state in STATES:
        closing = Closing(ask.id, state, "approve", "2026-11-21T12:47:00Z")
        closed = WORDING.inquired(language, "Asia/Shanghai", ask, closing).text
        assert "20:47" in closed
        assert "384920" not in closed


def test_texts_of_before_inquiries_may_be_sent_and_leave_them_to_the_default_language() -> None:
    start, end = EN.index("inquire: |-"), EN.index("\nsay:") + 1
    old = EN[:start] + EN[end:]
    old = "\n".join(line for line in old.splitlines() if not line.startswith("  which:"))
    assert lint("x.yaml", old.encode()) == []
    half = EN[:start] + EN[end:]
    missing = {one.entry for one in lint("x.yaml", half.encode())}
    assert missing == set(INQUIRY) - {"say.which"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("no 384920 2", (2,)),
        ("2 and 3, no 384920", (2, 3)),
        ("否 384920 第2笔、第10笔", (2, 10)),
        ("no 384920", ()),
        ("no 384920 2 2 123", (2,)),
    ],
)
def test_numbers_of_a_list_are_read_beside_the_code(text: str, found: tuple[int, ...]) -> None:
    assert numbers(text) == found
