"""One house for each journey; and one that the small journeys share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.journeys.house import SELF_CONSISTENT, House

StartHouse = Callable[..., House]


@pytest.fixture
def start_house(tmp_path: Path) -> Iterator[StartHouse]:
    """Call it to start everything over this test's own directory."""
    started: list[House] = []

    def start(*more: str, **settings: int) -> House:
        house = House(tmp_path / "house", **settings)
        started.append(house)
        house.start(*more)
        return house

    yield start
    for house in started:
        house.end()


@pytest.fixture
def house(start_house: StartHouse) -> House:
    """Everything, started over this test's own directory."""
    return start_house()


@pytest.fixture(scope="session")
def shared_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One house for journeys that leave it standing; its ledger is verified at the end."""
    house = House(tmp_path_factory.mktemp("shared") / "house")
    house.start()
    try:
        yield house
    finally:
        house.end()
    assert house.verify() == SELF_CONSISTENT
