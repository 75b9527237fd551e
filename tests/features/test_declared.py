"""A declared feature is what its line says: against brute force, and by contract."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import config.settings
from features import chain, seen, tracks
from features.catalogue import BY_NAME, DESCRIBERS, Catalogue, catalogue
from features.chain import Chain
from features.declared import AGGREGATES, KEYS
from features.describer import FORGOTTEN_AFTER, Describer, Profile
from features.filters import NAMED, BadDeclaration
from features.moment import DAY, HOUR, LATENESS, MINUTE, SECOND, Value
from features.seen import Seen
from tests.features.declared_reference import ASSET, FILTERS, answers
from tests.features.declared_reference import KEYS as READ_KEYS
from tests.features.reference import Paid, Said

START = 1_700_000_000 * SECOND
SHIPPED = Path(config.settings.__file__).parent / "features.yaml"
TESTED = catalogue((ASSET.read_text(), "features.yaml"))
EVERYTHING = {"tested": TESTED, "shipped": catalogue((SHIPPED.read_text(), "features.yaml"))}

EACH = [
    pytest.param(describer, id=f"{name}-{describer.key}")
    for name, one in EVERYTHING.items()
    for describer in one.describers
    if describer.declared
]
COMPARED = [
    pytest.param(describer, id=describer.key)
    for describer in TESTED.describers
    if describer.declared
]


def _named(describer: Describer) -> list[str]:
    return [name for name, _ in describer.declared]


@dataclass(frozen=True)
class Step:
    """One thing that happens in a random stream; small numbers stand for names."""

    advance: int
    behind: int
    does: str
    amount: int | None
    names: tuple[int | None, ...]  # of NAMED, in its order
    label: tuple[int, bool, str, int] | None
    stored: bool


ADVANCES = st.sampled_from(
    [0, 0, 1, SECOND, 10 * SECOND, MINUTE, HOUR, HOUR + 1, DAY, 8 * DAY, 100 * DAY, 300 * DAY]
)
BEHIND = st.sampled_from([0, 0, 0, 1, SECOND, MINUTE, HOUR - 1, HOUR, HOUR + 1, 3 * DAY])
DOES = st.sampled_from(
    [
        *["transaction"] * 6,
        *["login/success"] * 3,
        *["login/failure"] * 2,
        "account_change/phone",
        "account_change/email",
        "status",
    ]
)
AMOUNTS = st.one_of(
    st.none(), st.integers(0, 100_000), st.sampled_from([0, 10_000, 10_001, -5, 2**63, -(2**70)])
)
STREAMS = st.lists(
    st.builds(
        Step,
        ADVANCES,
        BEHIND,
        DOES,
        AMOUNTS,
        st.tuples(*[st.sampled_from([None, 0, 0, 1, 2]) for _ in NAMED]),
        st.none()
        | st.tuples(
            st.integers(0, 9),
            st.booleans(),
            st.sampled_from(["customer", "chargeback", "officer"]),
            st.sampled_from([0, SECOND, HOUR]),
        ),
        st.booleans(),
    ),
    max_size=40,
)
_WORDS = {"kind": ("card", "transfer", "bill"), "channel": ("app", "web", "card")}


def _happened(key: str, step: Step, name: str, time: int) -> Paid:
    """An event of the one entity of this key."""
    kind, _, which = step.does.partition("/")
    names: dict[str, str | None] = {}
    for field, number in zip(NAMED, step.names, strict=True):
        words = _WORDS.get(field)
        mine = 0 if field == key or (field == "customer" and number is None) else number
        names[field] = None if mine is None else words[mine] if words else f"{field}{mine}"
    return Paid(
        name,
        time,
        step.amount if kind == "transaction" else None,
        type=kind,
        result=which if kind == "login" else None,
        change=which if kind == "account_change" else None,
        **names,  # type: ignore[arg-type]
    )


def _equal(got: Value, want: Value) -> bool:
    if got is None or want is None:
        return got is want
    return math.isclose(got, want, rel_tol=1e-12, abs_tol=1e-12)


def _walk(describer: Describer, stream: list[Step]) -> None:
    """Describe, compare, observe; a late event is described and not observed."""
    names = _named(describer)
    profile = describer.new()
    before: list[Paid] = []
    heard: list[Said] = []
    now, newest = START, START
    for at, step in enumerate(stream):
        now += step.advance
        event = _happened(describer.key, step, f"e{at}", now - step.behind)
        if event.time_us - newest > FORGOTTEN_AFTER:
            before, heard = [], []
        got = profile.describe(event)
        if step.behind <= LATENESS:
            want = answers(names, event, before, heard)
            wrong = {
                name: (got[name], value)
                for name, value in want.items()
                if not _equal(got[name], value)
            }
            assert not wrong
            profile.observe(event)
            before.append(event)
            if event.type != "status":
                newest = max(newest, event.time_us)
        if step.label is not None and before:
            back, fraud, source, ahead = step.label
            about = before[-1 - back % len(before)]
            label = Said(about.id, fraud, source, now + ahead, about.time_us)
            profile.hear(label)
            heard.append(label)
            newest = max(newest, label.known_us)
        if step.stored:
            profile = describer.load(profile.dump())


@pytest.mark.parametrize("describer", COMPARED)
@settings(max_examples=100, deadline=None)
@given(stream=STREAMS)
def test_every_declared_feature_equals_its_brute_force_definition(
    describer: Describer, stream: list[Step]
) -> None:
    """Out of order, late, at equal times, in bursts, after silence, stored and loaded."""
    _walk(describer, stream)


def _busy(chance: random.Random) -> Step:
    return Step(
        advance=chance.choice([0, SECOND, MINUTE, 20 * MINUTE, HOUR, HOUR + 1, 9 * HOUR]),
        behind=chance.choice([0, 0, 0, MINUTE, 40 * MINUTE, HOUR]),
        does=chance.choice(
            ["transaction"] * 4 + ["login/success", "login/failure", "account_change/phone"]
        ),
        amount=chance.randrange(100_000),
        names=tuple(
            chance.choice([None, 0, 0, 1, 2, 3][: 5 if at else 6]) for at in range(len(NAMED))
        ),
        label=(chance.randrange(9), True, "chargeback", 0) if chance.random() < 0.1 else None,
        stored=chance.random() < 0.1,
    )


@pytest.mark.parametrize("describer", COMPARED)
def test_a_long_life_equals_its_brute_force_definition(describer: Describer) -> None:
    """Busy enough to have neighbours in each window."""
    chance = random.Random(11)
    steps = [_busy(chance) for _ in range(150)]
    _walk(
        describer,
        [replace(step, names=tuple(n and min(n, 2) for n in step.names)) for step in steps],
    )


# -- contract ----------------------------------------------------------------------------------


def _lived(describer: Describer, seed: int, events: int = 250) -> tuple[Profile, Paid]:
    chance = random.Random(seed)
    profile, now = describer.new(), START
    for at in range(events):
        step = _busy(chance)
        step = replace(step, names=tuple(n and min(n, 2) for n in step.names))
        now += step.advance
        event = _happened(describer.key, step, f"e{at}", now - step.behind)
        profile.observe(event, profile.describe(event))
        if step.label is not None:
            profile.hear(Said(event.id, True, "chargeback", now, event.time_us))
    nobody = _happened(describer.key, _busy(chance), "next", now + MINUTE)
    return profile, replace(nobody, type="transaction", amount_base=12_345)


@pytest.mark.parametrize("describer", EACH)
def test_describing_changes_nothing(describer: Describer) -> None:
    profile, event = _lived(describer, 1)
    stored = profile.dump()
    first = profile.describe(event)
    assert profile.describe(event) == first
    assert profile.dump() == stored


@pytest.mark.parametrize("describer", EACH)
def test_a_profile_survives_a_restart_with_the_same_answers_and_future(
    describer: Describer,
) -> None:
    profile, event = _lived(describer, 2)
    again = describer.load(profile.dump())
    for at in range(30):
        assert again.describe(event) == profile.describe(event)
        profile.observe(event)
        again.observe(event)
        event = replace(event, id=f"n{at}", time_us=event.time_us + 5 * HOUR, payee=f"payee{at}")
    assert again.dump() == profile.dump()


@pytest.mark.parametrize("describer", EACH)
def test_every_declared_feature_is_described_finite_and_by_its_name(describer: Describer) -> None:
    bare = Paid("bare", START, None)
    for profile, event in (
        _lived(describer, 3),
        (describer.new(), replace(bare, **{describer.key: "somebody"})),  # type: ignore[arg-type]
    ):
        told = profile.describe(event)
        assert set(told) == {feature.name for feature in describer.features}
        for name in _named(describer):
            value = told[name]
            assert value is None or (type(value) in (int, float) and math.isfinite(value)), name


@pytest.mark.parametrize("describer", EACH)
def test_no_look_ahead_in_any_declared_feature(describer: Describer) -> None:
    profile, event = _lived(describer, 4)
    now = profile.describe(event)
    for at in range(100):
        profile.hear(Said(f"e{at}", at % 3 > 0, "officer", event.time_us + 1 + at, START + at))
    assert profile.describe(event) == now


@pytest.mark.parametrize("describer", EACH)
def test_what_the_bank_says_is_nobodys_act(describer: Describer) -> None:
    profile, event = _lived(describer, 5)
    stored = profile.dump()
    profile.observe(replace(event, type="status", amount_base=None))
    assert profile.dump() == stored


@pytest.mark.parametrize("describer", EACH)
def test_a_hot_key_is_bounded(describer: Describer) -> None:
    """Whatever is thrown at it: new names each time, thousands a minute."""
    profile = describer.new()
    most = 60_000 + sum(90_000 if track.second else 20_000 for track in describer.tracks)
    for at in range(6_000):
        names = {field: f"{field}{at % 900}" for field in NAMED if field != describer.key}
        event = Paid(
            f"e{at}",
            START + at * SECOND,
            at if at % 3 else None,
            type="transaction" if at % 3 else "login",
            result=None if at % 3 else ("success", "failure")[at % 2],
            **{**names, describer.key: "hot"},  # type: ignore[arg-type]
        )
        profile.observe(event, {})
    for past, track in zip(profile.pasts, describer.tracks, strict=True):
        if past is not None:
            assert len(past) <= (tracks.ROWS + 256 if track.second else 1_100)
    assert len(profile.dump()) <= most


@pytest.mark.parametrize("describer", DESCRIBERS, ids=lambda one: one.key)
def test_what_is_declared_changes_no_built_in_feature(describer: Describer) -> None:
    """The same stream with and without: the same values to the last digit."""
    declared = next(one for one in TESTED.describers if one.key == describer.key)
    profile, other = describer.new(), declared.new()
    chance, now = random.Random(6), START
    for at in range(900):
        step = _busy(chance)
        now += step.advance
        event = _happened(describer.key, step, f"e{at}", now - step.behind)
        told = other.describe(event)
        for name, value in profile.describe(event).items():
            assert told[name] == value, name
        profile.observe(event)
        other.observe(event, told)


def test_every_aggregate_key_and_filter_is_tested() -> None:
    """What the grammar knows stands in the tested catalogue, over one key and over a pair."""
    told = TESTED.declarations.sentences
    assert {one.aggregate for one in told} == set(AGGREGATES)
    assert {one.key for one in told} == set(KEYS) == set(READ_KEYS)
    assert {one.chosen.name for one in told} >= {"", "small", "signed_in"}
    filters = {step.name for one in told for step in one.steps} | {one.chosen.name for one in told}
    assert filters - {""} == set(FILTERS) == set(TESTED.declarations.filters)
    assert any(one.second for one in told)
    assert len(told) == sum(len(one.declared) for one in TESTED.describers)


def test_of_each_name_the_kind_of_its_values_is_told() -> None:
    kinds = TESTED.kinds
    assert set(kinds) == set(TESTED.by_name)
    assert set(kinds.values()) == {"number", "bool"}
    assert kinds["customer_session.none.signed_in.12h"] == kinds["customer.new_payee"] == "bool"
    assert kinds["device.distinct.customer.24h"] == "number"


def test_on_demand_means_that_nothing_is_kept_until_somebody_needs_it() -> None:
    name = "customer.sequence.takeover.24h"
    idle, asked = TESTED.needed(()), TESTED.needed({name})
    assert name in idle.by_name
    assert name not in idle.counted
    assert name in asked.counted
    assert len(asked.tracks) == len(idle.tracks) + 1
    nothing = catalogue(("version: 1\non_demand: [count per card in 1h]\n", "f"))
    assert nothing.needed(()).describers == DESCRIBERS, "and no stage for a key nobody asks of"
    assert [one.key for one in nothing.needed({"card.count.1h"}).describers][-1] == "card"


# -- exact while small, then about --------------------------------------------------------------


@pytest.mark.parametrize("names", [200, 512, 5_000, 60_000])
def test_distinct_is_exact_while_small_and_then_within_its_stated_error(names: int) -> None:
    """The newest 256 rows are exact; up to 512 older names are; beyond a sample of them."""
    line, time = Seen(), START
    order = list(range(names))
    random.Random(names).shuffle(order)
    for number in order:
        time += SECOND
        line.add(time, f"n{number}", 90 * DAY)
    line = Seen.load(line.dump())
    assert line.count(time - 100 * SECOND, time, None) == 100
    whole = line.count(START, time, None)
    if names <= 512:
        assert whole == names
    assert abs(whole - names) <= 4 * names / 16, "four standard errors"
    assert len(line) <= seen.EXACT + seen.SAMPLED
    assert len(line.dump()) <= 13_500


def test_names_met_again_are_counted_once_however_often_they_come() -> None:
    line, time = Seen(), START
    for at in range(30_000):
        time += SECOND
        line.add(time, f"n{at % 300}", DAY)
    assert line.count(time - DAY, time, None) == 300
    assert line.count(time - DAY, time, "another") == 301
    assert line.knew("n7", time - DAY, time)
    assert not line.knew("another", time - DAY, time)


def test_after_a_flood_of_names_counting_becomes_fine_again() -> None:
    line, time = Seen(), START
    for at in range(50_000):
        time += SECOND
        line.add(time, f"flood{at}", HOUR)
    for at in range(4_000):
        time += MINUTE
        line.add(time, f"n{at % 20}", HOUR)
    assert line.count(time - HOUR, time, None) == 20


@settings(max_examples=200, deadline=None)
@given(
    stream=st.lists(
        st.tuples(
            st.sampled_from([0, SECOND, HOUR // 2, HOUR + 1, 5 * HOUR]),
            st.sampled_from([0, 0, SECOND, HOUR // 2, HOUR]),
            st.integers(0, 7),
            st.booleans(),
        ),
        max_size=60,
    ),
    width=st.sampled_from([MINUTE, HOUR, 6 * HOUR, DAY]),
)
def test_a_chain_equals_the_longest_beginning_found_greedily(
    stream: list[tuple[int, int, int, bool]], width: int
) -> None:
    """A few numbers give what the whole history gives, out of order and stored, too."""
    line, now = Chain(3), START
    past: list[tuple[int, int]] = []
    for advance, behind, mask, stored in stream:
        now += advance
        time = now - behind
        events = sorted((one for one in past if one[0] <= time), key=lambda one: one[0])
        done = 0
        for at, steps in [*events, (time, mask)]:
            if at > time - width and done < 3 and steps >> done & 1:
                done += 1
        assert line.reached(time, width, mask) == done
        if mask:
            line.add(time, mask)
            past.append((time, mask))
        if stored:
            line = Chain.load(line.dump(), 3)


def test_nobody_pushes_a_step_out_by_doing_another_one_often() -> None:
    line = Chain(3)
    line.add(START, 1)
    for at in range(1_000):
        line.add(START + at * SECOND, 4)
        line.add(START + at * SECOND, 1)
    line.add(START + HOUR, 2)
    assert len(line) <= chain.PENDING + 1
    assert line.reached(START + HOUR + 1, DAY, 4) == 3


def test_of_a_pair_the_64_met_most_recently_are_remembered() -> None:
    name = "customer_payee.count.7d"
    customer = next(one for one in TESTED.describers if one.key == "customer")
    profile = customer.new()
    for at in range(65):
        profile.observe(Paid(f"e{at}", START + at * MINUTE, 1, payee=f"p{at}"), {})
    later = START + 2 * HOUR
    assert profile.describe(Paid("x", later, 1, payee="p64"))[name] == 2
    assert profile.describe(Paid("x", later, 1, payee="p1"))[name] == 2
    assert profile.describe(Paid("x", later, 1, payee="p0"))[name] == 1, "the oldest is new again"


# -- what nobody vouches for ---------------------------------------------------------------------


def test_a_missing_session_never_looks_like_one_with_a_login() -> None:
    """Absence is shown by what is there; who leaves the field out gains nothing."""
    name = "customer_session.none.signed_in.12h"
    customer = next(one for one in TESTED.describers if one.key == "customer")
    profile = customer.new()
    login = Paid("l", START, None, payee=None, type="login", result="success", session="s1")
    assert profile.describe(login)[name] == 0
    profile.observe(login)
    paid = Paid("p", START + MINUTE, 100, session="s1")
    assert profile.describe(paid)[name] == 0
    assert profile.describe(replace(paid, session="s2"))[name] == 1
    assert profile.describe(replace(paid, session=None))[name] == 1


def test_of_each_declared_feature_it_is_known_whether_a_client_claims_it() -> None:
    claimed = {name for name, one in TESTED.by_name.items() if one.claimed}
    for name in (
        "device.distinct.customer.24h",
        "customer_session.none.signed_in.12h",
        "customer.share.country.90d",
        "customer.count.outside.24h",
        "customer.sequence.takeover.24h",
    ):
        assert name in claimed, name
    for name in ("card.count.small.10m", "customer_payee.sum.amount.7d", "kind.zscore.amount.7d"):
        assert name not in claimed, name


# -- changing the catalogue ----------------------------------------------------------------------

_KEPT = "count per card in 1h"
_OTHER = "sum amount per customer x payee in 7d"


def _of(*lines: str, since: dict[str, int] | None = None) -> Catalogue:
    text = "version: 1\nfilters: {small: amount <= 100}\nfeatures:\n"
    made = catalogue((text + "".join(f"  - {line}\n" for line in lines), "features.yaml"))
    return made.stamped(since or {})


def _card(found: Catalogue) -> Describer:
    return next(one for one in found.describers if one.key == "card")


def test_a_line_more_or_less_leaves_the_counts_of_the_others() -> None:
    one = _card(_of(_KEPT))
    profile = one.new()
    for at in range(5):
        profile.observe(Paid(f"e{at}", START + at, 50, card="k"))
    next_one = Paid("next", START + MINUTE, 50, card="k")
    more = _card(_of("distinct payee per card in 1h", _KEPT, f"{_KEPT} where small"))
    told = more.load(profile.dump()).describe(next_one)
    assert told["card.count.1h"] == 6
    assert told["card.count.small.1h"] == told["card.distinct.payee.1h"] == 1, "begins empty"
    less = _card(_of("distinct payee per card in 1h"))
    forgotten = less.load(more.load(profile.dump()).dump()).dump()
    assert _card(_of(_KEPT)).load(forgotten).describe(next_one)["card.count.1h"] == 1


def test_a_wider_window_over_the_same_events_has_what_is_kept_of_them() -> None:
    profile = _card(_of(_KEPT)).new()
    profile.observe(Paid("e", START, 50, card="k"))
    wider = _card(_of(_KEPT, "sum amount per card in 24h"))
    next_one = Paid("next", START + 30 * MINUTE, 50, card="k")
    assert wider.load(profile.dump()).describe(next_one)["card.sum.amount.24h"] == 100


def test_what_was_taken_out_and_put_back_does_not_remember_with_a_gap() -> None:
    """The stamp says since when a track counts: one of a former time is not taken up again."""
    found = _of(_KEPT)
    (track,) = found.tracks
    profile = _card(_of(_KEPT, since={track: 1})).new()
    profile.observe(Paid("e", START, 50, card="k"))
    next_one = Paid("next", START + MINUTE, 50, card="k")
    same, later = _card(_of(_KEPT, since={track: 1})), _card(_of(_KEPT, since={track: 2}))
    assert same.load(profile.dump()).describe(next_one)["card.count.1h"] == 2
    assert later.load(profile.dump()).describe(next_one)["card.count.1h"] == 1


def test_an_own_file_extends_the_shipped_one() -> None:
    shipped = "version: 1\nfilters: {small: amount <= 100}\non_demand: [count per card in 1h]\n"
    own = "version: 1\nfeatures: [count per card in 1h, count per card in 2h where small]\n"
    both = catalogue((shipped, "a"), (own, "b")).needed(())
    assert {"card.count.1h", "card.count.small.2h"} <= both.counted
    assert both.sentences["card.count.1h"].place == "b, line 2"


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ("distnct customers per device in 24h", "an aggregate of .*nearest known name is distinct"),
        ("count per crd in 1h", "a key of .*'crd'; the nearest known name is card"),
        ("count per card x termnal in 1h", "second key of .*nearest known name is terminal"),
        ("distinct payes per card in 1h", "a field of .*nearest known name is payee"),
        ("count per session in 1h", "a key of"),
        ("count per card in 9s", "a window from 10s to 90d, got 9s"),
        ("count per card in 91d", "a window from 10s to 90d, got 91d"),
        ("count per card in soon", "whole number above 0"),
        ("count per card", "'in' and a window"),
        ("since_last per card in 1h", "no window, got 1h"),
        ("count per card in 1h where smal", "a filter of small.*nearest known name is small"),
        ("count per card in 1h in 2h", "once"),
        ("count per card in 1h please", "end of the line, got 'please'"),
        ("sum per card in 1h", "a number of amount, got 'per'"),
        ("nth 0 amount per card in 1h", "1 to 64"),
        ("sequence small per card in 1h as x", "2 to 8 steps"),
        ("sequence small then small per card in 1h", "'as' and a name"),
        ("sequence small then small per card in 1h as X!", "small letters"),
        ("fraud_count per kind in 7d", "labels are known of these alone"),
        ("count per card x card in 1h", "differ, got card and card"),
        ("count per customer in 1h", "customer.count.1h stands in the built-in catalogue"),
        ("count per customer in 1h where early", "early looks at payee.count.1h"),
        ("", "an aggregate"),
    ],
)
def test_a_line_that_can_not_be_meant_is_refused_with_its_place(line: str, needed: str) -> None:
    text = "version: 1\nfilters:\n  small: amount <= 100\n  early: payee.count.1h > 1\nfeatures:\n"
    text += f"  - {line!r}\n"
    with pytest.raises(BadDeclaration, match=rf"own\.yaml, line 6: .*{needed}"):
        catalogue((text, "own.yaml"))


@pytest.mark.parametrize(
    ("condition", "needed"),
    [
        ("amount <= lots", "needed a number"),
        ("amont <= 4", "nearest known name is amount"),
        ("kind is crd", "one of transfer, card, cash, bill.*nearest known name is card"),
        ("customer.new_contry == 1", "nearest known name is customer.new_country"),
        ("result is success and kind is card", "no event has all of that"),
        ("type is status", "'type is' and one of"),
        ("result = success", "needed conditions such as"),
        ("devise is missing", "nearest known name is device"),
    ],
)
def test_a_filter_that_can_not_be_meant_is_refused_with_its_place(
    condition: str, needed: str
) -> None:
    with pytest.raises(BadDeclaration, match=rf"own\.yaml, line 3: filter odd: .*{needed}"):
        catalogue((f"version: 1\nfilters:\n  odd: {condition}\n", "own.yaml"))


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("features: []", "line 1: needed 'version: 1'"),
        ("version: 2", "line 1: needed 'version: 1', got '2'"),
        ("version: 1\nfeature: []", "line 2: .*nearest known name is features"),
        ("version: 1\nfeatures: {a: b}", "line 2: needed a list of lines"),
        ("version: 1\nfeatures:\n  - {a: b}", "line 3: needed one line such as"),
        ("version: 1\nfeatures: [count per card in 1h, count per card in 1h]", "already"),
        ("version: 1\nforget_after: 30d", "line 2: forget_after: needed at least 98d"),
        ("version: 1\nfilters: {a: amount > 1, a: amount > 2}", "already"),
        ("version: [", "not YAML"),
    ],
)
def test_a_file_that_can_not_be_meant_is_refused_with_its_place(text: str, needed: str) -> None:
    with pytest.raises(BadDeclaration, match=rf"own\.yaml.*{needed}"):
        catalogue((text, "own.yaml"))


def test_nothing_declared_is_the_built_in_catalogue_as_it_stands() -> None:
    assert catalogue().needed(()).describers == DESCRIBERS
    assert set(catalogue().by_name) == set(BY_NAME)
    assert catalogue(("", "empty.yaml")).describers == DESCRIBERS
    shipped = EVERYTHING["shipped"].needed(())
    assert shipped.describers == DESCRIBERS, "what ships costs nothing until somebody needs it"
    assert shipped.counted == set(BY_NAME)


def test_an_entity_that_was_silent_for_two_years_is_a_new_one() -> None:
    """Described, observed or heard of: nothing of before is there any more."""
    profile = DESCRIBERS[0].new()
    profile.observe(Paid("old", START, 100))
    near = Paid("near", START + FORGOTTEN_AFTER, 100)
    far = Paid("far", START + FORGOTTEN_AFTER + 1, 100)
    assert profile.describe(near)["customer.new_payee"] == 0
    assert profile.describe(far)["customer.new_payee"] == 1
    assert profile.describe(far)["customer.since_last"] is None
    assert profile.describe(near)["customer.new_payee"] == 0, "describing forgot nothing"
    profile.observe(far)
    assert profile.describe(replace(far, id="next"))["customer.count.30d"] == 2
    assert profile.describe(replace(far, id="next"))["customer.since_first"] == 0


def test_a_takeover_is_told_step_by_step_and_in_its_order_alone() -> None:
    """Login from a new country, phone changed, payee new, amount large: within ten days."""
    name = "customer.sequence.slowly.10d"
    customer = next(one for one in TESTED.describers if one.key == "customer")
    home = Paid("h", START, None, payee=None, type="login", result="success", country="CN")
    login = replace(home, id="l", time_us=START + DAY, country="FJ")
    phone = Paid("c", START + 2 * DAY, None, payee=None, type="account_change", change="phone")
    payee = Paid("p", START + 2 * DAY + 1, 100, payee="new")
    large = Paid("t", START + 3 * DAY, 60_000, payee="new")

    def told(*events: Paid) -> list[Value]:
        profile, values = customer.new(), []
        for event in events:
            values.append(profile.describe(event)[name])
            profile.observe(event)
        return values

    assert told(home, login, phone, payee, large) == [0, 1, 2, 3, 4]
    early = replace(payee, time_us=START + DAY + 1)
    assert told(home, login, early, phone, large)[-1] == 2, "the payee was not new after that"
    assert told(home, login, payee, phone, large)[-1] == 4, "event time counts, not arrival"
    assert told(home, phone, payee, large) == [0, 0, 0, 0], "it begins with the first step"
    late = [replace(one, time_us=one.time_us + 9 * DAY) for one in (payee, large)]
    assert told(home, login, phone, *late) == [0, 1, 2, 0, 0], "ten days are over"


def test_a_stored_profile_is_expired_only_once_nothing_can_ask_for_it() -> None:
    customer = DESCRIBERS[0]
    profile = customer.new()
    profile.observe(Paid("old", START, 100))
    stored = profile.dump()
    assert not customer.expired(stored, START + FORGOTTEN_AFTER + LATENESS)
    assert customer.expired(stored, START + FORGOTTEN_AFTER + LATENESS + 1)
    assert not customer.expired(customer.new().dump(), START + 10 * FORGOTTEN_AFTER)
    assert not customer.expired(b"something else", START + 10 * FORGOTTEN_AFTER)
    short = catalogue(("version: 1\nforget_after: 98d\nfeatures: [since_first per card]\n", "f"))
    card = short.describers[-1]
    one = card.new()
    one.observe(Paid("old", START, 100, card="k"))
    assert card.expired(one.dump(), START + 99 * DAY)
    assert {one.forgotten_after for one in short.describers} == {98 * DAY}


def test_what_a_feature_counts_is_told_with_the_filters_it_goes_by() -> None:
    text = """
version: 1
filters:
  small: amount <= 10000
  odd: customer.new_payee == 1
features:
  - count per card in 10m   where small
  - count per card in 1h where odd
  - count per card in 24h
"""
    told = catalogue((text, "mine")).wordings
    assert told == {
        "card.count.small.10m": "count per card in 10m where small; "
        "small: amount <= 10000 and transaction",
        "card.count.odd.1h": "count per card in 1h where odd; "
        "odd: customer.new_payee == 1 and transaction",
        "card.count.24h": "count per card in 24h",
    }
    other = catalogue((text.replace("10000", "20000"), "mine")).wordings
    assert [name for name in told if told[name] != other[name]] == ["card.count.small.10m"]
