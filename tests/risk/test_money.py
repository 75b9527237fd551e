"""Is money exact, in each currency's own places?"""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk import money
from risk.money import BadAmount, Rates, minor_units, plain

DAY = date(2026, 1, 1)
DOLLARS = Rates("CNY", {"USD": [(DAY, Decimal("7.05")), (date(2026, 6, 1), Decimal(7))]})


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("12.50", "CNY", 1250),
        ("12.5", "CNY", 1250),
        ("12.50000000", "CNY", 1250),
        ("012", "CNY", 1200),
        ("12", "JPY", 12),
        ("0.001", "KWD", 1),
        ("0.0001", "CLF", 1),
        ("0.01", "CNY", 1),
    ],
)
def test_an_amount_has_the_minor_units_of_its_currency(
    amount: str, currency: str, minor: int
) -> None:
    assert minor_units(amount, currency) == minor


@pytest.mark.parametrize(
    ("amount", "currency", "needed"),
    [
        ("1.001", "CNY", "at most 2 decimal places for CNY"),
        ("1.5", "JPY", "at most 0 decimal places for JPY"),
        ("0", "CNY", "positive"),
        ("-5", "CNY", "decimal string"),
        ("1,000.00", "CNY", "decimal string"),
        ("٣", "CNY", "decimal string"),
        ("1\n", "CNY", "decimal string"),
        ("NaN", "CNY", "decimal string"),
        ("", "CNY", "decimal string"),
        ("1", "XXX", "ISO 4217"),
        ("10000000000000.01", "CNY", "minor units"),
    ],
)
def test_what_is_no_amount_is_refused_with_what_was_needed(
    amount: str, currency: str, needed: str
) -> None:
    with pytest.raises(BadAmount, match=needed):
        minor_units(amount, currency)


def test_the_currencies_are_three_letters_with_at_most_four_places() -> None:
    assert all(len(code) == 3 and code.isupper() for code in money.EXPONENTS)
    assert set(money.EXPONENTS.values()) == {0, 2, 3, 4}
    assert {"CNY": 2, "JPY": 0, "KWD": 3, "EUR": 2}.items() <= money.EXPONENTS.items()


@given(st.integers(1, money.LARGEST_MINOR), st.sampled_from(sorted(money.EXPONENTS)))
def test_any_amount_comes_back_exactly_as_it_was_written(minor: int, currency: str) -> None:
    text = plain(minor, currency)
    assert minor_units(text, currency) == minor
    assert Decimal(text).scaleb(money.EXPONENTS[currency]) == minor
    assert "E" not in text


def test_a_rate_holds_from_its_day_on_until_the_next() -> None:
    june = date(2026, 6, 1)
    assert DOLLARS.to_base(100, "USD", DAY) == 705
    assert DOLLARS.to_base(100, "USD", june - timedelta(days=1)) == 705
    assert DOLLARS.to_base(100, "USD", june) == 700


def test_no_rate_is_no_amount_and_never_zero() -> None:
    assert DOLLARS.to_base(100, "USD", DAY - timedelta(days=1)) is None
    assert DOLLARS.to_base(100, "EUR", DAY) is None


def test_the_base_currency_needs_no_rate() -> None:
    assert DOLLARS.to_base(123, "CNY", date(1999, 1, 1)) == 123


def test_a_conversion_minds_the_places_of_both_currencies() -> None:
    rates = Rates("CNY", {code: [(DAY, Decimal("0.05"))] for code in ("JPY", "KWD")})
    assert rates.to_base(1000, "JPY", DAY) == 5000
    assert rates.to_base(1000, "KWD", DAY) == 5


@given(st.integers(1, money.LARGEST_MINOR), st.integers(1, money.LARGEST_MINOR))
def test_more_money_is_never_less_in_the_base_currency(one: int, other: int) -> None:
    smaller, greater = sorted([one, other])
    first, second = (DOLLARS.to_base(amount, "USD", DAY) for amount in (smaller, greater))
    assert first is not None
    assert second is not None
    assert first <= second


def test_half_a_unit_goes_to_the_even_one() -> None:
    rates = Rates("CNY", {"JPY": [(DAY, Decimal("0.005"))]})
    assert [rates.to_base(yen, "JPY", DAY) for yen in (1, 2, 3)] == [0, 1, 2]
