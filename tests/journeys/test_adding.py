"""A newcomer follows docs/adding.md, word by word, from an idea to a live rule."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.house import House, bank_of, tell
from tests.patience import until

RULE = "many_by_card"
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_CHANGE = re.compile(r"^([0-9a-f]{12}): .* waits for a second person", re.MULTILINE)
TEN_MINUTES = 600.0


def _blocks(repository: Path) -> Iterator[tuple[str, str]]:
    """The section's blocks in order: ``yaml`` or nothing, and the text."""
    whole = (repository / "docs" / "adding.md").read_text(encoding="utf-8")
    section = whole.partition("## A rule: from an idea")[2].partition("\n## ")[0]
    for indent, kind, text in _BLOCK.findall(section):
        yield kind, "".join(line.removeprefix(indent) for line in text.splitlines(keepends=True))


class Newcomer:
    """Somebody at a shell, in a folder of their own, who types what the page says."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._change = ""
        programs = str(Path(sys.executable).parent)
        self._env = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def types(self, line: str) -> str:
        """Type one line; gives what it says."""
        line = line.replace("CHANGE", self._change)
        done = subprocess.run(
            ["bash", "-c", line], cwd=self._folder, env=self._env, capture_output=True, text=True,
            timeout=TEN_MINUTES, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        said = _CHANGE.search(done.stdout)
        self._change = said[1] if said else self._change
        return done.stdout


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "var")
    yield house
    house.end()


def test_the_page_leads_from_an_idea_to_a_live_rule(
    house: House, tmp_path: Path, repository: Path
) -> None:
    newcomer = Newcomer(tmp_path)
    began = time.monotonic()
    acted: list[dict[str, Any]] = []
    for kind, text in _blocks(repository):
        if kind == "yaml":
            (tmp_path / f"{RULE}.yaml").write_text(text, encoding="utf-8")
            continue
        for line in text.splitlines():
            if line == "ringback run":
                house.start()
                continue
            said = newcomer.types(line)
            if line.startswith("ringback rules backtest"):
                assert RULE in said
            if line == "ringback rules list":
                assert "shadow" in said
            if "approve CHANGE" in line and not acted:
                acted.append(tell(_three_payments(house)))
    assert time.monotonic() - began < TEN_MINUTES
    assert [reason["code"] for reason in acted[0]["reasons"]] == [RULE]
    assert RULE in (tmp_path / "report.html").read_text(encoding="utf-8")
    states = newcomer.types("ringback rules list --json")
    assert re.search(rf'"id": "{RULE}", "state": "retired"', states)


async def _three_payments(house: House) -> dict[str, Any]:
    """Three small payments by card: the third is asked about once the rule acts."""
    async with bank_of(house) as bank:
        small = {"amount": "12.00", "kind": "card"}
        counts = iter(range(1000))

        async def asked() -> dict[str, Any]:
            customer = f"c-{next(counts)}"
            told: dict[str, Any] = {}
            for _ in range(3):
                told = await bank.pay(customer, **small)
            return told if told["decision"] == "challenge" else {}

        found: dict[str, Any] = await until(asked, "the rule acting")
        return found
