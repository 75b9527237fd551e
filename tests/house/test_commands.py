"""Do the commands exist that the documents promise, and do they say what they need?"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import count_tests
from tests import servers

_TARGETS = re.compile(r"^\.PHONY: (.+)$", re.MULTILINE)


def targets(repository: Path) -> set[str]:
    found = set(_TARGETS.findall((repository / "Makefile").read_text(encoding="utf-8")))
    assert found
    return found


def shell_lines(document: Path) -> Iterator[str]:
    """The lines of a document that a reader would type: fenced or indented."""
    fenced = False
    for line in document.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip().removeprefix("$ ")


def documents(repository: Path) -> list[Path]:
    return [
        p
        for p in (repository / "README.md", *sorted((repository / "docs").rglob("*.md")))
        if p.exists()
    ]


def test_make_lists_every_target_that_is_for_people(repository: Path) -> None:
    listed = subprocess.run(
        [servers.need("make"), "-s", "-C", str(repository)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    for target in targets(repository) - {"setup-run", "setup-dev"}:
        assert re.search(rf"^  make {target} +\S", listed, re.MULTILINE), target


def test_every_make_command_in_the_documents_is_a_target(repository: Path) -> None:
    for document in documents(repository):
        for line in shell_lines(document):
            if match := re.match(r"make ([a-z-]+)", line):
                assert match[1] in targets(repository), f"{document.name}: {line}"


def test_every_ringback_command_in_the_documents_exists(repository: Path) -> None:
    if not (repository / "flows" / "cli.py").exists():
        pytest.skip("there is no command line yet")
    import importlib

    import typer.main

    cli = importlib.import_module("flows.cli")
    names = set(getattr(typer.main.get_command(cli.app), "commands", {}))
    assert names
    for document in documents(repository):
        if "decisions" in document.parts:
            continue  # a decision may tell of a command that was considered
        for line in shell_lines(document):
            if match := re.match(r"(?:\.venv/bin/)?ringback ([a-z-]+)", line):
                assert match[1] in names, f"{document.name}: {line}"


def test_every_relative_link_in_the_documents_leads_somewhere(repository: Path) -> None:
    for document in documents(repository):
        text = document.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if "://" not in link and not link.startswith("mailto:"):
                assert (document.parent / link).exists(), f"{document.name} links to {link}"


def test_every_shell_script_parses(repository: Path) -> None:
    scripts = [*repository.glob("scripts/*.sh"), repository / ".ci" / "run"]
    assert len(scripts) >= 3
    for script in scripts:
        subprocess.run(["bash", "-n", str(script)], timeout=30, check=True)
        assert script.stat().st_mode & 0o111, f"{script.name} can't be run"


def test_setup_says_what_it_can_be_told(repository: Path) -> None:
    done = subprocess.run(
        [str(repository / "scripts" / "setup.sh"), "everything"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "setup.sh run" in done.stderr
    assert "setup.sh dev" in done.stderr


@pytest.mark.parametrize(("minimum", "verdict"), [(3, 0), (4, 1)])
def test_a_run_of_fewer_tests_than_promised_fails(
    tmp_path: Path, minimum: int, verdict: int
) -> None:
    report, promise = tmp_path / "tests.xml", tmp_path / "minimum"
    report.write_text('<testsuites><testsuite tests="5" skipped="2" failures="0"/></testsuites>')
    promise.write_text(f"{minimum}\n")
    assert count_tests.main(report, promise) == verdict


def test_a_report_of_no_tests_counts_none(tmp_path: Path) -> None:
    report = tmp_path / "tests.xml"
    report.write_text('<testsuites><testsuite tests="0" skipped="0"/></testsuites>')
    assert count_tests.tests_run(report) == 0


def test_a_missing_server_fails_in_ci_and_skips_on_a_laptop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert shutil.which("no-such-server") is None
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install no-such-server"):
        servers.need("no-such-server")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="apt-get install no-such-server"):
        servers.need("no-such-server")


def test_a_tests_redis_keeps_what_it_acknowledged_over_kill_9(
    redis_server: servers.RedisServer,
) -> None:
    import redis

    with redis.Redis.from_url(redis_server.url) as client:
        assert client.config_get("appendfsync") == {"appendfsync": "always"}
        client.xadd("rb:inbox", {"event": "{}"})
    redis_server.kill()
    redis_server.start()
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.xlen("rb:inbox") == 1
