"""A ledger of this test's own directory, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from audit.writer import Ledger
from tests.audit.records import TRANSPORT_KEY, Clock
from tests.audit.tools import Verdict, build_go, find_npm, find_sigstore

OpenLedger = Callable[..., Ledger]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_ledger(tmp_path: Path, clock: Clock) -> Iterator[OpenLedger]:
    """Open the ledger of this test's directory; what is left open is let go at the end."""
    opened: list[Ledger] = []

    def open_one(**options: Any) -> Ledger:
        made = Ledger(
            options.pop("data_dir", tmp_path),
            origin_bank="bank.example",
            tenant="main",
            transport_key=TRANSPORT_KEY,
            now=lambda: clock.wall,
            steady=lambda: clock.steady,
            **options,
        )
        opened.append(made)
        return made

    yield open_one
    for made in opened:
        if made.is_open:
            made.abandon()


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    """Go's sumdb/note and tlog, and a small verifier of witnesses."""
    return build_go(tmp_path_factory.mktemp("go"))


@pytest.fixture(scope="session")
def npm() -> Verdict:
    """npm @sigstore/verify."""
    return find_npm()


@pytest.fixture(scope="session")
def sigstore() -> Verdict:
    """PyPI sigstore."""
    return find_sigstore()
