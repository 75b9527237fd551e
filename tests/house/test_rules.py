"""Are the rules of the house kept, and would they notice if they were not?"""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PACKAGES = ("flows", "features", "risk", "notifiers", "audit", "gateway", "config")
_TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".lua", ".js", ".css", ".html", ".sh", ".lock", ""}


def settings(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))


def modules(repository: Path, *packages: str) -> Iterator[tuple[Path, ast.Module]]:
    for package in packages:
        for path in sorted((repository / package).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"), str(path))


def tool(name: str) -> str:
    """A tool of this virtual environment; it is locked, so it is there."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    assert found is not None, f"{name} is missing from {Path(sys.executable).parent}: make test"
    return found


# -- who may import whom ---------------------------------------------------------------------------


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def serves_http(tree: ast.Module) -> bool:
    if any(name == "aiohttp.web" or name.startswith("aiohttp.web.") for name in imports(tree)):
        return True
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == "web"
        and isinstance(node.value, ast.Name)
        and node.value.id == "aiohttp"
        for node in ast.walk(tree)
    )


def test_only_the_gateway_serves_http(repository: Path) -> None:
    others = [package for package in PACKAGES if package != "gateway"]
    for path, tree in modules(repository, *others):
        assert not serves_http(tree), f"{path} uses aiohttp.web: that is the gateway's"


@pytest.mark.parametrize(
    "text",
    ["from aiohttp import web", "import aiohttp.web", "import aiohttp\nrun = aiohttp.web.run_app"],
)
def test_every_way_of_serving_http_would_be_noticed(text: str) -> None:
    assert serves_http(ast.parse(text))
    assert not serves_http(ast.parse("import aiohttp\nx = aiohttp.ClientSession"))


@pytest.fixture
def small_house(repository: Path, tmp_path: Path) -> Path:
    """Our import contracts over empty packages, to plant a breach in."""
    text = (repository / "pyproject.toml").read_text(encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
        (tmp_path / package / "inner.py").write_text("")
    return tmp_path


def lint_imports(house: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool("lint-imports"), "--no-cache"],
        cwd=house,
        env={"PYTHONPATH": str(house), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_empty_house_keeps_all_contracts(small_house: Path) -> None:
    done = lint_imports(small_house)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("risk", "features"),
        ("risk", "redis"),
        ("risk", "time"),
        ("risk", "random"),
        ("features", "notifiers"),
        ("features", "bytewax"),
        ("features", "flows"),
        ("notifiers", "gateway"),
        ("gateway", "river"),
        ("gateway", "config"),
        ("audit", "risk"),
        ("audit", "pydantic"),
        ("flows", "river"),
        ("flows", "slixmpp"),
    ],
)
def test_a_breach_of_the_import_contracts_is_found(
    small_house: Path, module: str, forbidden: str
) -> None:
    (small_house / module / "inner.py").write_text(f"import {forbidden}\n")
    done = lint_imports(small_house)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout


# -- clock and chance ------------------------------------------------------------------------------


def clock_lint(repository: Path, path: str, text: str) -> str:
    done = subprocess.run(
        [tool("ruff"), "check", "--select", "TID251", "--stdin-filename", path, "-"],
        cwd=repository,
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


@pytest.mark.parametrize("package", ["risk", "features"])
@pytest.mark.parametrize(
    "text",
    [
        "import time\nnow = time.time()",
        "from time import monotonic\nnow = monotonic()",
        "from datetime import UTC, datetime\nnow = datetime.now(UTC)",
        "import datetime\nday = datetime.date.today()",
        "import random\nx = random.random()",
        "from random import Random\nx = Random(7)",
        "import secrets\nx = secrets.token_hex()",
        "import uuid\nx = uuid.uuid4()",
        "import numpy as np\nx = np.random.default_rng(7)",
    ],
)
def test_clock_and_chance_are_found_in_judgement_and_description(
    repository: Path, package: str, text: str
) -> None:
    assert "TID251" in clock_lint(repository, f"{package}/inner.py", text)
    assert "TID251" not in clock_lint(repository, "flows/inner.py", text)


# -- money -----------------------------------------------------------------------------------------

_MONEY = re.compile(r"(^|_)(amount|minor|sum|limit|price|rate)(_|$)")


def floats_for_money(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Names of money that are annotated as float, or that `float()` is called upon."""
    for node in ast.walk(tree):
        named: tuple[int, str, ast.expr | None] | None = None
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            named = node.lineno, node.target.id, node.annotation
        elif isinstance(node, ast.arg):
            named = node.lineno, node.arg, node.annotation
        elif isinstance(node, ast.FunctionDef):
            named = node.lineno, node.name, node.returns
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "float" and node.args:
            named = node.lineno, ast.unparse(node.args[0]).rpartition(".")[2], node.func
        if named is None:
            continue
        line, name, kind = named
        if kind is not None and _MONEY.search(name) and re.search(r"\bfloat\b", ast.unparse(kind)):
            yield line, name


def test_money_is_never_a_float_where_it_is_judged(repository: Path) -> None:
    for path, tree in modules(repository, "risk"):
        found = list(floats_for_money(tree))
        assert not found, f"{path}: money as float: {found}; use Decimal or integer minor units"


@pytest.mark.parametrize(
    "text",
    [
        "amount: float = 1.0",
        "def f(amount_minor: float | None) -> None: ...",
        "def limit() -> float: ...",
        "x = float(event.amount)",
    ],
)
def test_money_as_a_float_would_be_noticed(text: str) -> None:
    assert list(floats_for_money(ast.parse(text)))


# -- names, packages, texts ------------------------------------------------------------------------


def test_no_module_is_named_after_nothing(repository: Path) -> None:
    vague = {"manager", "managers", "handler", "handlers", "helper", "helpers", "util", "utils"}
    vague |= {"common", "misc", "data", "process", "base"}
    for path, _ in modules(repository, *PACKAGES):
        assert path.stem not in vague, f"{path}: name it for the question it answers"


def tracked_texts(repository: Path) -> Iterator[tuple[Path, str]]:
    listed = subprocess.run(
        ["git", "-C", str(repository), "ls-files", "-z"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("this is no git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = repository / name
        if path.suffix in _TEXT and path.is_file():
            yield path, path.read_text(encoding="utf-8", errors="replace")


def test_no_path_of_somebodys_machine_is_written_down(repository: Path) -> None:
    places = ("work", "root", "home/[a-z]+", "Users/[A-Za-z]+", "opt/pypi")
    somebodys = re.compile(rf"(?<![\w.~\]}})-])/({'|'.join(places)})/")
    count = 0
    for path, text in tracked_texts(repository):
        count += 1
        for number, line in enumerate(text.splitlines(), 1):
            assert not somebodys.search(line), f"{path}:{number}: {line.strip()[:80]}"
    assert count > 10


def test_every_dependency_says_why_it_is_there(repository: Path) -> None:
    text = (repository / "pyproject.toml").read_text(encoding="utf-8")
    described = settings(repository)["project"]
    dependencies = [
        *described["dependencies"],
        *(line for extra in described["optional-dependencies"].values() for line in extra),
    ]
    assert len(dependencies) > 10
    for dependency in dependencies:
        assert re.search(rf'^ *"{re.escape(dependency)}", +# \S', text, re.MULTILINE), dependency


def test_every_lint_exception_says_why(repository: Path) -> None:
    lint = settings(repository)["tool"]["ruff"]["lint"]
    text = (repository / "pyproject.toml").read_text(encoding="utf-8")
    exceptions = [
        *lint["ignore"],
        *(c for codes in lint["per-file-ignores"].values() for c in codes),
    ]
    for code in exceptions:
        assert re.search(rf'"{code}"[,\]]+ +# \S', text), f"{code} has no reason beside it"


def test_the_lock_holds_every_direct_dependency_by_hash_and_no_address(repository: Path) -> None:
    described = settings(repository)["project"]
    extras = described["optional-dependencies"].values()
    for lock, wanted in (
        ("requirements.lock", described["dependencies"]),
        (
            "requirements-dev.lock",
            [d for group in (described["dependencies"], *extras) for d in group],
        ),
    ):
        text = (repository / lock).read_text(encoding="utf-8")
        pinned = {name.lower() for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}
        for dependency in wanted:
            name = re.split(r"[<>=!~\[]", dependency)[0].lower()
            assert name in pinned, f"{name} is not in {lock}: make lock"
        assert text.count("--hash=sha256:") >= len(pinned)
        assert "://" not in text
        assert "--index" not in text


def test_both_locks_agree(repository: Path) -> None:
    run, dev = (
        dict(re.findall(r"^([\w.-]+)==(\S+)", (repository / name).read_text(), re.MULTILINE))
        for name in ("requirements.lock", "requirements-dev.lock")
    )
    assert run.items() <= dev.items()
