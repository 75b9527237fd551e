"""Are the settings those that somebody wrote, and is a mistake told by name?"""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from config.settings import HERE, BadConfig, Settings, read_rates, read_settings, read_yaml
from flows.assemble import read_rule_set
from flows.errors import BadSettings


def _file(folder: Path, text: str, name: str = "ringback.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_settings_are_the_defaults() -> None:
    assert read_settings(HERE / "ringback.yaml") == Settings()
    assert read_settings() == Settings()


def test_a_later_file_overrides_a_former_key_by_key(tmp_path: Path) -> None:
    below = _file(tmp_path, "bank: one.example\nengine: {shards: 8, batch: 50}\n", "a.yaml")
    above = _file(tmp_path, "engine: {shards: 32}\ninstitution: {callback: '110'}\n", "b.yaml")
    told = read_settings(below, above, over={"engine": {"processes": 2}})
    assert told.bank == "one.example"
    assert (told.engine.shards, told.engine.batch, told.engine.processes) == (32, 50, 2)
    assert told.engine.partitions == Settings().engine.partitions
    assert told.institution.callback == "110"
    assert told.institution.name == Settings().institution.name


def test_a_name_in_one_more_language_leaves_the_others(tmp_path: Path) -> None:
    own = _file(tmp_path, "institution: {name: {fr: Banque}}\n")
    told = read_settings(HERE / "ringback.yaml", own)
    assert set(told.institution.name) == {"en", "zh-CN", "fr"}


def test_a_file_that_is_not_there_overrides_nothing(tmp_path: Path) -> None:
    assert read_settings(tmp_path / "ringback.yaml") == Settings()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("bnak: x.example\n", r"settings: bnak: .*did you mean bank\?"),
        ("engine: {shard: 8}\n", r"settings: engine.shard: .*did you mean shards\?"),
        ("xmpp: {doamin: x}\n", r"settings: xmpp.doamin: .*did you mean domain\?"),
        ("engine: {shards: 65}\n", "settings: engine.shards: .*less than or equal to 64"),
        ("engine: {shards: many}\n", "settings: engine.shards: .*integer"),
        ("engine: 8\n", "settings: engine: "),
        ("version: 2\n", "settings: version: "),
        ("- bank\n", "ringback.yaml: needed an object, got list"),
        ("bank: [\n", "ringback.yaml: not YAML: .*line 2"),
        ("", "ringback.yaml: needed an object, got NoneType"),
    ],
)
def test_a_setting_that_cannot_act_is_refused_by_name(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(BadConfig, match=f"(?s){told}"):
        read_settings(_file(tmp_path, text))


def test_a_file_that_is_not_utf_8_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "ringback.yaml"
    path.write_bytes("bank: 银行".encode("gb18030"))
    with pytest.raises(BadConfig, match=r"ringback\.yaml: not YAML"):
        read_yaml(path)


def test_settings_are_not_changed_once_read() -> None:
    told = read_settings()
    with pytest.raises(ValueError, match="frozen"):
        told.bank = "other.example"  # type: ignore[misc]  # what is tried is what is refused
    with pytest.raises(ValueError, match="frozen"):
        told.engine.shards = 1  # type: ignore[misc]  # the same


def test_the_shipped_rates_are_read_with_their_days() -> None:
    rates = read_rates(HERE / "rates.yaml", "CNY")
    assert rates.to_base(100, "USD", date(2025, 6, 1)) == 720
    assert rates.to_base(100, "USD", date(2017, 12, 31)) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("base: EUR\n", "needed base CNY, got 'EUR'"),
        ("base: CNY\nrates: [USD]\n", "needed currencies under 'rates'"),
        ("base: CNY\nrates: {UDS: {2026-01-01: '7'}}\n", "needed an ISO 4217 .*got 'UDS'"),
        ("base: CNY\nrates: {USD: '7.05'}\n", "USD: needed days such as 2026-01-01"),
        ("base: CNY\nrates: {USD: {first: '7'}}\n", "USD: needed days such as 2026-01-01"),
        ("base: CNY\nrates: {USD: {2026-01-01: 'dear'}}\n", "needed a positive rate .*'dear'"),
        ("base: CNY\nrates: {USD: {2026-01-01: 0}}\n", "needed a positive rate .*got 0"),
        ("base: CNY\nrates: {USD: {2026-01-01: .inf}}\n", "needed a positive rate .*got inf"),
    ],
)
def test_a_rate_table_that_cannot_be_used_is_refused_by_name(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(BadConfig, match=rf"rates\.yaml: .*{told}"):
        read_rates(_file(tmp_path, text, "rates.yaml"), "CNY")


def test_a_table_without_rates_knows_its_base_alone(tmp_path: Path) -> None:
    rates = read_rates(_file(tmp_path, "base: CNY\n", "rates.yaml"), "CNY")
    assert rates.dated == {}


def test_days_may_stand_in_any_order(tmp_path: Path) -> None:
    text = "base: CNY\nrates: {USD: {2026-01-01: '7', 2025-01-01: '8'}}\n"
    rates = read_rates(_file(tmp_path, text, "rates.yaml"), "CNY")
    assert rates.dated["USD"] == [
        (date(2025, 1, 1), Decimal(8)),
        (date(2026, 1, 1), Decimal(7)),
    ]


def test_rules_policy_and_rates_of_the_data_directory_replace_the_shipped_ones(
    tmp_path: Path,
) -> None:
    shipped = read_rule_set(Settings(), tmp_path)
    told = {shipped.sha256}
    policy = yaml.safe_load((HERE / "policy.yaml").read_text(encoding="utf-8"))
    policy["asking"]["answer_within_seconds"] = 7
    _file(tmp_path, yaml.safe_dump(policy), "policy.yaml")
    own = read_rule_set(Settings(), tmp_path)
    assert own.policy.answer_within_us == 7_000_000
    assert own.rules == shipped.rules
    told.add(own.sha256)
    _file(tmp_path, "version: 1\nrules: []\n", "rules.yaml")
    told.add(read_rule_set(Settings(), tmp_path).sha256)
    _file(tmp_path, "base: CNY\n", "rates.yaml")
    told.add(read_rule_set(Settings(), tmp_path).sha256)
    assert len(told) == 4


@pytest.mark.parametrize("name", ["rules.yaml", "policy.yaml"])
def test_a_refused_rule_or_policy_names_its_file(tmp_path: Path, name: str) -> None:
    _file(tmp_path, "version: 7\n", name)
    with pytest.raises(BadSettings, match=rf"{name}: .*needed 'version: 1'.*, got 7"):
        read_rule_set(Settings(), tmp_path)
