"""What goes with an answer: its binding, its signature, and a duress word that shows nowhere."""

import asyncio
import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from joserfc.jwk import ECKey, OKPKey

from notifiers.bound import binding_of, duress_word
from notifiers.client import Message
from notifiers.facts import HeardAnswer
from notifiers.prosody import Prosody
from risk import names, signed
from tests.notifiers import stage
from tests.notifiers.test_chat import run
from tests.notifiers.test_hearing import Scene, play

__all__ = ["play"]
WORD = "Bluebird"


async def _bind_anew(scene: Scene, **more: Any) -> str:
    """Write ann's channel as the gateway does, with its token and since when it is bound."""
    token = stage.TOKENS.token("jid", scene.jid)
    bound = {"token": token, "bound": stage.rfc(stage.now()), "waits": True}
    await scene.flow.bind("ann", kind="memory", **{**bound, **more})
    return token


async def _with_duress(scene: Scene) -> None:
    token = stage.TOKENS.token("duress", f"{scene.ann}\0{WORD.casefold()}")
    await scene.flow.redis.set(names.duress(scene.ann), token)


async def _alerts(scene: Scene) -> list[dict[str, Any]]:
    rows = await scene.flow.redis.xrange(names.ALERTS)
    return [orjson.loads(fields[b"alert"]) for _, fields in rows]


