"""Every older channel hears of a binding that was made or taken away, and that is on record."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from notifiers.wording import again
from risk import names
from risk.privacy import open_sealed
from tests.notifiers import stage
from tests.notifiers.test_hearing import Scene, play, scene

__all__ = ["play"]


async def _tell(scene: Scene, kind: str = "memory", **changes: Any) -> None:
    telling: dict[str, Any] = {
        "v": 1,
        "customer": scene.ann,
        "added": ["passkey"],
        "removed": [],
        "at": "2026-11-21T12:47:00.000000Z",
        "to": [{"kind": kind, "address": stage.sealed(scene.jid.encode(), b"address")}],
    }
    raw = orjson.dumps({**telling, **changes})
    await scene.flow.redis.xadd(names.TELLINGS, {"telling": raw})


async def _sent(scene: Scene, number: int = 1) -> list[dict[str, Any]]:
    async def enough() -> list[dict[str, Any]]:
        found = [
            record
            for record in await scene.flow.records("outreach.sent")
            if record["body"]["message"] == "notice"
        ]
        return found if len(found) >= number else []

    return list(await scene.flow.until(enough))


def test_what_was_bound_is_said_in_the_customer_s_words_and_time(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        await _tell(scene, removed=["sms"])
        (record,) = await _sent(scene)
        assert record["body"]["delivery"] == "taken"
        assert (record["case"], record["subject"]) == (None, scene.ann)
        assert set(record["personal"]) == {"text", "address", "variables"}
        (said,) = [one for one in scene.channel.sent if one.kind == "notice"]
        sealed = record["personal"]["variables"]["sealed"]
        lines = orjson.loads(open_sealed(stage.SEAL_KEY, sealed, b"variables"))["lines"]
        template = record["body"]["template"]
        kept = scene.data / "notifier" / "templates" / f"{template['sha256']}.yaml"
        parts = zip(template["parts"], lines, strict=True)
        source = kept.read_bytes()
        again_ = "\n".join(again(source, [part], values) for part, values in parts)
        assert again_ == said.body  # byte for byte, from the record and the kept texts
        assert "a passkey that signs your answers was set up for you" in said.body
        assert "20:47" in said.body  # in Shanghai
        assert "FREEZE" in said.body
        assert said.address == scene.jid

    play(story)


def test_in_chinese_too_and_of_what_goes(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        await _tell(scene, added=[], removed=["xmpp"])
        await _sent(scene)
        (said,) = [one for one in scene.channel.sent if one.kind == "notice"]
        assert "移除聊天账号" in said.body

    play(story, language="zh-CN")


def test_a_channel_that_can_t_be_told_is_on_record_as_not_told(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        await _tell(scene, kind="pigeon")
        await _tell(scene, kind="web")  # a page shows nothing by itself
        await _tell(scene)
        first, second = await _sent(scene, 2)
        assert (first["body"]["delivery"], first["body"]["why"]) == ("failed", "no_channel")
        assert second["body"]["delivery"] == "taken"

    play(story)


def test_a_channel_that_is_down_for_a_while_hears_it_after_all(play: Callable[..., None]) -> None:
    async def story(scene: Scene) -> None:
        scene.channel.up = False
        await _tell(scene)
        await asyncio.sleep(0.3)
        scene.channel.up = True
        (record,) = await _sent(scene)
        assert record["body"]["delivery"] == "taken"

    play(story)


def test_another_term_goes_on_where_the_last_one_stood(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with scene(redis_url, tmp_path / "data") as first:
            await _tell(first)
            await _sent(first)
        async with scene(redis_url, tmp_path / "data") as second:
            await _tell(second, added=["device"])
            await _sent(second, 2)
            (said,) = [one for one in second.channel.sent if one.kind == "notice"]
            assert "an app that signs your answers" in said.body

    asyncio.run(story())
