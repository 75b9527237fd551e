"""Into which bin does a value fall, when nobody knows the distribution beforehand?

Each feature's values are counted on a logarithmic grid; at a few fixed numbers of lessons the bin
edges are set from those counts, finer in the upper tail, where frauds live. After the last of them
the edges stay. Every step is a pure function of the lessons in their order.
"""

from __future__ import annotations

from bisect import bisect_left
from math import exp, floor, isnan, log
from typing import Any, Final

from features.moment import Value

#: Lessons after which the edges are set anew.
REFITS: Final = (200, 1_000, 5_000, 20_000, 80_000)

QUANTILES: Final = (
    *(q / 20 for q in range(1, 20)),
    *(0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995),
)

_STEP: Final = log(1.05)  # a grid cell spans 5 %
_TINY: Final = 1e-6
_LARGE: Final = 1e300


def _cell(value: float) -> int:
    """The grid cell of a value: 0 is zero, the sign of a cell is the sign of its values."""
    size = abs(value)
    if size < _TINY:
        return 0
    cell = 1 + floor(log(min(size, _LARGE) / _TINY) / _STEP)
    return cell if value > 0 else -cell


def _upper(cell: int) -> float:
    """The greatest value of a cell."""
    if cell == 0:
        return 0.0
    if cell > 0:
        return _TINY * exp(cell * _STEP)
    return -_TINY * exp((-cell - 1) * _STEP)


class Bins:
    """The bin edges of one feature. Bin 0 is no value at all, bin k holds (edge k-1, edge k]."""

    __slots__ = ("cells", "edges")

    def __init__(self) -> None:
        self.edges: list[float] = []
        self.cells: dict[int, int] = {}

    def __call__(self, value: Value) -> int:
        """The bin of a value."""
        if value is None or value != value:  # noqa: PLR0124  NaN is no value either
            return 0
        return 1 + bisect_left(self.edges, value)

    def count(self, value: Value) -> None:
        """Take a value into account at the next fit."""
        if value is None or isnan(value):
            return
        cell = _cell(value)
        self.cells[cell] = self.cells.get(cell, 0) + 1

    def fit(self, quantiles: tuple[float, ...] = QUANTILES) -> list[float]:
        """Set the edges from what was counted; gives back the former ones."""
        former = self.edges
        total = sum(self.cells.values())
        edges: list[float] = []
        wanted = iter(quantiles)
        want = next(wanted, None)
        seen = 0
        ordered = sorted(self.cells)
        for cell in ordered[:-1]:
            seen += self.cells[cell]
            if want is not None and seen >= want * total:
                edges.append(_upper(cell))
                while want is not None and seen >= want * total:
                    want = next(wanted, None)
        self.edges = edges
        return former

    def state(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        return {"edges": self.edges, "cells": sorted(self.cells.items())}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Bins:
        """The bins of that state."""
        bins = cls()
        bins.edges = [float(edge) for edge in state["edges"]]
        bins.cells = {int(cell): int(count) for cell, count in state["cells"]}
        return bins
