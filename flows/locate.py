"""Where is an IP address? As a database in MaxMind's format says; nobody is asked over the network.

Any file of that format will do that gives a country (``country.iso_code``) and, if it is one of
cities, coordinates (``location.latitude``, ``location.longitude``): the bank brings its own, for
their licences don't let us ship one. It says roughly where an address is, never where a person is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import maxminddb

from flows.errors import BadSettings

_COUNTRY = re.compile(r"[A-Z]{2}")


class Locator:
    """``locate(ip)`` gives ``{country, lat?, lon?}``, or None where the database doesn't know."""

    def __init__(self, path: Path) -> None:
        """Read the whole file; it may be replaced while we run, and is read anew at a start."""
        try:
            self._reader = maxminddb.open_database(path, maxminddb.MODE_MEMORY)
        except (OSError, maxminddb.InvalidDatabaseError) as wrong:
            raise BadSettings(
                f"settings: geoip: needed a database in MaxMind's format (.mmdb), "
                f"got {path}: {wrong}"
            ) from wrong

    def __call__(self, ip: str, /) -> Mapping[str, Any] | None:
        """Look up one address; a damaged row is no answer, and stops nothing."""
        try:
            found = self._reader.get(ip)
        except (ValueError, maxminddb.InvalidDatabaseError):
            return None
        if not isinstance(found, dict):
            return None
        country = _part(found, "country").get("iso_code")
        if not isinstance(country, str) or not _COUNTRY.fullmatch(country):
            return None
        place: dict[str, Any] = {"country": country}
        at = _part(found, "location")
        lat, lon = _degrees(at.get("latitude"), 90.0), _degrees(at.get("longitude"), 180.0)
        if lat is not None and lon is not None:
            place |= {"lat": lat, "lon": lon}
        return place


def _part(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = row.get(name)
    return part if isinstance(part, dict) else {}


def _degrees(value: Any, most: float) -> float | None:
    return float(value) if isinstance(value, int | float) and -most <= value <= most else None
