"""Is a decision explained by what moved it, beside what is usual, and in words?"""

import doctest
import random

import pytest

from features import explain
from features.catalogue import FEATURES
from features.explain import in_words, reasons, usual
from features.model import Factor
from features.models import MODELS
from features.moment import Value


def test_the_example_holds() -> None:
    """The docstring's own."""
    assert doctest.testmod(explain).failed == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("event.amount", 12_000),
        ("customer.count.24h", 2.0),
        ("customer.sum.amount.24h", 24_000.0),
        ("customer.mean.amount.24h", 12_000),
        ("customer.since_last", 43_200),
        ("customer.ratio.amount.30d", 1.0),
        ("customer.new_payee", 0),
        ("payee.count.24h", None),
        ("customer.since_fraud.30d", None),
    ],
)
def test_what_is_usual_is_the_customers_own_past(name: str, expected: Value) -> None:
    """60 payments in 30 days are two a day, one every twelve hours."""
    features: dict[str, Value] = {
        "customer.count.30d": 60,
        "customer.sum.amount.30d": 720_000,
        "customer.mean.amount.30d": 12_000,
    }
    assert usual(name, features) == expected


def test_every_feature_has_words_whatever_its_value() -> None:
    """No name, no value and no missing one breaks an explanation."""
    chance = random.Random(1)
    for feature in FEATURES:
        for value in (None, 0, 1, 123_456_789, chance.random()):
            factors = [Factor(feature.name, chance.uniform(-1, 1), 0.5, value)]
            (reason,) = reasons(factors, {feature.name: value})
            text = in_words(reason)
            assert text.endswith("fraud (50 % of all factors)")
            assert len(text) < 200


def test_sign_and_share_are_the_models() -> None:
    """What raises the odds speaks for fraud, what lowers them against."""
    told = reasons([Factor("event.amount", 2.0, 0.6, 5_000_00), Factor("event.hour", -0.5, 0.1, 3)],
                   {"customer.mean.amount.30d": 100_00})  # fmt: skip
    assert in_words(told[0]) == (
        "amount in the base currency: 5,000.00, usually 100.00; speaks for fraud "
        "(60 % of all factors)"
    )
    assert "speaks against fraud" in in_words(told[1])


def test_each_models_factors_can_be_told(one_event: dict[str, Value]) -> None:
    """Those of models without a lesson too: they have none."""
    for recipe in MODELS:
        model = recipe.make()
        assert reasons(model.explain_one(one_event), one_event) == []
        for _ in range(20):
            model.learn_one(one_event, fraud=True)
            model.learn_one({}, fraud=False)
        for reason in reasons(model.explain_one(one_event), one_event):
            assert in_words(reason)


@pytest.fixture
def one_event() -> dict[str, Value]:
    """One event with a value for everything."""
    return {feature.name: at + 1 for at, feature in enumerate(FEATURES)}
