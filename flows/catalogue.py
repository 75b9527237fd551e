"""Which features does this house describe by? Built in, shipped, and the data directory's own.

What a live rule looks at counts as was agreed on (`flows/agreed.py`): a file that says otherwise is
held back whole. What is counted, and since when, stands in Redis (`rb:catalogue`): a track that is
new begins to count now; one that nobody declares any more is struck out, and if it comes back it
begins anew.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.settings import HERE
from features.catalogue import Catalogue, catalogue
from features.filters import BadDeclaration
from flows import agreed
from flows.errors import BadSettings
from risk import names

if TYPE_CHECKING:
    import redis

FILE = "features.yaml"


def read_catalogue(data: Path | None = None) -> Catalogue:
    """What counts: by the shipped ``features.yaml`` and the data directory's own, which extends it.

    Where they let count otherwise what a live rule looks at, by what was agreed on before.
    """
    texts = written(data)
    made = made_of(texts)
    return made if data is None or not held_back(data, made) else made_of(agreed.kept(data) or ())


def held_back(data: Path, made: Catalogue) -> list[str]:
    """The features that a live rule looks at, and that the files, ``made``, count otherwise.

    Empty where no text was kept: then nobody can say what was agreed on but by its words, and
    those an upgrade may put otherwise, too. That is on record and told (`Changes.adopt`).
    """
    kept = agreed.kept(data)
    if kept is None or list(kept) == list(written(data)):
        return []
    return agreed.otherwise(agreed.words_that_act(data), made.wordings)


def settle_agreed(data: Path) -> list[str]:
    """Keep what the files say where nothing that acts counts otherwise; else tell what does."""
    texts = written(data)
    held = held_back(data, made_of(texts))
    if not held:
        agreed.keep(data, texts)
    return held


def written(data: Path | None) -> agreed.Texts:
    """The texts of the files as they are now."""
    own = None if data is None else data / FILE
    return _texts(own if own is not None and own.exists() else None)


def made_of(texts: agreed.Texts) -> Catalogue:
    """The catalogue that texts declare, or `BadSettings`."""
    try:
        return catalogue(*texts)
    except BadDeclaration as wrong:
        raise BadSettings(str(wrong)) from wrong


def read_file(own: Path | None) -> Catalogue:
    """Read the shipped ``features.yaml`` and, if any, a file that extends it."""
    return made_of(_texts(own))


def _texts(own: Path | None) -> agreed.Texts:
    try:
        files = [((HERE / FILE).read_text(encoding="utf-8"), f"config/{FILE}")]
        if own is not None:
            files.append((own.read_text(encoding="utf-8"), str(own)))
        return files
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
