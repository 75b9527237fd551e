"""What may be asked of an entity's past? One small class an ask, one line each in the catalogue.

Windows are (t - W, t] in event time and include the event itself; comparisons with the entity's
own normal (z-score, ratio) are with earlier payments alone. ``docs/semantics.md`` has the rest.
"""

from __future__ import annotations

from features.asks.acquaintance import Customers, NewPayee, NewPayees, NewPayeeWithin
from features.asks.habits import (
    AccountChanges,
    DistanceKm,
    LoginFailures,
    NewCountry,
    NewCountryLogins,
    NewDevice,
    SinceAccountChange,
    SpeedKmh,
    UnusualHour,
)
from features.asks.labels import (
    FraudAge,
    FraudCount,
    FraudRisk,
    FraudRun,
    FraudRunAge,
    HonestSinceFraud,
    QuietFraudAge,
    QuietFrauds,
    SinceFraud,
    SinceQuietFraud,
)
from features.asks.normal import (
    MaxRatio,
    MeanRatio,
    MedianRatio,
    Outliers,
    Ratio,
    ZScore,
)
from features.asks.windows import (
    Deviation,
    SinceFirst,
    SinceLast,
    SmallPayments,
    count,
    mean,
    total,
)

__all__ = (
    "AccountChanges",
    "Customers",
    "Deviation",
    "DistanceKm",
    "FraudAge",
    "FraudCount",
    "FraudRisk",
    "FraudRun",
    "FraudRunAge",
    "HonestSinceFraud",
    "LoginFailures",
    "MaxRatio",
    "MeanRatio",
    "MedianRatio",
    "NewCountry",
    "NewCountryLogins",
    "NewDevice",
    "NewPayee",
    "NewPayeeWithin",
    "NewPayees",
    "Outliers",
    "QuietFraudAge",
    "QuietFrauds",
    "Ratio",
    "SinceAccountChange",
    "SinceFirst",
    "SinceFraud",
    "SinceLast",
    "SinceQuietFraud",
    "SmallPayments",
    "SpeedKmh",
    "UnusualHour",
    "ZScore",
    "count",
    "mean",
    "total",
)
