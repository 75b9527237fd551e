"""When are changes of the outbox committed? At once where somebody waits, with all the others."""

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest

from notifiers import outbox as box
from notifiers import rows
from notifiers.errors import Fenced
from notifiers.outbox import Outbox


async def _asked(outbox: Outbox, *, patient: bool) -> float:
    began = time.monotonic()
    await outbox.change(lambda connection: rows.move(connection, "1-0"), patient=patient)
    return time.monotonic() - began


def test_a_patient_change_waits_for_company_but_not_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(box, "PATIENT_FOR", 0.3)

    async def story() -> None:
        outbox = Outbox(tmp_path / "outbox.db")
        assert await _asked(outbox, patient=True) >= 0.3
        alone = asyncio.create_task(_asked(outbox, patient=True))
        await asyncio.sleep(0.02)
        assert await _asked(outbox, patient=False) < 0.3  # and takes the other along
        assert await alone < 0.3
        outbox.close()

    asyncio.run(story())


def test_changes_that_come_together_are_one_transaction_and_one_of_them_may_fail(
    tmp_path: Path,
) -> None:
    said: list[str] = []

    def moved(connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(said.append)
        rows.move(connection, "1-0")

    async def story() -> None:
        outbox = Outbox(tmp_path / "outbox.db")
        await outbox.change(box.take_over(5, "me", 0.0))
        became = await asyncio.gather(
            outbox.change(moved, 5, patient=True),
            outbox.change(moved, 4, patient=True),
            outbox.change(moved, 5),
            return_exceptions=True,
        )
        assert [type(one) for one in became] == [type(None), Fenced, type(None)]
        outbox.close()

    asyncio.run(story())
    assert said.count("COMMIT") == 1
    assert sum(one.startswith("UPDATE meta") for one in said) == 2


def test_what_is_queued_when_the_outbox_closes_is_kept(tmp_path: Path) -> None:
    async def story() -> None:
        outbox = Outbox(tmp_path / "outbox.db")
        last = asyncio.create_task(_asked(outbox, patient=True))
        await asyncio.sleep(0)
        outbox.close()
        await last
        again = Outbox(tmp_path / "outbox.db")
        assert await again.look(rows.position) == "1-0"
        again.close()

    asyncio.run(story())
