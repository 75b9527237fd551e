"""A state of Python that the engine's own thread keeps from call to call."""

import threading
from typing import Any

import bytewax.operators as op
import pytest
from bytewax._bytewax import cluster_main
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.testing import TestingSink

from flows.worker_thread import hold_state


class Part(StatelessSourcePartition[Any]):
    """Leaves a mark with its thread at each of three calls, and says how many it found."""

    def __init__(self, hold: bool) -> None:
        self.calls = 0
        self.local = threading.local()
        if hold:
            hold_state()

    def next_batch(self) -> list[tuple[int, bool]]:
        self.calls += 1
        if self.calls > 3:
            raise StopIteration
        found = getattr(self.local, "found", 0)
        self.local.found = found + 1
        return [(found, threading.current_thread() is threading.main_thread())]


class Source(DynamicSource[Any]):
    def __init__(self, hold: bool) -> None:
        self.hold = hold

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Part:
        return Part(self.hold)


@pytest.mark.parametrize(("hold", "found"), [(True, [0, 1, 2]), (False, [0, 0, 0])])
def test_the_engines_thread_has_one_state_once_it_holds_it(hold: bool, found: list[int]) -> None:
    out: list[tuple[int, bool]] = []
    flow = Dataflow("held")
    op.output("out", op.input("in", flow, Source(hold)), TestingSink(out))
    cluster_main(flow, None, 0)  # type: ignore[no-untyped-call]  # Bytewax ships its stubs without types
    assert [one for one, _ in out] == found
    assert not any(main for _, main in out)
