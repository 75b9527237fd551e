"""Anna sends the bank a code and a password, in every way there is. Nothing of them is kept."""

import asyncio
import base64
import gzip
import json
import secrets
import sqlite3
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path
from typing import Any

import pytest
import redis

from audit import read
from flows.secrets import named_key
from notifiers import stanzas
from notifiers.client import CLIENT
from tests.journeys.house import BOT, SELF_CONSISTENT, House, bank_of, question, tell
from tests.journeys.search import find
from tests.notifiers.sms_receiver import Receiver, pass_on
from tests.patience import until
from tests.servers import RedisServer

CODE = "38492017"  # so long that no hash holds it by chance
TELEPHONE = "+8613800138000"


def said(word: str) -> str:
    return f"我的验证码是 {CODE}，密码是 {word}"


def word_for(way: str) -> str:
    """A password that stands nowhere by chance."""
    return f"{way}{secrets.token_hex(8)}"


@pytest.fixture
def clear_copy(tmp_path: Path, redis_server: RedisServer) -> tuple[Path, str]:
    """The same text kept in the clear, in each of the ways in which a system keeps texts."""
    folder, word = tmp_path / "clear", word_for("clear")
    folder.mkdir()
    text = said(word)
    raw = text.encode()
    kept: dict[str, bytes] = {
        "plain": b"before" + raw + b"after",
        "json": json.dumps({"text": text}).encode(),
        "utf-16-le": text.encode("utf-16-le"),
        "utf-16-be": text.encode("utf-16-be"),
        "hex": raw.hex().encode(),
        "gzip": gzip.compress(raw),
        "zlib-inside": b"\0\1\2" + zlib.compress(raw) + b"\3",
        "base64-of-gzip": b'{"z": "' + base64.b64encode(gzip.compress(raw)) + b'"}',
    }
    for shift in range(3):
        kept[f"base64-{shift}"] = base64.b64encode(b"x" * shift + raw)
        kept[f"base64url-{shift}"] = base64.urlsafe_b64encode(b"\xfb" * shift + raw)
    for name, data in kept.items():
        (folder / name).write_bytes(data)
    database = sqlite3.connect(folder / "table.db")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE kept (text TEXT)")
    database.execute("INSERT INTO kept VALUES (?)", ("x" * 4090 + text,))
    database.commit()
    database.close()
    client = redis.Redis.from_url(redis_server.url)
    client.config_set("rdbcompression", "yes")
    client.set("kept", text * 30)
    client.save()
    dumps = list(redis_server.directory.rglob("*.rdb"))
    (folder / "dump.rdb").write_bytes(dumps[0].read_bytes())
    client.close()
    return folder, word


def test_the_search_finds_a_clear_copy_in_every_form(clear_copy: tuple[Path, str]) -> None:
    folder, word = clear_copy
    for wanted in (word, CODE):
        found = {line.partition(":")[0] for line in find(folder, wanted)}
        assert found == {path.name for path in folder.iterdir()}, wanted
    assert find(folder, word_for("other")) == []


