"""`ringback templates lint` says by its status whether these texts may be sent, and why not."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from config.settings import HERE
from flows.cli import app
from flows.doctor import examine
from flows.parts import open_house

RUN = CliRunner()
EN = HERE / "templates" / "en.yaml"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A bank's own texts, in a data directory."""
    folder = tmp_path / "templates"
    folder.mkdir()
    return Path(shutil.copy(EN, folder / "en.yaml"))


def spoil(path: Path, old: str, new: str) -> int:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


def test_the_texts_in_use_may_be_sent(tmp_path: Path) -> None:
    done = RUN.invoke(app, ["templates", "lint", "--data", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "2 files, 0 findings" in done.output
    assert list(tmp_path.iterdir()) == [], "looking makes no secrets"


def test_a_refused_text_is_told_with_file_and_line(own: Path, tmp_path: Path) -> None:
    line = spoil(own, "  Reference {reference}. Questions", "  Tell us your PIN. Questions")
    done = RUN.invoke(app, ["templates", "lint", str(own)])
    assert done.exit_code == 1
    assert f"{own}:{line}: ask: it asks for a secret ('pin' in 'tell us your pin')" in done.output
    assert "ask: needed {reference}: the customer can name the matter" in done.output
    told = json.loads(RUN.invoke(app, ["templates", "lint", str(own), "--json"]).output)
    assert {one["rule"] for one in told["findings"]} == {"secret", "reference"}
    assert {(one["file"], one["entry"]) for one in told["findings"]} == {(str(own), "ask")}
    in_use = RUN.invoke(app, ["templates", "lint", "--data", str(tmp_path)])
    assert in_use.exit_code == 1, "the bank's own texts are in use, too"
    found = [one for one in examine(open_house(tmp_path)) if "asks for a secret" in one]
    assert found, "and the doctor says so"


def test_a_link_to_the_banks_own_host_is_a_setting(own: Path, tmp_path: Path) -> None:
    spoil(own, "Questions, or a person", "See https://bank.example/help Questions, or a person")
    line = ["templates", "lint", str(own), "--data", str(tmp_path)]
    assert RUN.invoke(app, line).exit_code == 1
    (tmp_path / "ringback.yaml").write_text("institution: {hosts: [bank.example]}\n")
    done = RUN.invoke(app, line)
    assert done.exit_code == 0, done.output


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = RUN.invoke(app, ["templates", "lint", str(tmp_path / "none.yaml")])
    assert done.exit_code == 2
