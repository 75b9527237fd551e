"""Does seeking ask those whose answers tell most, within what customers bear?"""

from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from risk.seek import DAY_US, Paid, Seeker, Seeking

HOUR_US = DAY_US // 24


def paid(number: int, customer: str, payee: str, at_us: int) -> Paid:
    return Paid(f"e{number}", at_us, customer, payee)


def told(seeking: Seeking, payments: list[Paid]) -> Seeker:
    seeker = Seeker(seeking)
    for payment in payments:
        seeker.remember(payment)
    return seeker


def test_after_a_denial_the_payees_latest_other_customers_are_asked_once_each() -> None:
    at_bad = [paid(n, f"c{n % 5}", "bad", n * HOUR_US) for n in range(10)]
    seeker = told(Seeking(after_denial=3), [*at_bad, paid(99, "c9", "good", 10 * HOUR_US)])
    asked = seeker.heard(at_bad[9], True, 11 * HOUR_US)
    assert [one.event for one in asked] == ["e8", "e7", "e6"]
    # Of the others only c0 and c4 were not sought out yet, and c4 has answered about e9.
    assert seeker.heard(at_bad[8], True, 12 * HOUR_US) == [at_bad[5], at_bad[4]]
    assert seeker.heard(at_bad[9], False, 12 * HOUR_US) == []


def test_nobody_is_asked_about_what_had_not_happened_or_is_long_gone() -> None:
    rows = [paid(n, f"c{n}", "bad", n * DAY_US) for n in range(12)]
    seeker = told(Seeking(after_denial=20), rows)
    asked = seeker.heard(rows[11], True, 10 * DAY_US)
    assert {one.time_us // DAY_US for one in asked} == {5, 6, 7, 8, 9}


def test_a_review_goes_to_those_whose_payees_nobody_vouched_for() -> None:
    rows = [paid(n, f"c{n}", f"p{n}", DAY_US) for n in range(4)]
    seeker = told(Seeking(reviews=2, payments=3), rows)
    for number in (0, 2):
        seeker.heard(rows[number], False, DAY_US + HOUR_US)
    assert seeker.reviews(2 * DAY_US) == [[rows[1]], [rows[3]]]
    assert seeker.reviews(3 * DAY_US) == []


def test_follow_ups_are_taken_from_the_days_reviews() -> None:
    rows = [paid(n, f"c{n}", "bad", n * HOUR_US) for n in range(20)]
    seeker = told(Seeking(per_day=6, reviews=5, follow_ups=4, after_denial=9), rows)
    assert len(seeker.heard(rows[19], True, DAY_US)) == 4
    assert seeker.heard(rows[19], True, DAY_US) == []
    assert seeker.left_today == 2
    assert len(seeker.reviews(DAY_US)) == 2
    assert seeker.left_today == 6


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 4), st.integers(1, 12), st.booleans()),
        max_size=120,
    ),
    st.integers(0, 5),
    st.integers(0, 5),
)
def test_no_budget_and_no_rest_is_ever_overdrawn(
    rows: list[tuple[int, int, int, bool]], reviews: int, follow_ups: int
) -> None:
    seeking = Seeking(per_day=5, reviews=reviews, follow_ups=follow_ups, after_denial=2, payments=3)
    seeker, now_us, day = Seeker(seeking), 0, 0
    sought: dict[str, list[int]] = {}
    about: Counter[str] = Counter()
    today = 0
    for number, (customer, payee, hours, denied) in enumerate(rows):
        now_us += hours * HOUR_US
        if now_us // DAY_US > day:
            day = now_us // DAY_US
            lists = seeker.reviews(day * DAY_US)
            assert len(lists) + today <= 5
            today = 0
            for one in lists:
                assert 0 < len(one) <= 3
                assert len({payment.customer for payment in one}) == 1
                about.update(payment.event for payment in one)
                sought.setdefault(one[0].customer, []).append(day * DAY_US)
        payment = paid(number, f"c{customer}", f"p{payee}", now_us)
        seeker.remember(payment)
        asked = seeker.heard(payment, denied, now_us + 1)
        today += len(asked)
        assert today <= follow_ups
        for other in asked:
            assert other.payee == payment.payee
            assert other.customer != payment.customer
            about[other.event] += 1
            sought.setdefault(other.customer, []).append(now_us + 1)
    assert all(count == 1 for count in about.values())
    for times in sought.values():
        gaps = [later - sooner for sooner, later in pairwise(times)]
        assert all(gap >= seeking.rest_us for gap in gaps)
