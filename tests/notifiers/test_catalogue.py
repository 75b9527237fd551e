"""Every adapter of the package is in the catalogue, and each fits the protocol."""

import importlib
import inspect
import pkgutil
from pathlib import Path

from notifiers import catalogue
from notifiers.catalogue import CHANNELS, KINDS

HERE = Path(catalogue.__file__).parent


def test_every_channel_is_in_the_catalogue() -> None:
    found = set()
    for module in pkgutil.iter_modules([str(HERE)], "notifiers."):
        for _, made in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if made.__module__ == module.name and made.__name__.endswith("Channel"):
                found.add(made)
    assert {made.__name__ for made in found} == {made.__name__ for made in CHANNELS} | {"Channel"}


def test_each_channel_has_its_own_kind_and_fits_the_protocol() -> None:
    assert len(set(KINDS)) == len(CHANNELS)
    for channel in CHANNELS:
        assert isinstance(inspect.getattr_static(channel, "ready"), property)
        assert callable(channel.write)
        assert inspect.iscoroutinefunction(channel.run)
