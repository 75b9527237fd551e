"""A payment as the features know it, without an event behind it: what loops are fed with."""

from dataclasses import dataclass


@dataclass(slots=True)
class Payment:
    """A payment as the features know it."""

    id: str
    time_us: int
    amount_base: int
    customer: str
    payee: str
    device: str | None = None
    type: str = "transaction"
    ip: str | None = None
    country: str | None = None
    lat: float | None = None
    lon: float | None = None
    result: str | None = None
    change: str | None = None
    card: str | None = None
    terminal: str | None = None
    kind: str | None = None
    channel: str | None = None
    session: str | None = None
    payee_country: str | None = None
    mcc: str | None = None