def test_an_answer_names_its_binding_and_since_when_it_holds(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        token = await _bind_anew(scene)
        _, code = await scene.asked()
        await scene.say(f"YES {code}")
        (answer,) = await scene.answers(1)
        assert answer["binding"]["id"] == f"memory/{token}"
        assert answer["binding"]["waits"] is True
        assert answer["binding"]["verified"] is True

    play(story)


def test_of_a_binding_that_nobody_knows_the_strictest_is_said(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        _, code = await scene.asked()  # the pretended flow wrote neither token nor time
        await scene.say(f"YES {code}")
        (answer,) = await scene.answers(1)
        assert answer["binding"]["verified"] is False

    play(story)
    old = {"kind": "xmpp", "token": "jid_1", "bound": "2026-01-01T00:00:00Z", "verified": True}
    assert binding_of(old)["waits"] is True


# --- duress ----------------------------------------------------------------------------------


def test_a_confirm_with_the_duress_word_is_a_confirm_that_says_so_inside(
    play: Callable[..., None],
) -> None:
    async def story(scene: Scene) -> None:
        await _with_duress(scene)
        _, code = await scene.asked()
        assert await scene.say(f"yes {code} {WORD.upper()}.") == ""  # as after a plain yes
        (answer,) = await scene.answers(1)
        assert (answer["decision"], answer["reason"]) == ("confirm", "duress")
        (record,) = await scene.flow.records("answer")
        assert record["body"]["taken"] is True
        assert record["body"]["cuts"] == [{"type": "duress", "offset": 11, "length": 8}]
        await scene.flow.close(await _of(scene, answer), "confirmed")
        for key in await scene.flow.redis.keys("*"):
            dumped = await scene.flow.redis.dump(key)
            assert WORD.casefold().encode() not in (dumped or b"").lower()

    play(story)


async def _of(scene: Scene, answer: dict[str, Any]) -> dict[str, Any]:
    rows = await scene.flow.redis.xrange(names.CHALLENGES)
    asked = [orjson.loads(fields[b"challenge"]) for _, fields in rows]
    return next(one for one in asked if one["id"] == answer["challenge"])


@pytest.mark.parametrize("text", ["yes {word}", "yes 000000 {word}", "{word}"])
def test_duress_in_what_is_not_taken_alarms_the_officers_and_the_reply_is_the_same(
    play: Callable[..., None], text: str
) -> None:
    async def story(scene: Scene) -> None:
        _, code = await scene.asked()
        plain = await scene.say(text.format(word="").strip() or "hm")
        await _with_duress(scene)
        _, other = await scene.asked()
        forced = await scene.say(text.format(word=WORD))
        first = plain.replace(code, "000001").replace(other, "000001")
        second = forced.replace(code, "000001").replace(other, "000001")
        if text != "{word}":
            assert first.splitlines()[0] == second.splitlines()[0]
        assert WORD.casefold() not in forced.casefold()
        await scene.flow.until(lambda: _alerts(scene))
        assert {one["kind"] for one in await _alerts(scene)} == {"duress"}
        assert await scene.flow.answers() == []

    play(story)


def test_a_duress_word_of_another_customer_is_a_word_like_any_other(redis_url: str) -> None:
    async def story() -> None:
        from redis.asyncio import Redis

        async with Redis.from_url(redis_url) as redis:
            token = stage.TOKENS.token("duress", f"cus_1\0{WORD.casefold()}")
            await redis.set(names.duress("cus_1"), token)
            said = f"yes 123456 {WORD}"
            blanked, cut = await duress_word(redis, stage.TOKENS, "cus_1", said)
            assert (blanked, cut and cut.offset) == ("yes 123456         ", 11)
            for customer in ("cus_2", "cus_3"):
                assert await duress_word(redis, stage.TOKENS, customer, said) == (said, None)

    asyncio.run(story())


# --- layer A over the chat -------------------------------------------------------------------


async def _enrol(scene: Scene, made: Any, kid: str = "dk_1", customer: str = "") -> None:
    algorithm, der = signed.read_device_key(made.as_dict(private=False))
    kept = {
        "v": 1, "id": kid, "kind": "device", "customer": customer or scene.ann,
        "der": signed.b64(der), "bound": stage.rfc(stage.now() - timedelta(days=9)), "waits": True,
        "name": "", "algorithm": algorithm, "cose": "", "rp_id": "",
    }  # fmt: skip
    await scene.flow.redis.hset(names.credential(kid), mapping={"data": orjson.dumps(kept)})


def _facts(ask: dict[str, Any]) -> dict[str, Any]:
    return signed.question(ask, {"name": "ACME Trading", "account": "6222020200011234"})


async def _send(scene: Scene, ask: dict[str, Any], compact: str, stanza: str) -> str:
    said = HeardAnswer(
        channel="memory", address=f"{scene.jid}/app", bare=scene.jid, stanza=stanza,
        received=stage.now(), challenge=ask["id"], jws=compact,
    )  # fmt: skip
    return await scene.listener.heard(said) or ""


@pytest.mark.parametrize("made", [ECKey.generate_key("P-256"), OKPKey.generate_key("Ed25519")])
def test_a_statement_that_a_device_key_signed_is_the_strongest_answer(
    play: Callable[..., None], made: Any
) -> None:
    async def story(scene: Scene) -> None:
        await _enrol(scene, made)
        ask, _ = await scene.asked()
        said = signed.statement(_facts(ask), "confirm", None)
        compact = signed.sign_jws(made, "dk_1", said)
        assert await _send(scene, ask, compact, "s1") == ""
        (answer,) = await scene.answers(1)
        assert (answer["layer"], answer["strength"]) == ("A", "signed")
        assert answer["binding"]["id"] == "device/dk_1"
        assert answer["evidence"]["digest"] == hashlib.sha256(compact.encode()).hexdigest()
        (record,) = await scene.flow.records("answer")
        assert record["strength"] == "signed"
        assert set(record["personal"]) == {"jid", "jws"}
        assert "ACME" not in orjson.dumps(record).decode()
        # Captured and sent again: refused, with its reason.
        assert await _send(scene, ask, compact, "s2") != ""
        await scene.record("replayed")
        assert len(await scene.flow.answers()) == 1

    play(story)


def test_a_signature_may_come_without_the_statement_that_it_signs(
    play: Callable[..., None],
) -> None:
    """So amount and payee need not travel in the answer to a sealed question."""

    async def story(scene: Scene) -> None:
        made = ECKey.generate_key("P-256")
        await _enrol(scene, made)
        head = tail = ""
        for number, (decision, reason) in enumerate(signed.DECISIONS, start=1):
            ask, _ = await scene.asked()
            said = signed.statement(_facts(ask), decision, reason)
            compact = signed.sign_jws(made, "dk_1", said)
            head, _, tail = compact.split(".")
            assert await _send(scene, ask, f"{head}..{tail}", f"s{number}") == ""
            answer = (await scene.answers(number))[-1]
            assert (answer["layer"], answer["decision"], answer["reason"]) == (
                "A",
                decision,
                reason,
            )
            mark = hashlib.sha256(compact.encode()).hexdigest()
            assert answer["evidence"]["digest"] == mark, "the record holds it whole"
        ask, _ = await scene.asked()
        assert "nothing was taken" in await _send(scene, ask, f"{head}..{tail}", "other")
        await scene.record("edited")

    play(story)


def test_a_signature_that_is_not_one_over_this_question_is_refused_with_its_reason(
    play: Callable[..., None],
) -> None:
    async def story(scene: Scene) -> None:
        made, stranger = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
        await _enrol(scene, made)
        await _enrol(scene, stranger, "dk_boris", "cus_boris")
        ask, _ = await scene.asked()
        other, _ = await scene.asked(amount="1.00")
        facts = _facts(ask)

        def sign(changed: dict[str, Any], kid: str = "dk_1", key: Any = made) -> str:
            return signed.sign_jws(
                key, kid, signed.statement({**facts, **changed}, "confirm", None)
            )

        good = sign({})
        head, _, tail = good.split(".")
        flipped = signed.b64(signed.statement(facts, "deny", None))
        for number, (compact, why) in enumerate(
            (
                (sign({"amount": "1.00"}), "amount"),
                (sign({"payee": "Eve"}), "payee"),
                (sign({"payee_account": "1"}), "payee"),
                (signed.sign_jws(made, "dk_1", signed.statement(_facts(other), "confirm", None)),
                 "other_challenge"),
                (f"{head}.{flipped}.{tail}", "edited"),
                (sign({}, "dk_1", stranger), "edited"),
                (sign({}, "dk_boris", stranger), "credential"),
                (sign({}, "dk_none"), "credential"),
                ("no jws at all", "edited"),
            )
        ):  # fmt: skip
            reply = await _send(scene, ask, compact, f"bad{number}")
            assert "nothing was taken" in reply
            await scene.record(why)
        assert await scene.flow.answers() == []

    play(story)


def test_the_reference_client_signs_over_a_real_chat_server(
    redis_url: str, prosody: Prosody, tmp_path: Path
) -> None:
    async def story() -> None:
        settings = stage.settings_for(redis_url, tmp_path / "data", xmpp=prosody.settings.address())
        made = ECKey.generate_key("P-256")
        async with (
            stage.Flow(redis_url) as flow,
            stage.notifier(settings),
            stage.chatting(prosody, "ann") as ann,
        ):
            customer = await flow.bind("ann")
            algorithm, der = signed.read_device_key(made.as_dict(private=False))
            kept = {
                "kind": "device", "customer": customer, "der": signed.b64(der),
                "algorithm": algorithm, "bound": "2026-01-01T00:00:00Z", "waits": True,
            }  # fmt: skip
            mapping = {"data": orjson.dumps(kept)}
            await flow.redis.hset(names.credential("dk_1"), mapping=mapping)
            ask = await flow.ask(customer)
            question = await ann.wait_for(lambda m: m.challenge == ask["id"])
            said = signed.statement(_facts(ask), "deny", "not_me")
            ann.answer_signed(question.sender, ask["id"], signed.sign_jws(made, "dk_1", said))
            (answer,) = await flow.until(flow.answers)
            assert (answer["layer"], answer["strength"]) == ("A", "signed")
            assert (answer["decision"], answer["reason"]) == ("deny", "not_me")

    run(story())


def test_who_confirms_too_much_unsigned_is_told_where_to_sign(
    redis_url: str, prosody: Prosody, tmp_path: Path
) -> None:
    async def story() -> None:
        page = "https://pay.bank.example"
        settings = stage.settings_for(
            redis_url,
            tmp_path / "data",
            xmpp=prosody.settings.address(),
            links=True,
            page=page,
            web_key=b"w" * 32,
        )
        async with (
            stage.Flow(redis_url) as flow,
            stage.notifier(settings),
            stage.chatting(prosody, "ann") as ann,
        ):
            ask = await flow.ask(await flow.bind("ann"))
            await ann.wait_for(lambda m: m.challenge == ask["id"])
            for say, words in (
                ("unsigned", "Sign it on our page"),
                ("fresh", "set up for you a short while ago"),
                ("frozen", "until we have spoken"),
            ):
                notice = {"op": "notice", "id": ask["id"], "say": say}
                await flow.redis.xadd(names.CHALLENGES, {"challenge": orjson.dumps(notice)})

                def says(message: Message, words: str = words) -> bool:
                    return words in message.body

                told = await ann.wait_for(says)
                assert "You can reply NO here" in told.body
                assert (f"{page}/c/{ask['id']}#" in told.body) is (say == "unsigned")

    run(story())
