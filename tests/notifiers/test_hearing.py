"""What is taken as an answer, and what is refused and said so: with a real Redis, in memory."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from notifiers.facts import HeardAnswer, HeardCommand, HeardReaction, HeardReceipt
from notifiers.memory import MemoryChannel
from risk import names
from tests.journeys.search import files
from tests.notifiers import stage
from tests.patience import PATIENCE, until_true

Story = Callable[["Scene"], Awaitable[None]]


class Scene:
    """A flow, a notifier with the channel in memory, and one customer: ann."""

    def __init__(self, flow: stage.Flow, channel: MemoryChannel, ann: str, listener: Any) -> None:
        self.flow, self.channel, self.ann, self.listener = flow, channel, ann, listener
        self.data = Path()
        self.jid = f"ann@{stage.DOMAIN}"

    async def asked(self, **changes: Any) -> tuple[dict[str, Any], str]:
        """Ask, wait until it is shown, and give the question with its code."""
        ask = await self.flow.ask(changes.pop("customer", self.ann), **changes)
        return ask, await self.code(ask)

    async def code(self, ask: dict[str, Any]) -> str:
        async def shown() -> list[str]:
            return [o.body for o in self.channel.sent if o.challenge == ask["id"]]

        (body, *_) = await self.flow.until(shown)
        found = re.search(r"YES (\d{6})|是 (\d{6})", body)
        assert found is not None
        return found.group(1) or found.group(2)

    async def say(self, text: str, **how: Any) -> str:
        return await self.channel.say(self.jid, text, **how) or ""

    async def answers(self, number: int) -> list[dict[str, Any]]:
        async def enough() -> list[dict[str, Any]]:
            found = await self.flow.answers()
            return found if len(found) >= number else []

        return list(await self.flow.until(enough))

    async def record(self, why: str) -> dict[str, Any]:
        async def found() -> dict[str, Any] | None:
            for record in await self.flow.records("answer"):
                if record["body"].get("why") == why:
                    return record
            return None

        return dict(await self.flow.until(found))


@contextlib.asynccontextmanager
async def scene(url: str, data: Path, **changes: Any) -> AsyncIterator[Scene]:
    made: list[tuple[MemoryChannel, Any]] = []

    def channel(listener: Any) -> MemoryChannel:
        one = MemoryChannel(listener)
        made.append((one, listener))
        return one

    language = changes.pop("language", "en")
    settings = stage.settings_for(url, data, more_channels=(channel,), **changes)
    async with stage.Flow(url) as flow:
        ann = await flow.bind("ann", kind="memory", language=language)
        async with stage.notifier(settings):
            set_up = Scene(flow, made[0][0], ann, made[0][1])
            set_up.data = data
            yield set_up


@pytest.fixture
def play(redis_url: str, tmp_path: Path) -> Callable[..., None]:
    def run(story: Story, **changes: Any) -> None:
        async def whole() -> None:
            async with (
                asyncio.timeout(5 * PATIENCE),
                scene(redis_url, tmp_path / "data", **changes) as set_up,
            ):
                await story(set_up)

        asyncio.run(whole())

    return run


def test_a_yes_with_the_code_confirms(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        ask, code = await scene.asked()
        assert await scene.say(f"yes {code}") == ""
        (answer,) = await scene.answers(1)
        assert (answer["decision"], answer["challenge"]) == ("confirm", ask["id"])
        assert answer["event"] == ask["event"]
        assert answer["customer"] == scene.ann
        assert answer["delayed"] is False
        (record,) = await scene.flow.records("answer")
        assert record["case"] == ask["case"]
        assert record["body"]["taken"] is True
        assert record["strength"] == "claimed"
        assert scene.jid not in orjson.dumps(record).decode()

    play(story)


def test_a_yes_without_a_code_is_never_taken_and_said_so(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        _, code = await scene.asked()
        reply = await scene.say("yes")
        assert code in reply
        assert "not taken as a yes" in reply
        await scene.record("no_code")
        assert await scene.flow.answers() == []

    play(story)


@pytest.mark.parametrize("slip", ["left_out", "exchanged", "doubled"])
def test_a_code_with_a_slip_is_asked_again_and_no_warning_goes_with_it(
    play: Callable[..., None], slip: str
) -> None:
    async def story(scene: Scene) -> None:
        _, code = await scene.asked()
        typed = {
            "left_out": code[:5],
            "exchanged": code[:5] + str((int(code[5]) + 1) % 10),
            "doubled": code + code[5],
        }[slip]
        reply = await scene.say(f"yes {typed}")
        assert reply
        assert "never send passwords" not in reply
        assert await scene.flow.answers() == []
        far = str((int(code) + 222222) % 1_000_000).zfill(6)[:5]
        assert "never send passwords" in await scene.say(f"it says {far}")

    play(story)


def test_a_no_without_a_code_denies_all_that_is_open(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        first, _ = await scene.asked()
        second, _ = await scene.asked(amount="15.00")
        await scene.say("it wasn't me!!")
        answers = await scene.answers(2)
        assert {a["challenge"] for a in answers} == {first["id"], second["id"]}
        assert {a["decision"] for a in answers} == {"deny"}
        assert {a["reason"] for a in answers} == {"not_me"}

    play(story)


def test_a_cancel_is_a_deny_but_no_fraud(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        _, code = await scene.asked()
        await scene.say(f"cancle {code}")
        (answer,) = await scene.answers(1)
        assert (answer["decision"], answer["reason"]) == ("deny", "cancel")

    play(story)


def test_chinese_is_asked_and_understood(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        ask, code = await scene.asked()
        (body,) = scene.channel.bodies()
        for part in ("Example Bank", "转账", "人民币 9,800.00 元", "95588", "尾号 1234", code):
            assert part in body
        await scene.say(f"是我 {code}")
        (answer,) = await scene.answers(1)
        assert answer["decision"] == "confirm"
        await scene.flow.close(ask, "confirmed")

        async def closed() -> Any:
            return scene.channel.bodies("close")

        (text,) = await scene.flow.until(closed)
        assert "答复：确认" in text
        assert code not in text

    play(story, language="zh-CN")


def test_a_wrong_code_confirms_nothing_and_five_end_confirming_by_text(
    play: Callable[..., None],
) -> None:
    async def story(scene: Scene) -> None:
        _, code = await scene.asked()
        wrong = f"{(int(code) + 1) % 1_000_000:06d}"
        for _ in range(5):
            assert "no open question has that code" in await scene.say(f"yes {wrong}")
        assert "too many wrong codes" in await scene.say(f"yes {code}")
        assert await scene.flow.answers() == []
        await scene.say(f"no {code}")
        (answer,) = await scene.answers(1)
        assert answer["decision"] == "deny"

    play(story)


def test_what_is_not_clear_is_asked_again_once_and_never_guessed(
    play: Callable[..., None],
) -> None:
    async def story(scene: Scene) -> None:
        _, code = await scene.asked()
        again = await scene.say("what is this about")
        assert f"YES {code}" in again
        assert f"NO {code}" in again
        assert await scene.say("hm hm hm") == ""
        await scene.record("unclear")
        assert await scene.flow.answers() == []

    play(story)


def test_a_delayed_confirm_is_refused_and_a_delayed_deny_counts(
    play: Callable[..., None],
) -> None:
    async def story(scene: Scene) -> None:
        _, code = await scene.asked()
        assert "reached us late" in await scene.say(f"yes {code}", delayed=True)
        assert await scene.flow.answers() == []
        await scene.record("delayed")
        await scene.say(f"no {code}", delayed=True)
        (answer,) = await scene.answers(1)
        assert (answer["decision"], answer["delayed"]) == ("deny", True)

    play(story)


def test_a_late_confirm_is_said_to_be_late_and_a_late_deny_is_passed_on(
    play: Callable[..., None],
) -> None:
    async def story(scene: Scene) -> None:
        ask, code = await scene.asked(life=3.0)
        ends = datetime.fromisoformat(ask["expires"])
        await until_true(lambda: stage.now() > ends, "the end of its time")
        assert "has ended" in await scene.say(f"yes {code}")
        await scene.record("late")
        assert await scene.flow.answers() == []
        await scene.say(f"no {code}")
        (answer,) = await scene.answers(1)
        assert answer["decision"] == "deny"

    play(story)


def test_a_replayed_answer_is_refused_and_a_deny_after_a_confirm_is_passed_on(
    play: Callable[..., None],
) -> None:
    async def story(scene: Scene) -> None:
        ask, code = await scene.asked()
        await scene.say(f"yes {code}")
        await scene.answers(1)
        await scene.flow.close(ask, "confirmed")

        async def closed() -> Any:
            return scene.channel.bodies("close")

        await scene.flow.until(closed)
        assert "has ended" in await scene.say(f"yes {code}")
        await scene.record("closed")
        assert len(await scene.flow.answers()) == 1
        await scene.say("no! not me")
        answers = await scene.answers(2)
        assert answers[1]["decision"] == "deny"
        assert answers[1]["challenge"] == ask["id"]

    play(story)


def test_an_address_that_is_not_bound_is_refused_whatever_it_names(
    play: Callable[..., None],
) -> None:
    async def story(scene: Scene) -> None:
        ask, code = await scene.asked()
        eve = f"eve@{stage.DOMAIN}"
        reply = await scene.channel.say(eve, f"YES {code}")
        assert reply is not None
        assert "not registered" in reply
        about: dict[str, Any] = {"channel": "memory", "address": f"{eve}/x", "bare": eve}
        heard = HeardCommand(
            **about, stanza="1", received=stage.now(), challenge=ask["id"], decision="confirm"
        )
        assert "not registered" in (await scene.listener.heard(heard) or "")
        record = await scene.record("not_bound")
        assert record["body"]["taken"] is False
        assert await scene.flow.answers() == []

    play(story)


def test_another_customers_code_is_worth_nothing(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        await scene.flow.bind("bob", kind="memory")
        ask, code = await scene.asked()
        bob = f"bob@{stage.DOMAIN}"
        reply = await scene.channel.say(bob, f"YES {code}") or ""
        assert "no open question" in reply
        about: dict[str, Any] = {"channel": "memory", "address": f"{bob}/x", "bare": bob}
        heard = HeardCommand(
            **about, stanza="1", received=stage.now(), challenge=ask["id"], decision="deny"
        )
        assert "no open question" in (await scene.listener.heard(heard) or "")
        assert await scene.flow.answers() == []

    play(story)


def test_the_own_client_proves_what_it_had_shown(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        ask, _ = await scene.asked()
        (sent,) = scene.channel.sent
        about = {
            "channel": "memory",
            "address": f"{scene.jid}/app",
            "bare": scene.jid,
            "received": stage.now(),
            "challenge": ask["id"],
        }
        forged = HeardAnswer(**about, stanza="1", decision="confirm", bind="x" * 43)
        assert "other than the one we asked" in (await scene.listener.heard(forged) or "")
        await scene.record("bind")
        assert await scene.flow.answers() == []
        honest = HeardAnswer(**about, stanza="2", decision="confirm", bind=sent.bind)
        await scene.listener.heard(honest)
        (answer,) = await scene.answers(1)
        assert (answer["layer"], answer["strength"]) == ("B", "app")

    play(story)


def test_receipts_are_claims_on_record_and_reactions_never_answer(
    play: Callable[..., None],
) -> None:
    async def story(scene: Scene) -> None:
        ask, _ = await scene.asked()
        about = {
            "channel": "memory",
            "address": f"{scene.jid}/app",
            "bare": scene.jid,
            "received": stage.now(),
            "challenge": ask["id"],
        }
        await scene.listener.heard(HeardReceipt(**about, stanza="1", kind="delivered"))
        for stanza in ("2", "3"):
            await scene.listener.heard(HeardReceipt(**about, stanza=stanza, kind="displayed"))
        await scene.listener.heard(HeardReaction(**about, stanza="4"))
        await scene.record("reaction")
        kinds = [record["kind"] for record in await scene.flow.records()]
        assert kinds.count("receipt.delivered") == 1
        assert kinds.count("receipt.displayed") == 1
        assert await scene.flow.answers() == []

    play(story)


def test_a_secret_reaches_neither_the_disk_nor_redis(
    play: Callable[..., None], redis_server: Any, tmp_path: Path
) -> None:
    async def story(scene: Scene) -> None:
        _, code = await scene.asked()
        secret = "71725394"  # so long that no hash holds it by chance
        assert code not in secret
        reply = await scene.say(f"我的验证码是 {secret}")
        assert "never send passwords or codes" in reply
        record = await scene.record("unclear")
        assert record["body"]["cuts"] == [{"type": "otp", "offset": 7, "length": 8}]
        control = tmp_path / "data" / "control"
        control.write_text(f"clear copy: {secret}")
        found = holding(secret, tmp_path)
        assert found == [control], "the search itself must find the clear copy, and nothing else"

    play(story)


def holding(secret: str, directory: Path) -> list[Path]:
    return [path for path, held in files(directory) if secret.encode() in held]


def test_an_ask_waits_until_its_decision_is_durable(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        await scene.flow.stop_ledger()
        ask = await scene.flow.ask(scene.ann)
        await asyncio.sleep(0.4)
        assert scene.channel.sent == []
        await scene.flow.make_durable()
        await scene.code(ask)

    play(story)


def test_an_ask_waits_for_its_own_record_and_for_none_that_comes_after_it(
    play: Callable[..., None],
) -> None:
    async def story(scene: Scene) -> None:
        await scene.flow.stop_ledger()
        redis = scene.flow.redis
        own = await redis.xadd(names.AUDIT, {"records": b"[]"})
        ask = stage.make_ask(scene.ann)
        await redis.xadd(names.CHALLENGES, {"challenge": orjson.dumps(ask), "after": own})
        await redis.xadd(names.AUDIT, {"records": b"[]"})
        await asyncio.sleep(0.4)
        assert scene.channel.sent == []
        await redis.set(names.AUDIT_DURABLE, own)
        await scene.code(ask)

    play(story)


def test_a_closing_goes_without_its_leaf_where_redis_does_not_tell_it(
    play: Callable[..., None],
) -> None:
    async def story(scene: Scene) -> None:
        ask, _ = await scene.asked()
        await scene.flow.redis.execute_command("ACL", "SETUSER", "default", "-mget")
        await scene.flow.close(ask, "confirmed")

        async def closings() -> list[str]:
            sent = scene.channel.sent
            return [o.leaf for o in sent if o.challenge == ask["id"] and o.kind == "close"]

        assert await scene.flow.until(closings) == [""]

    play(story)


def test_codes_of_one_customer_differ_and_questions_are_asked_once(
    play: Callable[..., None],
) -> None:
    async def story(scene: Scene) -> None:
        codes = {(await scene.asked())[1] for _ in range(12)}
        assert len(codes) == 12
        ask = await scene.flow.ask(scene.ann)
        await scene.flow.redis.xadd(names.CHALLENGES, {"challenge": orjson.dumps(ask)})
        await scene.code(ask)
        await asyncio.sleep(0.3)
        assert len([o for o in scene.channel.sent if o.challenge == ask["id"]]) == 1

    play(story)


def test_no_channel_and_half_a_life_gone_are_unreachable(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        unbound = await scene.flow.ask("cus_nobody")
        scene.channel.up = False
        stale = await scene.flow.ask(scene.ann, life=1.0)
        answers = await scene.answers(2)
        why = {answer["challenge"]: (answer["kind"], answer["why"]) for answer in answers}
        assert why == {
            unbound["id"]: ("unreachable", "no_channel"),
            stale["id"]: ("unreachable", "half_life"),
        }
        scene.channel.up = True
        await asyncio.sleep(0.4)
        assert scene.channel.sent == [], "a stale question is dropped, not flushed"

    play(story)


def test_a_question_closed_before_it_was_sent_is_never_sent(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        scene.channel.up = False
        ask = await scene.flow.ask(scene.ann)
        await scene.flow.close(ask, "withdrawn")
        await asyncio.sleep(0.3)
        scene.channel.up = True
        _, _ = await scene.asked(amount="1.00")
        assert [o.challenge for o in scene.channel.sent].count(ask["id"]) == 0

    play(story)


def test_freeze_denies_all_and_asks_the_flow_to_block_everything(
    play: Callable[..., None],
) -> None:
    async def story(scene: Scene) -> None:
        await scene.asked()
        assert "security team" in await scene.say("我的手机被盗了，挂失")
        answer, freeze = await scene.answers(2)
        assert (answer["decision"], answer["reason"]) == ("deny", "not_me")
        assert (freeze["kind"], freeze["customer"]) == ("freeze", scene.ann)
        await scene.say("FREEZE my account")  # unprompted: nothing is open any more
        assert (await scene.answers(4))[-1]["kind"] == "freeze"

    play(story)


def test_asking_for_a_person_is_heard(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        await scene.asked()
        assert "95588" in await scene.say("转人工")
        assert await scene.flow.answers() == []

    play(story)


def test_the_record_holds_what_was_sent_under_a_seal(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        from risk.privacy import open_sealed

        ask, _ = await scene.asked()

        async def sent() -> Any:
            return await scene.flow.records("outreach.sent")

        (record,) = await scene.flow.until(sent)
        assert record["rid"].startswith("rb:challenges/")
        assert record["rid"].endswith("/outreach.sent/memory/ask/taken")
        assert record["case"] == ask["case"]
        text = open_sealed(stage.SEAL_KEY, record["personal"]["text"]["sealed"], b"text")
        assert text.decode() == scene.channel.sent[0].body
        assert record["body"]["template"]["id"] == "en/3"
        whole = orjson.dumps(record)
        assert b"ACME" not in whole
        assert scene.jid.encode() not in whole

    play(story)


def test_what_the_bank_replies_is_on_record_under_a_seal(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        from risk.privacy import open_sealed

        ask, code = await scene.asked()
        said = await scene.say("hm?")

        async def replied() -> Any:
            return await scene.flow.records("outreach.replied")

        (record,) = await scene.flow.until(replied)
        assert (record["case"], record["body"]["channel"]) == (ask["case"], "memory")
        assert record["body"]["template"]["id"] == "en/3"
        text = open_sealed(stage.SEAL_KEY, record["personal"]["text"]["sealed"], b"text")
        assert text.decode() == said
        assert code.encode() not in orjson.dumps(record)
        (answer,) = await scene.flow.records("answer")
        assert record["body"]["to"] == answer["rid"]

    play(story)


def test_the_outbox_holds_no_name_no_account_and_no_code(
    play: Callable[..., None], tmp_path: Path
) -> None:
    async def story(scene: Scene) -> None:
        _, code = await scene.asked()
        await scene.say(f"yes {code}")
        await scene.answers(1)
        for word in ("ACME", "6222020200011234", scene.jid, f"YES {code}"):
            assert holding(word, tmp_path / "data") == []

    play(story)


def test_the_page_link_carries_the_web_token_in_its_fragment(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        from risk.privacy import web_token

        ask, _ = await scene.asked()
        (body,) = scene.channel.bodies()
        one = ask["id"]
        assert f"http://localhost:8080/c/{one}#{web_token(stage.ANSWER_KEY, one)}" in body
        assert body.count("http") == 1

    play(story, links=True, page="http://localhost:8080/")


def test_a_made_up_past_or_broken_entry_stops_nothing(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        for broken in (b"{", b"[]", b'{"op":"ask"}', b'{"op":"close","id":"x"}', b"\xff"):
            await scene.flow.redis.xadd(names.CHALLENGES, {"challenge": broken})
        await scene.flow.redis.xadd(names.CHALLENGES, {"other": "x"})
        naive = stage.make_ask(scene.ann) | {"expires": "2026-01-01T00:00:00"}
        await scene.flow.redis.xadd(names.CHALLENGES, {"challenge": orjson.dumps(naive)})
        await scene.asked(expires=stage.rfc(stage.now() + timedelta(minutes=5)))

    play(story)
