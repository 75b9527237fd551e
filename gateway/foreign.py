"""How is a payee's name shown? As text that can do nothing: it is foreign, and may be hostile."""

import unicodedata

LONGEST = 40


def shown(text: str) -> str:
    """One line of at most 40 characters: NFKC, no controls, no bidi, nothing invisible."""
    flat = unicodedata.normalize("NFKC", text[: LONGEST * 8])
    kept = []
    for char in flat:
        kind = unicodedata.category(char)
        if kind[0] == "Z" or char in "\t\r\n":
            kept.append(" ")
        elif kind[0] != "C" and kind != "Me":
            kept.append(char)
    line = " ".join("".join(kept).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1].rstrip() + "…"


def masked(account: str) -> str:
    """The last four letters or digits of an account."""
    kept = [char for char in account if char.isascii() and char.isalnum()]
    return "…" + "".join(kept[-4:])
