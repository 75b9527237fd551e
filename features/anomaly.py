"""How unlike everything before is this event? Half-space trees: an opinion that needs no label.

River's half-space trees (Tan, Ting, Liu: Fast Anomaly Detection for Streaming Data, IJCAI 2011)
over a few features brought to 0..1 by fixed, written ranges. It knows nothing of fraud: rare and
honest looks the same to it. It ranks beside the regression and is never mixed into its score.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from math import log1p
from typing import Any, Final

from river import anomaly

from features.model import ModelError
from features.moment import Value

MAGIC: Final = b"RBH"
VERSION: Final = 1

#: Feature -> the value that counts as 1; between, log(1 + value) is stretched over 0..1.
RANGES: Final[Mapping[str, float]] = {
    "event.amount": 10_000_000.0,
    "event.hour": 23.0,
    "customer.count.1h": 30.0,
    "customer.count.24h": 100.0,
    "customer.ratio.amount.30d": 50.0,
    "customer.since_last": 2_592_000.0,
    "customer.new_payee": 1.0,
    "payee.count.1h": 200.0,
    "payee.since_last": 2_592_000.0,
    "payee.since_first": 2_592_000.0,
}


_TOPS: Final = tuple((name, top, log1p(top)) for name, top in RANGES.items())
_HEIGHT: Final = 8
_WINDOW: Final = 1_000
_LEVELS: Final = range(_HEIGHT)

#: A branch as (place of its feature, threshold, below, above); a leaf is its number.
Node = Any


class HalfSpaceTrees:
    """10 trees of height 8, a window of 1,000 events: about 170 kB, whatever was seen.

    The trees are River's: it grows them, and turns each full window into what is usual. In between
    they are walked here, once an event for both score and lesson. What a leaf says is fixed for a
    window, and the mass of a branch is that of its leaves: one look and one step a tree.
    """

    id = "half_space_trees"

    def __init__(self) -> None:
        self.seen = 0
        self._trees = anomaly.HalfSpaceTrees(
            n_trees=10,
            height=_HEIGHT,
            window_size=_WINDOW,
            limits=dict.fromkeys(RANGES, (0.0, 1.0)),
            seed=1,
        )
        self._most = float(10 * _WINDOW * (2 ** (_HEIGHT + 1) - 1))
        self._read()

    def _read(self) -> None:
        """Take over the trees as River has grown them: they keep their branches for good."""
        self._leaves: list[Node] = []
        self._branches: list[Node] = []  # each after those below it
        places = {name: at for at, name in enumerate(RANGES)}
        self._roots = [self._branch(tree, places) for tree in self._trees.trees]
        self._turn()

    def _branch(self, node: Node, places: Mapping[str, int]) -> Node:
        if not hasattr(node, "children"):
            self._leaves.append(node)
            return len(self._leaves) - 1
        below, above = (self._branch(child, places) for child in node.children)
        self._branches.append(node)
        return places[node.feature], node.threshold, below, above

    def _turn(self) -> None:
        """Take over the masses, and what each leaf says by the last full window, if any."""
        trees = self._trees
        self._mass: list[int] = [leaf.l_mass for leaf in self._leaves]
        self._room: int = trees.window_size - trees.counter if trees.trees else 1
        self._said: list[float] = []
        for tree in trees.trees if trees.trees and trees.trees[0].r_mass else ():
            self._say(tree, 0.0, 0, trees.size_limit)

    def _say(self, node: Node, score: float, depth: int, least: float) -> None:
        """Mass times 2 ** depth from the root to each leaf, or to where there is too little."""
        score += node.r_mass * 2**depth
        if depth == _HEIGHT:
            self._said.append(score)
        elif node.r_mass < least:
            self._said += [score] * 2 ** (_HEIGHT - depth)
        else:
            for child in node.children:
                self._say(child, score, depth + 1, least)

    def _write(self) -> None:
        """Give the masses back to River's trees."""
        for leaf, mass in zip(self._leaves, self._mass, strict=True):
            leaf.l_mass = mass
        for branch in self._branches:
            below, above = branch.children
            branch.l_mass = below.l_mass + above.l_mass
        if self._roots:
            self._trees.counter = self._trees.window_size - self._room

    def _scaled(self, features: Mapping[str, Value]) -> list[float]:
        scaled = []
        for name, top, whole in _TOPS:
            value = features.get(name)
            known = 0.0 if value is None else max(0.0, min(float(value), top))
            scaled.append(log1p(known) / whole)
        return scaled

    def _met(self, scaled: list[float]) -> list[int]:
        """The leaf in each tree."""
        met: list[int] = []
        for node in self._roots:
            for _ in _LEVELS:
                place, threshold, below, above = node
                node = below if scaled[place] < threshold else above  # noqa: PLW2901  downwards
            met.append(node)
        return met

    def _unlike(self, met: list[int]) -> float:
        said = self._said
        if not said:
            return 0.0
        score = 0.0
        for leaf in met:
            score += said[leaf]
        return 1 - score / self._most

    def score_one(self, features: Mapping[str, Value]) -> float:
        """How unlike: 0 to 1; 0 until the first window is full. Changes nothing."""
        return self._unlike(self._met(self._scaled(features)))

    def learn_one(self, features: Mapping[str, Value]) -> None:
        """One more event that was seen."""
        self.meet_one(features)

    def meet_one(self, features: Mapping[str, Value]) -> float:
        """What ``score_one`` says, then ``learn_one``."""
        scaled = self._scaled(features)
        met = self._met(scaled)
        said = self._unlike(met)
        self.seen += 1
        self._room -= 1
        if self._room:
            mass = self._mass
            for leaf in met:
                mass[leaf] += 1
            return said
        # The first event of all, or the last of a window: River grows the trees, or turns them.
        self._room = 1
        self._write()
        self._trees.learn_one(dict(zip(RANGES, scaled, strict=True)))  # type: ignore[no-untyped-call]  # River's
        if self._roots:
            self._turn()
        else:
            self._read()
        return said

    def dump(self) -> bytes:
        """The trees as bytes. A pickle: it is loaded only where its SHA-256 is the known one."""
        self._write()
        return MAGIC + bytes((VERSION,)) + pickle.dumps((self.seen, self._trees), protocol=5)

    @classmethod
    def load(cls, stored: bytes) -> HalfSpaceTrees:
        """Trees that `dump` wrote; the caller has compared their SHA-256."""
        if stored[:3] != MAGIC or stored[3] > VERSION:
            raise ModelError(f"stored half-space trees begin with {MAGIC!r}, got {stored[:4]!r}")
        trees = cls()
        trees.seen, trees._trees = pickle.loads(stored[4:])  # noqa: S301  named by its hash
        trees._read()
        return trees
