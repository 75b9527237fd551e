"""A customer who is reached by short message alone: all is told there, and sealed ones say less."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from notifiers.sealed import public_of
from risk import names
from tests.notifiers import peers, stage
from tests.notifiers.peers import Sms, Voice
from tests.notifiers.test_inquiry import inquiry
from tests.notifiers.test_reproduced import told_again
from tests.notifiers.test_sealed import AMOUNT, PAYEE, shows
from tests.patience import PATIENCE

SECOND = "+8613800138009"
Story = Callable[[stage.Flow, Sms], Awaitable[None]]


def play(redis_url: str, tmp_path: Path, peer: type[Sms], story: Story) -> None:
    async def whole() -> None:
        async with asyncio.timeout(5 * PATIENCE), peer(tmp_path, redis_url) as carrier:
            told = stage.settings_for(
                redis_url,
                tmp_path / "data",
                secret=peers.SECRETS.__getitem__,
                channels={peer.kind: carrier.settings},
            )
            async with stage.Flow(redis_url) as flow, stage.notifier(told):
                await story(flow, carrier)

    asyncio.run(whole())


async def bind(flow: stage.Flow, kind: str, *more: dict[str, Any]) -> str:
    customer = stage.TOKENS.token("customer", "ann")
    token = stage.TOKENS.token("jid", peers.TELEPHONE)
    channels = [
        *more,
        {
            "kind": kind,
            "address": stage.sealed(peers.TELEPHONE.encode(), b"address"),
            "token": token,
            "verified": True,
        },
    ]
    profile = {"language": "en", "zone": "Asia/Shanghai", "channels": channels}
    await flow.redis.set(names.customer(customer), orjson.dumps(profile))
    await flow.redis.set(names.jid(token), customer)
    return customer


def sealed_chat(agreed: str = "given") -> dict[str, Any]:
    """A chat with an own client: who has one chose that nobody on the way reads along."""
    return {
        "kind": "xmpp",
        "address": stage.sealed(b"ann@bank.example", b"address"),
        "token": "jid_ann",
        "verified": True,
        "seal_to": public_of(X25519PrivateKey.generate()),
        "consent": {"id": "c-1", "state": agreed},
    }


async def texted(flow: stage.Flow, carrier: Sms, kind: str, number: int = 1) -> dict[str, Any]:
    """The latest message of a kind, once there are so many."""

    async def there() -> list[dict[str, Any]]:
        sent = carrier.receiver.sent.values()
        found = [one for one in sent if one["type"] == f"challenge.{kind}"]
        return found if len(found) >= number else []

    found: list[dict[str, Any]] = await flow.until(there)
    return found[-1]


@pytest.mark.parametrize("say", ["unsigned", "fresh", "frozen", "contradicted"])
def test_why_an_answer_was_not_taken_is_told_by_the_way_it_came(
    redis_url: str, tmp_path: Path, say: str
) -> None:
    async def story(flow: stage.Flow, sms: Sms) -> None:
        ask = await flow.ask(await bind(flow, "sms"))
        await texted(flow, sms, "ask")
        notice = {"op": "notice", "id": ask["id"], "channel": "sms", "say": say}
        await flow.redis.xadd(names.CHALLENGES, {"challenge": orjson.dumps(notice)})
        told = await texted(flow, sms, "notice")
        assert told["challenge"] == ask["id"]
        assert told["to"] == peers.TELEPHONE
        assert told["answers"] == []
        assert told["text"].startswith("Example Bank: ")
        assert "95588" in told["text"]
        (record,) = await flow.until(lambda: flow.records("outreach.replied"))
        assert (record["body"]["channel"], record["body"]["said"]) == ("sms", say)

    play(redis_url, tmp_path, Sms, story)


def test_who_answered_elsewhere_is_told_there_and_where_it_was_asked(
    redis_url: str, tmp_path: Path
) -> None:
    """A second telephone says yes too early: both hear why it did not count."""

    async def story(flow: stage.Flow, sms: Sms) -> None:
        token = stage.TOKENS.token("jid", SECOND)
        young = {
            "kind": "sms",
            "address": stage.sealed(SECOND.encode(), b"address"),
            "token": token,
            "verified": True,
        }
        customer = await bind(flow, "sms")
        kept = orjson.loads(await flow.redis.get(names.customer(customer)))
        kept["channels"].append(young)
        await flow.redis.set(names.customer(customer), orjson.dumps(kept))
        ask = await flow.ask(customer)
        assert (await texted(flow, sms, "ask"))["to"] == peers.TELEPHONE
        notice = {"op": "notice", "id": ask["id"], "channel": "sms", "say": "fresh"}
        for binding in (f"sms/{token}", "sms/jid_of_nobody", "web/"):
            told = orjson.dumps({**notice, "binding": binding})
            await flow.redis.xadd(names.CHALLENGES, {"challenge": told})
        await texted(flow, sms, "notice", 4)
        sent = [one for one in sms.receiver.sent.values() if one["type"] == "challenge.notice"]
        assert sorted(one["to"] for one in sent) == sorted([SECOND] + 3 * [peers.TELEPHONE])
        records = await flow.until(lambda: flow.records("outreach.replied"))
        assert len({one["rid"] for one in records}) == len(records)

    play(redis_url, tmp_path, Sms, story)


def test_what_was_bound_and_how_it_ended_is_told_by_text_where_there_is_no_other_way(
    redis_url: str, tmp_path: Path
) -> None:
    async def story(flow: stage.Flow, sms: Sms) -> None:
        customer = await bind(flow, "sms")
        telling = {
            "v": 1,
            "customer": customer,
            "added": ["passkey"],
            "removed": [],
            "at": "2026-11-21T12:47:00.000000Z",
            "to": [
                {
                    "kind": "sms",
                    "address": stage.sealed(peers.TELEPHONE.encode(), b"address"),
                }
            ],
        }
        await flow.redis.xadd(names.TELLINGS, {"telling": orjson.dumps(telling)})
        told = await texted(flow, sms, "notice")
        assert "a passkey that signs your answers was set up for you" in told["text"]

        ask = await flow.ask(customer)
        await texted(flow, sms, "ask")
        await flow.close(ask, "expired", "decline")
        closed = await texted(flow, sms, "close")
        assert "expired" in closed["text"]

        async def on_record() -> list[Any]:
            sent = [one["body"] for one in await flow.records("outreach.sent")]
            return [one for one in sent if one["message"] == "notice"]

        (notice,) = await flow.until(on_record)
        assert (notice["channel"], notice["delivery"]) == ("sms", "taken")

    play(redis_url, tmp_path, Sms, story)


def test_a_number_that_nobody_has_is_on_record_as_not_told(redis_url: str, tmp_path: Path) -> None:
    async def story(flow: stage.Flow, sms: Sms) -> None:
        nowhere = stage.sealed(sms.nowhere.encode(), b"address")
        telling = {
            "v": 1,
            "customer": await bind(flow, "sms"),
            "added": ["web"],
            "removed": [],
            "at": "2026-11-21T12:47:00.000000Z",
            "to": [{"kind": "sms", "address": nowhere}],
        }
        await flow.redis.xadd(names.TELLINGS, {"telling": orjson.dumps(telling)})
        (record,) = await flow.until(lambda: flow.records("outreach.sent"))
        assert (record["body"]["delivery"], record["body"]["why"]) == ("failed", "not_taken")
        assert sms.receiver.refused == [404, 404, 404]

    play(redis_url, tmp_path, Sms, story)


@pytest.mark.parametrize("peer", [Sms, Voice])
@pytest.mark.parametrize("agreed", ["given", "withdrawn"])
def test_who_chose_sealed_questions_is_texted_neither_amount_nor_payee(
    redis_url: str, tmp_path: Path, peer: type[Sms], agreed: str
) -> None:
    async def story(flow: stage.Flow, carrier: Sms) -> None:
        customer = await bind(flow, peer.kind, sealed_chat(agreed))
        ask = await flow.ask(customer, amount=AMOUNT, payee=PAYEE)
        asked = await texted(flow, carrier, "ask")
        assert "open the app yourself" in asked["text"]
        assert "Reference R-" in asked["text"]
        assert "95588" in asked["text"]
        assert asked["answers"] == []
        # Nothing that is said to a reply tells more, and nothing of it confirms.
        for words in ("YES", "YES 123456", "what is it about?"):
            _, reply = await carrier.pass_on({"text": words})
            assert shows(orjson.dumps(reply).decode()) == []
        assert await flow.answers() == []
        assert (await carrier.pass_on({"text": "NO"}))[0] == 200
        (answer,) = await flow.until(flow.answers)
        assert (answer["decision"], answer["channel"]) == ("deny", peer.kind)
        (record,) = await flow.records("outreach.sent")
        assert told_again(record, tmp_path / "data") == asked["text"]
        await flow.close(ask, "denied", "decline")
        closed = await texted(flow, carrier, "close")
        assert "you answered: DENY" in closed["text"]
        for sent in carrier.receiver.sent.values():
            assert shows(orjson.dumps(sent).decode()) == []

    play(redis_url, tmp_path, peer, story)


def test_who_chose_sealed_questions_is_asked_about_no_payment_by_text(
    redis_url: str, tmp_path: Path
) -> None:
    async def story(flow: stage.Flow, sms: Sms) -> None:
        ask = inquiry(await bind(flow, "sms", sealed_chat()), AMOUNT)
        await flow.put(ask)
        (answer,) = await flow.until(flow.answers)
        assert (answer["kind"], answer["challenge"]) == ("unreachable", ask["id"])
        assert await sms.arrived() == []

    play(redis_url, tmp_path, Sms, story)


def test_who_did_not_choose_it_is_told_amount_and_payee(redis_url: str, tmp_path: Path) -> None:
    """The control: the search above finds what is there."""

    async def story(flow: stage.Flow, sms: Sms) -> None:
        await flow.ask(await bind(flow, "sms"), amount=AMOUNT, payee=PAYEE)
        asked = await texted(flow, sms, "ask")
        assert len(shows(orjson.dumps(asked).decode())) >= 2

    play(redis_url, tmp_path, Sms, story)
