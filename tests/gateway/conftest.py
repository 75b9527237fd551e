"""Fixtures of the gateway's tests; the bank around it is tests/gateway/bank.py."""

import pytest

from gateway import challenges
from tests.patience import PATIENCE


@pytest.fixture
def settles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who answers waits for what comes of it, however busy the machine is."""
    monkeypatch.setattr(challenges, "SETTLE_SECONDS", PATIENCE)
