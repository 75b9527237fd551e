"""Does a word stand anywhere under a directory, however it is written down?

Looked for as UTF-8, UTF-16, hex and base64 (each of its three shifts), within gzip, zlib and
Redis' LZF, within base64 of any of these, and in the values of SQLite tables (a value may span
pages). What is encrypted isn't opened.

A few digits stand by chance in any longer run of letters and digits: in a hash, a token, a time.
They count where they stand by themselves.
"""

import base64
import contextlib
import os
import re
import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}")
_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")
_DEEP = 3
_OF_A_RUN = re.compile(rb"[\w+/=-]*\Z", re.ASCII), re.compile(rb"[\w+/=-]*", re.ASCII)
_RUN = 16  # no word that a person writes beside a number is as long; a hash or a token is


def forms(word: str) -> dict[str, bytes]:
    """The ways in which a word is written down, by name."""
    plain = word.encode()
    found = {
        "utf-8": plain,
        "utf-16-le": word.encode("utf-16-le"),
        "utf-16-be": word.encode("utf-16-be"),
        "hex": plain.hex().encode(),
        "HEX": plain.hex().upper().encode(),
    }
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + plain + b"\0" * (-(len(plain) + shift) % 3))
        # What stands at the edges depends on the neighbours.
        core = whole[(0, 2, 3)[shift] : len(whole) - (4 if (len(plain) + shift) % 3 else 0)]
        found[f"base64+{shift}"] = core
        found[f"base64url+{shift}"] = core.translate(bytes.maketrans(b"+/", b"-_"))
    return found


def find(directory: Path, *words: str) -> list[str]:
    """Say where any of the words stands: the file and the form. Digits count as a whole number."""
    wanted = {(word, name): form for word in words for name, form in forms(word).items()}
    seen = []
    for path, held in files(directory):
        for layer, data in _layers(path, held):
            seen += [
                f"{path.relative_to(directory)}: {word!r} as {name} in {layer}"
                for (word, name), form in wanted.items()
                if _stands(form, data, number=word.isdigit() and name == "utf-8")
            ]
    return seen


def files(directory: Path) -> Iterator[tuple[Path, bytes]]:
    """All files under a directory with what they hold, while a running house removes some."""
    for folder, _, file_names in os.walk(directory):  # passes over a folder that is gone
        for name in file_names:
            path = Path(folder, name)
            with contextlib.suppress(FileNotFoundError):
                if path.is_file():
                    yield path, path.read_bytes()


def _stands(form: bytes, data: bytes, *, number: bool) -> bool:
    at = data.find(form)
    while number and at >= 0:
        before, after = data[max(0, at - 1) : at], data[at + len(form) : at + len(form) + 1]
        part = before.isdigit() or after.isdigit() or (before == b"." and after in (b"Z", b"+"))
        if not part and not _in_a_run(data, at, at + len(form)):
            return True  # neither inside a longer number nor the microseconds of a time
        at = data.find(form, at + 1)
    return at >= 0


def _in_a_run(data: bytes, start: int, end: int) -> bool:
    before = _OF_A_RUN[0].search(data[max(0, start - _RUN) : start])
    after = _OF_A_RUN[1].match(data, end, end + _RUN)
    return (len(before[0]) if before else 0) + (len(after[0]) if after else 0) >= _RUN


def by_itself(*numbers: str) -> re.Pattern[str]:
    """Finds these digits in a text where they are no part of a longer run, as a hash is."""
    either = "|".join(map(re.escape, numbers))
    return re.compile(rf"(?:(?<![\w+/-])|(?<=\\n))(?:{either})(?![\w+/=-])", re.ASCII)


def _layers(path: Path, data: bytes) -> Iterator[tuple[str, bytes]]:
    yield from _unfolded("the file", data, 0)
    if data.startswith(b"SQLite format 3\0"):
        for value in _values(path):
            yield from _unfolded("a table", value, 0)


def _unfolded(name: str, data: bytes, depth: int) -> Iterator[tuple[str, bytes]]:
    yield name, data
    if depth >= _DEEP:
        return
    for match in _ZLIB.finditer(data):
        inner = _inflated(data[match.start() :])
        if inner:
            yield from _unfolded(f"{name}, compressed", inner, depth + 1)
    for run in _BASE64.findall(data):
        text = run.translate(bytes.maketrans(b"-_", b"+/"))
        inner = base64.b64decode(text[: len(text) // 4 * 4])
        if _ZLIB.match(inner):
            yield from _unfolded(f"{name}, base64", inner, depth + 1)
    if data.startswith(b"REDIS"):
        for inner in _lzf_strings(data):
            yield f"{name}, LZF", inner


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(47).decompress(data, 1 << 24)
    except zlib.error:
        return b""


def _values(path: Path) -> Iterator[bytes]:
    """Every value of every table; a copy is read, so that nothing is locked or changed."""
    with tempfile.TemporaryDirectory() as place:
        for suffix in ("", "-wal"):
            beside = path.with_name(path.name + suffix)
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(beside, Path(place, "copy" + suffix))
        connection = sqlite3.connect(Path(place, "copy"))
        try:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for (table,) in tables.fetchall():
                for row in connection.execute(f'SELECT * FROM "{table}"'):
                    for value in row:
                        if isinstance(value, str | bytes):
                            yield value.encode() if isinstance(value, str) else value
        except sqlite3.DatabaseError:
            return
        finally:
            connection.close()


def _lzf_strings(data: bytes) -> Iterator[bytes]:
    """The compressed strings of a Redis dump: 0xC3, two lengths, LZF (rdb.c, lzf_d.c)."""
    for match in re.finditer(b"\xc3", data):
        try:
            packed, at = _length(data, match.end())
            whole, at = _length(data, at)
            if 0 < packed < whole < 1 << 24 and at + packed <= len(data):
                yield _unlzf(data[at : at + packed], whole)
        except (IndexError, ValueError):
            continue


def _length(data: bytes, at: int) -> tuple[int, int]:
    first = data[at]
    if first >> 6 == 0:
        return first & 63, at + 1
    if first >> 6 == 1:
        return (first & 63) << 8 | data[at + 1], at + 2
    if first == 0x80:
        return int.from_bytes(data[at + 1 : at + 5], "big"), at + 5
    raise ValueError("no length")


def _unlzf(packed: bytes, whole: int) -> bytes:
    out = bytearray()
    at = 0
    while at < len(packed):
        control = packed[at]
        at += 1
        if control < 32:
            out += packed[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += packed[at]
            at += 1
        start = len(out) - ((control & 31) << 8 | packed[at]) - 1
        at += 1
        if start < 0 or len(out) > whole:
            raise ValueError("no LZF")
        for place in range(start, start + length + 2):
            out.append(out[place])
    if len(out) != whole:
        raise ValueError("no LZF")
    return bytes(out)
