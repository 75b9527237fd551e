"""A house for each journey that changes it, and a few that the others share."""

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


def _for_many(data: Path, **settings: int) -> Iterator[House]:
    """A house for several journeys; its ledger is verified at their end."""
    house = House(data / "house", **settings)
    house.start()
    try:
        yield house
    finally:
        house.end()
    assert house.verify() == SELF_CONSISTENT


@pytest.fixture(scope="package")
def shared_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """For journeys that leave it standing, each with customers of its own."""
    yield from _for_many(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="package")
def hasty_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The same, and whoever is asked has ten seconds."""
    yield from _for_many(tmp_path_factory.mktemp("hasty"), answer_within=10)


@pytest.fixture(scope="package")
def battered_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """For journeys in which a part is killed or stopped, and comes back before they end."""
    yield from _for_many(tmp_path_factory.mktemp("battered"))
