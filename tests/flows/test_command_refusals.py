"""Does each command that changes the judgement say whole why it refuses, and is none left out?"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis
import yaml
from typer.testing import CliRunner

from config.settings import HERE, Settings
from flows import backtest_command, changes, lists_command, rules_command, staff
from flows.assemble import known_names, read_files
from flows.changes import Changes
from flows.cli import app
from flows.errors import FlowError
from flows.records import Recorder
from tests.risk.payments import NOON_US
from tests.risk.test_refusals import _raised, _refusals
from tests.servers import RedisServer

RULE: dict[str, Any] = {
    "version": 2,
    "id": "many_small",
    "title": "Many small payments",
    "reason": {"en": "Many small payments."},
    "when": "customer.small_payments.1h >= 3",
    "action": "challenge",
    "state": "live",
    "tests": [{"values": {"customer.small_payments.1h": 3}, "hit": True}],
}
OLD = {"id": "old", "text": "Old.", "action": "review",
       "when": [{"value": "score", "operator": ">=", "threshold": 999}]}  # fmt: skip
ANN, BOB = ("--as", "ann", "--why", "seen"), ("--as", "bob")
LIST = ("lists", "add", "mules", "acc-1", "--key-kind", "payee")


class Desk:
    """A house with a set that counts, its files, and what its commands say."""

    def __init__(self, data: Path, client: "redis.Redis", url: str) -> None:
        self.data, self.client = data, client
        self.now_us = NOON_US
        self.places: dict[tuple[str, int], str] = {}
        for module in (changes, rules_command, lists_command, staff, backtest_command):
            self.places |= _refusals(module)
        self.reached: set[str] = set()
        (data / "ringback.yaml").write_text(yaml.safe_dump({"redis_url": url}))
        rules = data / "rules"
        rules.mkdir()
        (rules / "old.yaml").write_text(yaml.safe_dump({"version": 1, "rules": [OLD]}))
        (data / "policy.yaml").write_bytes((HERE / "policy.yaml").read_bytes())
        for name, rights in (("ann", staff.USUAL), ("bob", staff.USUAL), ("eve", ("lists",))):
            staff.add(data, name, rights)
        self.put("good", RULE)
        self.put("other", {**RULE, "title": "Small payments, many"})
        self.put("wrong", {**RULE, "when": "custmer.small_payments.1h >= 3"})
        self.put("fails", {**RULE, "when": "customer.small_payments.1h >= 4"})
        self.put("unread", {**RULE, "tests": [{"hit": True}]})
        self.put("hits", {**RULE, "when": "hit.nobody"})
        (data / "bad.csv").write_text("key,why\n", encoding="utf-8")

    def put(self, name: str, row: dict[str, Any]) -> None:
        (self.data / f"{name}.yaml").write_text(yaml.safe_dump(row), encoding="utf-8")

    def file(self, name: str) -> str:
        return str(self.data / name)

    def says(self, *words: str) -> str:
        """What a command said that did what it was told."""
        told = CliRunner().invoke(app, [*words, "--data", str(self.data)])
        assert told.exception is None, told.exception
        return told.stdout

    def refused(self, *words: str, data: bool = True) -> str:
        """Why a command refused, whole."""
        where = ("--data", str(self.data)) if data else ()
        told = CliRunner().invoke(app, [*words, *where])
        assert isinstance(told.exception, FlowError), (words, told.output, told.exception)
        return self.told(told.exception)

    def raises(self, act: Callable[[], object]) -> str:
        with pytest.raises(FlowError) as wrong:
            act()
        return self.told(wrong.value)

    def told(self, wrong: BaseException) -> str:
        self.reached |= {self.places[at] for at in _raised(wrong) if at in self.places}
        return str(wrong).replace(str(self.data), "DIR")

    def changes(self) -> Changes:
        known = known_names(Settings(), self.data)
        return Changes(self.data, self.client, known, Recorder("main").configured, self._clock)

    def _clock(self) -> int:
        self.now_us += 1_000_000
        return self.now_us


def _of_rules(desk: Desk) -> Iterator[tuple[str, str]]:
    propose = ("rules", "propose")
    good = desk.file("good.yaml")
    yield (
        desk.refused(*propose, good, *ANN),
        "judgement: needed a first set; start the house once: ringback run",
    )
    desk.changes().adopt(read_files(Settings(), desk.data))
    nobody = desk.file("none.yaml")
    yield (
        desk.refused("rules", "check", nobody),
        "rules: needed a file or a folder, got DIR/none.yaml, which is none",
    )
    wrong = (
        "rule many_small: wrong.yaml: line 12, column 7: needed a known name, got "
        "custmer.small_payments.1h; the nearest is customer.small_payments.1h"
    )
    for words in (
        ("rules", "test", desk.file("wrong.yaml")),
        (*propose, desk.file("wrong.yaml"), *ANN),
        ("rules", "backtest", desk.file("wrong.yaml"), "--past"),
    ):
        yield desk.refused(*words), wrong
    yield (
        desk.refused(*propose, good, "--as", "ann", "--why", " "),
        "change: needed a reason in --why, got none",
    )
    yield (
        desk.refused(*propose, desk.file("fails.yaml"), *ANN),
        "rule many_small: needed its test to pass: 1: customer.small_payments.1h is 3",
    )
    yield (
        desk.refused(*propose, desk.file("unread.yaml"), *ANN),
        "change: rule many_small: test 1: needed either 'events' or 'values'",
    )
    yield (
        desk.refused("rules", "promote", "nobody", "--to", "live", *ANN),
        "rule nobody: needed one of old",
    )
    yield (
        desk.refused("rules", "promote", "old", "--to", "live", *ANN),
        "rule old: needed format 2, which has states: docs/rules.md",
    )
    yield (
        desk.refused("rules", "retire", "old", *ANN),
        "rule old: needed format 2, which has states: docs/rules.md",
    )
    yield (
        desk.refused("rules", "policy", nobody, *ANN),
        "rules policy: needed a file, got DIR/none.yaml, which is none",
    )
    yield (
        desk.refused("rules", "policy", desk.file("policy.yaml"), *ANN),
        "change: needed something that reads otherwise than what counts",
    )
    yield (
        desk.refused("rules", "approve", "abc", *BOB),
        "change abc: needed one that waits (none)",
    )
    first = desk.says(*propose, good, *ANN).partition(":")[0]
    yield (
        desk.refused(*propose, good, *ANN),
        f"change {first}: needed a new one, got one that was proposed already",
    )
    yield (
        desk.refused("rules", "approve", first, "--as", "ann"),
        f"change {first}: needed a second person, got ann, who proposed it",
    )
    yield (
        desk.refused("rules", "approve", first, "--as", "eve"),
        (
            "staff: eve: needed the right 'approve', got lists; "
            "ringback staff add eve --right approve gives it"
        ),
    )
    stale = desk.says(*propose, desk.file("other.yaml"), *ANN).partition(":")[0]
    desk.says("rules", "approve", first, *BOB)
    yield (
        desk.refused("rules", "approve", first, *BOB),
        f"change {first}: needed one that waits, got one that is applied",
    )
    yield (
        desk.refused("rules", "approve", stale, *BOB),
        (
            f"change {stale}: needed many_small as when it was proposed, got another since: "
            "propose it again"
        ),
    )
    yield (
        desk.refused("rules", "backtest", good),
        "rules backtest: needed either --events FILE or --past",
    )
    yield (
        desk.refused("rules", "backtest", good, "--events", nobody),
        "rules backtest: needed a file of payments, got DIR/none.yaml, which is none",
    )


def _of_features(desk: Desk) -> Iterator[tuple[str, str]]:
    """Declared features: `ringback features propose`, and what is approved of it."""
    own = "version: 1\nfilters:\n  tiny: amount <= {}\non_demand:\n"
    line = "  - count per card in 10m where tiny\n"
    features, name = desk.data / "features.yaml", "card.count.tiny.10m"
    features.write_text(own.format(100) + line, encoding="utf-8")
    test = {"name": "two", "hit": False, "events": [
        {"at": "0s", "kind": "card", "card": "c", "amount": "2.00"},
        {"at": "1s", "kind": "card", "card": "c", "amount": "2.00"},
    ]}  # fmt: skip
    desk.put("tiny", {**RULE, "id": "tiny", "when": f"{name} >= 1", "tests": [test]})
    first = desk.says("rules", "propose", desk.file("tiny.yaml"), *ANN).partition(":")[0]
    desk.says("rules", "approve", first, *BOB)
    propose = ("features", "propose")
    yield (
        desk.refused(*propose, *ANN),
        (
            "features: needed one that a live rule looks at and that counts otherwise, got none: "
            "what else the file says counts from the next start on"
        ),
    )
    yield (
        desk.refused(*propose, "--as", "ann", "--why", ""),
        "change: needed a reason in --why, got none",
    )
    features.write_text("version: 1\n", encoding="utf-8")
    yield desk.refused(*propose, *ANN), f"features: needed {name}, which live rules look at"
    features.write_text(own.format(200) + line, encoding="utf-8")
    failed = desk.refused(*propose, *ANN)
    yield failed[:39], "rule tiny: needed its test to pass: two"
    features.write_text(own.format(150) + line, encoding="utf-8")
    one = desk.says(*propose, *ANN).partition(":")[0]
    yield (
        desk.refused(*propose, *ANN),
        f"change {one}: needed a new one, got one that was proposed already",
    )
    features.write_text(own.format(120) + line, encoding="utf-8")
    other = desk.says(*propose, *ANN).partition(":")[0]
    desk.says("rules", "approve", other, *BOB)
    yield (
        desk.refused("rules", "approve", one, *BOB),
        (
            f"change {one}: needed the features as when it was proposed, got others since: "
            "propose it again"
        ),
    )
    made, current = desk.changes(), desk.changes().current()
    plain = changes.Change("abc", current.sha256, {}, None, "why", "ann")
    yield (
        desk.raises(lambda: made._recounted(current, plain)),
        "change abc: needed one of features",
    )


def _of_lists_and_people(desk: Desk) -> Iterator[tuple[str, str]]:
    ann = (*LIST, *ANN)
    yield (
        desk.refused(*ann, "--until", "soon"),
        "lists: needed a span such as 12h or 30d in --until, got 'soon'",
    )
    yield desk.refused(*ann, "--key-kind", "ip"), "lists: needed an IP address, got 'acc-1'"
    yield (
        desk.refused(*ann, "--key-kind", "phone"),
        (
            "list mules: needed a key of customer, payee, card, terminal, device, ip, country, "
            "channel, currency, got 'phone'"
        ),
    )
    take = ("lists", "import", "mules")
    yield (
        desk.refused(*take, desk.file("none.csv"), "--as", "ann"),
        "lists: needed a file, got DIR/none.csv, which is none",
    )
    yield (
        desk.refused(*take, desk.file("bad.csv"), "--as", "ann"),
        "bad.csv: needed the columns kind, value, reason, got key, why",
    )
    add = ("staff", "add")
    yield (
        desk.refused(*add, "../eve"),
        "staff: needed a name of a-z, 0-9, '.', '_' or '-', got '../eve'",
    )
    yield (
        desk.refused(*add, "kim", "--right", "all"),
        "staff: needed rights of propose, approve, lists, force, got 'all'",
    )
    yield (
        desk.refused(*LIST, "--as", "kim", "--why", "seen"),
        "staff: needed somebody known (ann, bob, eve), got 'kim': ringback staff add",
    )
    yield (
        desk.refused(*ann, "--key", desk.file("none.key")),
        (
            "staff: ann: needed their key, got no file at DIR/none.key; name it by --key or in "
            "RINGBACK_KEY"
        ),
    )
    yield (
        desk.refused(*ann, "--key", desk.file("bad.csv")),
        "staff: ann: needed 32 bytes in hexadecimal in DIR/bad.csv",
    )
    yield (
        desk.refused(*ann, "--key", desk.file("secrets/staff/bob.key")),
        "staff: ann: needed their own key, got another's in DIR/secrets/staff/bob.key",
    )


def _of_changes(desk: Desk) -> Iterator[tuple[str, str]]:
    """What no command of these words asks for, but who calls it could."""
    made = desk.changes()
    ann = staff.person(desk.data, "ann")
    yield (
        desk.raises(lambda: made.propose(ann, {"nobody": None}, "why")),
        "rule nobody: needed a rule that there is, to delete it",
    )
    hits = yaml.safe_load((desk.data / "hits.yaml").read_text())
    yield (
        desk.raises(lambda: made.propose(ann, {"many_small": hits}, "why")),
        "change: rule many_small: 'when': line 1, column 1: needed an earlier rule, got nobody",
    )
    policy = {**orjson.loads(made.current().document)["policy"], "version": 2}
    yield (
        desk.raises(lambda: made.propose(ann, {}, "why", policy)),
        "judgement: policy: needed 'version: 1', got 2",
    )
    yield (
        desk.raises(lambda: made.demote("old", "too often")),
        "rule old: needed format 2, which has states, to be demoted",
    )
    sha256 = made.current().sha256
    yield (
        desk.raises(lambda: made._run("another", sha256, None, [])),
        "change: somebody else's change came first: look at it, then try again",
    )


def test_each_command_says_why_it_refuses_and_none_is_left_out(
    tmp_path: Path, client: "redis.Redis", way_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RINGBACK_KEY", raising=False)
    desk = Desk(tmp_path, client, way_redis.url)
    stories = (_of_rules, _of_features, _of_lists_and_people, _of_changes)
    otherwise = [told for story in stories for told in story(desk) if told[0] != told[1]]
    assert otherwise == []
    monkeypatch.chdir(tmp_path)
    past = desk.refused("rules", "backtest", desk.file("good.yaml"), "--past", data=False)
    assert past == "rules backtest --past: needed --data DIR, whose ledger is read"
    house = tmp_path / "other"
    (house / "rules").mkdir(parents=True)
    (house / "rules" / "wrong.yaml").write_bytes((tmp_path / "wrong.yaml").read_bytes())
    listed = desk.refused("rules", "list", "--data", str(house), data=False)
    assert listed.startswith("rule many_small: wrong.yaml: line 12, column 7: needed a known name")
    exits = {place for place in desk.places.values() if "typer.Exit" in place}
    left = sorted(set(desk.places.values()) - desk.reached - exits)
    assert not left, "\n".join(left)
