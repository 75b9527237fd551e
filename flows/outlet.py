"""Where do decisions go inside the process, once they have left it? To whoever watches.

The live flow watches nothing here (everything left by scripts); a replay collects its report.
"""

from collections.abc import Callable
from typing import Any

from bytewax.outputs import DynamicSink, StatelessSinkPartition


class _Watching(StatelessSinkPartition[Any]):
    def __init__(self, watch: Callable[[list[Any]], None]) -> None:
        self._watch = watch

    def write_batch(self, items: list[Any]) -> None:
        self._watch(items)


class Watch(DynamicSink[Any]):
    """Hands each batch of decided events to a function."""

    def __init__(self, watch: Callable[[list[Any]], None]) -> None:
        self._watch = watch

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Watching:
        return _Watching(self._watch)


def nobody(items: list[Any]) -> None:
    """Watch nothing."""
