"""What the customer was told can be told again from the record, byte for byte."""

import asyncio
import hashlib
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from notifiers.facts import HeardCommand
from notifiers.memory import MemoryChannel
from notifiers.rows import CLOSING_WAITS
from notifiers.wording import again, short_leaf
from risk import names
from risk.privacy import open_sealed
from tests.notifiers import stage
from tests.patience import PATIENCE

LEAF = hashlib.sha256(b"the record of the end").hexdigest()


def opened(record: dict[str, Any]) -> dict[str, str]:
    return {
        path: open_sealed(stage.SEAL_KEY, one["sealed"], path.encode()).decode()
        for path, one in record["personal"].items()
    }


def told_again(record: dict[str, Any], data: Path) -> str:
    """Make the text once more of nothing but the record and the kept texts."""
    body, kept = record["body"], orjson.loads(opened(record)["variables"])
    template = body["template"]
    source = (data / "notifier" / "templates" / f"{template['sha256']}.yaml").read_bytes()
    assert hashlib.sha256(source).hexdigest() == template["sha256"]
    canonical = orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)
    assert hashlib.sha256(canonical).hexdigest() == body["said"]["variables"]
    text = again(source, template["parts"], kept["values"])
    assert hashlib.sha256(f"{kept['salt']}\0{text}".encode()).hexdigest() == body["said"]["text"]
    return text


class Stage:
    def __init__(self, url: str, data: Path, **changes: Any) -> None:
        self.made: list[tuple[MemoryChannel, Any]] = []
        self.settings = stage.settings_for(url, data, more_channels=(self._make,), **changes)

    def _make(self, listener: Any) -> MemoryChannel:
        self.made.append((MemoryChannel(listener), listener))
        return self.made[-1][0]

    @property
    def channel(self) -> MemoryChannel:
        return self.made[-1][0]


