"""How unlike everything before is this event? Half-space trees: an opinion that needs no label.

River's half-space trees (Tan, Ting, Liu: Fast Anomaly Detection for Streaming Data, IJCAI 2011)
over a few features brought to 0..1 by fixed, written ranges. It knows nothing of fraud: rare and
honest looks the same to it. It ranks beside the regression and is never mixed into its score.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from math import log1p
from typing import Final

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


class HalfSpaceTrees:
    """10 trees of height 8, a window of 1,000 events: about 170 kB, whatever was seen."""

    id = "half_space_trees"

    def __init__(self) -> None:
        self.seen = 0
        self._trees = anomaly.HalfSpaceTrees(
            n_trees=10,
            height=8,
            window_size=1_000,
            limits=dict.fromkeys(RANGES, (0.0, 1.0)),
            seed=1,
        )

    def _scaled(self, features: Mapping[str, Value]) -> dict[str, float]:
        scaled = {}
        for name, top in RANGES.items():
            value = features.get(name)
            known = 0.0 if value is None else max(0.0, min(float(value), top))
            scaled[name] = log1p(known) / log1p(top)
        return scaled

    def score_one(self, features: Mapping[str, Value]) -> float:
        """How unlike: 0 to 1; 0 until the first window is full. Changes nothing."""
        return float(self._trees.score_one(self._scaled(features)))  # type: ignore[no-untyped-call]  # River's

    def learn_one(self, features: Mapping[str, Value]) -> None:
        """One more event that was seen."""
        self.seen += 1
        self._trees.learn_one(self._scaled(features))  # type: ignore[no-untyped-call]  # River's

    def dump(self) -> bytes:
        """The trees as bytes. A pickle: it is loaded only where its SHA-256 is the known one."""
        return MAGIC + bytes((VERSION,)) + pickle.dumps((self.seen, self._trees), protocol=5)

    @classmethod
    def load(cls, stored: bytes) -> HalfSpaceTrees:
        """Trees that `dump` wrote; the caller has compared their SHA-256."""
        if stored[:3] != MAGIC or stored[3] > VERSION:
            raise ModelError(f"stored half-space trees begin with {MAGIC!r}, got {stored[:4]!r}")
        trees = cls()
        trees.seen, trees._trees = pickle.loads(stored[4:])  # noqa: S301  named by its hash
        return trees