def test_a_secret_sent_in_any_way_is_kept_nowhere(
    tmp_path: Path, clear_copy: tuple[Path, str]
) -> None:
    folder, in_clear = clear_copy
    assert find(folder, in_clear), "the search finds what is there"
    house = House(tmp_path / "house")
    words: dict[str, str] = {}

    def text(way: str) -> str:
        words[way] = word_for(way)
        return said(words[way])

    async def story() -> None:
        opened = house.opened  # makes the folder of secrets, for the receiver's key
        receiver = Receiver(named_key(opened.data, "sms-out"))
        await receiver.start()
        settings = {"sms": {"url": receiver.url, "allow": [f"127.0.0.1:{receiver.port}"]}}
        (house.data / "ringback.yaml").write_text(json.dumps({"channels": settings}))
        await asyncio.to_thread(house.start)
        try:
            await send_all()
        finally:
            await receiver.stop()

    async def send_all() -> None:
        async with (
            bank_of(house) as bank,
            house.chat("anna") as anna,
            house.chat("eve") as eve,
        ):
            told = [
                {"kind": "xmpp", "address": "anna@localhost", "verified": True},
                {"kind": "web", "verified": True},
                {"kind": "sms", "address": TELEPHONE, "verified": True},
            ]
            body = {"language": "en", "zone": "Asia/Shanghai", "channels": told}
            async with bank.http.put(
                "/v1/customers/anna", json=body, headers=bank._as("bank")
            ) as answer:
                assert answer.status == 200, await answer.text()
            decision = await bank.asked("anna")
            asked = decision["challenge"]["id"]
            shown = await question(anna, decision)

            # As a text, to the bank and from a stranger: the bank says never to do that.
            anna.say(shown.sender, text("chat"))
            await anna.wait_for(lambda m: "never send passwords or codes" in m.body)
            anna.say(BOT, text("bare"), kind="normal")
            eve.say(shown.sender, text("stranger"))
            await eve.wait_for(lambda m: "not registered" in m.body)

            # In an own client's answer, a receipt, a reaction, a stanza's id and its thread.
            anna.answer(shown.sender, asked, "perhaps", text("bind"), text("reason"))
            anna.answer(shown.sender, text("id"), "deny", "x")
            anna.answer_signed(shown.sender, asked, text("jws"))
            anna.send(odd_message(shown.sender, asked, text))

            # In a command: in its node, and in a form that it carries.
            await anna.run_command(shown.sender, f"deny#{text('node')}")
            anna.send(odd_command(shown.sender, asked, text))

            # On the page: in a field that nobody asked for, and as a reason.
            page = await bank.page(asked)
            for field in ("reason", "decision"):
                sent = {"decision": "deny", "reason": "not_me"} | {field: text(f"web-{field}")}
                status, _ = await page._call("POST", "/answer", sent)
                assert status == 422
            status, _ = await page._call("GET", f"?memo={text('query')}")
            assert status == 200

            # By short message, through the bank's own gateway.
            key = named_key(house.data, "sms-in")
            reply = {"channel": "sms", "from": TELEPHONE, "text": text("sms")}
            status, said_back = await pass_on(house.run["http"], key, "sms-1", reply)
            assert status == 200, said_back
            assert "never send passwords or codes" in said_back["reply"]

            # It all came, and what is on record says what was cut, where and how long.
            await until(lambda: cuts_told(decision["event"]), "the cuts on record")
            anna.say(shown.sender, "NO")
            outcome = await bank.outcome(decision["event"])
            assert outcome["state"] == "denied"
            await bank.recorded(decision["event"], "outcome")
            await rewritten(bank.redis)
            assert find(house.data, CODE, *words.values()) == []

    async def cuts_told(event: str) -> list[Any]:
        def look() -> list[Any]:
            found = [one["body"].get("cuts") for one in house.records(event)]
            return [cuts for cuts in found if cuts]

        return await asyncio.to_thread(look)

    try:
        tell(story())
        records = [
            record
            for event in events(house)
            for record in read.event_records(house.data, event)
            if record["kind"] == "answer" and record["body"].get("cuts")
        ]
        kinds = {cut["type"] for record in records for cut in record["body"]["cuts"]}
        assert "password" in kinds
        for record in records:  # nor do those see it who may open the seals
            kept = read.disclose(house.data, record, "text").value
            assert "我的验证码是 [" in kept
            assert not [word for word in (CODE, *words.values()) if word[-8:] in kept], kept
    finally:
        house.end()
    assert find(house.data, CODE, *words.values()) == [], "nor once all is closed"
    assert house.verify() == SELF_CONSISTENT
    assert len(words) >= 13


def events(house: House) -> list[str]:
    ledger = sqlite3.connect(house.data / "ledger" / "ledger.db")
    try:
        rows = ledger.execute("SELECT DISTINCT event FROM cases WHERE event IS NOT NULL")
        return [event for (event,) in rows]
    finally:
        ledger.close()


def odd_message(to: str, asked: str, text: Any) -> ET.Element:
    root = ET.Element(f"{{{CLIENT}}}message", {"to": to, "type": "chat", "id": text("stanza")})
    ET.SubElement(root, f"{{{CLIENT}}}thread").text = text("thread")
    ET.SubElement(root, f"{{{CLIENT}}}subject").text = text("subject")
    ET.SubElement(root, f"{{{stanzas.RECEIPTS}}}received", {"id": text("receipt")})
    reactions = ET.SubElement(root, f"{{{stanzas.REACTIONS}}}reactions", {"id": asked})
    ET.SubElement(reactions, f"{{{stanzas.REACTIONS}}}reaction").text = text("reaction")
    return root


def odd_command(to: str, asked: str, text: Any) -> ET.Element:
    root = ET.Element(f"{{{CLIENT}}}iq", {"to": to, "type": "set", "id": text("iq")})
    node = {"node": f"deny#{asked}x", "action": "execute"}
    command = ET.SubElement(root, f"{{{stanzas.COMMANDS}}}command", node)
    form = ET.SubElement(command, "{jabber:x:data}x", {"type": "submit"})
    field = ET.SubElement(form, "{jabber:x:data}field", {"var": "reason"})
    ET.SubElement(field, "{jabber:x:data}value").text = text("form")
    return root


async def rewritten(client: Any) -> None:
    """Let Redis write its files anew, so that a compressed dump is looked into as well."""
    await client.bgrewriteaof()

    async def done() -> bool:
        return not (await client.info("persistence"))["aof_rewrite_in_progress"]

    await until(done, "Redis' files written anew")