def run(story: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(story, 5 * PATIENCE)

    asyncio.run(bounded())


async def sent(flow: stage.Flow, number: int) -> list[dict[str, Any]]:
    async def enough() -> list[dict[str, Any]]:
        found = await flow.records("outreach.sent")
        return found if len(found) >= number else []

    return list(await flow.until(enough))


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_question_and_closing_are_told_again_from_their_records(
    redis_url: str, tmp_path: Path, language: str
) -> None:
    acted = Stage(redis_url, tmp_path, page="https://bank.example", links=True)

    async def story() -> None:
        async with stage.Flow(redis_url) as flow, stage.notifier(acted.settings):
            ann = await flow.bind("ann", kind="memory", language=language)
            ask = await flow.ask(ann)
            await sent(flow, 1)
            await flow.redis.set(names.leaf(ask["event"]), LEAF)
            await flow.close(ask, "denied", "decline")
            records = await sent(flow, 2)
            for record, outgoing in zip(records, acted.channel.sent, strict=True):
                assert told_again(record, tmp_path) == outgoing.body
                assert opened(record)["text"] == outgoing.body
                assert record["body"]["written"] <= record["at"], "first written, then proved"
            assert records[0]["body"]["template"]["parts"] == ["ask", "link"]
            assert records[1]["body"]["template"]["parts"] == ["close", "leaf"]
            assert records[1]["body"]["leaf"] == LEAF

    run(story())


def test_a_bad_text_of_the_bank_is_not_sent_and_stops_nothing(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    acted = Stage(redis_url, tmp_path)
    bad = (stage.TEMPLATES / "en.yaml").read_text(encoding="utf-8")
    (tmp_path / "templates").mkdir()
    shipped = int(yaml.safe_load(bad)["version"])
    bad = bad.replace(f"version: {shipped}", f"version: {shipped + 1}")
    bad = bad.replace("to deny.", "to deny. What is your PIN?")
    (tmp_path / "templates" / "en.yaml").write_text(bad, encoding="utf-8")

    async def story() -> None:
        async with stage.Flow(redis_url) as flow, stage.notifier(acted.settings):
            await flow.ask(await flow.bind("ann", kind="memory"))
            (record,) = await sent(flow, 1)
            assert record["body"]["template"]["version"] == shipped
            assert "PIN" not in acted.channel.sent[0].body

    run(story())
    assert "asks for a secret ('pin' in 'what is your pin')" in caplog.text


def test_a_closing_carries_the_hash_of_its_record(redis_url: str, tmp_path: Path) -> None:
    acted = Stage(redis_url, tmp_path)

    async def story() -> None:
        async with stage.Flow(redis_url) as flow, stage.notifier(acted.settings):
            ann = await flow.bind("ann", kind="memory")
            ask = await flow.ask(ann)
            await sent(flow, 1)
            # The ledger is a little behind: the closing waits for it, and for no fixed time.
            await flow.stop_ledger()
            await flow.redis.xadd(names.AUDIT, {"records": b"[]"})
            await flow.close(ask, "confirmed")
            await flow.redis.set(names.leaf(ask["event"]), LEAF)
            flow.start_ledger()
            await sent(flow, 2)
            closing = acted.channel.sent[-1]
            assert closing.leaf == LEAF
            assert f"Record {short_leaf(LEAF)}" in closing.body

    run(story())


def test_a_slow_ledger_holds_no_closing_up_for_long(redis_url: str, tmp_path: Path) -> None:
    acted = Stage(redis_url, tmp_path)

    async def story() -> None:
        async with stage.Flow(redis_url) as flow, stage.notifier(acted.settings):
            ann = await flow.bind("ann", kind="memory")
            ask = await flow.ask(ann)
            await sent(flow, 1)
            await flow.stop_ledger()
            await flow.redis.xadd(names.AUDIT, {"records": b"[]"})
            began = asyncio.get_running_loop().time()
            await flow.close(ask, "confirmed")

            async def closed() -> bool:
                return len(acted.channel.bodies("close")) == 1

            await flow.until(closed)
            assert asyncio.get_running_loop().time() - began >= CLOSING_WAITS * 0.9
            assert acted.channel.sent[-1].leaf == ""
            assert "Record" not in acted.channel.sent[-1].body

    run(story())


def test_a_channel_without_consent_is_passed_over_and_the_record_says_why(
    redis_url: str, tmp_path: Path
) -> None:
    acted = Stage(redis_url, tmp_path)

    async def story() -> None:
        async with stage.Flow(redis_url) as flow, stage.notifier(acted.settings):
            no = {"id": "consent-1", "state": "withdrawn"}
            ann = await flow.bind("ann", kind="memory", consent=no)
            profile = orjson.loads(await flow.redis.get(names.customer(ann)))
            profile["channels"].append({"kind": "web", "verified": True})
            await flow.redis.set(names.customer(ann), orjson.dumps(profile))
            await flow.ask(ann)
            records = await sent(flow, 2)
            became = {r["body"]["channel"]: r["body"] for r in records}
            assert became["web"]["delivery"] == "taken"
            assert became["memory"]["delivery"] == "skipped"
            assert became["memory"]["why"] == "consent_withdrawn"
            assert acted.channel.sent == []
            bob = await flow.bind("bob", kind="memory", consent=no | {"state": "given"})
            await flow.ask(bob)
            await sent(flow, 3)
            assert len(acted.channel.sent) == 1

    run(story())


@pytest.mark.parametrize(
    ("node", "decision", "reason"),
    [("deny", "deny", None), ("not_me", "deny", "not_me"), ("cancel", "deny", "cancel")],
)
def test_a_command_may_say_why_it_denies(
    redis_url: str, tmp_path: Path, node: str, decision: str, reason: str | None
) -> None:
    from notifiers.stanzas import NODES

    acted = Stage(redis_url, tmp_path)

    async def story() -> None:
        async with stage.Flow(redis_url) as flow, stage.notifier(acted.settings):
            ann = await flow.bind("ann", kind="memory")
            ask = await flow.ask(ann)
            await sent(flow, 1)
            said, why = NODES[node]
            heard = HeardCommand(
                "xmpp",
                f"ann@{stage.DOMAIN}/phone",
                f"ann@{stage.DOMAIN}",
                "c1",
                stage.now(),
                challenge=ask["id"],
                decision=said,
                reason=why,
            )
            await acted.made[-1][1].heard(heard)
            (answer,) = await flow.until(flow.answers)
            assert (answer["decision"], answer["reason"], answer["layer"]) == (
                decision,
                reason,
                "C",
            )

    run(story())
