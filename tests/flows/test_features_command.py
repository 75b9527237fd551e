"""Is it told what is counted, since when, and what can't be meant?"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.catalogue import settle_catalogue
from flows.cli import main
from flows.features_command import features_app
from flows.parts import open_house
from flows.redis_server import PrivateRedis, wait


def _said(*line: str) -> Any:
    told = CliRunner().invoke(features_app, list(line))
    assert told.exit_code == 0, told.output
    return told.output


def test_a_file_is_checked_and_its_names_are_told(tmp_path: Path) -> None:
    file = tmp_path / "features.yaml"
    file.write_text("version: 1\nfeatures: [count per card in 2h where small]\n")
    assert _said("check", str(file)) == (
        "card.count.small.2h: how many within 2h, small, per card\n"
    )
    assert json.loads(_said("check", str(file), "--json")) == {"features": ["card.count.small.2h"]}


def test_a_line_that_can_not_be_meant_ends_with_status_2_and_its_place(
    tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "features.yaml"
    file.write_text("version: 1\nfeatures:\n  - count per crad in 2h\n")
    for path, needed in (
        (file, f"{file}, line 3: 'count per crad in 2h'"),
        (tmp_path / "none.yaml", "needed a file that can be read"),
    ):
        monkeypatch.setattr(sys, "argv", ["ringback", "features", "check", str(path)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert needed in capfd.readouterr().err


def test_all_features_are_listed_with_the_time_since_which_they_count(tmp_path: Path) -> None:
    (tmp_path / "features.yaml").write_text(
        "version: 1\nfeatures: [count per card in 2h, count per customer in 2h]\n"
    )
    house = open_house(tmp_path)
    server = PrivateRedis(house.data, house.secrets.redis_password)
    process = server.start()
    try:
        from flows.catalogue import read_catalogue

        found = read_catalogue(tmp_path).needed(())
        settle_catalogue(wait(server.url), found, lambda: 1_700_000_000_000_000)
        rows = json.loads(_said("list", "--data", str(tmp_path), "--json"))["features"]
    finally:
        process.terminate()
        process.wait(20)
    told = {row["name"]: row for row in rows}
    assert told["card.count.2h"]["since"] == "2023-11-14T22:13:20.000000Z"
    assert told["card.count.2h"]["line"] == "count per card in 2h"
    assert told["customer.count.2h"]["since"] is None, "it looks at what was kept anyway"
    assert told["customer.count.1h"]["declared"] is False
    assert told["card.count.1h"]["counted"] is False
    table = _said("list", "--data", str(tmp_path), "--declared")
    assert "card.count.2h" in table
    assert "customer.count.1h" not in table
