"""What do all asks have: over a window, or without one?"""

from __future__ import annotations

from typing import ClassVar

from features.moment import span


class Over:
    """An ask over a window."""

    aggregate: ClassVar[str]
    unit: ClassVar[str]
    words: ClassVar[str]
    grade: ClassVar[int] = 2
    claimed: ClassVar[bool] = False  # made of what a client says of itself
    beyond: ClassVar[int] = 0  # how far before the window's beginning it looks

    def __init__(self, window: str) -> None:
        self.name = f"{self.aggregate}.{window}"
        self.meaning = self.words.format(window)
        self.reach = span(window) + self.beyond


class Ever:
    """An ask without a window."""

    name: ClassVar[str]
    unit: ClassVar[str]
    meaning: ClassVar[str]
    grade: ClassVar[int] = 2
    claimed: ClassVar[bool] = False
    reach: ClassVar[int] = 0
