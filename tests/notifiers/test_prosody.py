"""Is the chat server found and started as it is said to be there?"""

from pathlib import Path

import pytest

from notifiers import prosody
from notifiers.errors import ProsodyFailed
from notifiers.prosody import Prosody, ProsodySettings
from tests import servers


def _made(tmp_path: Path) -> Prosody:
    return Prosody(ProsodySettings(tmp_path, "bank.example", "secret", 0, 0, 0))


def test_a_server_that_is_not_on_the_path_is_started_from_where_it_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service's PATH is short: what `available` finds, the line must name whole."""
    servers.need("prosody")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert prosody.available()
    program, *_, config = _made(tmp_path).command()
    assert Path(program).is_absolute()
    assert Path(program).exists()
    assert Path(config).read_text().count("bank.example")


def test_a_missing_server_is_said_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prosody, "_program", lambda _: None)
    assert not prosody.available()
    with pytest.raises(ProsodyFailed, match="apt-get install prosody"):
        _made(tmp_path).command()
