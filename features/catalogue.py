"""Which features are there? All of them stand here; nothing is found by magic.

To add one: a line below, a test, and a note in ``docs/semantics.md`` if it is of a new kind
(``docs/adding.md``). A name is a promise: rules, models and records use it.
"""

from __future__ import annotations

from features import asks, surface
from features.describer import Describer, Feature

CUSTOMER = Describer(
    "customer",
    (
        asks.count("1m"),
        asks.count("1h"),
        asks.count("24h"),
        asks.count("7d"),
        asks.count("30d"),
        asks.total("1m"),
        asks.total("1h"),
        asks.total("24h"),
        asks.total("7d"),
        asks.total("30d"),
        asks.mean("1m"),
        asks.mean("1h"),
        asks.mean("24h"),
        asks.mean("7d"),
        asks.mean("30d"),
        asks.ZScore("14d"),
        asks.Ratio("30d"),
        asks.MedianRatio("30d"),
        asks.MaxRatio("7d"),
        asks.Outliers("3d"),
        asks.Outliers("14d"),
        asks.MeanRatio("24h", "30d"),
        asks.MeanRatio("7d", "30d"),
        asks.SinceLast(),
        asks.SinceFirst(),
        asks.NewPayee(),
        asks.FraudCount("7d"),
        asks.FraudCount("30d"),
        asks.SinceFraud("30d"),
        asks.SmallPayments("1h", at_most=10_000),
        asks.NewPayees("1h"),
        asks.NewPayeeWithin("24h"),
        asks.NewDevice(),
        asks.NewCountry(),
        asks.NewCountryLogins("24h"),
        asks.DistanceKm(),
        asks.SpeedKmh(),
        asks.UnusualHour(),
        asks.LoginFailures("1h"),
        asks.AccountChanges("24h"),
        asks.SinceAccountChange(),
    ),
    owner=lambda event: event.customer,
    labelled=lambda label: label.customer,
    meets=lambda event: event.payee,
    habits=True,
)

PAYEE = Describer(
    "payee",
    (
        asks.count("1m"),
        asks.count("1h"),
        asks.count("24h"),
        asks.count("7d"),
        asks.count("30d"),
        asks.total("1m"),
        asks.total("1h"),
        asks.total("24h"),
        asks.total("7d"),
        asks.total("30d"),
        asks.mean("1m"),
        asks.mean("1h"),
        asks.mean("24h"),
        asks.mean("7d"),
        asks.mean("30d"),
        asks.SinceLast(),
        asks.SinceFirst(),
        asks.FraudCount("7d"),
        asks.FraudCount("30d"),
        asks.FraudRisk("1d"),
        asks.FraudRisk("3d"),
        asks.FraudRisk("7d"),
        asks.FraudRisk("14d"),
        asks.FraudRisk("30d"),
        asks.SinceFraud("30d"),
        asks.FraudRun("30d"),
        asks.FraudRunAge("30d"),
        asks.HonestSinceFraud("30d"),
        asks.FraudAge("37d"),
        asks.QuietFrauds("37d"),
        asks.QuietFraudAge("37d"),
        asks.SinceQuietFraud("37d"),
    ),
    owner=lambda event: event.payee,
    labelled=lambda label: label.payee,
)

DEVICE = Describer(
    "device",
    (
        asks.count("1h"),
        asks.count("24h"),
        asks.total("1h"),
        asks.total("24h"),
        asks.FraudCount("30d"),
        asks.Customers("24h"),
    ),
    owner=lambda event: event.device,
    labelled=lambda label: label.device,
    visits=lambda event: event.customer,
)

IP = Describer(
    "ip",
    (
        asks.count("1h"),
        asks.count("24h"),
        asks.total("1h"),
        asks.total("24h"),
        asks.FraudCount("30d"),
        asks.Customers("24h"),
        asks.LoginFailures("1h"),
    ),
    owner=lambda event: event.ip,
    labelled=lambda label: label.ip,
    visits=lambda event: event.customer,
)

#: One describer a kind of key, in the order of the stages.
DESCRIBERS: tuple[Describer, ...] = (CUSTOMER, PAYEE, DEVICE, IP)

#: Every feature there is, the event's own first.
FEATURES: tuple[Feature, ...] = surface.FEATURES + tuple(
    feature for describer in DESCRIBERS for feature in describer.features
)

#: By name, for rules and views that refuse a name nobody describes.
BY_NAME: dict[str, Feature] = {feature.name: feature for feature in FEATURES}
