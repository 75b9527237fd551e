"""Are the secrets made once, kept from others, and never shown?"""

import subprocess
import sys
from pathlib import Path

import pytest

from flows.secrets import BEARERS, read_secrets

NAMES = {
    "tokens.key", "edge.key", "web.key", "code.key", "nonce.key", "webhook.key",
    "redis.password", "xmpp-component.secret",
    *(f"{role}.token" for role in BEARERS),
}  # fmt: skip


def test_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    read_secrets(tmp_path)
    folder = tmp_path / "secrets"
    assert {path.name for path in folder.iterdir()} == NAMES
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path.name


def test_secrets_are_the_same_again(tmp_path: Path) -> None:
    first = read_secrets(tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "secrets").iterdir()}
    assert read_secrets(tmp_path) == first
    assert {path: path.read_bytes() for path in (tmp_path / "secrets").iterdir()} == before


def test_a_missing_secret_is_made_and_the_others_stay(tmp_path: Path) -> None:
    first = read_secrets(tmp_path)
    (tmp_path / "secrets" / "web.key").unlink()
    again = read_secrets(tmp_path)
    assert again.web_key != first.web_key
    assert (again.token_root, again.bearers) == (first.token_root, first.bearers)


def test_no_two_secrets_are_alike_and_keys_have_32_bytes(tmp_path: Path) -> None:
    read_secrets(tmp_path / "a")
    read_secrets(tmp_path / "b")
    texts = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(set(texts)) == len(texts) == 2 * len(NAMES)
    told = read_secrets(tmp_path / "a")
    keys = (told.token_root, told.edge_key, told.web_key, told.code_key, told.nonce_key)
    assert {len(key) for key in keys} == {32}
    assert set(told.bearers) == set(BEARERS)


def test_secrets_show_nothing_when_they_are_printed(tmp_path: Path) -> None:
    told = read_secrets(tmp_path)
    assert repr(told) == "Secrets()"
    assert told.bearers["bank"] not in f"{told}"


@pytest.mark.parametrize("round_", range(2))
def test_two_processes_that_start_at_once_have_the_same_secrets(
    tmp_path: Path, round_: int
) -> None:
    code = (
        "import sys, pathlib; from flows.secrets import read_secrets\n"
        "sys.stdin.read()\n"
        "s = read_secrets(pathlib.Path(sys.argv[1]))\n"
        "print(s.token_root.hex(), s.edge_key.hex(), s.redis_password, *s.bearers.values())"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / str(round_))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        for _ in range(3)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.close()  # all go at once
        process.stdin = None
    told = {process.communicate(timeout=300)[0] for process in started}
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len(told) == 1
    assert told != {b""}
    assert {path.name for path in (tmp_path / str(round_) / "secrets").iterdir()} == NAMES


def test_a_file_left_by_a_start_that_was_cut_short_hinders_no_later_one(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / ".edge.key.x7").write_text("ab")
    read_secrets(tmp_path)
    assert len((folder / "edge.key").read_text()) == 64
