"""What do declared features count by agreement? As was agreed on, whatever a file says since.

::

    features.yaml --nothing that acts counts otherwise--> counts at the next start
          |
          +--a live rule looks at what counts otherwise--> held back: what was agreed on goes on
                                                           --proposed, approved by another--> counts

What counts is kept as the files' own texts in ``<data>/judgement/features.json``; of each feature
that a live rule looks at, its words stand in the set that counts (``features``), too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from flows import judgement

Texts = Sequence[tuple[str, str]]  # each file's text, and how it is named


def keep(data: Path, texts: Texts) -> None:
    """Write down what counts from the next start on."""
    path = _path(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(orjson.dumps({"v": 1, "files": [list(one) for one in texts]}))
    fresh.replace(path)


def kept(data: Path) -> Texts | None:
    """What was kept last; None in a directory of before."""
    path = _path(data)
    if not path.exists():
        return None
    rows = orjson.loads(path.read_bytes())["files"]
    return [(str(text), str(name)) for text, name in rows]


def words_that_act(data: Path) -> dict[str, str]:
    """Of each declared feature that a live rule looks at what it counts, as agreed on."""
    sha256 = judgement.pointed(data)
    path = judgement.folder(data) / "sets" / f"{sha256}.json"
    if sha256 is None or not path.exists():
        return {}
    return acting_words(orjson.loads(path.read_bytes()))


def acting_words(document: Mapping[str, Any]) -> dict[str, str]:
    """The same of a set's document."""
    words = document.get("features") or {}
    if not words:
        return {}
    files = document["rules"]
    acting = ""
    for file in [files] if isinstance(files, dict) else files:
        for row in (file["rules"] or ()) if "rules" in file else [file]:
            if row.get("state", "live") == "live":
                acting += orjson.dumps(row).decode()
    return {name: told for name, told in words.items() if name in acting}


def otherwise(agreed: Mapping[str, str], wordings: Mapping[str, str]) -> list[str]:
    """The features that count otherwise by ``wordings``, or are gone there."""
    return sorted(name for name, told in agreed.items() if wordings.get(name) != told)


def _path(data: Path) -> Path:
    return judgement.folder(data) / "features.json"
