"""How often does a process look for cycles among its objects? Seldom, once it has begun its work.

Python looks each time 700 more objects were made than given up, and now and then through all there
are. Here that found next to nothing, at a tenth of what an event costs: what is loaded stays, and
what an event makes goes by itself.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_SELDOM = (50_000, 20, 50)


def look_seldom() -> None:
    """From here on look seldom, and never again at what is there by now."""
    gc.freeze()
    gc.set_threshold(*_SELDOM)


@contextmanager
def looking_seldom() -> Iterator[None]:
    """Look seldom for as long as this lasts."""
    before = gc.get_threshold()
    look_seldom()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
