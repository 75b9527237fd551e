"""Who may put whom on a list from the command line, and is it on record as a token?"""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis
import yaml
from typer.testing import CliRunner, Result

from flows import recover, staff
from flows.cli import app
from flows.errors import BadSettings
from flows.judgement import read_lists
from flows.lists_command import BadListChange
from flows.parts import edge_of, open_house
from flows.staff import NotAllowed
from risk import names
from tests.servers import RedisServer

ADD = ("lists", "add", "mules", "acc-1", "--key-kind", "payee", "--as", "ann", "--why", "seen")


class Desk:
    """Commands over one data directory, whose Redis is the tests'."""

    def __init__(self, data: Path, url: str) -> None:
        self.data = data
        (data / "ringback.yaml").write_text(yaml.safe_dump({"redis_url": url}))

    def says(self, *words: str) -> Result:
        return CliRunner().invoke(app, [*words, "--data", str(self.data)])


@pytest.fixture
def desk(tmp_path: Path, client: "redis.Redis", way_redis: RedisServer) -> Desk:
    made = Desk(tmp_path, way_redis.url)
    for name in ("ann", "bob"):
        assert made.says("staff", "add", name).exit_code == 0
    return made


def _records(client: "redis.Redis") -> list[dict[str, Any]]:
    rows: Any = client.xrange(names.AUDIT)
    return [one for _, fields in rows for one in orjson.loads(fields[b"records"])]


def test_an_entry_is_a_token_signed_and_on_record(desk: Desk, client: "redis.Redis") -> None:
    assert desk.says(*ADD).exit_code == 0
    token = edge_of(open_house(desk.data)).tokens.token("payee.account", "acc-1")
    lists = read_lists(client)
    assert lists.on_list("mules", "payee", token, 0)
    record = _records(client)[-1]
    body = record["body"]
    assert (record["kind"], record["actor"]["id"]) == ("config.change", "ann")
    assert (body["value"], body["version"]) == (token, lists.version)
    signed = {key: body[key] for key in body if key not in ("version", "signature")}
    public = {str(row["name"]): str(row["public"]) for row in staff.listed(desk.data)}["ann"]
    text = orjson.dumps(signed, option=orjson.OPT_SORT_KEYS).decode()
    assert staff.signed(public, text, body["signature"])
    assert "acc-1" not in str(_records(client))
    shown = json.loads(desk.says("lists", "show", "--json").stdout)
    assert [row["value"] for row in shown["entries"]] == [token]
    assert desk.says("lists", "remove", *ADD[2:]).exit_code == 0
    assert desk.says("lists", "show", "mules").stdout == "Nobody stands on it.\n"


def test_who_was_made_is_on_record(desk: Desk, client: "redis.Redis") -> None:
    made = [one["body"]["name"] for one in _records(client) if one["kind"] == "staff.created"]
    assert made == ["ann", "bob"]
    assert "ann: approve, lists, propose" in desk.says("staff", "list").stdout


def test_a_file_is_taken_whole_or_not_at_all(desk: Desk, client: "redis.Redis") -> None:
    file = desk.data / "mules.csv"
    rows = ["kind,value,reason,until", "payee,acc-1,seen,30d", "ip,192.0.2.7,seen,"]
    file.write_text("\n".join([*rows, "payee,acc-2,,"]))
    said = desk.says("lists", "import", "mules", str(file), "--as", "ann")
    assert isinstance(said.exception, BadListChange)
    assert "needed a text in 'reason', got ''" in str(said.exception)
    assert not read_lists(client).entries
    file.write_text("\n".join(rows))
    assert (
        "mules: 2 entries."
        in desk.says("lists", "import", "mules", str(file), "--as", "ann").stdout
    )
    assert len(read_lists(client).entries["mules"]) == 2


REFUSED = [
    (("--as", "eve"), NotAllowed, "needed somebody known (ann, bob), got 'eve'"),
    (("--until", "soon"), BadSettings, "needed a span such as 12h or 30d in --until, got 'soon'"),
    (("--key-kind", "phone"), BadListChange, "needed a key of customer, payee"),
    (("--key-kind", "ip"), BadSettings, "needed an IP address, got 'acc-1'"),
    (("--why", ""), BadListChange, "needed a text in 'reason', got ''"),
]


@pytest.mark.parametrize(("over", "kind", "told"), REFUSED)
def test_what_cannot_be_listed_is_refused_in_words(
    desk: Desk, client: "redis.Redis", over: tuple[str, str], kind: type, told: str
) -> None:
    said = desk.says(*ADD, *over)
    assert isinstance(said.exception, kind), said.output
    assert told in str(said.exception)
    assert client.xlen(names.LISTS) == 0


def test_forcing_an_outcome_is_a_right_of_its_own(desk: Desk, client: "redis.Redis") -> None:
    entry = ("lists", "add", "force.approve", "c-1", "--key-kind", "customer", "--as", "ann")
    force = (*entry, "--why", "a wedding", "--until", "1h")
    said = desk.says(*force)
    assert isinstance(said.exception, NotAllowed)
    assert "ann: needed the right 'force', got approve, lists, propose" in str(said.exception)
    assert desk.says("staff", "add", "ann", "--right", "lists", "--right", "force").exit_code == 0
    assert desk.says(*force).exit_code == 0
    assert list(read_lists(client).entries) == ["force.approve"]


def test_lists_that_a_redis_lost_come_back_under_their_versions(
    desk: Desk, client: "redis.Redis"
) -> None:
    assert desk.says(*ADD).exit_code == 0
    assert desk.says(*ADD[:3], "acc-2", *ADD[4:]).exit_code == 0
    before = read_lists(client)
    kept = [one["body"] for one in _records(client) if one["kind"] == "config.change"]
    client.delete(names.LISTS)
    assert recover.lists_back(client, kept) == 2
    assert read_lists(client) == before
    assert recover.lists_back(client, kept) == 0
