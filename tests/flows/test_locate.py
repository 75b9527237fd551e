"""Where an address is, as a database of the bank's says."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from flows.errors import BadSettings
from flows.locate import Locator
from flows.parts import locator_of, open_house
from gateway.edge import Edge
from risk import events

_ROWS: dict[str, dict[str, Any]] = {
    "203.0.113.0/24": {
        "country": {"iso_code": "BR"},
        "location": {"latitude": -23.55, "longitude": -46.63},
    },
    "198.51.100.0/24": {"country": {"iso_code": "DE"}},
    "192.0.2.0/25": {"location": {"latitude": 1.0, "longitude": 2.0}},
    "192.0.2.128/25": {"country": {"iso_code": "??"}},
    "2001:db8::/32": {
        "country": {"iso_code": "NZ"},
        "location": {"latitude": 1234.0, "longitude": 174.78},
    },
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, float_type="f64")
    for net, row in _ROWS.items():
        writer.insert_network(IPSet([net]), row)
    path = tmp_path_factory.mktemp("geoip") / "cities.mmdb"
    writer.to_db_file(str(path))
    return path


def test_an_address_is_where_the_database_says(database: Path) -> None:
    locate = Locator(database)
    assert locate("203.0.113.9") == {"country": "BR", "lat": -23.55, "lon": -46.63}
    assert locate("198.51.100.1") == {"country": "DE"}
    assert locate("2001:db8::1") == {"country": "NZ"}, "coordinates off the earth are none"


def test_nobody_knows_where_an_unknown_address_is(database: Path) -> None:
    locate = Locator(database)
    for address in ("10.0.0.1", "192.0.2.1", "192.0.2.200", "2001:db9::1", "no address"):
        assert locate(address) is None


@pytest.mark.parametrize("what", ["missing", "garbage"])
def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path, what: str) -> None:
    path = tmp_path / "geo.mmdb"
    if what == "garbage":
        path.write_bytes(b"not a database" * 100)
    with pytest.raises(BadSettings, match=r"geoip: needed a database .* got .*geo\.mmdb"):
        Locator(path)


def _geo_of(database: Path, tmp_path: Path) -> Callable[..., Any]:
    """What a sign-in's ``geo`` becomes at the edge."""
    house = open_house(tmp_path / "house", {"geoip": str(database)})
    edge = Edge(
        token_root=bytes(32),
        edge_key=bytes(32),
        transport_key=bytes(32),
        tenant="main",
        partitions=4,
        locate=locator_of(house),
    )
    now = datetime.now(UTC)

    def geo(**more: Any) -> Any:
        raw = {"id": "e", "type": "login", "time": now.isoformat(), "customer": "anna"}
        event, _ = events.parse(raw | {"result": "success", "ip": "203.0.113.9"} | more, now)
        assert isinstance(event, events.Login)
        prepared = edge.prepare(event, accepted_us=0, role="ingest", reply=None, trace="")
        return json.loads(prepared.envelope)["event"].get("geo")

    return geo


def test_the_edge_looks_up_what_the_client_did_not_say(database: Path, tmp_path: Path) -> None:
    geo = _geo_of(database, tmp_path)
    assert geo() == {"country": "BR", "lat": -23.55, "lon": -46.63}
    assert geo(ip="10.0.0.1") is None
    at_home = {"country": "BR", "lat": -22.91, "lon": -43.17}
    assert geo(geo=at_home) == at_home, "within the country the client knows better"
    assert geo(ip="10.0.0.1", geo={"country": "CN"}) == {"country": "CN"}


def test_a_client_that_claims_another_country_than_its_address_is_not_believed(
    database: Path, tmp_path: Path
) -> None:
    geo = _geo_of(database, tmp_path)
    assert geo(geo={"country": "CN", "lat": 31.2, "lon": 121.5}) == {
        "country": "BR",
        "lat": -23.55,
        "lon": -46.63,
        "claimed": "CN",
    }


def test_without_a_database_nothing_is_looked_up(tmp_path: Path) -> None:
    assert locator_of(open_house(tmp_path / "house")) is None
