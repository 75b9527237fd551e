"""How much is it? Amounts as integer minor units, by ISO 4217, and in the base currency."""

import bisect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal

# ISO 4217 list one: the currencies in use; those without two decimal places apart.
_NONE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"
_FOUR = "CLF UYW"
_TWO = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD "
    "CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ "
    "GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL "
    "MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR "
    "PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT "
    "TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD YER ZAR ZMW ZWG"
)
EXPONENTS: Mapping[str, int] = {
    **dict.fromkeys(_TWO.split(), 2),
    **dict.fromkeys(_NONE.split(), 0),
    **dict.fromkeys(_THREE.split(), 3),
    **dict.fromkeys(_FOUR.split(), 4),
}
LARGEST_MINOR = 10**15
_DECIMAL = re.compile(r"[0-9]{1,16}(\.[0-9]{1,8})?")


class BadAmount(ValueError):
    """An amount or a currency that can't be one; the text says what was needed."""


def minor_units(amount: str, currency: str) -> int:
    """Turn a positive decimal string into minor units; exact, or `BadAmount`."""
    exponent = EXPONENTS.get(currency)
    if exponent is None:
        raise BadAmount(f"needed an ISO 4217 currency in use, got {currency!r}")
    if not _DECIMAL.fullmatch(amount):
        raise BadAmount(f"needed a decimal string such as '12.50', got {amount!r}")
    value = Decimal(amount)
    if value <= 0:
        raise BadAmount(f"needed a positive amount, got {amount!r}")
    scaled = value.scaleb(exponent)
    if scaled != scaled.to_integral_value():
        raise BadAmount(f"needed at most {exponent} decimal places for {currency}, got {amount!r}")
    if scaled > LARGEST_MINOR:
        raise BadAmount(f"needed at most {LARGEST_MINOR} minor units, got {amount!r}")
    return int(scaled)


def plain(minor: int, currency: str) -> str:
    """Write minor units as a decimal string with the currency's own places."""
    return str(Decimal(minor).scaleb(-EXPONENTS[currency]))


@dataclass(frozen=True, slots=True)
class Rates:
    """A dated rate table: units of the base currency for one unit of another.

    ``dated`` holds, for a currency, ascending (day, rate) pairs; a rate holds from its day on.
    """

    base: str
    dated: Mapping[str, Sequence[tuple[date, Decimal]]]

    def to_base(self, minor: int, currency: str, day: date) -> int | None:
        """Give the amount in the base currency's minor units, or None where no rate is known."""
        if currency == self.base:
            return minor
        known = self.dated.get(currency, ())
        place = bisect.bisect_right(known, day, key=lambda pair: pair[0])
        if place == 0:
            return None
        shift = EXPONENTS[self.base] - EXPONENTS[currency]
        value = (Decimal(minor) * known[place - 1][1]).scaleb(shift)
        return int(value.to_integral_value(ROUND_HALF_EVEN))
