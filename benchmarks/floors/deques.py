"""The floor for windows: one deque and two running totals a window, written by hand.

Exact, but only in order of time, without nulls, never stored, and unbounded.
"""

from __future__ import annotations

from collections import deque

Windows = list[tuple[int, deque[tuple[int, int]], list[int]]]


class Deques:
    """Count, sum and mean of each window of each entity."""

    def __init__(self, spans: tuple[int, ...]) -> None:
        self.spans = spans
        self.held: dict[str, Windows] = {}

    def step(self, entities: tuple[str, ...], time: int, amount: int) -> list[float]:
        """Take in one payment; the values of all windows of its entities."""
        out: list[float] = []
        for entity in entities:
            windows = self.held.get(entity)
            if windows is None:
                windows = self.held[entity] = [(span, deque(), [0]) for span in self.spans]
            for span, entries, total in windows:
                entries.append((time, amount))
                summed = total[0] + amount
                edge = time - span
                while entries[0][0] <= edge:
                    summed -= entries.popleft()[1]
                total[0] = summed
                count = len(entries)
                out += (count, summed, summed / count)
        return out
