"""Where do the published bytes of a log lie? C2SP tlog-tiles on a file system.

    tile/<L>/<N>[.p/<W>]         256 (or W) hashes of 32 bytes
    tile/entries/<N>[.p/<W>]     256 (or W) entries, each a uint16-BE length and its bytes

Danger: a tile is what somebody published, not what is true. Always recompute the root from the
entries (evidence rule 3).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from audit.errors import EvidenceMalformed
from audit.tree import TILE_WIDTH

MAX_LEAF = 65_535
HASH_BYTES = 32


def tile_index(n: int) -> str:
    """1234067 -> x001/x234/067."""
    groups = [f"{n % 1000:03d}"]
    while n >= 1000:
        n //= 1000
        groups.append(f"x{n % 1000:03d}")
    return "/".join(reversed(groups))


def hash_tile(log: Path, level: int, n: int, width: int = TILE_WIDTH) -> Path:
    """The file of one hash tile."""
    return _tile(log, str(level), n, width)


def entry_tile(log: Path, n: int, width: int = TILE_WIDTH) -> Path:
    """The file of one bundle of entries."""
    return _tile(log, "entries", n, width)


def checkpoint_file(log: Path) -> Path:
    """The file of the published head."""
    return log / "checkpoint"


def saved_checkpoint_file(log: Path, size: int) -> Path:
    """The file of a head that is kept."""
    return log / "checkpoints" / str(size)


def payload_file(log: Path, digest: str) -> Path:
    """The file of a payload, named by the hash of its stored bytes."""
    return log / "cas" / digest[:2] / digest


def widths(size: int) -> list[int]:
    """The widths of the tiles that hold `size` items: 256, 256, …, the rest."""
    full, rest = divmod(size, TILE_WIDTH)
    return [TILE_WIDTH] * full + ([rest] if rest else [])


def pack_entries(leaves: Iterable[bytes]) -> bytes:
    """Leaves as the bytes of a bundle."""
    return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)


def unpack_entries(data: bytes) -> list[bytes]:
    """Refused: a length that runs past the end."""
    leaves: list[bytes] = []
    at, end = 0, len(data)
    while at < end:
        start = at + 2
        at = start + int.from_bytes(data[at:start], "big")
        if start > end or at > end:
            raise EvidenceMalformed(f"entry {len(leaves)} of the bundle runs past its end")
        leaves.append(data[start:at])
    return leaves


def unpack_hashes(data: bytes) -> list[bytes]:
    """The hashes of a hash tile."""
    if len(data) % HASH_BYTES:
        raise EvidenceMalformed(f"a hash tile is a multiple of 32 bytes, got {len(data)}")
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]


def find_tile(log: Path, kind: str, n: int, width: int) -> Path | None:
    """The tile of that width, or else the narrowest wider one, or else the widest there is."""
    exact = _tile(log, kind, n, width)
    if exact.is_file():
        return exact
    full = _tile(log, kind, n, TILE_WIDTH)
    partials = full.with_name(full.name + ".p")
    wider = []
    if partials.is_dir():
        wider = sorted(int(p.name) for p in partials.iterdir() if p.name.isdigit())
    for other in wider:
        if other > width:
            return partials / str(other)
    if full.is_file():
        return full
    return partials / str(wider[-1]) if wider else None


def read_tile(log: Path, kind: str, n: int, width: int) -> tuple[Path, bytes]:
    """The tile as `find_tile` finds it, and its bytes; FileNotFoundError when there is none.

    A partial tile may go while it is looked at: the full one has come in its place by then.
    """
    for _ in range(3):
        file = find_tile(log, kind, n, width)
        if file is not None:
            try:
                return file, file.read_bytes()
            except FileNotFoundError:
                continue
    raise FileNotFoundError(2, "there is no such tile", str(_tile(log, kind, n, width)))


def stated_width(file: Path) -> int:
    """How many items a tile's name says are in it."""
    return int(file.name) if file.parent.suffix == ".p" else TILE_WIDTH


def write_atomically(path: Path, data: bytes, *, durable: bool = False) -> None:
    """A reader sees the old file or the new one, never a part. `durable` waits for the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.new")
    with scratch.open("wb") as out:
        out.write(data)
        if durable:
            out.flush()
            os.fsync(out.fileno())
    scratch.replace(path)
    if durable:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make new names in a directory durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_tile(path: Path, data: bytes) -> None:
    """Write one tile; a full one makes its partial versions needless."""
    write_atomically(path, data)
    if path.parent.suffix != ".p":
        shutil.rmtree(path.with_name(path.name + ".p"), ignore_errors=True)


def _tile(log: Path, kind: str, n: int, width: int) -> Path:
    name = tile_index(n) if width == TILE_WIDTH else f"{tile_index(n)}.p/{width}"
    return log / "tile" / kind / name
