"""Do factors go to who asks for them, and to nobody else?"""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.events import lean
from gateway.metrics import Metrics

_text = st.text(max_size=30)
_plain = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), _text)
_factor = st.fixed_dictionaries(
    {"feature": _text, "weight": st.floats(-5, 5), "share": st.floats(0, 1), "value": _plain}
)
_NASTY = ',"factors":[{"]}'


@given(
    st.dictionaries(_text.filter(lambda key: key != "factors"), _plain, max_size=4),
    st.lists(_factor, max_size=5),
    st.dictionaries(st.sampled_from(["late", "outcome", "receipt"]), st.lists(_plain), max_size=2),
    st.sampled_from(["", _NASTY, '"', "\\"]),
)
def test_a_decision_without_its_factors_is_all_of_the_rest(
    before: dict[str, Any], factors: list[Any], after: dict[str, Any], reason: str
) -> None:
    """Wherever they stand, and whatever any text says."""
    rest = {"event": reason, **before}
    raw = orjson.dumps({**rest, "factors": factors, **after})
    assert orjson.loads(lean(raw)) == {**rest, **after}
    assert lean(orjson.dumps(rest)) == orjson.dumps(rest)


@pytest.mark.parametrize("factors", [[], [{"feature": "x", "value": None}]])
def test_factors_that_stand_last_are_cut_off_unread(factors: list[Any]) -> None:
    """Byte for byte what was there before them."""
    rest = {"event": "p-1", "reasons": [{"code": "a"}], "stages_us": {"model": 3}}
    assert lean(orjson.dumps({**rest, "factors": factors})) == orjson.dumps(rest)


def test_models_and_drift_stand_in_the_metrics() -> None:
    """Roles change: a series of before is not told on."""
    metrics = Metrics()
    row = {"role": "champion", "lessons": 7, "bytes": 900, "dump_us": 1500}
    series = {"alarms": 1, "mean_rank": 0.61, "psi": None, "watching": True}
    metrics.models({"models": {"binned": row}, "drift": {"score": series}})
    metrics.models({"models": {"binned": {**row, "role": "former"}}, "drift": {"score": series}})
    text = metrics.text().decode()
    assert 'ringback_model{figure="dump_seconds",model="binned",role="former"} 0.0015' in text
    assert 'role="champion"' not in text
    assert 'ringback_drift{figure="alarms",series="score"} 1.0' in text
    assert 'ringback_drift{figure="mean_rank",series="score"} 0.61' in text
    assert 'figure="psi"' not in text
