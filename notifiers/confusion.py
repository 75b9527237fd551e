"""How often is an answer taken for another? A table of what was meant against what was heard.

``python -m notifiers.confusion FILE…`` prints it for files of ``meaning <TAB> text``, in which CODE
stands for the question's own six digits. What matters most is the column `confirm`: whatever stands
in it off the diagonal would have moved money.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from notifiers.understand import Meaning, understand

CODE = "384920"
MEANINGS = ("confirm", "deny", "deny_not_me", "deny_cancel", "freeze", "human", "unclear")
Table = Mapping[tuple[str, str], int]


def read(path: Path) -> list[tuple[str, str]]:
    """Read a corpus: what was meant, and the text with the code put in."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t", 1) for line in lines if line and not line.startswith("#")]
    return [(meant, text.replace("CODE", CODE)) for meant, text in pairs]


def name(meaning: Meaning) -> str:
    """Name a meaning as a corpus does: a deny with its reason."""
    if meaning.kind == "deny" and meaning.reason:
        return f"deny_{meaning.reason}"
    return meaning.kind


def count(corpus: Iterable[tuple[str, str]]) -> Table:
    """Count what was meant against what was heard."""
    return Counter((meant, name(understand(text))) for meant, text in corpus)


def precision(table: Table) -> float:
    """Of what was heard as a confirm, the share that was one; 1.0 where nothing was."""
    heard = sum(number for (_, got), number in table.items() if got == "confirm")
    return table.get(("confirm", "confirm"), 0) / heard if heard else 1.0


def drawn(table: Table) -> str:
    """Draw the table: a row for each meaning, a column for what it was heard as."""
    head = "meant \\ heard".ljust(14) + "".join(one.rjust(13) for one in MEANINGS)
    rows = [
        meant.ljust(14)
        + "".join(str(table.get((meant, got), 0) or ".").rjust(13) for got in MEANINGS)
        for meant in MEANINGS
    ]
    right = sum(number for (meant, got), number in table.items() if meant == got)
    whole = sum(table.values())
    end = f"{right} of {whole} as meant; precision of confirm {precision(table):.3f}"
    return "\n".join([head, *rows, end])


if __name__ == "__main__":
    for file in sys.argv[1:]:
        sys.stdout.write(f"{file}\n{drawn(count(read(Path(file))))}\n")
