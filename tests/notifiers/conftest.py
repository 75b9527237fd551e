"""Fixtures of the notifier's tests: a real chat server, and the pretended flow."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from notifiers.prosody import Prosody
from tests.notifiers import stage

USERS = ("ann", "bob", "eve")


@pytest.fixture
def prosody(tmp_path: Path) -> Iterator[Prosody]:
    """A real chat server of this test's own, with ann, bob and eve."""
    server = stage.make_prosody(tmp_path / "prosody", USERS)
    try:
        yield server
    finally:
        server.stop()
