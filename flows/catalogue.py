"""Which features does this house describe by? Built in, shipped, and the data directory's own.

What is counted, and since when, stands in Redis (`rb:catalogue`): a track that is new begins to
count now; one that nobody declares any more is struck out, and if it comes back it begins anew.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.settings import HERE
from features.catalogue import Catalogue, catalogue
from features.filters import BadDeclaration
from flows.errors import BadSettings
from risk import names

if TYPE_CHECKING:
    import redis

FILE = "features.yaml"


def read_catalogue(data: Path | None = None) -> Catalogue:
    """Read the shipped ``features.yaml``, and the data directory's own, which extends it."""
    own = None if data is None else data / FILE
    return read_file(own if own is not None and own.exists() else None)


def read_file(own: Path | None) -> Catalogue:
    """Read the shipped ``features.yaml`` and, if any, a file that extends it."""
    shipped = HERE / FILE
    try:
        files = [(shipped.read_text(encoding="utf-8"), f"config/{FILE}")]
        if own is not None:
            files.append((own.read_text(encoding="utf-8"), str(own)))
        return catalogue(*files)
    except BadDeclaration as wrong:
        raise BadSettings(str(wrong)) from wrong
    except UnicodeDecodeError as wrong:
        raise BadSettings(f"{own}: needed a text in UTF-8: {wrong}") from wrong
    except OSError as wrong:
        raise BadSettings(f"{own}: needed a file that can be read: {wrong.strerror}") from wrong


def settle_catalogue(
    client: "redis.Redis", counted: Catalogue, now_us: Callable[[], int]
) -> Mapping[str, int]:
    """Write down since when each track counts; gives the stamps. Processes started together agree.

    A track that is counted no more is forgotten here, and by each profile as it is next loaded.
    """
    for name in counted.tracks:
        client.hsetnx(names.CATALOGUE, name, now_us())
    stamps = counting_since(client)
    gone = stamps.keys() - counted.tracks
    if gone:
        client.hdel(names.CATALOGUE, *gone)
    return {name: stamps[name] for name in counted.tracks}


def counting_since(client: "redis.Redis") -> Mapping[str, int]:
    """Of each track the time, in microseconds since 1970, at which it began to count."""
    found: Any = client.hgetall(names.CATALOGUE)
    return {name.decode(): int(since) for name, since in found.items()}
