"""What one turn of the loop asks of the outbox is one transaction, and each change still its own.

A change that fails leaves nothing behind and takes no other with it; one that nobody waits for
needs no other to become durable.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import pytest

from notifiers import rows
from notifiers.outbox import Outbox
from tests.patience import PATIENCE


def moves(entry: str, *, fails: bool = False) -> Callable[[Connection], None]:
    def change(connection: Connection) -> None:
        rows.move(connection, entry)
        if fails:
            raise KeyError(entry)

    return change


def run(path: Path, story: Callable[[Outbox], Any]) -> None:
    outbox = Outbox(path / "outbox.db")
    try:
        asyncio.run(asyncio.wait_for(story(outbox), PATIENCE))
    finally:
        outbox.close()


def test_a_change_that_fails_alone_leaves_nothing_behind(tmp_path: Path) -> None:
    async def story(outbox: Outbox) -> None:
        await outbox.change(moves("1-0"))
        with pytest.raises(KeyError, match="2-0"):
            await outbox.change(moves("2-0", fails=True))
        assert await outbox.look(rows.position) == "1-0"
        await outbox.change(moves("3-0"))
        assert await outbox.browse(rows.position) == "3-0"

    run(tmp_path, story)


def test_a_change_that_fails_among_others_takes_none_of_them_with_it(tmp_path: Path) -> None:
    async def story(outbox: Outbox) -> None:
        made = await asyncio.gather(
            outbox.change(moves("1-0")),
            outbox.change(moves("2-0", fails=True)),
            outbox.look(rows.position),
            return_exceptions=True,
        )
        assert made[0] is None
        assert isinstance(made[1], KeyError)
        assert made[2] == "1-0"
        assert await outbox.browse(rows.position) == "1-0"

    run(tmp_path, story)


def test_a_change_that_nobody_waits_for_is_made_without_another(tmp_path: Path) -> None:
    async def story(outbox: Outbox) -> None:
        await outbox.change(moves("1-0"), lazily=True)
        assert await outbox.browse(rows.position) == "1-0"

    run(tmp_path, story)


def test_an_outbox_outlives_the_loop_that_asked_it(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db")

    async def leave() -> None:
        asking = asyncio.create_task(outbox.change(moves("1-0")))
        await asyncio.sleep(0)  # it is asked for, and the loop ends with it
        asking.cancel()

    asyncio.run(leave())
    seen = asyncio.run(asyncio.wait_for(outbox.look(rows.position), PATIENCE))
    outbox.close()
    assert seen == "1-0"
